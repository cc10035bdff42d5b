/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tracking.c - the tracking of the devices' writes to RAM: started, read and stopped on each
 * device's worker; and devices that have none, for which all RAM is sent in the stop.
 *
 * Any of these calls may hang in a driver or a server, and then only that device's worker does.
 */
#include "migration/source/source.h"

#include "device/core/engine.h"
#include "memory/dma_log.h"

#include <inttypes.h>
#include <stdio.h>

/* It writes to any page until it has stopped, which it has not yet. */
static void set_untracked(struct source_device *sd, const struct swo_error *why)
{
	struct source *s = sd->source;

	pthread_mutex_lock(&s->m.mutex);
	sd->untracked = true;
	sd->untracked_why = *why;
	s->untracked++;
	s->ram_in_stop = s->ram_all_due = true;
	pthread_mutex_unlock(&s->m.mutex);
}

static int refuse(const struct swo_error *why, struct swo_error *err)
{
	/* The reason names it, and is last: it may be long. */
	return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
		"a device's writes to RAM cannot be tracked, and all RAM would be sent in the stop; "
		"allow-no-dirty-tracking (QMP: x-allow-no-dirty-tracking) permits it: %s",
		why->text);
}

/* A report has failed: the same as if it had never been tracked. */
static int lose_tracking(
	struct source_device *sd, const struct swo_error *why, struct swo_error *err)
{
	if (!sd->source->m.params.allow_no_dirty_tracking)
		return refuse(why, err);
	swo_log(SWO_LOG_WARN,
		"%s: its writes to RAM are not tracked from now on; all RAM is sent in "
		"the stop",
		why->text);
	return 0;
}

static void start_job(void *opaque)
{
	struct source_device *sd = opaque;
	struct swo_migration *m = &sd->source->m;
	struct swo_error why = {0};

	if (atomic_load(&m->abort))
		return;
	if (memory_dma_log_start(sd->dev, m->vm.ram, &why)) {
		set_untracked(sd, &why);
		return;
	}
	pthread_mutex_lock(&m->mutex);
	const bool wanted = !sd->source->logs_over;

	sd->logged = wanted;
	pthread_mutex_unlock(&m->mutex);
	if (!wanted)
		memory_dma_log_stop(sd->dev);
}

static void collect_job(void *opaque)
{
	struct source_device *sd = opaque;
	struct swo_migration *m = &sd->source->m;
	struct swo_error why = {0}, err = {0};

	if (atomic_load(&m->abort) || !device_dma_log_page(sd->dev) ||
		!memory_dma_log_collect(sd->dev, m->vm.ram, &why))
		return;
	set_untracked(sd, &why);
	if (lose_tracking(sd, &why, &err))
		migration_fail(m, &err);
}

static void stop_job(void *opaque)
{
	memory_dma_log_stop(((struct source_device *)opaque)->dev);
}

/* Once for all of them: what is used, and for the first without any why. */
static void report(const struct source *s)
{
	unsigned count[SWO_DIRTY_TRACKING_TYPE1 + 1] = {0};
	const struct source_device *none = NULL;
	char text[160] = "";
	size_t used = 0;

	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		count[swo_device_dirty_tracking(s->devices[i].dev)]++;
		if (s->devices[i].untracked && !none)
			none = &s->devices[i];
	}
	for (unsigned k = SWO_DIRTY_TRACKING_NONE; k < SWO_ARRAY_SIZE(count); k++)
		if (count[k])
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s (%u)",
				used ? ", " : "",
				swo_dirty_tracking_name((enum swo_dirty_tracking)k), count[k]);
	if (used)
		swo_log(none ? SWO_LOG_WARN : SWO_LOG_INFO,
			"dirty tracking of the devices' writes to RAM: %s%s%.300s", text,
			none ? "; all RAM is sent in the stop: " : "",
			none ? none->untracked_why.text : "");
}

