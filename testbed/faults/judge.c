/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * judge.c - the assertions after every fault: exactly one machine runs, two never ran at once,
 * nothing was lost, one error names the cause, and every process exits on quit.
 */
#include "testbed/faults/faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COME_UP_MS 4000	 /* timeout for a machine to run */
#define QUIT_MS	   12000 /* timeout for a machine to exit, even with hung devices */

struct counters {
	json_t *reports[PAIR_SIDES][FAULT_VFS]; /* NULL: its device no longer replies */
};

/*
 * The device that its fault may have changed. A corrupt stream loses its device on the target if the migration
 * can no longer be aborted.
 */
static bool struck(const struct fault_run *run, enum pair_side side, unsigned i)
{
	return run->c->concerns && (run->c->side == side || run->c->finalise) &&
	       run->c->device == i;
}

/* Which side runs */

bool fault_comes_to_run(struct fault_run *run, enum pair_side side)
{
	swo_deadline deadline = swo_deadline_ms(COME_UP_MS);

	while (!fault_runs(run, side)) {
		if (fault_died(run, side) || process_over(deadline))
			return false;
		swo_sleep_until(swo_now_ns() + 10000000);
	}
	return true;
}

#define STILL_MS 300 /* that a paused guest is looked at */

/* It was stopped: it stands still until `cont`. */
static void must_stand(struct fault_run *run, enum pair_side side)
{
	struct swo_error err = {0};
	double before = 0, after = 0;

	for (unsigned look = 0; look < 2; look++) {
		json_t *report = pair_report(&run->pair, side, 0, NULL);

		*(look ? &after : &before) = json_path_number(report, "doorbells");
		json_decref(report);
		if (fault_runs(run, side))
			fault_violation(run, "the %s was stopped, and runs", pair_side_name(side));
		if (!look)
			process_pause_ms(STILL_MS);
	}
	if (after != before)
		fault_violation(run, "the %s's guest was stopped, and rings", pair_side_name(side));
	if (monitor_command(&run->pair.ends[side].qmp, "cont", NULL, &err))
		fault_violation(run, "it does not go on: %s", err.text);
}

/* A target that was stopped has no VM of the source's. */
static bool was_paused(const struct fault_run *run, enum pair_side side)
{
	return run->c->pauses && !run->struck.refused &&
	       (run->c->side == PAIR_SOURCE || side == PAIR_TARGET);
}

static void must_run(struct fault_run *run, enum pair_side side, const char *outcome)
{
	run->result->outcome = outcome;
	if (was_paused(run, side))
		must_stand(run, side);
	if (!fault_comes_to_run(run, side))
		fault_violation(run, "the %s does not run, but should", pair_side_name(side));
}

static void who_runs(struct fault_run *run)
{
	const char *status = run->status;

	if (run->source_gone) {
		/* If the target has received GO it runs; otherwise neither side does. */
		process_pause_ms(200);
		run->result->outcome = fault_runs(run, PAIR_TARGET) ? "at-target" : "nowhere";
	} else if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
		must_run(run, PAIR_SOURCE, "at-source");
	} else if (!strcmp(status, "completed") && run->target_gone) {
		run->result->outcome = "nowhere";
	} else if (!strcmp(status, "completed")) {
		must_run(run, PAIR_TARGET, "at-target");
	} else if (strcmp(status, "in-doubt") != 0) {
		return; /* it has not ended, and that is a violation already */
	} else {
		run->result->outcome = "in-doubt";
		if (fault_runs(run, PAIR_SOURCE))
			fault_violation(run, "the source runs and is in doubt");
	}
	/* Query the target first: this order also detects a source that resumes in between. */
	bool target = fault_runs(run, PAIR_TARGET), source = fault_runs(run, PAIR_SOURCE);

	if (target && source)
		fault_violation(run, "both run");
	unsigned ends = run->c->ends;
	bool here = !strcmp(run->result->outcome, "at-source");
	bool there = !strcmp(run->result->outcome, "at-target");

	if (ends && !(here && (ends & FAULT_AT_SOURCE)) && !(there && (ends & FAULT_AT_TARGET)))
		fault_violation(run, "it ended %s", run->result->outcome);
}

