/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ram.c - collects dirty pages, and sends the last passes, which run concurrently with the
 * devices' arcs: pages of the vCPUs are sent at once, pages of a device as soon as it has
 * stopped.
 */
#include "migration/source/source.h"

#include "device/core/engine.h"
#include "memory/dma_log.h"

bool source_shares(const struct source *s)
{
	return s->m.params.handover == SWO_HANDOVER_FD;
}

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
	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (memory_dma_log_start(m->vm.devices[i], m->vm.ram, &s->devices[i].logged, err))
			return -1;
	swo_ram_mark_all(m->vm.ram);
	return 0;
}

void source_logs_stop(struct source *s)
{
	if (!s->logs_started)
		return;
	s->logs_started = false;
	if (s->m.vm.cpu_dirty)
		s->m.vm.cpu_dirty->stop(s->m.vm.cpu_dirty->self);
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		if (s->devices[i].logged && swo_device_health(s->devices[i].dev) != SWO_DEVICE_LOST)
			memory_dma_log_stop(s->m.vm.devices[i]);
}

static int collect_vcpus(struct source *s, struct swo_error *err)
{
	struct swo_dirty_source *source = s->m.vm.cpu_dirty;

	return source ? source->collect(source->self, s->m.vm.ram, err) : 0;
}

int source_dirty_collect(struct source *s, struct swo_error *err)
{
	if (source_shares(s))
		return 0;
	if (collect_vcpus(s, err))
		return -1;
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		/* Without a log everything it can write to counts, once, after it has stopped. */
		if (device_dma_log_page(s->devices[i].dev) &&
			memory_dma_log_collect(s->m.vm.devices[i], s->m.vm.ram, err))
			return -1;
	return 0;
}

/*
 * How long the last pass stands back for the devices: they have yet to begin what takes the
 * longest, and it would take all CPUs from the threads that launch them. No longer, as handlers may take
 * handlers may take any time.
 */
#define HEAD_START_MS 2

static bool all_launched(void *arg)
{
	return ((struct source *)arg)->all_launched;
}

struct kick {
	struct source *s;
	bool all;
};

static bool kicked(void *arg)
{
	struct kick *kick = arg;

	kick->all = kick->s->arrived == kick->s->m.vm.device_count;
	return kick->s->ram_kick || kick->all;
}

static int last_passes(struct source *s, struct swo_error *err)
{
	struct kick kick = {.s = s};

	if (s->stopped_by_us)
		migration_wait_until(&s->m, all_launched, s, false, swo_deadline_ms(HEAD_START_MS),
			"the launch of all devices", NULL);
	if (collect_vcpus(s, err) || ram_send_pass(s->ram, NULL, err))
		return -1;
	do {
		if (migration_wait_until(&s->m, kicked, &kick, false,
			    swo_deadline_ms(s->m.params.switchover_deadline_ms),
			    "the stop of all devices", err))
			return -1;
		pthread_mutex_lock(&s->m.mutex);
		s->ram_kick = false;
		pthread_mutex_unlock(&s->m.mutex);
		ram_send_still(s->ram, kick.all);
		if (swo_ram_dirty_pages(s->m.vm.ram) && ram_send_pass(s->ram, NULL, err))
			return -1;
		/* `all` was read before this pass: every log had been collected by then. */
	} while (!kick.all);
	return 0;
}

void source_stop_job(void *opaque)
{
	struct source *s = opaque;
	struct swo_error err = {0};

	if (!source_shares(s) && last_passes(s, &err)) {
		migration_fail(&s->m, &err);
		return;
	}
	pthread_mutex_lock(&s->m.mutex);
	s->ram_done = true;
	pthread_cond_broadcast(&s->m.changed);
	pthread_mutex_unlock(&s->m.mutex);
}
