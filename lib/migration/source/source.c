/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * source.c - the source's thread: setup, pre-copy, the stop, READY; and the way back when anything
 * fails before GO. It alone steps the handover; others only leave notes.
 */
#include "migration/source/source.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a failure waits for the other side's explanation; the VM runs again by then. */
#define REASON_WAIT_MS 500

uint32_t source_event(struct source *s, enum source_event event)
{
	uint32_t actions = source_step(&s->state, event);

	s->m.info.committed = source_committed(s->state);
	return actions;
}

static void step(struct source *s, enum source_event event)
{
	pthread_mutex_lock(&s->m.mutex);
	source_event(s, event);
	pthread_mutex_unlock(&s->m.mutex);
}

/* The stop */

/*
 * First of all handlers when the VM stops (deepest, and highest): the vCPUs stand still, so what
 * they wrote last can go while the devices are still on their way.
 */
static int on_stop(void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	struct source *s = opaque;

	(void)state;
	if (running)
		return 0;
	/*
	 * A `stop` by somebody else comes on their thread, perhaps in the middle of a pass; our own
	 * thread notices it between two passes and does the rest then.
	 */
	if (!pthread_equal(pthread_self(), s->m.thread))
		return 0;
	pthread_mutex_lock(&s->m.mutex);
	s->vcpus_stopped_ns = swo_now_ns();
	pthread_mutex_unlock(&s->m.mutex);
	swo_timeline_mark(s->m.timeline, SWO_EVENT_VCPUS_STOPPED);
	swo_worker_submit(s->stop_worker, &s->stop_job);
	/* All of it is yet to be loaded; otherwise what has changed can wait for the arcs. */
	return s->m.params.config == SWO_WHEN_LATE ? source_configs_send(s, true, err) : 0;
}

/*
 * Last of all handlers when the VM stops: by now every device has been told to. And first when a
 * stop is taken back: streams must let go of the workers.
 */
static int on_last(void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	struct source *s = opaque;

	(void)state;
	if (running)
		atomic_store(&s->m.abort, true);
	pthread_mutex_lock(&s->m.mutex);
	s->all_launched = !running;
	pthread_mutex_unlock(&s->m.mutex);
	migration_wake(&s->m);
	if (running || s->m.params.config == SWO_WHEN_LATE ||
		!pthread_equal(pthread_self(), s->m.thread))
		return 0;
	return source_configs_send(s, true, err);
}

static int add_handlers(struct source *s, struct swo_error *err)
{
	const struct swo_handler_desc stop = {.name = "migration: last RAM",
		.depth = INT_MAX,
		.rank = SWO_RANK_MAX,
		.prepare = on_stop,
		.change = source_on_barrier,
		.opaque = s};
	const struct swo_handler_desc last = {.name = "migration: all are told",
		.depth = 0,
		.rank = SWO_RANK_MIN,
		.prepare = on_last,
		.opaque = s};

	if (swo_runstate_add(s->m.vm.runstate, &stop, &s->on_stop, err) ||
		swo_runstate_add(s->m.vm.runstate, &last, &s->on_last, err))
		return -1;
	return 0;
}

/* Devices that the stop did not take to STOP_COPY: those of a VM that was paused before. */
static int stop_remaining_devices(struct source *s, struct swo_error *err)
{
	struct swo_error later;
	int rc = 0;

	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		struct swo_device *dev = s->m.vm.devices[i];

		if (swo_device_state(dev) != SWO_DEVICE_STOP_COPY &&
			swo_device_set_state(dev, SWO_DEVICE_STOP_COPY, rc ? &later : err))
			rc = -1;
	}
	return rc;
}

static int send_machine(struct source *s, struct swo_error *err)
{
	struct swo_buf state = SWO_BUF_INIT(SWO_MACHINE_STATE_MAX);
	uint64_t start = swo_now_ns();
	int rc = s->m.vm.ops->machine_save(s->m.vm.opaque, &state, err);

	if (!rc)
		rc = migration_control(&s->m, WIRE_MACHINE, state.data, state.len, err);
	swo_timeline_span(
		s->m.timeline, SWO_EVENT_MACHINE_STATE, "", start, swo_now_ns(), state.len);
	swo_buf_free(&state);
	return rc;
}

static bool all_out(void *arg)
{
	struct source *s = arg;

	return s->ram_done && s->ended == s->m.vm.device_count;
}

