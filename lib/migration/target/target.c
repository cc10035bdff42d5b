/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * target.c - the target of a migration: its life cycle, its thread, and its actions for each step
 * of the handover. Only GO starts the VM.
 */
#include "migration/target/target.h"

#include "device/core/engine.h"
#include "journal/write.h"
#include "memory/share.h"
#include "runstate/hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Timeout for the source's reason of a failure; nothing waits for this side any more. */
#define REASON_WAIT_MS 500
/* The interval at which the shared word is looked at. */
#define LOOK_MS 100

/* Loading */

/* Raises FAIL. An earlier failure takes precedence: this one may be its consequence. */
static void fail(struct target *t, struct swo_error *err)
{
	pthread_mutex_lock(&t->m.mutex);
	if (t->m.failure.code != SWO_E_NONE)
		*err = t->m.failure;
	pthread_mutex_unlock(&t->m.mutex);
	migration_raise(&t->m, TARGET_EV_FAIL, err);
}

static void load(struct target *t)
{
	struct swo_migration *m = &t->m;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	if (target_open_sessions(t, &err)) {
		fail(t, &err);
		return;
	}
	swo_timeline_span(m->timeline, SWO_EVENT_SETUP, "", start, swo_now_ns(), 0);
	migration_set_status(m, SWO_MIGRATION_ACTIVE);
	if (target_load(t, &err) || target_devices_check(t, &err)) {
		fail(t, &err);
		return;
	}
	/* Generate the nonce only now: it cannot be guessed before READY. */
	uint64_t nonce;

	if (migration_random(&nonce, &err)) {
		fail(t, &err);
		return;
	}
	pthread_mutex_lock(&m->mutex);
	t->go.nonce = nonce;
	pthread_mutex_unlock(&m->mutex);
	if (migration_raise(m, TARGET_EV_LOADED, NULL) == HANDOVER_GAVE_WAY)
		migration_wait_step(
			m, TARGET_LOADING, swo_deadline_ms(1000), "the next step", NULL);
}

static void send_ready(struct target *t)
{
	struct channel_frame_header header = {.type = WIRE_READY, .offset = t->hello.nonce};

	swo_timeline_mark(t->m.timeline, SWO_EVENT_READY);
	/* If this is lost, the source times out or sends ASK. */
	channel_send(&t->m.control, &header, &t->go, sizeof(t->go), NULL);
}

/* Starting */

/*
 * Recovers the devices that failed to start; the VM runs without their state. If a user has stopped
 * it meanwhile, they stay stopped.
 */
static void mend_devices(struct target *t)
{
	const bool runs = runstate_hold(t->m.vm.runstate) == SWO_RUN_STATE_RUNNING;

	for (unsigned i = 0; runs && i < t->m.vm.device_count; i++) {
		struct swo_device *dev = t->m.vm.devices[i];
		struct swo_error err = {0};

		if (swo_device_health(dev) == SWO_DEVICE_LOST ||
			swo_device_state(dev) == SWO_DEVICE_RUNNING)
			continue;
		if (swo_device_recover(dev, false, &err))
			swo_log(SWO_LOG_ERROR, "%s", err.text);
	}
	runstate_release(t->m.vm.runstate);
}

/*
 * The devices of a paused VM are in STOP; with --finalise late they are still in RESUMING.
 */
static void arrive_paused(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (swo_device_set_state(m->vm.devices[i], SWO_DEVICE_STOP, err) &&
			swo_device_recover(m->vm.devices[i], true, err))
			swo_log(SWO_LOG_ERROR, "%s", err->text);
	m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_PAUSED);
}

/* Appends the devices that failed; false: there is no error. */
static bool describe_devices(struct target *t, struct swo_error *err)
{
	size_t used = strlen(err->text);

	for (unsigned i = 0; i < t->m.vm.device_count; i++) {
		enum swo_device_health health = swo_device_health(t->m.vm.devices[i]);

		if (health == SWO_DEVICE_SOUND || used >= sizeof(err->text))
			continue;
		used += (size_t)snprintf(err->text + used, sizeof(err->text) - used,
			"%sdevice %s %s", used ? "; " : "", swo_device_name(t->m.vm.devices[i]),
			health == SWO_DEVICE_LOST ? "is lost" : "was reset, its state is gone");
	}
	if (used && err->code == SWO_E_NONE)
		err->code = SWO_E_DEVICE;
	return used;
}

