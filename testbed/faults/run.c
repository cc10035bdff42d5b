/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - one case of the fault matrix: starts two machines, migrates, and injects the fault at its
 * moment.
 */
#include "testbed/faults/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_MS (20000 * FAULT_SLOWER) /* a case that lasts longer hangs */
#define EXIT_MS	 12000			/* for a machine that is to end, even with hung devices */

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

const char *fault_skipped(const struct fault_case *c, const char *handover)
{
/* A sanitizer's allocator exits when it runs out of memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	if (c->strike.kind == STRIKE_NO_MEMORY)
		return "a sanitizer needs its memory";
#endif
	if (c->copy_only && handover && !strcmp(handover, "fd"))
		return "RAM by descriptor needs no DMA log";
	return NULL;
}

static int put_between(struct fault_run *run, struct swo_error *err)
{
	run->link = pair_put_link(&run->pair, err);
	return run->link ? 0 : -1;
}

/* The moment */

static bool *gone(struct fault_run *run, enum pair_side side)
{
	return side == PAIR_SOURCE ? &run->source_gone : &run->target_gone;
}

bool fault_has_status(struct fault_run *run, enum pair_side side, const char *status)
{
	json_t *answer = pair_qmp(&run->pair, side, "query-migrate", NULL, NULL);
	bool has = !strcmp(json_path_string(answer, "status"), status);

	json_decref(answer);
	return has;
}

#define LOG_PATH_MAX 128

static void log_path(const struct fault_run *run, enum pair_side side, char out[LOG_PATH_MAX])
{
	snprintf(out, LOG_PATH_MAX, "%s/%s.log", run->pair.dir, pair_host(&run->pair, side));
}

/* The log is that of all machines of this host. */
static long log_length(const struct fault_run *run, enum pair_side side)
{
	char path[LOG_PATH_MAX];
	struct stat st;

	log_path(run, side, path);
	return stat(path, &st) ? 0 : (long)st.st_size;
}

/* To a signal a machine answers in its log. */
static bool refused_the_signal(const struct fault_run *run, enum pair_side side)
{
	char path[LOG_PATH_MAX], line[600];
	bool found = false;

	if (run->c->strike.kind != STRIKE_SIGNAL)
		return false;
	log_path(run, side, path);
	FILE *file = fopen(path, "re");
	if (file)
		fseek(file, run->log_from, SEEK_SET);
	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, "a second signal does");
	if (file)
		fclose(file);
	return found;
}

/* It is to end: only a migration in doubt keeps it, or a refusal. */
static void await_exit(struct fault_run *run, enum pair_side side)
{
	pid_t pid = process_pid(run->pair.ends[side].vm);
	swo_deadline deadline = swo_deadline_ms(EXIT_MS);
	siginfo_t info = {0};

	while (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid) {
		run->struck.refused = refused_the_signal(run, side);
		if (run->struck.refused)
			return;
		if (process_over(deadline)) {
			if (!fault_has_status(run, side, "in-doubt"))
				fault_violation(run, "the %s was to end, and lives on",
					pair_side_name(side));
			return;
		}
		swo_sleep_until(swo_now_ns() + 2000000);
	}
	*gone(run, side) = true;
	if (info.si_code != CLD_EXITED || info.si_status != 0)
		fault_violation(run, "the %s was to end, and ended with %s %d",
			pair_side_name(side), info.si_code == CLD_EXITED ? "status" : "signal",
			info.si_status);
}

static void strike_now(struct fault_run *run)
{
	const struct fault_case *c = run->c;
	const struct strike *what = &c->strike;

	run->log_from = log_length(run, c->side);
	run->struck = strike(&run->pair, run->link, c->side, c->device, what);
	*gone(run, c->side) |= what->kind == STRIKE_KILL_VM;
	run->link_gone = what->kind == STRIKE_LINK && !what->ms &&
			 (what->mode == LINK_CUT || what->mode == LINK_STALL);
	if (c->ends_machine && run->struck.hit && !run->struck.refused)
		await_exit(run, c->side);
}

/* A fault that did not hit proves nothing. */

#define HIT_MS 4000 /* for one that comes after the end of the migration */

/* A device that has ended cannot report that it did so by its fault: no other ends it. */
static bool device_was_hit(struct fault_run *run, enum pair_side side, unsigned i)
{
	pid_t pid = process_pid(run->pair.ends[side].devs[i]);
	siginfo_t info = {0};
	json_t *report;

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid)
		return true;
	report = pair_report(&run->pair, side, i, NULL);
	bool hit = json_path_number(report, "fault_hits") > 0;

	json_decref(report);
	return hit;
}

