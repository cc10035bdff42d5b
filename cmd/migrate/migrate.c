/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migrate.c - `switchover migrate`: drives a migration of a running machine
 * over its QMP socket, switchover's or QEMU's, and prints the outcome.
 */
#include "cmd/common/args.h"
#include "cmd/common/cmd.h"
#include "cmd/common/event_record.h"
#include "cmd/common/file.h"
#include "cmd/common/qmp_client.h"
#include "cmd/common/tls_args.h"
#include "cmd/common/verbs.h"
#include "cmd/common/view.h"
#include "switchover/migration.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_MS	 30000
#define EXIT_INTERRUPTED 130

struct request {
	const char *qmp;
	const char *uri;
	const char *record;    /* NULL: none */
	const char *json_file; /* NULL: stdout */
	json_t *parameters;
	json_t *capabilities;
	struct tls_args tls;
	bool detach, json;
	double timeout_s; /* 0: none */
	bool force; /* after it the monitor's VMM switches over; otherwise it is cancelled here */
};

/* The command line */

/* "name=value" into an object; a value that reads as a number, true or false is one. */
static int add_parameter(json_t *parameters, const char *text)
{
	const char *equals = strchr(text, '=');
	char name[64];

	if (!equals || equals == text || (size_t)(equals - text) >= sizeof(name))
		return -1;
	memcpy(name, text, (size_t)(equals - text));
	name[equals - text] = 0;
	json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
	if (!json_is_number(value) && !json_is_boolean(value)) {
		json_decref(value);
		value = json_string(equals + 1);
	}
	return value ? json_object_set_new(parameters, name, value) : -1;
}

/* Parses "name=on" or "name=off" for migrate-set-capabilities. */
static int add_capability(json_t *capabilities, const char *text)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text ||
		(strcmp(equals + 1, "on") != 0 && strcmp(equals + 1, "off") != 0))
		return -1;
	return json_array_append_new(
		capabilities, json_pack("{s:s%, s:b}", "capability", text, (size_t)(equals - text),
				      "state", !strcmp(equals + 1, "on")));
}

enum {
	OPT_QMP = 256,
	OPT_PARAM,
	OPT_CAPABILITY,
	OPT_HANDOVER,
	OPT_DETACH,
	OPT_AUTO_CONVERGE,
	OPT_TIMEOUT,
	OPT_TIMEOUT_STRATEGY,
	OPT_RECORD,
	OPT_JSON
};