/* What the VMM's `start` has reported with its success. */
static int check_started(struct target *t, struct swo_error *err)
{
	int rc = 0;

	/* In another state a user has stopped it since. */
	if (runstate_hold(t->m.vm.runstate) == SWO_RUN_STATE_RUNNING)
		for (unsigned i = 0; !rc && i < t->m.vm.device_count; i++) {
			struct swo_device *dev = t->m.vm.devices[i];
			const enum swo_device_state state = swo_device_state(dev);

			if (state != SWO_DEVICE_RUNNING &&
				swo_device_health(dev) != SWO_DEVICE_LOST)
				rc = swo_error_set(err, SWO_E_STATE, 0,
					"swo_vm_ops.start returned 0, but device %s is in %s: it "
					"must follow the run state; it was set to RUNNING",
					swo_device_name(dev), swo_device_state_name(state));
		}
	runstate_release(t->m.vm.runstate);
	return rc;
}

static void start_vm(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;
	uint64_t start = swo_now_ns();

	if (!t->end.running || !m->vm.autostart)
		arrive_paused(t, err);
	else if (m->vm.ops->start(m->vm.opaque, err))
		mend_devices(t);
	else if (swo_runstate_get(m->vm.runstate) == SWO_RUN_STATE_INMIGRATE) {
		/* A user's `stop` was first; or the VMM omits the change. */
		swo_log(SWO_LOG_WARN,
			"the VM arrives paused: swo_vm_ops.start has left the run state inmigrate");
		arrive_paused(t, err);
	} else if (check_started(t, err))
		mend_devices(t);
	swo_timeline_span(m->timeline, SWO_EVENT_START, "", start, swo_now_ns(), 0);
}

static void send_timeline(struct target *t)
{
	char *text = t->m.timeline ? swo_timeline_to_json(t->m.timeline) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (len && len <= WIRE_TIMELINE_MAX)
		migration_control(&t->m, WIRE_TIMELINE, text, len, NULL);
	free(text);
}

/* Takes ownership of shared RAM, immediately before the first arc. */
static int take_ram_over(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	if (!m->share.page)
		return 0;
	if (!ram_share_begin(&m->share))
		return swo_error_set(err, SWO_E_STATE, 0,
			"the source rolled back before the VM was started here");
	memory_ram_take_over(m->vm.ram);
	return 0;
}

static void start(struct target *t)
{
	struct swo_migration *m = &t->m;
	struct swo_error err = {0};

	swo_timeline_mark(m->timeline, SWO_EVENT_GO);
	if (take_ram_over(t, &err)) {
		migration_raise(m, TARGET_EV_START_FAILED, &err);
		return;
	}
	start_vm(t, &err);
	migration_raise(m, TARGET_EV_STARTED, describe_devices(t, &err) ? &err : NULL);
}

/* Replies: on the connection of the query, otherwise on the control connection */

static void answer(struct target *t, enum wire_type type, void *to)
{
	struct channel_frame_header header = {.type = (uint16_t)type, .offset = t->hello.nonce};
	struct channel *channel = to ? to : &t->m.control;
	char text[WIRE_TEXT_MAX + 1];

	pthread_mutex_lock(&t->m.mutex);
	const bool open = to || t->m.control_open;
	memcpy(text, t->text, sizeof(text));
	pthread_mutex_unlock(&t->m.mutex);
	const bool sent = open && !channel_send(channel, &header, text, strlen(text), NULL);

	/* On the control connection it may be lost; a source in doubt then sends ASK. */
	pthread_mutex_lock(&t->m.mutex);
	t->refusal_known |= sent && to && to != &t->m.control && type == WIRE_REFUSED;
	pthread_mutex_unlock(&t->m.mutex);
	if (type == WIRE_STARTED)
		swo_timeline_mark(t->m.timeline, SWO_EVENT_STARTED);
}

/* Clean-up and outcome */

static void discard(struct target *t)
{
	struct swo_migration *m = &t->m;

	migration_report_cancel(m);
	ram_share_forbid(&m->share);
	/* A source that never received READY cannot be in doubt. */
	m->journal_remove = !t->go.nonce;
	pthread_mutex_lock(&m->mutex);
	for (unsigned i = 0; i < m->data_open; i++)
		if (t->readers[i].runs)
			channel_shutdown(&m->data[i]);
	pthread_mutex_unlock(&m->mutex);
	target_devices_wake(t);
	/* Wait for every launched arc; each has a deadline. */
	for (unsigned i = 0; i < t->devices_made; i++)
		target_device_settle(&t->devices[i], true, &(struct swo_error){0});
	if (t->devices_made)
		migration_check_devices(m);
	/* First: what a device does in its reset, and after it, must not reach the source's RAM. */
	const bool returned = ram_share_return(&m->share, &m->vm);

	target_devices_discard(t);
	if (returned)
		ram_share_reach_again(&m->vm);
}

static bool has_reason(void *arg)
{
	const struct target *t = arg;

	return t->aborted.code != SWO_E_NONE || t->m.lost;
}

