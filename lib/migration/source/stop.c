/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stop.c - the stop of the VM and all that is sent during it, the roll-back, and the clean-up when
 * the VM runs on the target.
 */
#include "migration/source/source.h"
#include "runstate/hold.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Timeout for the peer's reason of a failure; the VM runs again by then. */
#define REASON_WAIT_MS 500

/* The stop */

static int last_configs(struct source *s, struct swo_error *err)
{
	int rc = source_configs_send(s, err);

	s->handler_failed = s->handler_failed || rc;
	return rc;
}

/*
 * The first handler of a stop (deepest, highest rank): the vCPUs are stopped, so their last writes
 * can be sent while the devices are stopping.
 */
static int on_stop(void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	struct source *s = opaque;

	(void)state;
	/* The stop of a user waits for the devices' rounds: they end soon. */
	atomic_store(&s->halting, !running);
	if (running)
		return 0;
	migration_pace_release(&s->m, false);
	/*
	 * A `stop` by the user runs on another thread, possibly in the middle of a round;
	 * the migration's thread detects it between two rounds and sends the rest then.
	 */
	if (!pthread_equal(pthread_self(), s->m.thread))
		return 0;
	pthread_mutex_lock(&s->m.mutex);
	s->vcpus_stopped_ns = swo_now_ns();
	s->ram_before_stop = s->ram ? ram_send_bytes(s->ram) : 0;
	pthread_mutex_unlock(&s->m.mutex);
	source_ceiling_arm(s);
	swo_timeline_mark(s->m.timeline, SWO_EVENT_VCPUS_STOPPED);
	swo_worker_submit(s->stop_worker, &s->stop_job);
	/*
	 * With config=late the target has to load all of it; otherwise changed parts can wait for
	 * the arcs.
	 */
	return s->m.params.config == SWO_WHEN_LATE ? last_configs(s, err) : 0;
}

/*
 * Ends what the devices' workers do for this migration, and waits for them: a device that hangs is
 * lost before the first arc back, so it holds up none of the passes that follow.
 */
static void release_devices(struct source *s)
{
	pthread_mutex_lock(&s->m.mutex);
	if (!s->m.checked)
		s->peer_before_us = s->refusal.code != SWO_E_NONE ? s->refusal : s->m.lost_error;
	pthread_mutex_unlock(&s->m.mutex);
	migration_set_abort(&s->m);
	for (unsigned i = 0; i < s->m.data_open; i++)
		channel_shutdown(&s->m.data[i]);
	migration_wake(&s->m);
	migration_check_devices(&s->m);
}

/*
 * The last handler of a stop: every device is launched by now. Also the first handler when a stop
 * is rolled back: streams must release the workers.
 */
static int on_last(void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	struct source *s = opaque;
	const bool ours = pthread_equal(pthread_self(), s->m.thread);

	(void)state;
	if (running && ours && s->stopped_by_us)
		source_learn(s);
	if (running && ours)
		release_devices(s);
	else if (running)
		migration_set_abort(&s->m);
	pthread_mutex_lock(&s->m.mutex);
	s->all_launched = !running;
	pthread_mutex_unlock(&s->m.mutex);
	migration_wake(&s->m);
	if (running || s->m.params.config == SWO_WHEN_LATE || !ours)
		return 0;
	return last_configs(s, err);
}

int source_add_handlers(struct source *s, struct swo_error *err)
{
	const struct swo_handler_desc stop = {.size = sizeof(struct swo_handler_desc),
		.name = "migration: last RAM",
		.depth = INT_MAX,
		.rank = SWO_RANK_MAX,
		.prepare = on_stop,
		.change = source_on_barrier,
		.opaque = s};
	const struct swo_handler_desc last = {.size = sizeof(struct swo_handler_desc),
		.name = "migration: all devices launched",
		.depth = 0,
		.rank = SWO_RANK_MIN,
		.prepare = on_last,
		.opaque = s};

	if (swo_runstate_add(s->m.vm.runstate, &stop, &s->on_stop, err) ||
		swo_runstate_add(s->m.vm.runstate, &last, &s->on_last, err))
		return -1;
	return 0;
}

