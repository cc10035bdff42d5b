/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.c - the target's thread while state comes in: vCPU state, RESUMING->STOP where it is
 * this thread's business, and the look whether everything is there.
 */
#include "migration/target/target.h"

#include "memory/share.h"

#include <errno.h>
#include <string.h>

/* Waits that end by what others do, with a bound on how long a lost wake-up could cost. */
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
	 * Nothing is left to do here before GO that could touch RAM; and it may cost a moment,
	 * which is one of waiting for the devices.
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

		/* Nothing happened since we looked: wait until something does. */
		if (!all && !busy && m->failure.code == SWO_E_NONE && !m->given_up && !m->quit &&
			!m->lost && ram == ram_is_in(t))
			swo_cond_wait(&m->changed, &m->mutex,
				swo_deadline_min(
					swo_deadline_ms(TICK_MS), target_devices_overdue(t)));
		pthread_mutex_unlock(&m->mutex);

		if (all && !same)
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"the channels' sums are not those that the source has sent");
		if (all)
			return 0;
		if (migration_broken(m, err))
			return -1;
	}
}
