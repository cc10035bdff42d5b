/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.c - receives one device's state: the worker that loads the content of its ring, the
 * check of length and sum that drivers do not make, and RESUMING->STOP before the source
 * commits.
 */
#include "migration/target/target.h"

#include "base/memory.h"
#include "device/core/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Life */

int target_device_init(struct target *t, unsigned index, struct swo_error *err)
{
	struct target_device *td = &t->devices[index];
	const uint64_t window = t->hello.devices[index].window;

	td->target = t;
	td->index = index;
	td->dev = t->m.vm.devices[index];
	td->ops = swo_device_backend(td->dev, &td->backend);
	td->finalise = t->hello.finalise;
	if (t->m.vm.ops->finalise)
		t->m.vm.ops->finalise(t->m.vm.opaque, index, &td->finalise);
	td->initial_mark = UINT64_MAX;
	target_stream_init(td);
	td->config = (struct swo_buf)SWO_BUF_INIT(SWO_CONFIG_MAX);
	pthread_mutex_init(&td->mutex, NULL);
	swo_cond_init(&td->changed);
	t->devices_made = index + 1;

	td->window = window;
	td->chunk = td->ops->write_chunk ? td->ops->write_chunk(td->backend) : WIRE_DEVICE_MAX;
	td->ring = base_calloc_prefaulted(window);
	if (!td->ring)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: window of %" PRIu64,
			swo_device_name(td->dev), window);
	if (swo_device_refresh(td->dev, err))
		return migration_device_error(err);
	device_set_settle(td->dev, DEVICE_SETTLE_RESET);
	return 0;
}

void target_device_fini(struct target_device *td)
{
	pthread_cond_destroy(&td->changed);
	pthread_mutex_destroy(&td->mutex);
	swo_buf_free(&td->config);
	free(td->ring);
}

/* A callback that takes longer than this for one device goes on with what the VMM has left it. */
#define CALLBACK_MS 30000

/* See target_devices_check(). */
#define SEEN_RECENTLY_NS UINT64_C(10000000)

void target_devices_close(struct target *t)
{
	const swo_deadline deadline = swo_deadline_ms(CALLBACK_MS);

	migration_set_abort(&t->m);
	target_devices_wake(t);
	for (unsigned i = 0; i < t->devices_made; i++) {
		struct target_device *td = &t->devices[i];

		pthread_mutex_lock(&td->mutex);
		while (td->in_callback && !swo_cond_wait(&td->changed, &td->mutex, deadline))
			;
		if (td->in_callback)
			swo_log(SWO_LOG_ERROR,
				"device %s: config_load or config_renew has not returned for %d s; the migration is "
				"freed without it",
				swo_device_name(td->dev), CALLBACK_MS / 1000);
		pthread_mutex_unlock(&td->mutex);
	}
}

void target_devices_discard(struct target *t)
{
	struct swo_error err;

	for (unsigned i = 0; i < t->devices_made; i++)
		t->devices[i].walking = swo_device_health(t->devices[i].dev) != SWO_DEVICE_LOST &&
					!device_discard_launch(t->devices[i].dev, &err);
	for (unsigned i = 0; i < t->devices_made; i++)
		if (t->devices[i].walking && swo_device_wait(t->devices[i].dev, &err))
			swo_log(SWO_LOG_WARN, "after a refused migration: %s", err.text);
}

int target_devices_resume(struct target *t, struct swo_error *err)
{
	struct swo_error later;
	unsigned launched = 0;
	int rc = 0;

	while (!rc && launched < t->devices_made) {
		rc = swo_device_launch(t->devices[launched].dev, SWO_DEVICE_RESUMING, err);
		launched += !rc;
	}
	for (unsigned i = 0; i < launched; i++)
		if (swo_device_wait(t->devices[i].dev, rc ? &later : err))
			rc = -1;
	if (rc)
		migration_device_error(err);
	return rc;
}

/*
 * A device that was seen a moment ago is not requested again: READY and GO take no less time, in
 * which nothing can be done about a reset any more.
 */
int target_devices_check(struct target *t, struct swo_error *err)
{
	const uint64_t now = swo_now_ns();
	struct swo_error later;
	unsigned i;
	int rc = 0;

	for (i = 0; !rc && i < t->devices_made; i++) {
		struct target_device *td = &t->devices[i];

		td->checking = now - device_seen_ns(td->dev) > SEEN_RECENTLY_NS;
		if (td->checking)
			rc = device_launch_checked(td->dev, swo_device_state(td->dev), err);
		td->checking &= !rc;
	}
	while (i--)
		if (t->devices[i].checking && swo_device_wait(t->devices[i].dev, rc ? &later : err))
			rc = -1;
	return rc;
}

