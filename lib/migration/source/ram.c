/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ram.c - collects dirty pages, and sends the last passes, which run concurrently with the
 * devices' arcs: pages of the vCPUs are sent at once, pages of a device as soon as it has
 * stopped, and pages that the VMM itself has written in the stop once its state is saved. What is
 * written after that would be lost, so that it ends the migration. If a device's writes are not
 * tracked, all RAM is sent instead, once, when every such device has stopped.
 */
#include "migration/source/source.h"

#include "memory/dirty_native.h"
#include "memory/ram.h"

#include <inttypes.h>

int source_logs_start(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;

	if (source_shares(s)) {
		/* Clears the remains of a failed migration, too. */
		swo_ram_clear_all(m->vm.ram);
		return 0;
	}
	s->logs_started = true;
	if (m->vm.cpu_dirty && m->vm.cpu_dirty->start(m->vm.cpu_dirty->self, err))
		return -1;
	if (source_tracking_start(s, err))
		return -1;
	swo_ram_mark_all(m->vm.ram);
	return 0;
}

/*
 * KVM's log has what vCPUs write, but not what a run-state handler or another thread of the VMM
 * writes. Only by the scan: with userfaultfd's handler a system call that writes to RAM may fail.
 */
void source_own_log_start(struct source *s)
{
	struct swo_dirty_source *log = &s->own_log;
	struct swo_error err = {0};

	if (s->logs_started && s->m.vm.cpu_dirty && s->m.vm.cpu_dirty->own_writes)
		return;
	if (memory_dirty_scan_new(s->m.vm.ram, log, &err) || log->start(log->self, &err)) {
		swo_log(SWO_LOG_INFO,
			"RAM that this process writes while the VM is stopped is only sent if it is "
			"marked (swo_ram_mark): %s",
			err.text);
		if (log->self)
			log->destroy(log->self);
		log->self = NULL;
	}
}

void source_own_log_stop(struct source *s)
{
	/* Its worker may still be scanning. */
	if (s->own_log.self && swo_worker_idle_wait(s->stop_worker,
				       swo_deadline_ms(s->m.params.idle_deadline_ms))) {
		s->own_log.destroy(s->own_log.self);
		s->own_log.self = NULL;
	}
}

void source_logs_stop(struct source *s)
{
	if (!s->logs_started)
		return;
	s->logs_started = false;
	if (s->m.vm.cpu_dirty)
		s->m.vm.cpu_dirty->stop(s->m.vm.cpu_dirty->self);
	source_tracking_stop(s);
}

int source_vcpus_collect(struct source *s, struct swo_error *err)
{
	struct swo_dirty_source *source = s->logs_started ? s->m.vm.cpu_dirty : NULL;

	return source ? source->collect(source->self, s->m.vm.ram, err) : 0;
}

int source_dirty_collect(struct source *s, struct swo_error *err)
{
	if (source_shares(s))
		return 0;
	return source_vcpus_collect(s, err) || source_tracking_collect(s, err) ? -1 : 0;
}

static int collect_own(struct source *s, struct swo_error *err)
{
	struct swo_dirty_source *own = &s->own_log;

	return own->self ? own->collect(own->self, s->m.vm.ram, err) : 0;
}

/* After the last pass no page is dirty. */
static int check_clean(struct source *s, struct swo_error *err)
{
	uint64_t gpa, pages = swo_ram_dirty_pages(s->m.vm.ram);

	if (!memory_first_dirty(s->m.vm.ram, &gpa))
		return 0;
	return swo_error_set(err, SWO_E_STATE, 0,
		"RAM at 0x%" PRIx64 " was written after the VM was stopped and saved (%" PRIu64
		" %s): vCPUs still run, or a thread of the VMM still writes; `stop` must end both",
		gpa, pages, pages == 1 ? "page" : "pages");
}

int source_still_check(struct source *s, struct swo_error *err)
{
	return source_vcpus_collect(s, err) || check_clean(s, err) ? -1 : 0;
}

/*
 * How long the last pass stands back for the devices: they have yet to begin what takes the
 * longest, and it would take all CPUs from the threads that launch them. No longer, as handlers
 * may take any time.
 */
