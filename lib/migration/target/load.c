/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.c - the target's thread while state is received: vCPU state, RESUMING->STOP where this
 * thread launches it, and the check that all state is loaded.
 */
#include "migration/target/target.h"

#include "memory/share.h"

#include <errno.h>
#include <string.h>

/* Bounds the cost of a lost wake-up in waits for other threads. */
#define TICK_MS 1000

static int load_machine(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;
	uint64_t start = swo_now_ns();

	pthread_mutex_lock(&m->mutex);
	bool due = t->machine_seen && !t->machine_loaded;
	pthread_mutex_unlock(&m->mutex);
	if (!due)
		return 0;
	if (m->vm.ops->machine_load(m->vm.opaque, t->machine.data, t->machine.len, err))
		return -1;
	swo_timeline_span(
		m->timeline, SWO_EVENT_MACHINE_STATE, "", start, swo_now_ns(), t->machine.len);
	/*
	 * No work is left before GO that could access RAM; and this may take time, which overlaps
	 * with waiting for the devices.
	 */
	if (m->share.page && memory_ram_protect(m->vm.ram, false, err))
		return -1;
	pthread_mutex_lock(&m->mutex);
	t->machine_loaded = true;
	pthread_mutex_unlock(&m->mutex);
	return 0;
}

/* With the mutex held. */
static bool ram_is_in(const struct target *t)
{
	return t->fin_count == t->hello.channels;
}

static bool everything_is_in(const struct target *t)
{
	if (!ram_is_in(t) || !t->end_all || !t->machine_loaded)
		return false;
	for (unsigned i = 0; i < t->devices_made; i++)
		if (t->devices[i].finalise == SWO_WHEN_LATE ? !t->devices[i].loaded
							    : !t->devices[i].finalised)
			return false;
	return true;
}

int target_load(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	for (;;) {
		if (load_machine(t, err))
			return -1;
		pthread_mutex_lock(&m->mutex);
		bool ram = ram_is_in(t);
		pthread_mutex_unlock(&m->mutex);
		if (target_devices_finalise(t, ram, err))
			return -1;

		pthread_mutex_lock(&m->mutex);
		bool all = everything_is_in(t);
		bool busy = (t->machine_seen && !t->machine_loaded) || target_devices_due(t, ram);
		bool same =
			t->end.all.frames == t->fins.frames && t->end.all.bytes == t->fins.bytes;

		/* No event since the check: wait for one. */
		if (!all && !busy && m->failure.code == SWO_E_NONE && !m->given_up && !m->quit &&
			!m->lost && ram == ram_is_in(t))
			swo_cond_wait(&m->changed, &m->mutex,
				swo_deadline_min(
					swo_deadline_ms(TICK_MS), target_devices_overdue(t)));
		pthread_mutex_unlock(&m->mutex);

		if (all && !same)
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"the channels' totals differ from those of the source");
		if (all)
			return 0;
		if (migration_broken(m, err))
			return -1;
	}
}
