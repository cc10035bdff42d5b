/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocked.c - by what /proc/self/task has of the thread: it sleeps, and has not been woken between
 * two looks.
 */
#include "tests/support/blocked.h"

#include "switchover/base.h"

#include <stdio.h>

#define GUARD_MS 20000
#define LOOKS	 5 /* in a row, a millisecond apart */

/* How often it has waited by itself; -1: it runs, or is gone. */
static long sleeps(int tid, bool *gone)
{
	char path[64], line[128], state = 0;
	long waits = -1;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	FILE *file = fopen(path, "re");

	*gone = !file;
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "State: %c", &state) != 1)
			sscanf(line, "voluntary_ctxt_switches: %ld", &waits);
	if (file)
		fclose(file);
	return state == 'S' ? waits : -1;
}

bool blocked_await(blocked_tid *tid)
{
	swo_deadline guard = swo_deadline_ms(GUARD_MS);
	long before = -1;
	bool gone = false;

	for (int same = 0; same < LOOKS && !gone && !swo_deadline_passed(guard);) {
		long now = atomic_load(tid) ? sleeps(atomic_load(tid), &gone) : -1;

		same = now >= 0 && now == before ? same + 1 : 0;
		if (same == LOOKS)
			return true;
		before = now;
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	return false;
}
