/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * target.c - the target's thread: load, say READY, and run the VM on GO and on nothing else.
 */
#include "migration/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Waits that end by what others do, with a bound on how long a lost wake-up could cost. */
#define TICK_MS 1000

uint32_t target_event(struct target *t, enum target_event event)
{
	uint32_t actions = target_step(&t->state, event);

	t->m.info.committed = t->state == TARGET_STARTING || t->state == TARGET_STARTED;
	return actions;
}

static uint32_t step(struct target *t, enum target_event event)
{
	pthread_mutex_lock(&t->m.mutex);
	uint32_t actions = target_event(t, event);
	pthread_mutex_unlock(&t->m.mutex);
	return actions;
}

/* ---- what the source says on the control connection -------------------------------------- */

static int take_go(struct target *t, const struct swo_frame_header *header, const uint8_t *payload,
	struct swo_error *err)
{
	struct wire_go go;

	if (header->length != sizeof(go))
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "GO of %u bytes", header->length);
	memcpy(&go, payload, sizeof(go));
	bool right = !memcmp(&go, &t->go, sizeof(go)) && t->go.nonce;

	t->go_seen = t->go_seen || right;
	t->bad_go = t->bad_go || !right;
	return 0;
}

static int handle_locked(struct target *t, const struct swo_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	switch (header->type) {
	case WIRE_MACHINE:
		if (t->machine_seen)
			return swo_error_set(err, SWO_E_PROTOCOL, 0, "vCPU state came twice");
		t->machine_seen = true;
		return swo_buf_append(&t->machine, payload, header->length, err);
	case WIRE_END_ALL:
		if (header->length != sizeof(t->end) || t->end_all)
			return swo_error_set(err, SWO_E_PROTOCOL, 0, "a bad END_ALL");
		memcpy(&t->end, payload, sizeof(t->end));
		t->end_all = true;
		return 0;
	case WIRE_GO:
		return take_go(t, header, payload, err);
	case WIRE_ABORT:
		t->aborted = true;
		snprintf(t->abort_word, sizeof(t->abort_word), "%s", (const char *)payload);
		return 0;
	case WIRE_DONE:
		t->settled = true;
		return 0;
	default:
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"the source sent a frame of type %u on the control connection",
			header->type);
	}
}

static int handle(struct swo_migration *m, const struct swo_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	struct target *t = (struct target *)m;
	struct swo_frame_header reply = {
		.type = WIRE_CLOCK_REPLY, .offset = header->offset, .pass = swo_now_ns()};

	if (header->type == WIRE_CLOCK)
		return swo_channel_send(&m->control, &reply, NULL, 0, err);
	if (header->type == WIRE_CONFIG)
		return target_device_config(t, header, payload, err);
	pthread_mutex_lock(&m->mutex);
	int rc = handle_locked(t, header, payload, err);
	bool failed = rc && t->state == TARGET_LOADING;

	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	if (failed)
		migration_fail(m, err);
	return rc;
}

static void *control_reader(void *opaque)
{
	migration_read_control(opaque, handle);
	return NULL;
}

/* ---- a source ------------------------------------------------------------------------------ */

static bool has_hello(void *arg)
{
	return ((struct target *)arg)->hello_seen;
}

/* Whoever does not fit is told so, and the target goes on waiting for the one that does. */
static void dismiss(struct target *t, const struct swo_error *why)
{
	swo_log(SWO_LOG_WARN, "a source was turned away: %s", why->text);
	migration_control(&t->m, WIRE_ABORT, why->text, strlen(why->text), NULL);
	pthread_mutex_lock(&t->m.mutex);
	swo_channel_close(&t->m.control);
	t->m.control_open = false;
	hello_free(&t->hello);
	t->hello_seen = false;
	pthread_mutex_unlock(&t->m.mutex);
}

static int await_source(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	for (;;) {
		/* As long as it takes: an operator or `quit` ends it. */
		while (migration_wait_until(
			m, has_hello, t, false, swo_deadline_ms(60000), "a source's HELLO", err))
			if (err->code != SWO_E_TIMEOUT)
				return -1;
		if (!hello_check(&t->hello, &m->vm, err))
			return 0;
		dismiss(t, err);
	}
}

static int answer_hello(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;
	struct swo_buf text = SWO_BUF_INIT(WIRE_HELLO_MAX);
	struct hello_cost *costs = calloc(m->vm.device_count + 1, sizeof(*costs));

	if (!costs)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "HELLO");
	for (unsigned i = 0; i < m->vm.device_count; i++) {
		struct swo_device *dev = m->vm.devices[i];

		costs[i].finalise_ns =
			swo_device_arc_cost(dev, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP).mean_ns;
		costs[i].to_p2p_ns =
			swo_device_arc_cost(dev, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P).mean_ns;
		costs[i].to_running_ns =
			swo_device_arc_cost(dev, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING)
				.mean_ns;
	}
	int rc = hello_ok_format(costs, m->vm.device_count, &text, err);

	if (!rc)
		rc = migration_control(m, WIRE_HELLO_OK, text.data, text.len, err);
	swo_buf_free(&text);
	free(costs);
	return rc;
}