/* Stops the devices that are not in STOP_COPY: those of a VM that was already paused. */
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
	return rc ? migration_device_error(err) : 0;
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

int source_send_end(struct source *s, struct swo_error *err)
{
	struct wire_end end = {.running = s->stopped_by_us};

	for (unsigned i = 0; i < s->m.data_open; i++) {
		struct channel *channel = &s->m.data[i];
		/* No other thread sends any more: the counters are final. */
		struct wire_totals totals = {
			.frames = channel->frames_sent, .bytes = channel->bytes_sent};
		struct channel_frame_header header = {.type = WIRE_FIN, .device = i};

		end.all.frames += totals.frames;
		end.all.bytes += totals.bytes;
		if (channel_send(channel, &header, &totals, sizeof(totals), err))
			return -1;
	}
	return migration_control(&s->m, WIRE_END_ALL, &end, sizeof(end), err);
}

swo_deadline source_switchover_deadline(struct source *s)
{
	uint64_t ms = s->m.params.switchover_deadline_ms;

	pthread_mutex_lock(&s->m.mutex);
	uint64_t from = s->vcpus_stopped_ns ? s->vcpus_stopped_ns : swo_now_ns();
	pthread_mutex_unlock(&s->m.mutex);
	return from + ms * 1000000;
}

/* What the VMM's `stop` has reported with its success. */
static int check_stopped(struct source *s, struct swo_error *err)
{
	if (source_vm_runs(s))
		return swo_error_set(err, SWO_E_STATE, 0,
			"swo_vm_ops.stop returned 0, but the run state is still running: it must be "
			"changed to finish-migrate");
	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		struct swo_device *dev = s->m.vm.devices[i];
		const enum swo_device_state state = swo_device_state(dev);

		if (state != SWO_DEVICE_STOP_COPY)
			return swo_error_set(err, SWO_E_STATE, 0,
				"swo_vm_ops.stop returned 0, but device %s is in %s, expected "
				"STOP_COPY: it must follow the run state, which is %s, expected "
				"finish-migrate",
				swo_device_name(dev), swo_device_state_name(state),
				swo_run_state_name(swo_runstate_get(s->m.vm.runstate)));
	}
	return 0;
}

static int stop_running_vm(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	uint64_t start = swo_now_ns();

	s->stopped_by_us = true;
	if (m->vm.ops->stop(m->vm.opaque, err)) {
		/* A user's `stop` was first: the migration goes on as that of a paused VM. */
		s->stopped_by_us = swo_runstate_get(m->vm.runstate) != SWO_RUN_STATE_PAUSED;
		if (!s->stopped_by_us)
			return 0;
		/* The roll-back has shut down the channels: what follows is not the cause. */
		if (!s->handler_failed) {
			migration_device_error(err);
			migration_note_failure(m, err);
		}
		return -1;
	}
	s->stop_returned = true;
	swo_timeline_span(m->timeline, SWO_EVENT_STOP, "", start, swo_now_ns(), 0);
	return check_stopped(s, err);
}

static int stop_paused_vm(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;

	if (source_vm_failed(s, err))
		return -1;
	m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_FINISH_MIGRATE);
	swo_worker_submit(s->stop_worker, &s->stop_job);
	return 0;
}

int source_vm_failed(struct source *s, struct swo_error *err)
{
	enum swo_run_state state = swo_runstate_get(s->m.vm.runstate);

	if (state != SWO_RUN_STATE_INTERNAL_ERROR && state != SWO_RUN_STATE_SHUTDOWN)
		return 0;
	return swo_error_set(err, SWO_E_STATE, 0,
		"the guest has failed or ended (%s): it is not migrated",
		swo_run_state_name(state));
}