static int send_end(struct source *s, struct swo_error *err)
{
	struct wire_end end = {.running = s->stopped_by_us};

	for (unsigned i = 0; i < s->m.data_open; i++) {
		struct swo_channel *channel = &s->m.data[i];
		/* Nobody else sends any more: the counters stand still. */
		struct wire_totals totals = {
			.frames = channel->frames_sent, .bytes = channel->bytes_sent};
		struct swo_frame_header header = {.type = WIRE_FIN, .device = i};

		end.all.frames += totals.frames;
		end.all.bytes += totals.bytes;
		if (swo_channel_send(channel, &header, &totals, sizeof(totals), err))
			return -1;
	}
	return migration_control(&s->m, WIRE_END_ALL, &end, sizeof(end), err);
}

/* Until when READY must have come, counted from the stop. */
static swo_deadline switchover_deadline(struct source *s)
{
	uint64_t ms = s->m.params.switchover_deadline_ms;

	pthread_mutex_lock(&s->m.mutex);
	uint64_t from = s->vcpus_stopped_ns ? s->vcpus_stopped_ns : swo_now_ns();
	pthread_mutex_unlock(&s->m.mutex);
	return from + ms * 1000000;
}

static int stop_and_send(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;

	migration_set_status(m, SWO_MIGRATION_DEVICE);
	if (source_vm_runs(s)) {
		uint64_t start = swo_now_ns();

		s->stopped_by_us = true;
		if (m->vm.ops->stop(m->vm.opaque, err))
			return -1;
		swo_timeline_span(m->timeline, SWO_EVENT_STOP, "", start, swo_now_ns(), 0);
	} else {
		m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_FINISH_MIGRATE);
		swo_worker_submit(s->stop_worker, &s->stop_job);
		if (source_configs_send(s, true, err))
			return -1;
	}
	if (stop_remaining_devices(s, err))
		return -1;
	if (m->params.stream == SWO_WHEN_LATE)
		source_devices_stream(s);
	if (send_machine(s, err))
		return -1;
	pthread_mutex_lock(&m->mutex);
	m->info.threads_max = migration_threads();
	pthread_mutex_unlock(&m->mutex);
	if (source_ceiling_check(s, err) ||
		source_ceiling_wait(s, all_out, "the sending of all device state and RAM",
			switchover_deadline(s), err))
		return -1;
	return send_end(s, err);
}

static bool is_ready(void *arg)
{
	return ((struct source *)arg)->ready;
}

/* The way back:
 */

static void drain_workers(struct source *s)
{
	atomic_store(&s->m.abort, true);
	for (unsigned i = 0; i < s->m.data_open; i++)
		swo_channel_shutdown(&s->m.data[i]);
	migration_wake(&s->m);
	if (s->stop_worker)
		swo_worker_idle_wait(
			s->stop_worker, swo_deadline_ms(2 * s->m.params.idle_deadline_ms));
	/* A device whose arc hangs keeps its worker; it is lost, and the others go on. */
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		if (swo_device_health(s->m.vm.devices[i]) != SWO_DEVICE_LOST)
			swo_worker_idle_wait(swo_device_worker(s->m.vm.devices[i]),
				swo_deadline_ms(2 * s->m.params.idle_deadline_ms));
}

/* All at once; whoever fails is recovered, reset as a last resort. */
static void devices_to(struct source *s, enum swo_device_state state)
{
	struct swo_error err;

	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		struct swo_device *dev = s->m.vm.devices[i];

		s->devices[i].walking = swo_device_health(dev) != SWO_DEVICE_LOST &&
					swo_device_state(dev) != state &&
					!swo_device_launch(dev, state, &err);
	}
	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		struct swo_device *dev = s->m.vm.devices[i];

		if (s->devices[i].walking)
			swo_device_wait(dev, &err);
		if (swo_device_health(dev) == SWO_DEVICE_LOST || swo_device_state(dev) == state)
			continue;
		if (state != SWO_DEVICE_RUNNING || swo_device_recover(dev, false, &err))
			swo_log(SWO_LOG_ERROR, "after a failed migration: %s", err.text);
	}
}

static void append_device_health(struct source *s, struct swo_error *err)
{
	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		enum swo_device_health health = swo_device_health(s->m.vm.devices[i]);
		char text[sizeof(err->text)];

		if (health == SWO_DEVICE_SOUND)
			continue;
		memcpy(text, err->text, sizeof(text));
		snprintf(err->text, sizeof(err->text), "%.300s; device %s %s", text,
			swo_device_name(s->m.vm.devices[i]),
			health == SWO_DEVICE_LOST ? "is lost" : "had to be reset");
	}
}

