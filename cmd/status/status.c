/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status.c - `switchover status`: what a monitor, switchover's or QEMU's, reports of its VM.
 */
#include "cmd/status/show.h"

#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/qmp_client.h"
#include "cmd/common/verbs.h"
#include "cmd/common/view.h"

#include <argp.h>
#include <unistd.h>

#define COMMAND_MS 30000
#define LOOK_MS	   250	 /* on a terminal */
#define BRIEF_MS   10000 /* in a pipe */

enum { OPT_QMP = 256, OPT_FOLLOW, OPT_JSON };

struct request {
	const char *qmp;
	bool follow, json;
	const char *json_file; /* NULL: stdout */
};

static const struct argp_option options[] = {
	{"qmp", OPT_QMP, "URI", 0,
		"Connect to the VM's monitor: unix:PATH or tcp:HOST:PORT (required)", 0},
	{"follow", OPT_FOLLOW, NULL, 0, "Go on until the migration has ended", 0},
	{"json", OPT_JSON, "FILE", OPTION_ARG_OPTIONAL,
		"Print the monitor's replies as JSON, one object a line, to standard output or to FILE",
		0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case OPT_QMP:
		request->qmp = arg;
		return 0;
	case OPT_FOLLOW:
		request->follow = true;
		return 0;
	case OPT_JSON:
		request->json = true;
		request->json_file = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return 0;
	case ARGP_KEY_END:
		if (!request->qmp)
			argp_error(state, "missing --qmp: the monitor of the VM");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {options, parse_option, NULL,
	"Show a VM, its migration, and for each device of switchover vm its state, its health, and the "
	"arc that is under way and for how long.\v"
	"Exit status: 0; 3 when the migration is in doubt; 4 no connection to the monitor; 2 invalid "
	"usage. With --follow as of switchover migrate: 0 completed, 1 failed or cancelled.",
	NULL, NULL, NULL};

/* A new reference; NULL: the monitor cannot be talked to. A QEMU has no command for its devices. */
static json_t *look(struct qmp *qmp, struct swo_error *err)
{
	const swo_deadline deadline = swo_deadline_ms(COMMAND_MS);
	json_t *vm = qmp_execute(qmp, "query-status", NULL, deadline, err);
	json_t *migration = vm ? qmp_execute(qmp, "query-migrate", NULL, deadline, err) : NULL;
	json_t *devices =
		migration ? qmp_execute(qmp, "x-query-devices", NULL, deadline, err) : NULL;
	json_t *all = NULL;

	if (migration && (devices || err->code == SWO_E_STATE))
		all = json_pack("{s:O, s:O, s:o}", "vm", vm, "migration", migration, "devices",
			devices ? json_incref(devices) : json_null());
	json_decref(vm);
	json_decref(migration);
	json_decref(devices);
	return all;
}

static bool is_over(const json_t *all)
{
	const json_t *migration = json_path(all, "migration");

	return !json_path_string(migration, "status")[0] ||
	       view_state_of(migration) != VIEW_RUNNING;
}

static void print(const struct request *request, const json_t *all, bool terminal, unsigned *lines)
{
	if (request->json) {
		json_dumpf(all, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		/* Over what was printed before. */
		if (terminal && *lines)
			printf("\033[%uA", *lines);
		*lines = status_show(stdout, all, terminal && request->follow);
	}
	fflush(stdout);
}

static int exit_of(const struct request *request, const json_t *all)
{
	const json_t *migration = json_path(all, "migration");

	if (!json_path_string(migration, "status")[0])
		return CLI_OK;
	if (view_state_of(migration) == VIEW_IN_DOUBT)
		return CLI_IN_DOUBT;
	return request->follow ? view_exit(migration) : CLI_OK;
}

int cmd_status(int argc, char **argv)
{
	const bool terminal = isatty(STDOUT_FILENO);
	struct request request = {0};
	struct swo_error err = {0};
	struct qmp qmp;
	unsigned lines = 0;
	json_t *all = NULL;
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, &request);
	if (redirect_output("--json", request.json_file, &err))
		return view_unreachable(&err);
	if (qmp_open(&qmp, request.qmp, false, swo_deadline_ms(COMMAND_MS), NULL, &err)) {
		qmp_close(&qmp);
		return view_unreachable(&err);
	}
	swo_deadline brief = 0;

	for (;;) {
		json_decref(all);
		all = look(&qmp, &err);
		if (!all)
			break;
		const bool last = !request.follow || is_over(all);

		if (last || terminal || swo_deadline_passed(brief)) {
			print(&request, all, terminal, &lines);
			brief = swo_deadline_ms(BRIEF_MS);
		}
		if (last)
			break;
		/* An event may mean the end. */
		json_decref(qmp_event(&qmp, swo_deadline_ms(LOOK_MS), NULL));
	}
	status = all ? exit_of(&request, all) : view_unreachable(&err);
	json_decref(all);
	qmp_close(&qmp);
	return status;
}
