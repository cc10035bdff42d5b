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

/* A corrupt stream loses its device on the target if the migration can no longer be aborted. */
static bool struck(const struct fault_run *run, enum pair_side side, unsigned i)
{
	return (!run->c->moment || run->c->strike.kind == STRIKE_KILL_DEVICE) &&
	       (run->c->side == side || run->c->finalise) && run->c->device == i;
}

/* Which side runs */

static bool comes_to_run(struct fault_run *run, enum pair_side side)
{
	swo_deadline deadline = swo_deadline_ms(COME_UP_MS);

	while (!fault_runs(run, side)) {
		if (fault_died(run, side) || swo_deadline_passed(deadline))
			return false;
		swo_sleep_until(swo_now_ns() + 10000000);
	}
	return true;
}

static void must_run(struct fault_run *run, enum pair_side side, const char *outcome)
{
	run->result->outcome = outcome;
	if (!comes_to_run(run, side))
		fault_violation(run, "the %s does not run, but should", pair_side_name(side));
}

static void who_runs(struct fault_run *run)
{
	const char *status = run->status;

	if (run->source_gone) {
		/* If the target has received GO it runs; otherwise neither side does. */
		swo_sleep_until(swo_now_ns() + 200000000);
		run->result->outcome = fault_runs(run, PAIR_TARGET) ? "at-target" : "nowhere";
	} else if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
		must_run(run, PAIR_SOURCE, "at-source");
	} else if (!strcmp(status, "completed") && run->target_gone) {
		run->result->outcome = "nowhere";
	} else if (!strcmp(status, "completed")) {
		must_run(run, PAIR_TARGET, "at-target");
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

/* Checks a running side: all usable devices still receive doorbells. */
static void rings_on(struct fault_run *run, enum pair_side side)
{
	struct swo_error err = {0};
	json_t *devices = pair_qmp(&run->pair, side, "x-query-devices", NULL, NULL);
	uint64_t except = 0;
	json_t *device;
	size_t i;

	json_array_foreach (devices, i, device) {
		const char *health = json_path_string(device, "health");

		if (!strcmp(health, "lost"))
			except |= UINT64_C(1) << i;
		if (!strcmp(health, "sound"))
			continue;
		if (!struck(run, side, (unsigned)i) || run->c->sound)
			fault_violation(run, "the %s's %s is %s", pair_side_name(side),
				json_path_string(device, "id"), health);
	}
	json_decref(devices);
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
	static const char *const never[] = {"doorbells_lost", "doorbells_repeated",
		"p2p_violations", "quiesce_violations", "state_mismatches", "ram_mismatches"};

	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < FAULT_VFS; i++) {
			const json_t *report = counters->reports[side][i];
			/* A reset has cleared its counters. */
			bool was_reset = json_path_number(report, "resets") > 0 ||
					 (struck(run, PAIR_SOURCE, i) && !run->c->sound) ||
					 (struck(run, PAIR_TARGET, i) && !run->c->sound);

			for (size_t k = 0; k < SWO_ARRAY_SIZE(never); k++) {
				double count = json_path_number(report, never[k]);
				bool its_own = was_reset && k != 2 && k != 3;

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
}

/* Errors:
 */

static void take_error(struct fault_run *run, enum pair_side side, char *out, size_t len)
{
	json_t *answer = fault_died(run, side)
				 ? NULL
				 : pair_qmp(&run->pair, side, "query-migrate", NULL, NULL);

	snprintf(out, len, "%s", json_path_string(answer, "error-desc"));
	json_decref(answer);
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
		if (swo_deadline_passed(deadline)) {
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
	bool here = fault_runs(run, PAIR_SOURCE), there = fault_runs(run, PAIR_TARGET);

	if (here || there)
		rings_on(run, here ? PAIR_SOURCE : PAIR_TARGET);
	read_counters(run, &counters);
	check_times(run, &counters);
	check_state(run, &counters);
	if (here || there)
		check_guest(run, here ? PAIR_SOURCE : PAIR_TARGET);
	check_counters(run, &counters);
	check_error(run);
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		must_end(run, side);
	check_left(run);
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < FAULT_VFS; i++)
			json_decref(counters.reports[side][i]);
}