static bool is_continued(void *arg)
{
	return ((struct source *)arg)->m.continued;
}

/*
 * All is sent, and neither END_ALL nor READY is: until here it is a stop like any other. As in QEMU,
 * DEVICE comes after the wait.
 */
static int pause_before_switchover(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	struct swo_span span = {.kind = SWO_SPAN_WAIT, .start_ns = swo_now_ns()};

	pthread_mutex_lock(&m->mutex);
	s->pause_ns = span.start_ns;
	pthread_mutex_unlock(&m->mutex);
	migration_set_status(m, SWO_MIGRATION_PRE_SWITCHOVER);
	if (source_ceiling_wait(s, is_continued, "migrate-continue (pause-before-switchover is on)",
		    source_switchover_deadline(s), err))
		return -1;
	span.end_ns = swo_now_ns();
	snprintf(span.name, sizeof(span.name), "paused before the switchover");
	swo_timeline_record(m->timeline, &span);
	pthread_mutex_lock(&m->mutex);
	s->continued_ns = span.end_ns;
	pthread_mutex_unlock(&m->mutex);
	migration_set_status(m, SWO_MIGRATION_DEVICE);
	return 0;
}

int source_stop(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;

	if (!m->params.pause_before_switchover)
		migration_set_status(m, SWO_MIGRATION_DEVICE);
	source_own_log_start(s);
	migration_pace_release(m, true);
	if (source_vm_runs(s) && stop_running_vm(s, err))
		return -1;
	if (!s->stopped_by_us && stop_paused_vm(s, err))
		return -1;
	source_converge_end(s);
	if (stop_remaining_devices(s, err))
		return -1;
	if (m->params.stream == SWO_WHEN_LATE)
		source_devices_stream(s);
	if (send_machine(s, err))
		return -1;
	pthread_mutex_lock(&m->mutex);
	s->saved = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);

	const unsigned threads = migration_threads();

	pthread_mutex_lock(&m->mutex);
	m->info.threads_max = threads;
	pthread_mutex_unlock(&m->mutex);
	if (source_ceiling_check(s, err) ||
		source_ceiling_wait(s, all_out, "the sending of all device state and RAM",
			source_switchover_deadline(s), err))
		return -1;
	return m->params.pause_before_switchover ? pause_before_switchover(s, err) : 0;
}

/* Roll-back */

static void drain_workers(struct source *s)
{
	release_devices(s);
	if (s->stop_worker)
		swo_worker_idle_wait(
			s->stop_worker, swo_deadline_ms(2 * s->m.params.idle_deadline_ms));
}

/* Moves all devices in parallel. A device that fails is recovered, by a reset as a last resort. */
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
			health == SWO_DEVICE_LOST ? "is lost" : "was reset");
	}
}

/* Our own failure is the cause; what the peer reported before it may be one as well. */
static void append_peer_error(struct source *s, struct swo_error *err)
{
	char text[sizeof(err->text)];

	if (s->peer_before_us.code == SWO_E_NONE)
		return;
	memcpy(text, err->text, sizeof(text));
	snprintf(err->text, sizeof(err->text), "%.250s; and %.120s", text, s->peer_before_us.text);
}

static bool has_reason(void *arg)
{
	struct source *s = arg;

	return s->refusal.code != SWO_E_NONE || s->m.lost;
}

/* A broken channel is often the first sign of a failure on the target; its reason may follow. */
static void await_failure_reason(struct source *s, struct swo_error *err)
{
	if (!s->m.control_reader_runs)
		return;
	migration_wait_until(
		&s->m, has_reason, s, true, swo_deadline_ms(REASON_WAIT_MS), "a reason", NULL);
	pthread_mutex_lock(&s->m.mutex);
	if (s->refusal.code != SWO_E_NONE)
		*err = s->refusal;
	pthread_mutex_unlock(&s->m.mutex);
}

