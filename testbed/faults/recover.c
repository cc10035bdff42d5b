/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover.c - what an operator does after a fault: settles a migration in doubt, restarts a VM that
 * was lost with its host, and migrates again.
 */
#include "testbed/faults/faults.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define SETTLE_MS 8000 /* for a doubt that both sides can settle by themselves */

/* `switchover resolve` with these options: its exit status. */
static int resolve(const struct fault_run *run, const char *fmt, ...) SWO_PRINTF(2, 3);
static int resolve(const struct fault_run *run, const char *fmt, ...)
{
	char command[2048];
	va_list ap;

	if (process_interrupted)
		return -1;
	int used = snprintf(command, sizeof(command), "'%s/switchover' resolve --journal='%s' ",
		process_program_dir(), run->pair.dir);

	va_start(ap, fmt);
	used += vsnprintf(command + used, sizeof(command) - (size_t)used, fmt, ap);
	va_end(ap);
	snprintf(command + used, sizeof(command) - (size_t)used, " >>'%s/resolve.log' 2>&1",
		run->pair.dir);
	FILE *pipe = popen(command, "we");
	int status = pipe ? pclose(pipe) : -1;

	return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Both machines have ended: no journal may keep the VM from being started. */
static void forget_journals(const struct fault_run *run)
{
	DIR *dir = opendir(run->pair.dir);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');

		if (!dot || (strcmp(dot, ".source") != 0 && strcmp(dot, ".target") != 0))
			continue;
		/* The second one of a migration may have gone with the first. */
		resolve(run, "--forget --fenced %.*s", (int)(dot - entry->d_name), entry->d_name);
	}
	if (dir)
		closedir(dir);
}

static bool settles_by_itself(struct fault_run *run)
{
	swo_deadline deadline = swo_deadline_ms(SETTLE_MS);

	if (run->target_gone)
		return false;
	if (run->link)
		link_set(run->link, LINK_PASS);
	while (!process_over(deadline)) {
		if (fault_runs(run, PAIR_SOURCE) || fault_runs(run, PAIR_TARGET))
			return true;
		swo_sleep_until(swo_now_ns() + 20000000);
	}
	fault_violation(
		run, "both live, and %d s after the link is back none runs", SETTLE_MS / 1000);
	return false;
}

/* The target is dead: by its journal, or by the operator's override. */
static bool settles_by_operator(struct fault_run *run)
{
	const char *dir = run->pair.dir, *host = pair_host(&run->pair, PAIR_SOURCE);

	if (!run->target_gone)
		return false;
	if (resolve(run, "--qmp=unix:'%s/%s.qmp' --target-journal='%s'", dir, host, dir) &&
		resolve(run, "--qmp=unix:'%s/%s.qmp' --run-here --fenced", dir, host))
		return false;
	return fault_comes_to_run(run, PAIR_SOURCE);
}

bool fault_restart(struct fault_run *run)
{
	struct swo_error err = {0};

	pair_end_machine(&run->pair, PAIR_SOURCE);
	pair_end_machine(&run->pair, PAIR_TARGET);
	forget_journals(run);
	run->source_gone = run->target_gone = false;
	if (pair_renew_machine(&run->pair, PAIR_SOURCE, &err) ||
		pair_renew_machine(&run->pair, PAIR_TARGET, &err) || pair_boot(&run->pair, &err)) {
		fault_violation(run, "the VM cannot be restarted: %s", err.text);
		return false;
	}
	run->fresh = true;
	return true;
}

bool fault_recover(struct fault_run *run)
{
	if (fault_runs(run, PAIR_TARGET) || fault_runs(run, PAIR_SOURCE))
		return true;
	if (!run->source_gone && !strcmp(run->status, "in-doubt") &&
		(settles_by_itself(run) || settles_by_operator(run)))
		return true;
	return fault_restart(run);
}

void fault_migrate_again(struct fault_run *run)
{
	struct swo_error err = {0};

	if (!fault_recover(run))
		return;
	bool there = fault_runs(run, PAIR_TARGET);
	int rc = there ? pair_turn(&run->pair, &err)
		       : pair_renew_machine(&run->pair, PAIR_TARGET, &err);

	run->source_gone = run->target_gone = false;
	run->again = true;
	if (run->link)
		link_set(run->link, LINK_PASS);
	if (rc || pair_migrate(&run->pair, &err)) {
		fault_violation(run, "the second migration cannot begin: %s", err.text);
		return;
	}
	fault_await_end(run);
	if (strcmp(run->status, "completed") != 0) {
		json_t *answer = pair_qmp(&run->pair, PAIR_SOURCE, "query-migrate", NULL, NULL);

		fault_violation(run, "the second migration %s: %s", run->status,
			json_path_string(answer, "error-desc"));
		json_decref(answer);
		return;
	}
	run->result->outcome = "at-target";
	if (!fault_comes_to_run(run, PAIR_TARGET))
		fault_violation(run, "the target of the second migration does not run");
}
