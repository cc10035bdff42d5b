/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - one case of the fault matrix: two machines are started and migrated, and at
 * its moment something goes wrong.
 */
#include "testbed/faults/faults.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_MS  20000 /* a case that lasts longer hangs */
#define AWHILE_US 300000

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
	fault_violation(run, "the %s ended by itself: %s %d", pair_side_name(side),
		info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	return true;
}

/* Before */

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

	if (c->kind != FAULT_SPEC)
		return 0;
	if (arm(run, c->side, c->device, c->spec, err))
		return -1;
	/* The other one, so that an error that names the faulty one comes from its fault. */
	return c->provoke ? arm(run, PAIR_TARGET, (c->device + 1) % FAULT_VFS, c->provoke, err) : 0;
}

static int put_between(struct fault_run *run, struct swo_error *err)
{
	run->link = pair_put_link(&run->pair, err);
	return run->link ? 0 : -1;
}

/* The moment */

/* For a while no further memory is to be had: what is mapped now is all there is. */
static void starve(pid_t pid)
{
	struct rlimit old, none;
	unsigned long pages = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	FILE *file = fopen(path, "re");
	if (file && fscanf(file, "%lu", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	if (!pages || prlimit(pid, RLIMIT_AS, NULL, &old))
		return;
	none = old;
	none.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
	if (prlimit(pid, RLIMIT_AS, &none, NULL))
		return;
	usleep(AWHILE_US);
	prlimit(pid, RLIMIT_AS, &old, NULL);
}

static void freeze(pid_t pid)
{
	kill(pid, SIGSTOP);
	usleep(AWHILE_US);
	kill(pid, SIGCONT);
}

static void bad_link(struct fault_run *run, enum link_mode mode, bool awhile)
{
	link_set(run->link, mode);
	run->link_gone = !awhile;
	if (!awhile)
		return;
	usleep(AWHILE_US);
	link_set(run->link, LINK_PASS);
}

static void strike(struct fault_run *run)
{
	struct pair_end *end = &run->pair.ends[run->c->side];

	switch (run->c->kind) {
	case FAULT_SPEC:
		break;
	case FAULT_KILL_VM:
		process_kill(end->vm);
		run->source_gone |= run->c->side == PAIR_SOURCE;
		run->target_gone |= run->c->side == PAIR_TARGET;
		break;
	case FAULT_KILL_DEVICE:
		process_kill(end->devs[run->c->device]);
		break;
	case FAULT_CUT:
	case FAULT_CUT_AWHILE:
		bad_link(run, LINK_CUT, run->c->kind == FAULT_CUT_AWHILE);
		break;
	case FAULT_STALL:
	case FAULT_STALL_AWHILE:
		bad_link(run, LINK_STALL, run->c->kind == FAULT_STALL_AWHILE);
		break;
	case FAULT_REORDER:
		bad_link(run, LINK_REORDER, true);
		break;
	case FAULT_FLIP_CONTROL:
		link_set(run->link, LINK_FLIP_CONTROL);
		break;
	case FAULT_FLIP_DATA:
		link_set(run->link, LINK_FLIP_DATA);
		break;
	case FAULT_CANCEL: /* too late is an error, and as good */
		monitor_command(&end->qmp, "migrate_cancel", NULL, NULL);
		break;
	case FAULT_NO_MEMORY:
		starve(process_pid(end->vm));
		break;
	case FAULT_FREEZE:
		freeze(process_pid(end->vm));
		break;
	}
}

/* The end */

bool fault_runs(struct fault_run *run, enum pair_side side)
{
	if (fault_died(run, side))
		return false;
	json_t *answer = pair_qmp(&run->pair, side, "query-status", NULL, NULL);
	bool runs = !strcmp(json_path_string(answer, "status"), "running");

	if (!answer && !fault_died(run, side))
		fault_violation(run, "the %s's monitor does not answer", pair_side_name(side));
	json_decref(answer);
	return runs;
}

static bool ended(const char *status)
{
	return !strcmp(status, "completed") || !strcmp(status, "failed") ||
	       !strcmp(status, "cancelled") || !strcmp(status, "in-doubt");
}

/* Polls, for events may have been taken on the way to the moment. */
static void await_end(struct fault_run *run)
{
	swo_deadline guard = swo_deadline_ms(GUARD_MS);

	while (!fault_died(run, PAIR_SOURCE)) {
		json_t *answer = pair_qmp(&run->pair, PAIR_SOURCE, "query-migrate", NULL, NULL);

		snprintf(
			run->status, sizeof(run->status), "%s", json_path_string(answer, "status"));
		json_decref(answer);
		/* A doubt that can settle must settle by itself. */
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

static void configure(struct bench_config *config)
{
	bench_defaults(config);
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
	if (run->c->kind != FAULT_SPEC && put_between(run, err))
		return -1;
	if (arm_all(run, err) || pair_migrate(&run->pair, err))
		return -1;
	run->pair.deaths_expected = true;
	if (run->c->moment && moment_await(&run->pair, run->c->moment, GUARD_MS, err))
		return -1;
	strike(run);
	return 0;
}

void fault_run(
	const struct fault_case *c, const char *handover, struct fault_result *result, bool keep)
{
	static struct bench_config config;
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
		fault_violation(&run, "not come to the moment: %s", err.text);
	} else {
		await_end(&run);
		fault_judge(&run);
	}
	link_stop(run.link);
	json_decref(run.pair.parameters);
	result->ms = (double)(swo_now_ns() - start) / 1e6;
	pair_free(&run.pair, keep || (json_array_size(result->violations) && !process_interrupted));
}