/* Counters */

/*
 * Which devices were lost, or reset. The guest may have rung one that was lost in any of its states; a
 * later migration finds it well again, and reports it as sound. Returns those that are lost now.
 */
static uint64_t note_lost(struct fault_run *run, enum pair_side side)
{
	json_t *devices = pair_qmp(&run->pair, side, "x-query-devices", NULL, NULL);
	uint64_t except = 0;
	json_t *device;
	size_t i;

	json_array_foreach (devices, i, device) {
		const char *health = json_path_string(device, "health");

		if (!strcmp(health, "sound"))
			continue;
		if (!strcmp(health, "lost"))
			except |= 1u << i;
		if (!(run->lost[side] >> i & 1) &&
			(!struck(run, side, (unsigned)i) || run->c->sound))
			fault_violation(run, "the %s's %s is %s", pair_side_name(side),
				json_path_string(device, "id"), health);
		run->lost[side] |= 1u << i;
	}
	json_decref(devices);
	return except;
}

/* Checks a running side: all usable devices still receive doorbells. */
static void rings_on(struct fault_run *run, enum pair_side side)
{
	struct swo_error err = {0};
	uint64_t except = note_lost(run, side);

	/* The death of a device without an arc in progress may not be detected yet. */
	for (unsigned k = 0; k < FAULT_VFS; k++)
		if (struck(run, side, k) && !run->c->sound)
			except |= UINT64_C(1) << k;
	if (pair_wait_for_doorbells(&run->pair, side, except, 20, COME_UP_MS, &err))
		fault_violation(run, "%s", err.text);
}

static void read_counters(struct fault_run *run, struct counters *counters)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < FAULT_VFS; i++) {
			struct swo_error err = {0};

			counters->reports[side][i] = pair_report(&run->pair, side, i, &err);
			if (!counters->reports[side][i] && !struck(run, side, i))
				fault_violation(
					run, "%s's vf%u: %s", pair_side_name(side), i, err.text);
		}
}

static void check_counters(struct fault_run *run, const struct counters *counters)
{
	enum { P2P = 2, QUIESCE = 3 };
	static const char *const never[] = {"doorbells_lost", "doorbells_repeated",
		"p2p_violations", "quiesce_violations", "state_mismatches", "ram_mismatches"};

	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < FAULT_VFS; i++) {
			const json_t *report = counters->reports[side][i];
			/* A reset has cleared its counters. */
			bool was_reset = json_path_number(report, "resets") > 0 || run->fresh ||
					 (struck(run, PAIR_SOURCE, i) && !run->c->sound) ||
					 (struck(run, PAIR_TARGET, i) && !run->c->sound);

			for (size_t k = 0; k < SWO_ARRAY_SIZE(never); k++) {
				double count = json_path_number(report, never[k]);
				/*
				 * A guest that goes on without a lost device rings it, and so do
				 * the device's siblings.
				 */
				bool is_lost = run->lost[side] >> i & 1;
				bool its_own = is_lost || (was_reset && k != P2P && k != QUIESCE);

				if (count > 0 && !its_own)
					fault_violation(run, "%s's vf%u: %s %.0f",
						pair_side_name(side), i, never[k], count);
			}
		}
}

/* Checks by the devices' time stamps that the two sides never ran at once. */
static void check_times(struct fault_run *run, const struct counters *counters)
{
	double last = 0, first = 0;

	if (run->fresh)
		return;
	for (unsigned i = 0; i < FAULT_VFS; i++) {
		double at = json_path_number(counters->reports[PAIR_SOURCE][i], "last_doorbell_ns");
		double rung =
			json_path_number(counters->reports[PAIR_TARGET][i], "first_doorbell_ns");

		if (at > last)
			last = at;
		if (rung > 0 && (first == 0 || rung < first))
			first = rung;
	}
	if (first > 0 && first <= last)
		fault_violation(run,
			"both ran: the target was rung %.3f ms before the source was "
			"rung last",
			(last - first) / 1e6);
	if (first > 0 && !strcmp(run->result->outcome, "at-source"))
		fault_violation(run, "the target was rung, and the source runs");
}

