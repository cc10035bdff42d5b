/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * strike.c - processes that are killed, frozen or starved, and links that fail.
 */
#include "testbed/strike.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void sleep_ms(unsigned ms)
{
	swo_sleep_until(swo_now_ns() + ms * UINT64_C(1000000));
}

static void starve(pid_t pid, unsigned ms)
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
	sleep_ms(ms);
	prlimit(pid, RLIMIT_AS, &old, NULL);
}

static void freeze(pid_t pid, unsigned ms)
{
	kill(pid, SIGSTOP);
	sleep_ms(ms);
	kill(pid, SIGCONT);
}

static void spoil_link(struct link *link, const struct strike *what)
{
	link_set(link, what->mode);
	if (!what->ms)
		return;
	sleep_ms(what->ms);
	link_set(link, LINK_PASS);
}

void strike(struct pair *pair, struct link *link, enum pair_side side, unsigned i,
	const struct strike *what)
{
	struct pair_end *end = &pair->ends[side];

	switch (what->kind) {
	case STRIKE_NOTHING:
		break;
	case STRIKE_KILL_VM:
		process_kill(end->vm);
		break;
	case STRIKE_KILL_DEVICE:
		process_kill(end->devs[i]);
		break;
	case STRIKE_LINK:
		spoil_link(link, what);
		break;
	case STRIKE_CANCEL:
		monitor_command(&end->qmp, "migrate_cancel", NULL, NULL);
		break;
	case STRIKE_NO_MEMORY:
		starve(process_pid(end->vm), what->ms);
		break;
	case STRIKE_FREEZE:
		freeze(process_pid(end->vm), what->ms);
		break;
	}
}