static bool reason_told(void *arg)
{
	struct source *s = arg;

	return s->refused || s->m.lost;
}

/* A channel that breaks is often the first sign of what the target is about to say. */
static void await_failure_reason(struct source *s, struct swo_error *err)
{
	if (!s->m.control_reader_runs)
		return;
	migration_wait_until(
		&s->m, reason_told, s, true, swo_deadline_ms(REASON_WAIT_MS), "a reason", NULL);
	pthread_mutex_lock(&s->m.mutex);
	if (s->refused)
		swo_error_set(err, SWO_E_PEER_LOST, 0, "the target refused: %.300s", s->word);
	pthread_mutex_unlock(&s->m.mutex);
}

void source_roll_back(struct source *s, const struct swo_error *why, bool cancelled)
{
	struct swo_migration *m = &s->m;
	struct swo_error final = *why, err = {0};
	uint64_t start = swo_now_ns();

	/* Whatever that side still hears: it finds this before it could begin. */
	ram_share_forbid(&m->share);
	drain_workers(s);
	if (s->stopped_by_us) {
		/* The VMM has already taken back a stop that failed. */
		if (!source_vm_runs(s) && m->vm.ops->start(m->vm.opaque, &err)) {
			swo_log(SWO_LOG_ERROR, "after a failed migration: %s", err.text);
			swo_error_set(&final, why->code, 0, "%.180s; and on resuming: %.180s",
				why->text, err.text);
		}
	}
	if (source_vm_runs(s)) {
		/* Also those that a stop which failed half way had not reached. */
		devices_to(s, SWO_DEVICE_RUNNING);
	} else if (!s->stopped_by_us) {
		devices_to(s, SWO_DEVICE_STOP);
		m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_PAUSED);
	}
	source_logs_stop(s);
	if (why->code == SWO_E_PEER_LOST)
		await_failure_reason(s, &final);
	append_device_health(s, &final);
	swo_timeline_span(m->timeline, SWO_EVENT_ROLL_BACK, "", start, swo_now_ns(), 0);
	step(s, SOURCE_EV_RESUMED);
	/* Only now: a peer that does not read must not keep the VM from resuming. */
	if (m->control_open)
		migration_control(m, WIRE_ABORT, why->text, strlen(why->text), NULL);
	migration_end(m, cancelled ? SWO_MIGRATION_CANCELLED : SWO_MIGRATION_FAILED, &final);
}

/* The thread */

static int until_ready(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	uint64_t begin = swo_now_ns();

	migration_set_status(m, SWO_MIGRATION_SETUP);
	if (source_setup(s, err))
		return -1;
	step(s, SOURCE_EV_HELLO_OK);
	pthread_mutex_lock(&m->mutex);
	m->info.setup_ns = swo_now_ns() - begin;
	pthread_mutex_unlock(&m->mutex);
	swo_timeline_span(m->timeline, SWO_EVENT_SETUP, "", begin, swo_now_ns(), 0);

	migration_set_status(m, SWO_MIGRATION_ACTIVE);
	begin = swo_now_ns();
	if (source_precopy(s, err) || source_ceiling_check(s, err))
		return -1;
	swo_timeline_span(m->timeline, SWO_EVENT_PRECOPY, "", begin, swo_now_ns(), 0);
	step(s, SOURCE_EV_CONVERGED);

	if (stop_and_send(s, err))
		return -1;
	step(s, SOURCE_EV_ALL_SENT);
	begin = swo_now_ns();
	if (source_ceiling_wait(s, is_ready, "the target's READY", switchover_deadline(s), err) ||
		source_ceiling_check(s, err))
		return -1;
	swo_timeline_span(m->timeline, SWO_EVENT_WAIT_READY, "", begin, swo_now_ns(), 0);
	return 0;
}

