/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * resolve.c - `switchover resolve`: lists migrations in doubt, and resolves one.
 */
#include "cmd/resolve/resolve.h"

#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/verbs.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_JOURNAL = 256,
	OPT_QMP,
	OPT_URI,
	OPT_TARGET_JOURNAL,
	OPT_RUN_HERE,
	OPT_RUNS_THERE,
	OPT_FENCED,
	OPT_FORGET,
	OPT_PRUNE,
	OPT_JSON,
};

static const struct argp_option options[] = {
	{0, 0, 0, 0, "Migrations:", 1},
	{"journal", OPT_JOURNAL, "DIR", 0,
		"Read the journals in DIR (/var/lib/switchover for root, else "
		"~/.local/state/switchover)",
		1},
	{"qmp", OPT_QMP, "URI", 0,
		"Connect to the monitor of a live source: unix:PATH or tcp:HOST:PORT", 1},
	{0, 0, 0, 0,
		"Source of the decision (default: query the target at the URI in the journal):", 2},
	{"uri", OPT_URI, "URI", 0, "Query the target at URI", 2},
	{"target-journal", OPT_TARGET_JOURNAL, "DIR|FILE", 0,
		"Read the target's journal; its process must be dead", 2},
	{"run-here", OPT_RUN_HERE, NULL, 0,
		"Operator override: run the VM here, after the target has been fenced; needs "
		"--fenced",
		2},
	{"fenced", OPT_FENCED, NULL, 0,
		"Confirm that the other side is off or isolated, and cannot run the VM", 2},
	{"runs-there", OPT_RUNS_THERE, NULL, 0, "Operator override: the VM runs on the target", 2},
	{0, 0, 0, 0, "Other:", 3},
	{"forget", OPT_FORGET, NULL, 0, "Remove this migration's journal", 3},
	{"prune", OPT_PRUNE, NULL, 0, "Remove all settled journals", 3},
	{"json", OPT_JSON, "FILE", OPTION_ARG_OPTIONAL, "Print JSON, to standard output or to FILE",
		3},
	{0},
};

static void check(struct argp_state *state, const struct resolve_request *r)
{
	int words = r->run_here + r->runs_there + r->forget;

	if (words > 1)
		argp_error(state, "--run-here, --runs-there and --forget exclude each other");
	else if ((words || r->target_journal || r->uri) && !r->id && !r->qmp)
		argp_error(state, "missing migration ID; without options, migrations are listed");
	else if (r->run_here && !r->fenced)
		argp_error(state, "--run-here can make the VM run on both hosts: fence the target "
				  "first, and add --fenced");
	else if (r->fenced && !r->run_here && !r->forget && !r->target_journal && !r->prune)
		argp_error(state, "--fenced requires --run-here, --target-journal, --forget or "
				  "--prune");
	else if (r->prune && (r->id || r->qmp || words))
		argp_error(state, "--prune excludes an ID, --qmp and other decisions");
	else if (r->forget && r->qmp)
		argp_error(state,
			"--forget and --qmp exclude each other: --forget is for the journal of a dead process");
	else if (r->uri && r->target_journal)
		argp_error(state, "--uri and --target-journal exclude each other");
	else if (r->uri && r->qmp)
		argp_error(state,
			"--uri and --qmp exclude each other: a live source queries its target");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct resolve_request *r = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &r->tls;
		return 0;
	case OPT_JOURNAL:
		r->dir = arg;
		return 0;
	case OPT_QMP:
		r->qmp = arg;
		return 0;
	case OPT_URI:
		r->uri = arg;
		return 0;
	case OPT_TARGET_JOURNAL:
		r->target_journal = arg;
		return 0;
	case OPT_RUN_HERE:
		r->run_here = true;
		return 0;
	case OPT_RUNS_THERE:
		r->runs_there = true;
		return 0;
	case OPT_FENCED:
		r->fenced = true;
		return 0;
	case OPT_FORGET:
		r->forget = true;
		return 0;
	case OPT_PRUNE:
		r->prune = true;
		return 0;
	case OPT_JSON:
		r->json = true;
		r->json_file = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (r->id)
			argp_error(state, "only one migration ID allowed: unexpected '%s'", arg);
		/* Migrations and VMs are named by UUIDs of one form. */
		else if (swo_vm_identity(arg, NULL, r->id_text, NULL))
			argp_error(state, "'%s' is not a migration ID", arg);
		r->id = r->id_text;
		return 0;
	case ARGP_KEY_END:
		check(state, r);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_child children[] = {{&tls_argp, 0, "Querying the target:", 4}, {0}};

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = children,
	.args_doc = "[ID]",
	.doc = "List the journals of migrations, or resolve one in doubt: its source has sent GO and "
	       "has not received STARTED.\v"
	       "Exit status: 0 resolved, or none is in doubt; 1 failed; 2 invalid usage; 3 still in "
	       "doubt, or a listed one is; 4 no connection to the monitor.",
};

static int list(const struct resolve_request *request, struct swo_error *err)
{
	struct swo_journal_info *list;
	bool open = false, damaged = false;
	size_t count;

	if (swo_journal_list(request->dir, &list, &count, err))
		return CLI_FAILED;
	for (size_t i = 0; i < count; i++) {
		open = open || resolve_is_open(&list[i]);
		damaged = damaged || list[i].damage.code != SWO_E_NONE;
	}
	resolve_print_list(stdout, request, list, count);
	free(list);
	return damaged ? CLI_FAILED : open ? CLI_IN_DOUBT : CLI_OK;
}

static int prune(const struct resolve_request *request, struct swo_error *err)
{
	size_t removed, kept;

	if (swo_journal_prune(request->dir, request->fenced, &removed, &kept, err))
		return CLI_FAILED;
	if (request->json)
		printf("{\"removed\":%zu,\"kept\":%zu}\n", removed, kept);
	else
		printf("%zu removed\n", removed);
	if (kept && !request->json)
		printf("%zu kept: each prevents the start of a VM that has moved away "
		       "(add --fenced to remove them, too)\n",
			kept);
	return CLI_OK;
}

static int settle(const struct resolve_request *request, struct swo_error *err)
{
	struct resolve_result result = {.outcome = RESOLVE_NOTHING};
	int rc = request->qmp ? resolve_live(request, &result, err)
			      : resolve_one(request, &result, err);

	if (rc && request->qmp && err->code != SWO_E_STATE && err->code != SWO_E_INVALID &&
		err->code != SWO_E_CORRUPT)
		return CLI_UNREACHABLE;
	if (rc)
		return CLI_FAILED;
	resolve_print_result(stdout, request, &result);
	return result.outcome == RESOLVE_IN_DOUBT ? CLI_IN_DOUBT : CLI_OK;
}

int cmd_resolve(int argc, char **argv)
{
	struct resolve_request request = {.dir = NULL};
	struct swo_error err = {0};
	int status;

	if (argp_parse(&argp, argc, argv, 0, NULL, &request))
		return CLI_USAGE;
	if (!request.dir &&
		!swo_journal_default_dir(request.default_dir, sizeof(request.default_dir), &err))
		request.dir = request.default_dir;
	if ((!request.dir && !request.qmp) || redirect_output("--json", request.json_file, &err))
		status = CLI_FAILED;
	else if (request.prune)
		status = prune(&request, &err);
	else
		status = request.id || request.qmp ? settle(&request, &err) : list(&request, &err);
	if (err.code != SWO_E_NONE && status != CLI_OK)
		fprintf(stderr, "switchover: %s\n", err.text);
	return status;
}