#define HEAD_START_MS 2

/* Between two scans for writes that should not be. */
#define WATCH_PAUSE_NS UINT64_C(2000000)

static bool all_launched(void *arg)
{
	return ((struct source *)arg)->all_launched;
}

struct kick {
	struct source *s;
	bool last; /* the devices and the VMM write no more */
};

static bool kicked(void *arg)
{
	struct kick *kick = arg;

	kick->last = kick->s->saved && kick->s->arrived == kick->s->m.vm.device_count;
	return (kick->s->ram_kick && !kick->s->untracked) || kick->last;
}

static int await_kick(struct kick *kick, struct swo_error *err)
{
	struct source *s = kick->s;

	if (migration_wait_until(&s->m, kicked, kick, false,
		    swo_deadline_ms(s->m.params.switchover_deadline_ms), "the stop of all devices",
		    err))
		return -1;
	pthread_mutex_lock(&s->m.mutex);
	const bool all = s->ram_all_due;

	s->ram_kick = s->ram_all_due = false;
	pthread_mutex_unlock(&s->m.mutex);
	/* Before all is marked: what was written so far is in it, and not sent once more. */
	if ((kick->last || all) && (source_vcpus_collect(s, err) || collect_own(s, err)))
		return -1;
	if (all)
		swo_ram_mark_all(s->m.vm.ram);
	return 0;
}

/* What the vCPUs have written. All of RAM follows in any case if a device is not tracked. */
static int first_pass(struct source *s, struct swo_error *err)
{
	if (source_all_ram_due(s))
		return 0;
	if (s->stopped_by_us)
		migration_wait_until(&s->m, all_launched, s, false, swo_deadline_ms(HEAD_START_MS),
			"the launch of all devices", NULL);
	return source_vcpus_collect(s, err) || ram_send_pass(s->ram, NULL, NULL, NULL, err) ? -1
											    : 0;
}

static int last_passes(struct source *s, struct swo_error *err)
{
	struct kick kick = {.s = s};

	if (first_pass(s, err))
		return -1;
	do {
		if (await_kick(&kick, err))
			return -1;
		ram_send_still(s->ram, kick.last);
		if (swo_ram_dirty_pages(s->m.vm.ram) &&
			ram_send_pass(s->ram, NULL, NULL, NULL, err))
			return -1;
	} while (!kick.last);
	return 0;
}

/* Shared RAM has it all; what is written from now on is found by source_still_check. */
static int last_of_shared(struct source *s, struct swo_error *err)
{
	struct kick kick = {.s = s};

	do {
		if (await_kick(&kick, err))
			return -1;
	} while (!kick.last);
	swo_ram_clear_all(s->m.vm.ram);
	return 0;
}

static bool is_ready(void *arg)
{
	return ((struct source *)arg)->ready;
}

/*
 * Scans for writes until READY: a scan takes a millisecond per GiB, for which GO must not wait. An
 * error is one of the handover: it has no effect after GO.
 */
static void watch_own_writes(struct source *s)
{
	struct swo_error err = {0};
	bool failed = false;

	while (s->own_log.self && !failed) {
		const uint64_t start = swo_now_ns();

		failed = collect_own(s, &err) || check_clean(s, &err);
		if (failed)
			migration_raise(&s->m, SOURCE_EV_FAIL, &err);
		else if (!migration_wait_until(&s->m, is_ready, s, false,
				 swo_now_ns() + WATCH_PAUSE_NS + 16 * (swo_now_ns() - start),
				 "READY", &err) ||
			 migration_broken(&s->m, NULL))
			return;
	}
}

void source_stop_job(void *opaque)
{
	struct source *s = opaque;
	struct swo_error err = {0};

	if (source_shares(s) ? last_of_shared(s, &err) : last_passes(s, &err)) {
		migration_fail(&s->m, &err);
		return;
	}
	pthread_mutex_lock(&s->m.mutex);
	s->ram_done = true;
	pthread_cond_broadcast(&s->m.changed);
	pthread_mutex_unlock(&s->m.mutex);
	watch_own_writes(s);
}
