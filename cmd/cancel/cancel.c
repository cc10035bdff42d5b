/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cancel.c - `switchover cancel`: cancels the migration of a VM and waits for its end, which may be
 * another one: past the point of no return nothing can be cancelled.
 */
#include "cmd/common/args.h"
#include "cmd/common/cmd.h"
#include "cmd/common/qmp_client.h"
#include "cmd/common/verbs.h"
#include "cmd/common/view.h"

#include <argp.h>
#include <string.h>

#define COMMAND_MS 30000
#define LOOK_MS	   100
#define WAIT_S	   60

enum { OPT_QMP = 256, OPT_TIMEOUT };

struct request {
	const char *qmp;
	double timeout_s;
};

static const struct argp_option options[] = {
	{"qmp", OPT_QMP, "URI", 0,
		"Connect to the VM's monitor: unix:PATH or tcp:HOST:PORT (required)", 0},
	{"timeout", OPT_TIMEOUT, "SECONDS", 0, "Wait so long for the end (60)", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case OPT_QMP:
		request->qmp = arg;
		return 0;
	case OPT_TIMEOUT:
		request->timeout_s = args_real(state, "timeout", arg, 0.001, 86400);
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
	"Cancel the migration of a VM, switchover's or QEMU's, and wait for its end.\v"
	"Exit status: 0 cancelled, the VM stays; 1 nothing was cancelled: there is no migration, it "
	"ended otherwise, or it is past the point of no return; 2 invalid usage; 3 in doubt; 4 no "
	"connection to the monitor.",
	NULL, NULL, NULL};

static json_t *query(struct qmp *qmp, struct swo_error *err)
{
	return qmp_execute(qmp, "query-migrate", NULL, swo_deadline_ms(COMMAND_MS), err);
}

static bool is_running(const json_t *info)
{
	return json_path_string(info, "status")[0] && view_state_of(info) == VIEW_RUNNING;
}

/* A new reference to the last reply; NULL: the monitor cannot be talked to. */
static json_t *await_end(struct qmp *qmp, double timeout_s, struct swo_error *err)
{
	const swo_deadline until = swo_deadline_ms((uint64_t)(timeout_s * 1000));
	json_t *info;

	while ((info = query(qmp, err)) && is_running(info) && !swo_deadline_passed(until)) {
		json_decref(info);
		json_decref(qmp_event(qmp, swo_deadline_ms(LOOK_MS), NULL));
	}
	return info;
}

static int report(const json_t *info)
{
	switch (view_state_of(info)) {
	case VIEW_CANCELLED:
		puts("cancelled: the VM stays on the source");
		return CLI_OK;
	case VIEW_RUNNING:
		fprintf(stderr,
			"switchover: the migration has not ended yet (%s); `switchover status` shows "
			"what it waits for\n",
			json_path_string(info, "status"));
		return CLI_FAILED;
	case VIEW_COMPLETED:
		fputs("switchover: not cancelled: the migration has completed\n", stderr);
		return CLI_FAILED;
	default:
		view_print_end(info);
		return view_exit(info);
	}
}

int cmd_cancel(int argc, char **argv)
{
	struct request request = {.timeout_s = WAIT_S};
	struct swo_error err = {0};
	struct qmp qmp;
	json_t *info = NULL, *answer = NULL;
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, &request);
	if (qmp_open(&qmp, request.qmp, false, swo_deadline_ms(COMMAND_MS), NULL, &err) ||
		!(info = query(&qmp, &err))) {
		status = view_unreachable(&err);
	} else if (!is_running(info)) {
		fputs("switchover: no migration is under way\n", stderr);
		status = CLI_FAILED;
	} else if (!(answer = qmp_execute(
			     &qmp, "migrate_cancel", NULL, swo_deadline_ms(COMMAND_MS), &err))) {
		status = view_unreachable(&err);
	} else {
		json_decref(info);
		info = await_end(&qmp, request.timeout_s, &err);
		status = info ? report(info) : view_unreachable(&err);
	}
	json_decref(answer);
	json_decref(info);
	qmp_close(&qmp);
	return status;
}