static int open_sessions(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	pthread_mutex_lock(&m->mutex);
	target_event(t, TARGET_EV_HELLO);
	memcpy(m->info.id, t->hello.id, sizeof(m->info.id));
	pthread_mutex_unlock(&m->mutex);
	memcpy(t->go.id, t->hello.id, sizeof(t->go.id));
	if (swo_thread_start(&m->control_reader, "swo-control", control_reader, m, err))
		return -1;
	m->control_reader_runs = true;
	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (target_device_init(t, i, t->hello.devices[i].window, err))
			return -1;
	if (target_devices_resume(t, err))
		return -1;
	target_devices_load(t);
	pthread_mutex_lock(&m->mutex);
	t->hello_taken = true;
	pthread_mutex_unlock(&m->mutex);
	return answer_hello(t, err);
}

/* ---- loading ------------------------------------------------------------------------------------
 */

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
	swo_timeline_span(m->timeline, SWO_SPAN_WORK, "", start, swo_now_ns(), t->machine.len,
		"vCPU and board state");
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

/* Something for target_devices_finalise to do. */
static bool has_settled(const struct target *t)
{
	for (unsigned i = 0; i < t->devices_made; i++)
		if (t->devices[i].settled && !t->devices[i].waited)
			return true;
	return false;
}

static bool everything_is_in(const struct target *t)
{
	if (!ram_is_in(t) || !t->end_all || !t->machine_loaded)
		return false;
	for (unsigned i = 0; i < t->devices_made; i++)
		if (t->hello.finalise == SWO_WHEN_LATE ? !t->devices[i].loaded
						       : !t->devices[i].finalised)
			return false;
	return true;
}

static int load(struct target *t, struct swo_error *err)
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
		bool all = everything_is_in(t), aborted = t->aborted;
		bool busy = (t->machine_seen && !t->machine_loaded) || has_settled(t);
		bool same =
			t->end.all.frames == t->fins.frames && t->end.all.bytes == t->fins.bytes;

		/* Nothing happened since we looked: wait until something does. */
		if (!all && !aborted && !busy && m->failure.code == SWO_E_NONE &&
			!m->cancel_asked && !m->quit && !m->lost && ram == ram_is_in(t))
			swo_cond_wait(&m->changed, &m->mutex, swo_deadline_ms(TICK_MS));
		aborted = t->aborted;
		pthread_mutex_unlock(&m->mutex);

		if (aborted)
			return swo_error_set(err, SWO_E_PEER_LOST, 0, "the source gave up: %.300s",
				t->abort_word);
		if (all && !same)
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"the channels' sums are not those that the source has sent");
		if (all)
			return 0;
		if (migration_broken(m, err))
			return -1;
	}
}

/* ---- READY and GO
 * ------------------------------------------------------------------------------------ */

static bool decided(void *arg)
{
	struct target *t = arg;

	return t->go_seen || t->bad_go || t->aborted || t->state == TARGET_REFUSED ||
	       t->m.cancel_asked || t->m.quit || t->m.failure.code != SWO_E_NONE;
}

static enum target_event await_go(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	/* The nonce is made only now: nobody can know it before we are ready. */
	pthread_mutex_lock(&m->mutex);
	do
		t->go.nonce = migration_random();
	while (!t->go.nonce);
	target_event(t, TARGET_EV_LOADED);
	pthread_mutex_unlock(&m->mutex);
	swo_timeline_mark(m->timeline, "", "READY");
	/* If this does not get through, the source will give up, or ask. */
	migration_control(m, WIRE_READY, &t->go, sizeof(t->go), NULL);

	int rc = migration_wait_until(
		m, decided, t, true, swo_deadline_ms(m->params.commit_deadline_ms), "GO", err);

	pthread_mutex_lock(&m->mutex);
	enum target_event event = TARGET_EV_FAIL;

	if (m->cancel_asked || m->quit) {
		event = TARGET_EV_CANCEL;
		swo_error_set(err, SWO_E_CANCELLED, 0, "the migration was cancelled at the target");
	} else if (m->failure.code != SWO_E_NONE) {
		*err = m->failure;
	} else if (t->aborted) {
		event = TARGET_EV_ABORT;
		swo_error_set(err, SWO_E_PEER_LOST, 0, "the source gave up: %.300s", t->abort_word);
	} else if (t->state == TARGET_REFUSED) {
		swo_error_set(err, SWO_E_PEER_LOST, 0, "%.300s", t->word);
	} else if (t->bad_go) {
		event = TARGET_EV_BAD_GO;
		swo_error_set(err, SWO_E_PROTOCOL, 0, "a GO came that is not for this migration");
	} else if (!rc) {
		event = TARGET_EV_GO;
	}
	pthread_mutex_unlock(&m->mutex);
	return event;
}