void target_devices_wake(struct target *t)
{
	for (unsigned i = 0; i < t->devices_made; i++) {
		pthread_mutex_lock(&t->devices[i].mutex);
		pthread_cond_broadcast(&t->devices[i].changed);
		pthread_mutex_unlock(&t->devices[i].mutex);
	}
}

/* Loading, on the device's worker */

static int tell(struct target_device *td, enum wire_type type, uint64_t offset, uint64_t pass,
	struct swo_error *err)
{
	struct channel_frame_header header = {
		.type = (uint16_t)type, .device = td->index, .offset = offset, .pass = pass};

	return channel_send(&td->target->m.control, &header, NULL, 0, err);
}

/* With the device's mutex held: no work, and no reason to stop. */
static bool idle(struct target_device *td)
{
	bool complete = td->whole && td->received == td->consumed &&
			(td->config_loaded >= td->end_generation || !td->end_generation);

	bool initial_due = !td->initial_told && td->consumed >= td->initial_mark;

	return td->received == td->consumed && td->config_received == td->config_loaded &&
	       !initial_due && !complete && !atomic_load(&td->target->m.abort);
}

static int load_config(struct target_device *td, struct swo_error *err)
{
	struct swo_migration *m = &td->target->m;
	struct swo_buf config = td->config;
	uint64_t generation = td->config_received, start = swo_now_ns();

	td->config = (struct swo_buf)SWO_BUF_INIT(SWO_CONFIG_MAX);
	td->in_callback = true;
	pthread_mutex_unlock(&td->mutex);
	int rc = m->vm.ops->config_load(m->vm.opaque, td->index, config.data, config.len, err);

	swo_timeline_span(m->timeline, SWO_EVENT_CONFIG_LOAD, swo_device_name(td->dev), start,
		swo_now_ns(), config.len);
	swo_buf_free(&config);
	pthread_mutex_lock(&td->mutex);
	td->in_callback = false;
	pthread_cond_broadcast(&td->changed);
	td->config_loaded = generation;
	return rc ? migration_data_error(td->dev, "loading its configuration", err) : 0;
}

static int load_data(struct target_device *td, uint64_t *told, struct swo_error *err)
{
	uint64_t at = td->consumed % td->window;
	uint64_t len = td->received - td->consumed;

	if (len > td->window - at)
		len = td->window - at;
	if (len > td->chunk)
		len = td->chunk;
	pthread_mutex_unlock(&td->mutex);
	int rc = td->ops->data_write(td->backend, td->ring + at, len, err);

	pthread_mutex_lock(&td->mutex);
	if (rc)
		return migration_data_error(td->dev, "loading its data", err);
	td->consumed += len;
	uint64_t consumed = td->consumed;
	bool drained = td->received == consumed && !td->end_seen;

	/* Often enough to keep the source sending, rarely enough to limit messages. */
	if (consumed - *told >= td->window / 4 || (drained && consumed != *told)) {
		pthread_mutex_unlock(&td->mutex);
		rc = tell(td, WIRE_CREDIT, consumed, 0, err);
		*told = consumed;
		pthread_mutex_lock(&td->mutex);
	}
	return rc;
}

static int check_end(struct target_device *td, struct swo_error *err)
{
	if (td->received != td->end_offset)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"device %s: received %" PRIu64 " bytes of its state, expected %" PRIu64,
			swo_device_name(td->dev), td->received, td->end_offset);
	if (td->sum != td->end_sum)
		return swo_error_set(err, SWO_E_CORRUPT, 0, "device %s: corrupt state: wrong sum",
			swo_device_name(td->dev));
	return 0;
}

/*
 * A write may return before the device has read the data. RESUMING->STOP would wait for that too,
 * but would hide a reset meanwhile: the check before it must come after all data.
 */
static int flush(struct target_device *td, struct swo_error *err)
{
	return td->ops->data_flush ? td->ops->data_flush(td->backend, err) : 0;
}