static void must_have_hit(struct fault_run *run, enum pair_side side, unsigned i, const char *spec)
{
	swo_deadline deadline = swo_deadline_ms(HIT_MS);

	while (!process_interrupted && !device_was_hit(run, side, i)) {
		if (swo_deadline_passed(deadline)) {
			fault_violation(
				run, "NOT HIT: %s of the %s's vf%u", spec, pair_side_name(side), i);
			return;
		}
		swo_sleep_until(swo_now_ns() + 5000000);
	}
}

static void check_hit(struct fault_run *run)
{
	const struct fault_case *c = run->c;

	if (c->moment && !run->struck.hit)
		fault_violation(run, "NOT HIT: %s: %s", c->fault, run->struck.text);
	if (c->moment && c->strike.kind == STRIKE_LINK && !link_hits(run->link))
		fault_violation(run, "NOT HIT: %s: nothing passed the link any more", c->fault);
	if (!c->moment)
		must_have_hit(run, c->side, c->device, c->spec);
	if (c->provoke)
		must_have_hit(run, PAIR_TARGET, (c->device + 1) % FAULT_VFS, c->provoke);
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
void fault_await_end(struct fault_run *run)
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
	config->pf_from = FAULT_PF_FROM;
	config->pf_arcs = true;
	config->profile = "even";
}

/* It never comes in a migration that has failed by itself, on a machine too busy for the deadlines. */
static int no_moment(struct fault_run *run, struct swo_error *err)
{
	json_t *answer = pair_qmp(&run->pair, PAIR_SOURCE, "query-migrate", NULL, NULL);

	swo_error_prefix(err, "the migration is %s (%.200s)", json_path_string(answer, "status"),
		json_path_string(answer, "error-desc"));
	json_decref(answer);
	return -1;
}

int fault_inject(struct fault_run *run, struct swo_error *err)
{
	const struct fault_case *c = run->c;

	process_sample_files(process_pid(run->pair.ends[PAIR_SOURCE].vm), &run->files);
	if (c->moment && put_between(run, err))
		return -1;
	if (arm_all(run, err) || pair_migrate(&run->pair, err))
		return -1;
	run->pair.deaths_expected = true;
	if (c->moment && moment_await(&run->pair, c->moment, GUARD_MS, err))
		return no_moment(run, err);
	if (c->moment)
		strike_now(run);
	if (c->cancels) {
		must_have_hit(run, c->side, c->device, c->spec);
		if (monitor_command(&run->pair.ends[PAIR_SOURCE].qmp, "migrate_cancel", NULL, err))
			return -1;
	}
	fault_await_end(run);
	check_hit(run);
	return 0;
}

#define TEXT_OF(number) #number
#define TEXT(number)	TEXT_OF(number)

int fault_prepare(struct fault_run *run, struct pair_config *config, const char *handover,
	struct swo_error *err)
{
	configure(config);
	config->handover = handover;
	run->handover = handover;
	if (pair_init(&run->pair, config, FAULT_VFS, "parallel", err))
		return -1;
	run->pair.device_options = ",arc-deadline=" TEXT(FAULT_ARC_MS);
	run->pair.parameters = json_pack("{s:i, s:i, s:i, s:i}", "x-setup-deadline-ms", 4000,
		"x-switchover-deadline-ms", FAULT_SWITCHOVER_MS, "x-commit-deadline-ms",
		FAULT_COMMIT_MS, "x-idle-deadline-ms", FAULT_IDLE_MS);
	return 0;
}

void fault_finish(struct fault_run *run, bool keep)
{
	link_stop(run->link);
	run->link = NULL;
	json_decref(run->pair.parameters);
	pair_free(&run->pair, keep);
}

void fault_run(
	const struct fault_case *c, const char *handover, struct fault_result *result, bool keep)
{
	static struct pair_config config;
	static struct fault_run run;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	run = (struct fault_run){.c = c, .result = result};
	*result = (struct fault_result){.outcome = "", .violations = json_array()};
	int rc = fault_prepare(&run, &config, handover, &err);

	config.finalise = c->finalise;
	run.pair.simvf_option = c->simvf_option;
	if (!rc)
		rc = pair_start(&run.pair, &err) || pair_boot(&run.pair, &err) ||
		     fault_inject(&run, &err);
	if (rc) {
		process_check_alive(&err);
		fault_violation(&run, "timed out waiting for the moment: %s", err.text);
	} else {
		fault_judge(&run);
		fault_judge_end(&run);
	}
	result->ms = (double)(swo_now_ns() - start) / 1e6;
	fault_finish(&run, keep || (json_array_size(result->violations) && !process_interrupted));
}