/* A device that did not make it is put into some sound state; the VM goes on without its state. */
static void mend_devices(struct target *t)
{
	for (unsigned i = 0; i < t->m.vm.device_count; i++) {
		struct swo_device *dev = t->m.vm.devices[i];
		struct swo_error err = {0};

		if (swo_device_health(dev) == SWO_DEVICE_LOST ||
			swo_device_state(dev) == SWO_DEVICE_RUNNING)
			continue;
		if (swo_device_recover(dev, false, &err))
			swo_log(SWO_LOG_ERROR, "%s", err.text);
	}
}

static void note_devices(struct target *t, const char *head)
{
	size_t used = (size_t)snprintf(t->word, sizeof(t->word), "%.300s", head);

	for (unsigned i = 0; i < t->m.vm.device_count; i++) {
		enum swo_device_health health = swo_device_health(t->m.vm.devices[i]);

		if (health == SWO_DEVICE_SOUND || used >= sizeof(t->word))
			continue;
		used += (size_t)snprintf(t->word + used, sizeof(t->word) - used, "%sdevice %s %s",
			used ? "; " : "", swo_device_name(t->m.vm.devices[i]),
			health == SWO_DEVICE_LOST ? "is lost" : "was reset, its state is gone");
	}
}

static void start_vm(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;
	uint64_t start = swo_now_ns();

	if (t->end.running && m->vm.autostart) {
		if (m->vm.ops->start(m->vm.opaque, err))
			mend_devices(t);
	} else {
		/* Paused means stopped: with --finalise late they are still in RESUMING. */
		for (unsigned i = 0; i < m->vm.device_count; i++)
			if (swo_device_set_state(m->vm.devices[i], SWO_DEVICE_STOP, err) &&
				swo_device_recover(m->vm.devices[i], true, err))
				swo_log(SWO_LOG_ERROR, "%s", err->text);
		m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_PAUSED);
	}
	swo_timeline_span(m->timeline, SWO_SPAN_PHASE, "", start, swo_now_ns(), 0, "start");
}

static void send_timeline(struct target *t)
{
	char *text = t->m.timeline ? swo_timeline_to_json(t->m.timeline) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (len && len <= WIRE_TIMELINE_MAX)
		migration_control(&t->m, WIRE_TIMELINE, text, len, NULL);
	free(text);
}

static bool is_settled(void *arg)
{
	struct target *t = arg;

	return t->settled || t->m.quit;
}

static void go(struct target *t)
{
	struct swo_migration *m = &t->m;
	struct swo_error err = {0};

	swo_timeline_mark(m->timeline, "", "GO");
	start_vm(t, &err);
	pthread_mutex_lock(&m->mutex);
	note_devices(t, err.text);
	target_event(t, TARGET_EV_STARTED);
	pthread_mutex_unlock(&m->mutex);
	migration_control(m, WIRE_STARTED, t->word, strlen(t->word), NULL);
	swo_timeline_mark(m->timeline, "", "STARTED");
	migration_watch(m, false);
	migration_end(m, SWO_MIGRATION_COMPLETED, t->word[0] ? &err : NULL);
	send_timeline(t);

	/* The listener stays until the source knows: it may have to ask. */
	while (migration_wait_until(m, is_settled, t, true, swo_deadline_ms(60000), "DONE", NULL))
		;
}

static void discard(struct target *t, const struct swo_error *why, bool cancelled)
{
	struct swo_migration *m = &t->m;

	/* The word first: the source's VM waits for it. */
	if (m->control_open)
		migration_control(m, WIRE_REFUSED, why->text, strlen(why->text), NULL);
	atomic_store(&m->abort, true);
	pthread_mutex_lock(&m->mutex);
	for (unsigned i = 0; i < m->data_open; i++)
		if (t->readers[i].runs)
			swo_channel_shutdown(&m->data[i]);
	pthread_mutex_unlock(&m->mutex);
	target_devices_wake(t);
	for (unsigned i = 0; i < t->devices_made; i++) {
		struct swo_device *dev = m->vm.devices[i];
		struct swo_error err = {0};

		/* Whatever was launched is waited for; it has its deadline. */
		target_device_settle(&t->devices[i], true, &err);
		if (swo_device_health(dev) == SWO_DEVICE_LOST)
			continue;
		swo_worker_idle_wait(
			swo_device_worker(dev), swo_deadline_ms(2 * m->params.idle_deadline_ms));
		if (swo_device_discard(dev, &err))
			swo_log(SWO_LOG_WARN, "after a refused migration: %s", err.text);
	}
	migration_watch(m, false);
	migration_end(m, cancelled ? SWO_MIGRATION_CANCELLED : SWO_MIGRATION_FAILED, why);
}