/* With the mutex held, except during the work itself. */
static int load_loop(struct target_device *td, struct swo_error *err)
{
	uint64_t told = 0;

	for (;;) {
		while (idle(td))
			/* Ends with the stream or with the migration; both wake the worker. */
			swo_cond_wait(&td->changed, &td->mutex, swo_deadline_ms(1000));
		if (atomic_load(&td->target->m.abort))
			return swo_error_set(err, SWO_E_CANCELLED, 0,
				"device %s: the migration was aborted while its state was "
				"loaded",
				swo_device_name(td->dev));
		if (!td->initial_told && td->consumed >= td->initial_mark) {
			const uint64_t mark = td->initial_number;

			/* The source may send another mark meanwhile, which is acknowledged next. */
			td->initial_told = true;
			pthread_mutex_unlock(&td->mutex);
			/* "Loaded" is what the device reports, not what was sent to it. */
			int rc = flush(td, err);

			if (rc)
				migration_data_error(td->dev, "loading its data", err);
			else
				rc = tell(td, WIRE_INITIAL_LOADED, 0, mark, err);
			pthread_mutex_lock(&td->mutex);
			if (rc)
				return -1;
		} else if (td->config_received != td->config_loaded) {
			if (load_config(td, err))
				return -1;
		} else if (td->received != td->consumed) {
			if (load_data(td, &told, err))
				return -1;
		} else {
			return check_end(td, err);
		}
	}
}

static void release(void *opaque)
{
	migration_release(&((struct target_device *)opaque)->target->m);
}

static void settled_job(void *opaque)
{
	struct target_device *td = opaque;
	struct swo_migration *m = &td->target->m;

	/* The path was queued before this job on the worker: it has ended, with success or not. */
	pthread_mutex_lock(&m->mutex);
	td->settled = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
}

static int finalise(struct target_device *td, struct swo_error *err)
{
	if (device_launch_checked(td->dev, SWO_DEVICE_STOP, err))
		return -1;
	td->finalise_ns = swo_now_ns();
	td->settled_job = (struct swo_job){.fn = settled_job, .opaque = td, .release = release};
	migration_hold(&td->target->m);
	swo_worker_submit(swo_device_worker(td->dev), &td->settled_job);
	return 0;
}

/* Parallel and early: the device continues without the migration's thread. */
static bool goes_on_alone(const struct target_device *td)
{
	return td->finalise == SWO_WHEN_EARLY &&
	       td->target->m.vm.transitions == SWO_TRANSITIONS_PARALLEL;
}

/* Drivers that load in write() have overwritten what was set before. */
static int renew_config(struct target_device *td, struct swo_error *err)
{
	struct swo_migration *m = &td->target->m;
	uint64_t start = swo_now_ns();

	if (!m->vm.ops->config_renew)
		return 0;
	pthread_mutex_lock(&td->mutex);
	td->in_callback = !atomic_load(&m->abort);
	bool goes_on = td->in_callback;
	pthread_mutex_unlock(&td->mutex);
	if (!goes_on)
		return swo_error_set(err, SWO_E_CANCELLED, 0,
			"device %s: the migration was aborted while its state was loaded",
			swo_device_name(td->dev));
	int rc = m->vm.ops->config_renew(m->vm.opaque, td->index, err);

	swo_timeline_span(m->timeline, SWO_EVENT_CONFIG_LOAD, swo_device_name(td->dev), start,
		swo_now_ns(), 0);
	pthread_mutex_lock(&td->mutex);
	td->in_callback = false;
	pthread_cond_broadcast(&td->changed);
	pthread_mutex_unlock(&td->mutex);
	return rc ? migration_data_error(td->dev, "setting its configuration again", err) : 0;
}