/* A broken channel is often the first sign of a failure at the source; its reason follows. */
static void await_reason(struct target *t)
{
	struct swo_migration *m = &t->m;

	if (m->cancelled || m->reason.code != SWO_E_PEER_LOST || !m->control_reader_runs)
		return;
	migration_wait_until(
		m, has_reason, t, true, swo_deadline_ms(REASON_WAIT_MS), "a reason", NULL);
	pthread_mutex_lock(&m->mutex);
	if (t->aborted.code != SWO_E_NONE)
		m->reason = t->aborted;
	pthread_mutex_unlock(&m->mutex);
}

static void report(struct target *t)
{
	struct swo_migration *m = &t->m;

	if (handover_is(&m->handover, TARGET_REFUSED))
		await_reason(t);
	pthread_mutex_lock(&m->mutex);
	const struct swo_error why = m->reason;
	const bool refused = m->given_up, cancelled = m->cancelled;
	pthread_mutex_unlock(&m->mutex);
	migration_watch(m, false);
	if (refused) {
		migration_end(m, cancelled ? SWO_MIGRATION_CANCELLED : SWO_MIGRATION_FAILED, &why);
		return;
	}
	migration_end(m, SWO_MIGRATION_COMPLETED, why.code != SWO_E_NONE ? &why : NULL);
	send_timeline(t);
	journal_prune(m->journal);
}

/* Steps */

static int record(void *opaque, enum swo_journal_event event, const struct handover_cause *cause,
	struct swo_error *err)
{
	struct target *t = opaque;

	atomic_store(&t->recording, true);
	int rc = migration_record(&t->m, event, event == SWO_JOURNAL_READY ? t->go.nonce : 0, cause,
		swo_deadline_ms(t->m.params.commit_deadline_ms), err);

	atomic_store(&t->recording, false);
	return rc;
}

static void entered(
	void *opaque, unsigned state, unsigned event, const struct handover_cause *cause)
{
	struct target *t = opaque;

	/* The text of STARTED or REFUSED, also in reply to each later ASK. */
	pthread_mutex_lock(&t->m.mutex);
	if (cause && cause->why && (state == TARGET_STARTED || state == TARGET_REFUSED))
		snprintf(t->text, sizeof(t->text), "%s", cause->why->text);
	t->refusal_known |= event == TARGET_EV_ABORT;
	pthread_mutex_unlock(&t->m.mutex);
	migration_entered(&t->m, event, cause, state == TARGET_REFUSED);
}

static void perform(void *opaque, enum handover_action action, void *answer_to)
{
	struct target *t = opaque;

	switch (action) {
	case ACT_LOAD:
		load(t);
		break;
	case ACT_SEND_READY:
		send_ready(t);
		break;
	case ACT_START:
		start(t);
		break;
	case ACT_SEND_STARTING:
		answer(t, WIRE_STARTING, answer_to);
		break;
	case ACT_SEND_STARTED:
		answer(t, WIRE_STARTED, answer_to);
		break;
	case ACT_SEND_REFUSED:
		answer(t, WIRE_REFUSED, answer_to);
		break;
	case ACT_DISCARD:
		discard(t);
		break;
	case ACT_REPORT:
		report(t);
		break;
	default: /* actions of the source */
		break;
	}
}

static const struct handover_ops target_handover = {
	.record = record, .entered = entered, .perform = perform};

/* The thread */

/*
 * A source that shares its RAM has taken the VM back, and has no connection to report it on, or the
 * reader of that waits for the record of GO.
 */
static bool is_taken_back(struct target *t)
{
	struct swo_migration *m = &t->m;

	pthread_mutex_lock(&m->mutex);
	const bool unheard = m->lost || atomic_load(&t->recording);
	pthread_mutex_unlock(&m->mutex);
	return unheard && ram_share_is_forbidden(&m->share);
}

/* State READY: waits for the step that leaves it, such as GO. */
static void await_go(struct target *t)
{
	struct swo_migration *m = &t->m;
	const uint64_t ms = m->params.commit_deadline_ms;
	const swo_deadline deadline = swo_deadline_ms(ms);
	bool taken_back = false, late = false;
	struct swo_error err = {0};

	while (!taken_back && !late &&
		migration_wait_step(m, TARGET_READY,
			m->share.page ? swo_deadline_min(deadline, swo_deadline_ms(LOOK_MS))
				      : deadline,
			"GO", NULL)) {
		taken_back = is_taken_back(t);
		late = swo_deadline_passed(deadline);
	}
	if (taken_back)
		swo_error_set(&err, SWO_E_PEER_LOST, 0,
			"the source rolled back before the VM was started here");
	else
		swo_error_set(&err, SWO_E_TIMEOUT, 0, "timed out waiting for GO (%llu ms)",
			(unsigned long long)ms);
	if (taken_back || late)
		migration_raise(m, TARGET_EV_FAIL, &err);
}

