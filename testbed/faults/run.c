/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - one case of the fault matrix: starts two machines, migrates, and injects the fault at its
 * moment.
 */
#include "testbed/faults/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_MS 20000 /* a case that lasts longer hangs */

void fault_violation(struct fault_run *run, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(run->result->violations, json_string(text));
}

bool fault_died(struct fault_run *run, enum pair_side side)
{
	bool *gone = side == PAIR_SOURCE ? &run->source_gone : &run->target_gone;
	siginfo_t info = {0};

	if (*gone)
		return true;
	/* WNOWAIT: process.c reaps it. */
	if (waitid(P_PID, (id_t)process_pid(run->pair.ends[side].vm), &info,
		    WEXITED | WNOHANG | WNOWAIT) ||
		!info.si_pid)
		return false;
	*gone = true;
	fault_violation(run, "the %s exited: %s %d", pair_side_name(side),
		info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	return true;
}

/* Preparation */

static int arm(struct fault_run *run, enum pair_side side, unsigned device, const char *spec,
	struct swo_error *err)
{
	struct json_sock *sock = &run->pair.ends[side].controls[device];
	json_t *question = json_pack("{s:s, s:s}", "cmd", "fault", "spec", spec);
	int rc = json_sock_send(sock, question, swo_deadline_ms(GUARD_MS), err);
	json_t *answer =
		rc ? NULL
		   : json_sock_recv(sock, swo_deadline_ms(GUARD_MS), &process_interrupted, err);

	json_decref(question);
	if (answer && json_path_string(answer, "error")[0])
		rc = swo_error_set(
			err, SWO_E_INVALID, 0, "%s: %s", spec, json_path_string(answer, "error"));
	rc = rc || !answer ? -1 : 0;
	json_decref(answer);
	return rc;
}

static int arm_all(struct fault_run *run, struct swo_error *err)
{
	const struct fault_case *c = run->c;

	if (c->moment)
		return 0;
	if (arm(run, c->side, c->device, c->spec, err))
		return -1;
	/* Arm the other device: an error that names the faulty one is then due to its fault. */
	return c->provoke ? arm(run, PAIR_TARGET, (c->device + 1) % FAULT_VFS, c->provoke, err) : 0;
}

static int put_between(struct fault_run *run, struct swo_error *err)
{
	run->link = pair_put_link(&run->pair, err);
	return run->link ? 0 : -1;
}

/* The moment */

static void strike_now(struct fault_run *run)
{
	const struct fault_case *c = run->c;
	const struct strike *what = &c->strike;

	strike(&run->pair, run->link, c->side, c->device, what);
	*(c->side == PAIR_SOURCE ? &run->source_gone : &run->target_gone) |=
		what->kind == STRIKE_KILL_VM;
	run->link_gone = what->kind == STRIKE_LINK && !what->ms &&
			 (what->mode == LINK_CUT || what->mode == LINK_STALL);
}

/* Outcome */

bool fault_runs(struct fault_run *run, enum pair_side side)
{
	if (fault_died(run, side))
		return false;
	json_t *answer = pair_qmp(&run->pair, side, "query-status", NULL, NULL);
	bool runs = !strcmp(json_path_string(answer, "status"), "running");

	if (!answer && !fault_died(run, side))
		fault_violation(run, "the %s's monitor does not reply", pair_side_name(side));
	json_decref(answer);
	return runs;
}

static bool ended(const char *status)
{
	return !strcmp(status, "completed") || !strcmp(status, "failed") ||
	       !strcmp(status, "cancelled") || !strcmp(status, "in-doubt");
}

/* Polls, since events may have been consumed before the moment. */
static void await_end(struct fault_run *run)
{
	swo_deadline guard = swo_deadline_ms(GUARD_MS);

	while (!fault_died(run, PAIR_SOURCE)) {
		json_t *answer = pair_qmp(&run->pair, PAIR_SOURCE, "query-migrate", NULL, NULL);

		snprintf(
			run->status, sizeof(run->status), "%s", json_path_string(answer, "status"));
		json_decref(answer);
		/* A resolvable doubt must be resolved without an operator. */
		bool may_doubt = run->link_gone || run->target_gone;

		if (ended(run->status) && (may_doubt || strcmp(run->status, "in-doubt") != 0))
			return;
		if (process_interrupted)
			return;
		if (swo_deadline_passed(guard)) {
			fault_violation(run, "after %d s the migration is still %s",
				GUARD_MS / 1000, run->status);
			return;
		}
		fault_died(run, PAIR_TARGET);
		swo_sleep_until(swo_now_ns() + 5000000);
	}
}

static void configure(struct pair_config *config)
{
	pair_defaults(config);
	config->accel = "native";
	config->ram = "32M";
	config->vcpus = 1;
	config->doorbell_period_us = 1000;
	config->channels = 2;
	config->profile = "even";
}

static int until_struck(struct fault_run *run, struct swo_error *err)
{
	if (pair_start(&run->pair, err) || pair_boot(&run->pair, err))
		return -1;
	if (run->c->moment && put_between(run, err))
		return -1;
	if (arm_all(run, err) || pair_migrate(&run->pair, err))
		return -1;
	run->pair.deaths_expected = true;
	if (run->c->moment && moment_await(&run->pair, run->c->moment, GUARD_MS, err))
		return -1;
	if (run->c->moment)
		strike_now(run);
	return 0;
}

void fault_run(
	const struct fault_case *c, const char *handover, struct fault_result *result, bool keep)
{
	static struct pair_config config;
	static struct fault_run run;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	configure(&config);
	config.finalise = c->finalise;
	config.handover = handover;
	run = (struct fault_run){.c = c, .result = result};
	*result = (struct fault_result){.outcome = "", .violations = json_array()};
	int rc = pair_init(&run.pair, &config, FAULT_VFS, "parallel", &err);

	run.pair.simvf_option = c->simvf_option;
	run.pair.device_options = ",arc-deadline=400";
	run.pair.parameters = json_pack("{s:i, s:i, s:i, s:i}", "x-setup-deadline-ms", 4000,
		"x-switchover-deadline-ms", 4000, "x-commit-deadline-ms", 2000,
		"x-idle-deadline-ms", 1500);
	if (!rc)
		rc = until_struck(&run, &err);
	if (rc) {
		process_check_alive(&err);
		fault_violation(&run, "timed out waiting for the moment: %s", err.text);
	} else {
		await_end(&run);
		fault_judge(&run);
	}
	link_stop(run.link);
	json_decref(run.pair.parameters);
	result->ms = (double)(swo_now_ns() - start) / 1e6;
	pair_free(&run.pair, keep || (json_array_size(result->violations) && !process_interrupted));
}