/* All data is with the device, and what remains is its own time, like an arc. */
static int load_rest(struct target_device *td, struct swo_error *err)
{
	struct swo_migration *m = &td->target->m;

	pthread_mutex_lock(&m->mutex);
	td->flush_ns = swo_now_ns();
	pthread_mutex_unlock(&m->mutex);
	int rc = flush(td, err) || renew_config(td, err) ? -1 : 0;

	pthread_mutex_lock(&m->mutex);
	td->flush_ns = 0;
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

static void load_job(void *opaque)
{
	struct target_device *td = opaque;
	struct swo_migration *m = &td->target->m;
	struct swo_error err = {0};
	uint64_t start, bytes;

	pthread_mutex_lock(&td->mutex);
	while (idle(td))
		swo_cond_wait(&td->changed, &td->mutex, swo_deadline_ms(1000));
	start = swo_now_ns();
	int rc = load_loop(td, &err);
	bytes = td->consumed;
	pthread_mutex_unlock(&td->mutex);
	if (rc || load_rest(td, &err)) {
		device_explain(td->dev, &err);
		migration_fail(m, &err);
		return;
	}
	swo_timeline_span(
		m->timeline, SWO_EVENT_LOAD, swo_device_name(td->dev), start, swo_now_ns(), bytes);

	bool alone = goes_on_alone(td);

	if (alone && finalise(td, &err)) {
		migration_fail(m, &err);
		return;
	}
	pthread_mutex_lock(&m->mutex);
	td->loaded = true;
	td->finalising = alone;
	/* Otherwise the migration's thread has no work before RESUMING->STOP has ended. */
	if (!alone)
		pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
}

void target_devices_load(struct target *t)
{
	for (unsigned i = 0; i < t->devices_made; i++) {
		struct target_device *td = &t->devices[i];

		td->load_job = (struct swo_job){.fn = load_job, .opaque = td, .release = release};
		migration_hold(&t->m);
		swo_worker_submit(swo_device_worker(td->dev), &td->load_job);
	}
}

/* RESUMING->STOP, as the migration's thread sees it */

static uint64_t arc_ns(const struct target_device *td)
{
	return swo_device_arc_deadline_ms(td->dev) * 1000000;
}

/* The time from which a wait for it would detect a hang, and thus returns at once. */
static uint64_t overdue_ns(const struct target_device *td)
{
	return td->finalise_ns + arc_ns(td);
}

swo_deadline target_devices_overdue(const struct target *t)
{
	swo_deadline first = UINT64_MAX;

	for (unsigned i = 0; i < t->devices_made; i++) {
		const struct target_device *td = &t->devices[i];

		if (td->finalising && !td->waited)
			first = swo_deadline_min(first, overdue_ns(td));
		if (td->flush_ns)
			first = swo_deadline_min(first, td->flush_ns + arc_ns(td));
	}
	return first;
}

/* Its worker waits for the device: the migration's thread detects that it hangs. */
static int loads_in_time(struct target_device *td, struct swo_error *err)
{
	struct swo_migration *m = &td->target->m;

	pthread_mutex_lock(&m->mutex);
	bool late = td->flush_ns && swo_now_ns() >= td->flush_ns + arc_ns(td);
	pthread_mutex_unlock(&m->mutex);
	return late ? swo_error_set(err, SWO_E_TIMEOUT, 0,
			      "device %s: loading the rest of its data: timed out after %" PRIu64
			      " ms",
			      swo_device_name(td->dev), swo_device_arc_deadline_ms(td->dev))
		    : 0;
}

int target_device_settle(struct target_device *td, bool whatever, struct swo_error *err)
{
	struct swo_migration *m = &td->target->m;

	pthread_mutex_lock(&m->mutex);
	bool due = td->finalising && !td->waited &&
		   (whatever || td->settled || swo_now_ns() >= overdue_ns(td));

	td->waited = td->waited || due;
	pthread_mutex_unlock(&m->mutex);
	if (!due)
		return 0;
	int rc = swo_device_wait(td->dev, err) ? migration_device_error(err) : 0;

	pthread_mutex_lock(&m->mutex);
	td->finalised = !rc;
	pthread_mutex_unlock(&m->mutex);
	/* So that an aborting source can name the device that it waited for; informational. */
	if (!rc)
		tell(td, WIRE_AGREED, 0, 0, NULL);
	return rc;
}

/* True if the migration's thread may launch it now. Parallel and early, it has launched itself. */
static bool may_finalise(const struct target_device *td, bool ram_is_in)
{
	return !goes_on_alone(td) && td->finalise != SWO_WHEN_LATE &&
	       (td->finalise == SWO_WHEN_EARLY || ram_is_in);
}

bool target_devices_due(const struct target *t, bool ram_is_in)
{
	for (unsigned i = 0; i < t->devices_made; i++) {
		const struct target_device *td = &t->devices[i];

		if ((td->settled && !td->waited) ||
			(td->loaded && !td->finalising && may_finalise(td, ram_is_in)))
			return true;
	}
	return false;
}

int target_devices_finalise(struct target *t, bool ram_is_in, struct swo_error *err)
{
	bool serial = t->m.vm.transitions == SWO_TRANSITIONS_SERIAL;

	for (unsigned i = 0; i < t->devices_made; i++) {
		struct target_device *td = &t->devices[i];

		if (loads_in_time(td, err))
			return -1;
		pthread_mutex_lock(&t->m.mutex);
		bool due = td->loaded && !td->finalising && may_finalise(td, ram_is_in);
		pthread_mutex_unlock(&t->m.mutex);
		if (due) {
			if (finalise(td, err))
				return -1;
			pthread_mutex_lock(&t->m.mutex);
			td->finalising = true;
			pthread_mutex_unlock(&t->m.mutex);
		}
		/* Serial: one at a time, in order, like the other arcs. */
		if (target_device_settle(td, due && serial, err))
			return -1;
	}
	return 0;
}