/* How long the guest stood still, from doorbell to doorbell; 0: unknown. */
static double gap_ms(const struct fault_run *run, const struct counters *counters)
{
	bool here = !strcmp(run->result->outcome, "at-source");
	double gap = 0, last = 0, first = 0;

	for (unsigned i = 0; i < FAULT_VFS; i++) {
		const json_t *from = counters->reports[PAIR_SOURCE][i];
		double at = json_path_number(from, "last_doorbell_ns"),
		       begin = json_path_number(
			       counters->reports[PAIR_TARGET][i], "first_doorbell_ns"),
		       largest = json_path_number(from, "max_gap_ns");

		last = at > last ? at : last;
		first = begin > 0 && (first == 0 || begin < first) ? begin : first;
		if (!struck(run, PAIR_SOURCE, i) && largest > gap)
			gap = largest;
	}
	if (!here)
		gap = first > last ? first - last : 0;
	return gap / 1e6;
}

static void check_bound(struct fault_run *run, const struct counters *counters)
{
	double gap = gap_ms(run, counters), bound = run->c->bound_ms + FAULT_SLACK_MS;

	/* What an operator does takes its time; so does a guest that was stopped. */
	if (run->fresh || run->again || run->c->pauses || !strcmp(run->result->outcome, "in-doubt"))
		return;
	if (gap > bound * FAULT_SLOWER)
		fault_violation(run, "the guest stood still for %.0f ms, the bound is %.0f", gap,
			bound * FAULT_SLOWER);
}

/* Compares the saved with the loaded state, by the devices' checksums. */
static void check_state(struct fault_run *run, const struct counters *counters)
{
	if (strcmp(run->result->outcome, "at-target") != 0)
		return;
	for (unsigned i = 0; i < FAULT_VFS; i++) {
		const json_t *from = counters->reports[PAIR_SOURCE][i];
		const json_t *to = counters->reports[PAIR_TARGET][i];

		if (!from || !to || struck(run, PAIR_SOURCE, i) || struck(run, PAIR_TARGET, i))
			continue;
		if (strcmp(json_path_string(from, "state_hash"),
			    json_path_string(to, "state_hash")))
			fault_violation(run, "vf%u: state %s was saved and %s was loaded", i,
				json_path_string(from, "state_hash"),
				json_path_string(to, "state_hash"));
	}
}

static void check_guest(struct fault_run *run, enum pair_side side)
{
	json_t *guest = pair_qmp(&run->pair, side, "x-query-guest", NULL, NULL);

	if (json_path_number(guest, "ram-mismatches") != 0)
		fault_violation(run, "the guest found %.0f pages that differ from what it wrote",
			json_path_number(guest, "ram-mismatches"));
	json_decref(guest);

	/* With a lost device `stop` returns an error, but the VM stops anyway. */
	monitor_command(&run->pair.ends[side].qmp, "stop", NULL, NULL);
	struct swo_error err = {0};
	json_t *ram = pair_qmp(&run->pair, side, "x-check-ram", NULL, &err);

	if (!ram)
		fault_violation(run, "%s", err.text);
	else if (json_path_number(ram, "mismatches") != 0 || !(json_path_number(ram, "pages") > 0))
		fault_violation(run, "guest memory: %.0f of %.0f pages are not as last written",
			json_path_number(ram, "mismatches"), json_path_number(ram, "pages"));
	json_decref(ram);
	/* With a lost device it does not go on either. */
	monitor_command(&run->pair.ends[side].qmp, "cont", NULL, NULL);
}

/* Errors:
 */

#define ERROR_MS 4000 /* until the side that did not end the migration has learnt of its end */