static const struct argp_option options[] = {
	{"qmp", OPT_QMP, "URI", 0,
		"Connect to the VM's monitor: unix:PATH or tcp:HOST:PORT (required)", 0},
	{"param", OPT_PARAM, "NAME=VALUE", 0,
		"Set a migration parameter, for this migration only; may be repeated", 0},
	{"capability", OPT_CAPABILITY, "NAME=on|off", 0,
		"Set a migration capability, for this migration only; may be repeated", 0},
	{"handover", OPT_HANDOVER, "HOW", 0,
		"Copy RAM, or pass it by descriptor to a target on this host: copy or fd (copy)",
		0},
	{"detach", OPT_DETACH, NULL, 0, "Start the migration and exit", 0},
	{"auto-converge", OPT_AUTO_CONVERGE, NULL, 0,
		"Throttle the vCPUs where they write faster than the link carries; short for "
		"--capability auto-converge=on",
		0},
	{"timeout", OPT_TIMEOUT, "SECONDS", 0, "End pre-copy after SECONDS, at most a day (none)",
		0},
	{"timeout-strategy", OPT_TIMEOUT_STRATEGY, "HOW", 0,
		"Then cancel the migration, or force the switchover over downtime-limit: cancel or "
		"force (cancel)",
		0},
	{"record", OPT_RECORD, "FILE", 0,
		"Write the monitor's events to FILE, for `switchover observe` (none)", 0},
	{"json", OPT_JSON, "FILE", OPTION_ARG_OPTIONAL,
		"Print the last reply to query-migrate as JSON, to standard output or to FILE", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &request->tls;
		break;
	case OPT_QMP:
		request->qmp = arg;
		break;
	case OPT_PARAM:
		if (add_parameter(request->parameters, arg))
			argp_error(state, "--param: expected NAME=VALUE, got '%s'", arg);
		break;
	case OPT_CAPABILITY:
		if (add_capability(request->capabilities, arg))
			argp_error(
				state, "--capability: expected NAME=on or NAME=off, got '%s'", arg);
		break;
	case OPT_HANDOVER:
		if (strcmp(arg, "copy") != 0 && strcmp(arg, "fd") != 0)
			argp_error(state, "--handover: expected copy or fd, got '%s'", arg);
		json_object_set_new(request->parameters, "x-handover", json_string(arg));
		break;
	case OPT_DETACH:
		request->detach = true;
		break;
	case OPT_RECORD:
		request->record = arg;
		break;
	case OPT_JSON:
		request->json = true;
		request->json_file = arg;
		break;
	case OPT_AUTO_CONVERGE:
		add_capability(request->capabilities, "auto-converge=on");
		break;
	case OPT_TIMEOUT_STRATEGY:
		if (strcmp(arg, "cancel") != 0 && strcmp(arg, "force") != 0)
			argp_error(state, "--timeout-strategy: expected cancel or force, got '%s'",
				arg);
		request->force = !strcmp(arg, "force");
		break;
	case OPT_TIMEOUT:
		request->timeout_s =
			args_real(state, "timeout", arg, 0.001, SWO_DURATION_MAX_MS / 1e3);
		break;
	case ARGP_KEY_ARG:
		if (request->uri)
			argp_error(state, "only one URI allowed: unexpected '%s'", arg);
		request->uri = arg;
		break;
	case ARGP_KEY_END:
		if (!request->uri)
			argp_error(state, "missing URI of the target: unix:PATH or tcp:HOST:PORT");
		if (!request->qmp)
			argp_error(state, "missing --qmp: the monitor of the VM to migrate");
		if (request->force && request->timeout_s <= 0)
			argp_error(state, "--timeout-strategy=force requires --timeout");
		if (request->force) {
			json_object_set_new(request->parameters, "x-timeout-ms",
				json_integer((json_int_t)(request->timeout_s * 1000)));
			json_object_set_new(
				request->parameters, "x-timeout-strategy", json_string("force"));
		}
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp_child children[] = {{&tls_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = children,
	.args_doc = "URI",
	.doc = "Migrate a running VM to the target that listens at URI.\v"
	       "Exit status: 0 completed; 1 failed or cancelled, the VM stays on the source; 2 invalid "
	       "usage; 3 in doubt; 4 no connection to the monitor; 130 interrupted by a second "
	       "Ctrl-C. The first Ctrl-C cancels the migration.",
};

/* Interrupts */

static volatile sig_atomic_t interrupts;

static void on_signal(int sig)
{
	(void)sig;
	if (interrupts++)
		_exit(EXIT_INTERRUPTED);
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* The migration */

/* Executes and ignores the reply. */
static int command(struct qmp *qmp, const char *name, json_t *arguments, struct swo_error *err)
{
	json_t *answer = qmp_execute(qmp, name, arguments, swo_deadline_ms(COMMAND_MS), err);

	json_decref(answer);
	return answer ? 0 : -1;
}

/* Of `all`, the values of the names in `wanted`. */
static json_t *values_of(const json_t *all, json_t *wanted)
{
	json_t *values = json_object(), *ignored, *value;
	const char *name;

	json_object_foreach (wanted, name, ignored)
		if ((value = json_object_get(all, name)))
			json_object_set(values, name, value);
	return values;
}

static json_t *states_of(const json_t *all, json_t *wanted)
{
	json_t *states = json_array(), *known, *one;
	size_t i, k;

	json_array_foreach (wanted, i, one)
		json_array_foreach (all, k, known)
			if (json_equal(json_object_get(known, "capability"),
				    json_object_get(one, "capability")))
				json_array_append(states, known);
	return states;
}

/*
 * Options of a monitor that has no options for one migration only, such as QEMU's, are set there;
 * what they replaced is kept, for a VM that stays.
 */
enum { CAPABILITIES, PARAMETERS, KINDS };

static const struct option_kind {
	const char *query, *set;
	const char *member; /* of the arguments; NULL: they are the options */
	json_t *(*replaced)(const json_t *all, json_t *wanted);
} kinds[KINDS] = {
	[CAPABILITIES] = {"query-migrate-capabilities", "migrate-set-capabilities", "capabilities",
		states_of},
	[PARAMETERS] = {"query-migrate-parameters", "migrate-set-parameters", NULL, values_of},
};

struct replaced {
	json_t *options[KINDS]; /* NULL: nothing was replaced */
};

static bool has_options(const json_t *set)
{
	return json_array_size(set) || json_object_size(set);
}

static int set_options(
	struct qmp *qmp, const struct option_kind *kind, json_t *set, struct swo_error *err)
{
	json_t *arguments = kind->member ? json_pack("{s:O}", kind->member, set) : json_incref(set);

	return command(qmp, kind->set, arguments, err);
}

static int set_there(struct qmp *qmp, const struct request *request, struct replaced *replaced,
	struct swo_error *err)
{
	json_t *const wanted[KINDS] = {request->capabilities, request->parameters};

	for (unsigned i = 0; i < KINDS; i++) {
		json_t *before;

		if (!has_options(wanted[i]))
			continue;
		before = qmp_execute(qmp, kinds[i].query, NULL, swo_deadline_ms(COMMAND_MS), err);
		if (!before)
			return -1;
		replaced->options[i] = kinds[i].replaced(before, wanted[i]);
		json_decref(before);
		if (set_options(qmp, &kinds[i], wanted[i], err))
			return -1;
	}
	return command(qmp, "migrate", json_pack("{s:s}", "uri", request->uri), err);
}

static void put_back(struct qmp *qmp, struct replaced *replaced)
{
	struct swo_error err = {0};
	bool failed = false;

	for (unsigned i = KINDS; i-- > 0;) {
		failed = failed || (has_options(replaced->options[i]) &&
					   set_options(qmp, &kinds[i], replaced->options[i], &err));
		json_decref(replaced->options[i]);
	}
	if (failed)
		fprintf(stderr, "switchover: options of this migration stay set: %s\n", err.text);
}

static int start(struct qmp *qmp, const struct request *request, struct replaced *replaced,
	struct swo_error *err)
{
	json_t *arguments = json_pack("{s:s}", "uri", request->uri);

	if (json_object_size(request->parameters))
		json_object_set(arguments, "x-parameters", request->parameters);
	if (json_array_size(request->capabilities))
		json_object_set(arguments, "x-capabilities", request->capabilities);
	const bool plain = json_object_size(arguments) == 1;

	if (!command(qmp, "migrate", arguments, err))
		return 0;
	/* Nothing was started for a member that is not known. */
	if (plain || err->code != SWO_E_STATE || !strstr(err->text, "unexpected") ||
		(!strstr(err->text, "'x-parameters'") && !strstr(err->text, "'x-capabilities'")))
		return -1;
	return set_there(qmp, request, replaced, err);
}

/* QEMU sends migration events only if the capability is set. */
static void want_events(json_t *capabilities)
{
	json_array_append_new(
		capabilities, json_pack("{s:s, s:b}", "capability", "events", "state", 1));
}

struct watch {
	uint64_t begun_ns;
	bool terminal;
	bool cancel_sent;
};

static void show_progress(const struct watch *watch, const json_t *info)
{
	char line[128];

	if (!watch->terminal)
		return;
	view_progress(info, (double)(swo_now_ns() - watch->begun_ns) / 1e9, line, sizeof(line));
	fprintf(stderr, "\r%-79.79s", line);
}

static void clear_progress(const struct watch *watch)
{
	if (watch->terminal)
		fprintf(stderr, "\r%79s\r", "");
}

/* Cancels, once. Past the point of no return the monitor refuses: then waits for the end.
 */
static void cancel_if_wished(struct qmp *qmp, const struct request *request, struct watch *watch)
{
	struct swo_error err = {0};
	double elapsed_s = (double)(swo_now_ns() - watch->begun_ns) / 1e9;
	bool late = !request->force && request->timeout_s > 0 && elapsed_s > request->timeout_s;

	if (watch->cancel_sent || (!interrupts && !late))
		return;
	watch->cancel_sent = true;
	clear_progress(watch);
	fprintf(stderr, "switchover: %s: cancelling%s\n", interrupts ? "interrupted" : "timed out",
		interrupts ? " (again to exit)" : "");
	if (command(qmp, "migrate_cancel", NULL, &err))
		fprintf(stderr, "switchover: %s; waiting for its end\n", err.text);
}

/* Waits for an event; true if there was one. */
static bool take_event(struct qmp *qmp, const struct event_record *record, unsigned wait_ms)
{
	json_t *event = qmp_event(qmp, swo_deadline_ms(wait_ms), NULL);

	event_record_add(record, event);
	json_decref(event);
	return event != NULL;
}

/* Waits for the end. A new reference to the last answer; NULL: the monitor cannot be talked to. */
static json_t *watch_it(struct qmp *qmp, const struct request *request,
	const struct event_record *record, struct swo_error *err)
{
	struct watch watch = {.begun_ns = swo_now_ns(), .terminal = isatty(STDERR_FILENO)};

	for (;;) {
		json_t *info =
			qmp_execute(qmp, "query-migrate", NULL, swo_deadline_ms(COMMAND_MS), err);

		if (!info || view_state_of(info) != VIEW_RUNNING) {
			clear_progress(&watch);
			/* The last events arrive with the reply, or right after it. */
			while (record->out && take_event(qmp, record, 50))
				;
			return info;
		}
		show_progress(&watch, info);
		json_decref(info);
		cancel_if_wished(qmp, request, &watch);
		/* An event may mean the end; without one, query again. */
		take_event(qmp, record, 100);
	}
}

static int report(const struct request *request, const json_t *info)
{
	if (request->json) {
		json_dumpf(info, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		view_print_end(info);
	}
	return view_exit(info);
}

static int migrate(const struct request *request)
{
	struct event_record record = {0};
	struct replaced replaced = {0};
	struct swo_error err = {0};
	struct qmp qmp;
	json_t *info = NULL;
	int status;

	if (request->record && event_record_open(&record, request->record, &err)) {
		fprintf(stderr, "switchover: %s\n", err.text);
		return CLI_USAGE;
	}
	if (qmp_open(&qmp, request->qmp, false, swo_deadline_ms(COMMAND_MS), NULL, &err) ||
		start(&qmp, request, &replaced, &err)) {
		status = view_unreachable(&err);
	} else if (request->detach) {
		status = CLI_OK;
	} else if ((info = watch_it(&qmp, request, &record, &err))) {
		status = report(request, info);
	} else {
		status = view_unreachable(&err);
		fputs("switchover: the outcome of the migration is unknown; query the target "
		      "before starting the machine again\n",
			stderr);
	}
	/* With --detach they stay: the migration may not have read them yet. */
	if (!request->detach)
		put_back(&qmp, &replaced);
	json_decref(info);
	qmp_close(&qmp);
	if (event_record_close(&record, &err))
		fprintf(stderr, "switchover: %s\n", err.text);
	return status;
}

int cmd_migrate(int argc, char **argv)
{
	struct request request = {.parameters = json_object(), .capabilities = json_array()};
	int status = CLI_USAGE;

	if (!argp_parse(&argp, argc, argv, 0, NULL, &request)) {
		struct swo_error err;

		if (redirect_output("--json", request.json_file, &err))
			return view_unreachable(&err);
		catch_signals();
		if (request.record)
			want_events(request.capabilities);
		status = tls_args_to_parameters(&request.tls, request.parameters)
				 ? CLI_FAILED
				 : migrate(&request);
	}
	json_decref(request.parameters);
	json_decref(request.capabilities);
	return status;
}