static bool is_settled(void *arg)
{
	struct target *t = arg;

	return handover_is(&t->m.handover, TARGET_SETTLED) || t->m.quit;
}

static void target_main(struct swo_migration *m)
{
	struct target *t = (struct target *)m;
	struct swo_error err = {0};

	migration_report_setup(m);
	if (target_await_source(t, &err))
		fail(t, &err);
	else
		migration_raise(m, TARGET_EV_HELLO, NULL);
	while (!handover_final(&m->handover)) {
		migration_perform(m);
		if (handover_is(&m->handover, TARGET_READY))
			await_go(t);
		/* Keep listening until DONE: the source may have to send ASK. */
		else if (handover_is(&m->handover, TARGET_STARTED) &&
			 !migration_wait_until(
				 m, is_settled, t, true, swo_deadline_ms(60000), "DONE", NULL))
			break;
	}
	migration_perform(m);
}

/* Life cycle */

static int resolve(struct swo_migration *m, bool run_here, struct swo_error *err)
{
	(void)m;
	(void)run_here;
	return swo_error_set(err, SWO_E_STATE, 0,
		"this is the target of a migration: only a source can be in doubt");
}

static bool settled(struct swo_migration *m)
{
	struct target *t = (struct target *)m;

	if (!handover_is(&m->handover, TARGET_REFUSED))
		return handover_is(&m->handover, TARGET_SETTLED);
	/* A source that never received READY cannot be in doubt. */
	pthread_mutex_lock(&m->mutex);
	bool known = !t->go.nonce || t->refusal_known;
	pthread_mutex_unlock(&m->mutex);
	return known;
}

static void interrupt(struct swo_migration *m)
{
	/* The migration's thread detects the cause, then stops the other threads in order. */
	migration_wake(m);
}

static void target_close(struct swo_migration *m)
{
	struct target *t = (struct target *)m;

	if (t->listener)
		channel_listener_stop(t->listener);
	if (t->acceptor_runs)
		pthread_join(t->acceptor, NULL);
	if (m->control_open)
		channel_shutdown(&m->control);
	if (m->control_reader_runs)
		pthread_join(m->control_reader, NULL);
	for (unsigned i = 0; i < WIRE_CHANNELS_MAX; i++) {
		if (!t->readers[i].runs)
			continue;
		channel_shutdown(&m->data[i]);
		pthread_join(t->readers[i].thread, NULL);
		channel_close(&m->data[i]);
	}
	channel_listener_close(t->listener);
	target_devices_close(t);
}

static void target_destroy(struct swo_migration *m)
{
	struct target *t = (struct target *)m;

	/* The devices' workers send on it. */
	if (m->control_open)
		channel_close(&m->control);
	for (unsigned i = 0; i < t->devices_made; i++)
		target_device_fini(&t->devices[i]);
	migration_hello_free(&t->hello);
	swo_buf_free(&t->machine);
	free(t->devices);
	pthread_mutex_destroy(&t->handshakes_lock);
	base_log_rate_end(&t->refused);
	pthread_mutex_destroy(&t->taking);
	migration_fini(m);
	free(t);
}

static const struct migration_ops target_ops = {
	.main = target_main,
	.resolve = resolve,
	.settled = settled,
	.interrupt = interrupt,
	.close = target_close,
	.destroy = target_destroy,
};

int swo_migration_receive(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err)
{
	struct base_cancel attempt = BASE_CANCEL_INIT;
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "migration");
	if (migration_init(&t->m, &target_ops, &handover_target, &target_handover, vm, uri, params,
		    observer, timeline, err)) {
		free(t);
		return -1;
	}
	pthread_mutex_init(&t->handshakes_lock, NULL);
	pthread_mutex_init(&t->taking, NULL);
	t->refused = (struct base_log_rate)BASE_LOG_RATE_INIT;
	t->machine = (struct swo_buf)SWO_BUF_INIT(SWO_MACHINE_STATE_MAX);
	t->devices = calloc(vm->device_count + 1, sizeof(*t->devices));
	if (!t->devices) {
		swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "migration of %u devices", vm->device_count);
		goto fail;
	}
	migration_watch(&t->m, true);
	attempt.asked = t->m.observer.gives_up;
	attempt.opaque = t->m.observer.opaque;
	if (channel_listener_open(uri, &t->m.security, &attempt, &t->listener, err))
		goto fail;
	if (swo_thread_start(&t->acceptor, "swo-accept", target_acceptor, t, err))
		goto fail;
	t->acceptor_runs = true;
	if (migration_run(&t->m, err))
		goto fail;
	*out = &t->m;
	return 0;
fail:
	migration_close(&t->m);
	return -1;
}