/* A report may hang in the driver, where nothing interrupts it. */
static int await(struct source *s, const char *what, struct swo_error *err)
{
	uint64_t ms = 0;

	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		const uint64_t own = swo_device_data_deadline_ms(s->devices[i].dev);

		ms = own > ms ? own : ms;
	}
	return source_jobs_await(s, swo_deadline_ms(ms), what, err);
}

int source_tracking_start(struct source *s, struct swo_error *err)
{
	source_jobs_submit(s, start_job);
	if (await(s, "starting the log of its writes to RAM", err))
		return -1;
	/* The devices of a paused VM do not write. */
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		if (s->devices[i].untracked && s->was_running &&
			!s->m.params.allow_no_dirty_tracking)
			return refuse(&s->devices[i].untracked_why, err);
	report(s);
	return 0;
}

int source_tracking_collect(struct source *s, struct swo_error *err)
{
	source_jobs_submit(s, collect_job);
	return await(s, "reporting its writes to RAM", err);
}

/* On its worker, once it is in STOP_COPY: it writes no more. */
int source_tracking_last(struct source_device *sd, struct swo_error *err)
{
	struct source *s = sd->source;
	struct swo_error why = {0};

	if (sd->untracked) {
		pthread_mutex_lock(&s->m.mutex);
		s->untracked--;
		pthread_mutex_unlock(&s->m.mutex);
		return 0;
	}
	if (!device_dma_log_page(sd->dev) || !memory_dma_log_collect(sd->dev, s->m.vm.ram, &why))
		return 0;
	pthread_mutex_lock(&s->m.mutex);
	s->ram_in_stop = s->ram_all_due = true;
	pthread_mutex_unlock(&s->m.mutex);
	return lose_tracking(sd, &why, err);
}

bool source_all_ram_due(struct source *s)
{
	pthread_mutex_lock(&s->m.mutex);
	const bool due = s->ram_all_due;
	pthread_mutex_unlock(&s->m.mutex);
	return due;
}

uint64_t source_ram_due(struct source *s, uint64_t bandwidth)
{
	const uint64_t dirty = swo_ram_dirty_pages(s->m.vm.ram) << SWO_PAGE_SHIFT;

	pthread_mutex_lock(&s->m.mutex);
	const bool due = s->ram_all_due, all = s->ram_in_stop && s->ram;
	pthread_mutex_unlock(&s->m.mutex);
	if (!all)
		return dirty;
	/* Once all is marked, pages of zeros are dirty, too. */
	const uint64_t content = ram_send_content(s->ram);
	const uint64_t bytes = due || content < dirty ? content : dirty;

	if (!bandwidth || !content || s->ram_pass_ns <= 0)
		return bytes;
	return (uint64_t)((double)bytes / (double)content * s->ram_pass_ns / 1e9 *
			  (double)bandwidth);
}

/* The VM runs, here or there, and waits for none of them. */
void source_tracking_stop(struct source *s)
{
	struct swo_migration *m = &s->m;

	pthread_mutex_lock(&m->mutex);
	s->logs_over = true;
	pthread_mutex_unlock(&m->mutex);
	for (unsigned i = 0; i < m->vm.device_count; i++) {
		struct source_device *sd = &s->devices[i];

		if (!sd->logged)
			continue;
		sd->log_stop_job = (struct swo_job){
			.fn = stop_job, .opaque = sd, .release = source_job_release};
		migration_hold(m);
		swo_worker_submit(swo_device_worker(sd->dev), &sd->log_stop_job);
	}
	for (unsigned i = 0; i < m->vm.device_count; i++) {
		struct source_device *sd = &s->devices[i];

		/* That of a device that hangs is stopped if it answers. */
		if (sd->log_stop_job.fn && swo_device_health(sd->dev) != SWO_DEVICE_LOST &&
			!swo_job_wait(&sd->log_stop_job,
				swo_deadline_ms(swo_device_arc_deadline_ms(sd->dev))))
			swo_log(SWO_LOG_WARN,
				"device %s: the end of its DMA log was not confirmed within %" PRIu64
				" ms",
				swo_device_name(sd->dev), swo_device_arc_deadline_ms(sd->dev));
	}
}