static void source_main(struct swo_migration *m)
{
	struct source *s = (struct source *)m;
	struct swo_error err = {0};
	int rc = until_ready(s, &err);

	/* On record first: whoever finds that record must think that GO was sent. */
	if (!rc)
		rc = migration_journal(m, source_record(SOURCE_COMMITTED, SOURCE_EV_READY),
			s->ticket.nonce, NULL, &err);
	/* The point of no return: whether it is passed is decided under the lock that a cancel
	 * takes. */
	pthread_mutex_lock(&m->mutex);
	if (!rc && (m->cancel_asked || m->quit))
		rc = swo_error_set(&err, SWO_E_CANCELLED, 0, "the migration was cancelled");
	if (!rc && m->failure.code != SWO_E_NONE)
		rc = -1;
	bool cancelled = m->cancel_asked || m->quit;
	source_event(s, !rc	    ? SOURCE_EV_READY
			: cancelled ? SOURCE_EV_CANCEL
			: m->lost   ? SOURCE_EV_LOST
				    : SOURCE_EV_FAIL);
	/* What broke first says more than what broke because of it. */
	if (rc && !cancelled && m->failure.code != SWO_E_NONE)
		err = m->failure;
	pthread_mutex_unlock(&m->mutex);

	if (cancelled)
		swo_error_set(&err, SWO_E_CANCELLED, 0, "the migration was cancelled");
	if (rc) {
		source_roll_back(s, &err, cancelled);
		migration_journal_note(m, SWO_JOURNAL_TAKEN_BACK, NULL);
		m->journal_remove = true;
	} else {
		source_commit(s);
	}
}

static bool may_run(struct swo_migration *m)
{
	return source_may_run(((struct source *)m)->state);
}

static void interrupt(struct swo_migration *m)
{
	const bool abort = atomic_load(&m->abort);

	if (abort)
		base_cancel_fire(&((struct source *)m)->attempt);
	/* Data channels may block a sender for as long as a stall takes: not when we want to go. */
	pthread_mutex_lock(&m->mutex);
	if (abort)
		for (unsigned i = 0; i < m->data_open; i++)
			swo_channel_shutdown(&m->data[i]);
	pthread_mutex_unlock(&m->mutex);
	migration_wake(m);
}

static void wake(struct swo_migration *m)
{
	struct source *s = (struct source *)m;

	for (unsigned i = 0; i < m->vm.device_count; i++)
		pthread_cond_broadcast(&s->devices[i].credit);
}

static void lost(struct swo_migration *m)
{
	/* Before GO the senders learn by their own sockets; after it nothing of this matters. */
	(void)m;
}

static void source_free(struct swo_migration *m)
{
	struct source *s = (struct source *)m;

	if (m->control_open)
		swo_channel_shutdown(&m->control);
	if (m->control_reader_runs)
		pthread_join(m->control_reader, NULL);
	if (s->stop_worker)
		swo_worker_destroy(s->stop_worker, swo_deadline_ms(m->params.idle_deadline_ms));
	ram_send_destroy(s->ram);
	if (s->on_stop)
		swo_runstate_remove(m->vm.runstate, s->on_stop);
	if (s->on_last)
		swo_runstate_remove(m->vm.runstate, s->on_last);
	migration_watch(m, false);
	for (unsigned i = 0; s->devices && i < m->vm.device_count; i++) {
		source_device_fini(&s->devices[i]);
		pthread_cond_destroy(&s->devices[i].credit);
	}
	source_state_send_destroy(s->state_send);
	for (unsigned i = 0; i < m->data_open; i++)
		swo_channel_close(&m->data[i]);
	if (m->control_open)
		swo_channel_close(&m->control);
	swo_buf_free(&s->timeline_json);
	free(s->devices);
	free(s->costs);
	migration_fini(m);
	free(s);
}

static const struct migration_ops source_ops = {
	.main = source_main,
	.may_run = may_run,
	.resolve = source_resolve,
	.wake = wake,
	.interrupt = interrupt,
	.lost = lost,
	.free = source_free,
};

int swo_migration_send(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err)
{
	struct source *s = calloc(1, sizeof(*s));

	if (!s)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "migration");
	s->m.is_source = true;
	if (migration_init(&s->m, &source_ops, vm, uri, params, observer, timeline, err)) {
		free(s);
		return -1;
	}
	migration_make_id(s->m.info.id);
	s->attempt = (struct base_cancel)BASE_CANCEL_INIT;
	s->timeline_json = (struct swo_buf)SWO_BUF_INIT(WIRE_TIMELINE_MAX);
	s->stop_job = (struct swo_job){.fn = source_stop_job, .opaque = s};
	s->was_running = source_vm_runs(s);
	s->devices = calloc(vm->device_count + 1, sizeof(*s->devices));
	s->costs = calloc(vm->device_count + 1, sizeof(*s->costs));
	for (unsigned i = 0; s->devices && i < vm->device_count; i++)
		swo_cond_init(&s->devices[i].credit);
	if (!s->devices || !s->costs) {
		swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "migration of %u devices", vm->device_count);
		goto fail;
	}
	migration_watch(&s->m, true);
	if (add_handlers(s, err) || migration_run(&s->m, err))
		goto fail;
	*out = &s->m;
	return 0;
fail:
	source_free(&s->m);
	return -1;
}