static int start_again(struct source *s, struct swo_error *err)
{
	/* The VMM has already rolled back a stop that failed. */
	if (source_vm_runs(s) && !s->stop_returned)
		return 0;
	if (s->m.vm.ops->start(s->m.vm.opaque, err))
		return -1;
	/* A user who stopped the VM meanwhile leaves another state. */
	if (swo_runstate_get(s->m.vm.runstate) == SWO_RUN_STATE_FINISH_MIGRATE)
		return swo_error_set(err, SWO_E_STATE, 0,
			"swo_vm_ops.start returned 0, but the run state is still finish-migrate: it "
			"must be changed to running");
	return 0;
}

/* The target has started in the RAM of both, whatever it reports, and although it may not yet. */
static void leave_ram(struct source *s, struct swo_error *why)
{
	const struct swo_error first = *why;
	struct swo_error err = {0};

	if (source_vm_runs(s) && s->m.vm.ops->stop(s->m.vm.opaque, &err))
		swo_log(SWO_LOG_ERROR, "the VM may run twice in one RAM: %s", err.text);
	source_finish(s);
	swo_error_set(why, SWO_E_STATE, 0,
		"the target has started the VM in the RAM that both share (handover=fd) without GO, so "
		"that it cannot run here: %.200s",
		first.text);
}

void source_roll_back(struct source *s, struct swo_error *why)
{
	struct swo_migration *m = &s->m;
	const bool before_go = handover_is(&m->handover, SOURCE_TAKE_BACK);
	const struct swo_error first = *why;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	/* The target checks this before it starts the VM, whatever it still receives. */
	const bool lost = !ram_share_forbid(&m->share);

	source_converge_end(s);
	drain_workers(s);
	if (lost) {
		leave_ram(s, why);
		return;
	}
	const bool stays_stopped = s->stopped_by_us && start_again(s, &err);

	if (stays_stopped)
		swo_log(SWO_LOG_ERROR, "after a failed migration: %s", err.text);
	/*
	 * A user may stop the VM again at any time. With RUNNING this includes the devices that a
	 * partly failed stop did not reach.
	 */
	const enum swo_run_state state = runstate_hold(m->vm.runstate);

	devices_to(s, state == SWO_RUN_STATE_RUNNING ? SWO_DEVICE_RUNNING : SWO_DEVICE_STOP);
	runstate_release(m->vm.runstate);
	if (state == SWO_RUN_STATE_FINISH_MIGRATE)
		m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_PAUSED);
	source_own_log_stop(s);
	source_logs_stop(s);
	if (before_go && first.code == SWO_E_PEER_LOST)
		await_failure_reason(s, why);
	else if (before_go && first.code != SWO_E_CANCELLED)
		append_peer_error(s, why);
	if (stays_stopped) {
		const struct swo_error reason = *why;

		swo_error_set(why, reason.code, 0, "%.180s; and on resuming: %.180s", reason.text,
			err.text);
	}
	append_device_health(s, why);
	swo_timeline_span(m->timeline, SWO_EVENT_ROLL_BACK, "", start, swo_now_ns(), 0);
}

/* The VM runs on the target */

void source_finish(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (swo_device_health(m->vm.devices[i]) != SWO_DEVICE_LOST &&
			swo_device_launch(m->vm.devices[i], SWO_DEVICE_STOP, &err))
			swo_log(SWO_LOG_WARN, "after the migration: %s", err.text);
	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (swo_device_health(m->vm.devices[i]) != SWO_DEVICE_LOST &&
			swo_device_wait(m->vm.devices[i], &err))
			swo_log(SWO_LOG_WARN, "after the migration: %s", err.text);
	/* The log of own writes ends with the migration: to lift its protection takes 20 ms a GiB. */
	source_logs_stop(s);
	ram_share_release(&m->share, &m->vm);
	m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_POSTMIGRATE);
	swo_timeline_span(m->timeline, SWO_EVENT_CLEAN_UP, "", start, swo_now_ns(), 0);
}