/* ---- the thread
 * ----------------------------------------------------------------------------------------- */

static int until_loaded(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	migration_set_status(m, SWO_MIGRATION_SETUP);
	if (await_source(t, err))
		return -1;
	uint64_t start = swo_now_ns();

	if (open_sessions(t, err))
		return -1;
	swo_timeline_span(m->timeline, SWO_SPAN_PHASE, "", start, swo_now_ns(), 0, "setup");
	migration_set_status(m, SWO_MIGRATION_ACTIVE);
	return load(t, err);
}

static void target_main(struct swo_migration *m)
{
	struct target *t = (struct target *)m;
	struct swo_error err = {0};
	enum target_event event;

	if (until_loaded(t, &err)) {
		pthread_mutex_lock(&m->mutex);
		bool cancelled = m->cancel_asked || m->quit;

		if (!cancelled && m->failure.code != SWO_E_NONE)
			err = m->failure;
		pthread_mutex_unlock(&m->mutex);
		event = cancelled ? TARGET_EV_CANCEL : TARGET_EV_FAIL;
	} else {
		event = await_go(t, &err);
	}
	pthread_mutex_lock(&m->mutex);
	if (event != TARGET_EV_GO)
		memcpy(t->word, err.text, strlen(err.text) + 1);
	pthread_mutex_unlock(&m->mutex);
	/* An ASK may have come in between: then GO finds REFUSED, and starts nothing. */
	if (step(t, event) & ACT_START)
		go(t);
	else
		discard(t, &err, event == TARGET_EV_CANCEL);
}

static bool may_run(struct swo_migration *m)
{
	return target_may_run(((struct target *)m)->state);
}

static int resolve(struct swo_migration *m, bool run_here, struct swo_error *err)
{
	(void)m;
	(void)run_here;
	return swo_error_set(err, SWO_E_STATE, 0,
		"this is the target of a migration: only a source can be in doubt");
}

static void interrupt(struct swo_migration *m)
{
	/* Our thread sees why, and wakes and stops all others in its own order. */
	migration_wake(m);
}

static void lost(struct swo_migration *m)
{
	/* Before READY a lost source is the end of it; the main thread sees m->lost. */
	(void)m;
}

static void target_free(struct swo_migration *m)
{
	struct target *t = (struct target *)m;

	if (t->listener)
		swo_listener_stop(t->listener);
	if (t->acceptor_runs)
		pthread_join(t->acceptor, NULL);
	if (m->control_open)
		swo_channel_shutdown(&m->control);
	if (m->control_reader_runs)
		pthread_join(m->control_reader, NULL);
	for (unsigned i = 0; i < WIRE_CHANNELS_MAX; i++) {
		if (!t->readers[i].runs)
			continue;
		swo_channel_shutdown(&m->data[i]);
		pthread_join(t->readers[i].thread, NULL);
		swo_channel_close(&m->data[i]);
	}
	if (m->control_open)
		swo_channel_close(&m->control);
	migration_watch(m, false);
	for (unsigned i = 0; i < t->devices_made; i++)
		target_device_fini(&t->devices[i]);
	swo_listener_close(t->listener);
	hello_free(&t->hello);
	swo_buf_free(&t->machine);
	free(t->devices);
	migration_fini(m);
	free(t);
}

static const struct migration_ops target_ops = {
	.main = target_main,
	.may_run = may_run,
	.resolve = resolve,
	.interrupt = interrupt,
	.lost = lost,
	.free = target_free,
};

int swo_migration_receive(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err)
{
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "migration");
	if (migration_init(&t->m, &target_ops, vm, uri, params, observer, timeline, err)) {
		free(t);
		return -1;
	}
	t->machine = (struct swo_buf)SWO_BUF_INIT(SWO_MACHINE_STATE_MAX);
	t->devices = calloc(vm->device_count + 1, sizeof(*t->devices));
	if (!t->devices) {
		swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "migration of %u devices", vm->device_count);
		goto fail;
	}
	migration_watch(&t->m, true);
	if (swo_listener_open(uri, &t->listener, err))
		goto fail;
	if (swo_thread_start(&t->acceptor, "swo-accept", target_acceptor, t, err))
		goto fail;
	t->acceptor_runs = true;
	if (migration_run(&t->m, err))
		goto fail;
	*out = &t->m;
	return 0;
fail:
	target_free(&t->m);
	return -1;
}