static void look_at_error(struct fault_run *run, enum pair_side side, char *out, size_t len)
{
	json_t *answer = fault_died(run, side)
				 ? NULL
				 : pair_qmp(&run->pair, side, "query-migrate", NULL, NULL);

	snprintf(out, len, "%s", json_path_string(answer, "error-desc"));
	json_decref(answer);
}

static void take_error(struct fault_run *run, enum pair_side side, char *out, size_t len)
{
	swo_deadline deadline = swo_deadline_ms(ERROR_MS);

	for (look_at_error(run, side, out, len); !out[0] && run->c->names;) {
		if (process_over(deadline))
			return;
		swo_sleep_until(swo_now_ns() + 5000000);
		look_at_error(run, side, out, len);
	}
}

/* The source's events end with its status, and nothing comes after a final one. */
static void check_events(struct fault_run *run)
{
	swo_deadline deadline = swo_deadline_ms(1000);
	char last[PAIR_STATUS_MAX] = "", final[PAIR_STATUS_MAX] = "";

	if (run->source_gone || run->fresh)
		return;
	while (strcmp(last, run->status) != 0 && !process_over(deadline)) {
		json_t *event = qmp_event(&run->pair.ends[PAIR_SOURCE].qmp, deadline, NULL);
		const char *word = json_path_string(event, "data.status");

		if (!strcmp(json_path_string(event, "event"), "MIGRATION")) {
			if (final[0])
				fault_violation(run, "'%s' comes after '%s'", word, final);
			snprintf(last, sizeof(last), "%s", word);
			if (!strcmp(word, "completed") || !strcmp(word, "failed") ||
				!strcmp(word, "cancelled"))
				snprintf(final, sizeof(final), "%s", word);
		}
		json_decref(event);
	}
	if (strcmp(last, run->status) != 0)
		fault_violation(run, "the status is %s, the last event '%s'", run->status, last);
}

/*
 * A migration is kept until the next one, for query-migrate: one that fails at once takes its
 * place, and with it what the struck one still has. False: refused, by a device that was lost.
 */
static bool replace_migration(struct fault_run *run)
{
	char uri[128];

	snprintf(uri, sizeof(uri), "unix:%s/nobody", run->pair.dir);
	if (monitor_command(&run->pair.ends[PAIR_SOURCE].qmp, "migrate",
		    json_pack("{s:s}", "uri", uri), NULL))
		return false;
	fault_await_end(run);
	if (strcmp(run->status, "failed") != 0)
		fault_violation(run, "a migration to nowhere is %s", run->status);
	return true;
}

/* What hangs answers now that the migration it was for is over, which holds files until then. */
static void answer_late(struct fault_run *run)
{
	struct pair_end *end = &run->pair.ends[run->c->side];

	if (!run->c->moment)
		json_decref(control_request(&end->controls[run->c->device], "release", NULL));
}

#define KEPT_FILES 3 /* by the last migration: folder and file of its journal, the page map */

/* A source that runs on has closed what it opened to migrate. */
static void check_files(struct fault_run *run)
{
	swo_deadline deadline = swo_deadline_ms(COME_UP_MS);
	unsigned files;

	if (run->fresh || run->source_gone || strcmp(run->result->outcome, "at-source") != 0 ||
		!replace_migration(run))
		return;
	answer_late(run);
	for (;;) {
		files = 0;
		process_sample_files(process_pid(run->pair.ends[PAIR_SOURCE].vm), &files);
		if (files <= run->files + KEPT_FILES)
			return;
		if (process_over(deadline))
			break;
		swo_sleep_until(swo_now_ns() + 10000000);
	}
	fault_violation(run, "the source has %u open files, and had %u", files, run->files);
}

static void check_error(struct fault_run *run)
{
	const struct fault_case *c = run->c;
	char text[600], name[16];

	take_error(run, c->side, text, sizeof(text));
	snprintf(run->result->error, sizeof(run->result->error), "%.390s", text);
	if (!text[0] && c->names)
		fault_violation(run, "the %s reports no error", pair_side_name(c->side));
	if (strchr(text, '\n'))
		fault_violation(run, "more than one line: %s", text);
	snprintf(name, sizeof(name), "vf%u", c->device);
	if (text[0] && c->names && !strstr(text, name))
		fault_violation(run, "the %s's error does not name %s: %s", pair_side_name(c->side),
			name, text);
	if (text[0] && c->arc[0] && !strstr(text, c->arc))
		fault_violation(run, "the %s's error does not name %s: %s", pair_side_name(c->side),
			c->arc, text);
	take_error(run, PAIR_SOURCE, text, sizeof(text));
	if (!text[0] && !run->source_gone &&
		(!strcmp(run->status, "failed") || !strcmp(run->status, "in-doubt")))
		fault_violation(run, "the source reports no reason for its status %s", run->status);
	if (text[0] && c->names && c->side == PAIR_TARGET && !strstr(text, name))
		fault_violation(run, "the source's error does not name %s: %s", name, text);
}

/* Exit of all processes */

static void must_end(struct fault_run *run, enum pair_side side)
{
	pid_t pid = process_pid(run->pair.ends[side].vm);
	swo_deadline deadline = swo_deadline_ms(QUIT_MS);
	siginfo_t info = {0};

	if (fault_died(run, side))
		return;
	monitor_command(&run->pair.ends[side].qmp, "quit", json_pack("{s:b}", "force", 1), NULL);
	while (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid) {
		if (process_over(deadline)) {
			fault_violation(run, "timed out waiting for the %s to quit (%d s)",
				pair_side_name(side), QUIT_MS / 1000);
			return;
		}
		swo_sleep_until(swo_now_ns() + 5000000);
	}
	if (info.si_code != CLD_EXITED || info.si_status != 0)
		fault_violation(run, "the %s ended with %s %d", pair_side_name(side),
			info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
}

/*
 * True if the command line of this process names that directory, and it is not a process of the
 * testbed.
 */
static bool is_left(const struct pair *pair, const char *pid)
{
	char path[300], line[1000];
	pid_t number = atoi(pid);

	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++) {
		if (process_pid(pair->ends[side].vm) == number)
			return false;
		for (unsigned i = 0; i < pair->vfs; i++)
			if (process_pid(pair->ends[side].devs[i]) == number)
				return false;
	}
	snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	swo_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, line, sizeof(line));

	return len > 0 && memmem(line, (size_t)len, pair->dir, strlen(pair->dir));
}

static void check_left(struct fault_run *run)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
			is_left(&run->pair, entry->d_name))
			fault_violation(run, "process %s is still running", entry->d_name);
	if (dir)
		closedir(dir);
}

void fault_judge(struct fault_run *run)
{
	struct counters counters = {0};

	who_runs(run);
	check_events(run);
	check_error(run);
	if (!strcmp(run->result->outcome, "at-source"))
		note_lost(run, PAIR_SOURCE);
	check_files(run);
	/* The VM is there, and can be had back. */
	if (!strcmp(run->result->outcome, "in-doubt") && !fault_recover(run))
		fault_violation(run, "the VM cannot be had back");
	if (run->c->then == FAULT_THEN_AGAIN)
		fault_migrate_again(run);
	bool here = fault_runs(run, PAIR_SOURCE), there = fault_runs(run, PAIR_TARGET);

	if (here || there)
		rings_on(run, here ? PAIR_SOURCE : PAIR_TARGET);
	read_counters(run, &counters);
	check_times(run, &counters);
	check_bound(run, &counters);
	check_state(run, &counters);
	if (here || there)
		check_guest(run, here ? PAIR_SOURCE : PAIR_TARGET);
	check_counters(run, &counters);
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < FAULT_VFS; i++)
			json_decref(counters.reports[side][i]);
}

void fault_judge_end(struct fault_run *run)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		must_end(run, side);
	check_left(run);
}
