/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * target.c - the target's thread: load, say READY, and run the VM on GO and on nothing else.
 */
#include "migration/target/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_MS 1000 /* for devices to come to rest, at the very end */

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
/* READY and GO */

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
	pthread_mutex_unlock(&m->mutex);
	if (migration_journal(m, target_record(TARGET_READY), t->go.nonce, NULL, err))
		return TARGET_EV_FAIL;
	step(t, TARGET_EV_LOADED);
	swo_timeline_mark(m->timeline, SWO_EVENT_READY);
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

static bool is_settled(void *arg)
{
	struct target *t = arg;

	return t->settled || t->m.quit;
}

static void go(struct target *t)
{
	struct swo_migration *m = &t->m;
	struct swo_error err = {0};

	swo_timeline_mark(m->timeline, SWO_EVENT_GO);
	start_vm(t, &err);
	pthread_mutex_lock(&m->mutex);
	note_devices(t, err.text);
	target_event(t, TARGET_EV_STARTED);
	pthread_mutex_unlock(&m->mutex);
	migration_journal_note(m, target_record(TARGET_STARTED), t->word);
	migration_control(m, WIRE_STARTED, t->word, strlen(t->word), NULL);
	swo_timeline_mark(m->timeline, SWO_EVENT_STARTED);
	migration_watch(m, false);
	migration_end(m, SWO_MIGRATION_COMPLETED, t->word[0] ? &err : NULL);
	send_timeline(t);
	if (m->journal)
		swo_journal_remove_settled(m->vm.journal->dir, m->vm.journal->vm, m->info.id);

	/* The listener stays until the source knows: it may have to ask. */
	while (migration_wait_until(m, is_settled, t, true, swo_deadline_ms(60000), "DONE", NULL))
		;
	pthread_mutex_lock(&m->mutex);
	const bool settled = t->settled;
	pthread_mutex_unlock(&m->mutex);
	if (settled)
		migration_journal_note(m, SWO_JOURNAL_DONE, NULL);
}

/* The last thing before the first arc: RAM that both share is ours from here on. */
static int take_ram_over(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	if (!m->share.page)
		return 0;
	if (!ram_share_begin(&m->share))
		return swo_error_set(err, SWO_E_STATE, 0,
			"the source has taken the VM back before it was begun here");
	swo_ram_take_over(m->vm.ram);
	return 0;
}

static void discard(struct target *t, const struct swo_error *why, bool cancelled)
{
	struct swo_migration *m = &t->m;

	ram_share_forbid(&m->share);
	/* A source that never heard READY has nothing to ask about. */
	m->journal_remove = !t->go.nonce;
	migration_journal_note(m, target_record(TARGET_REFUSED), why->text);
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
	ram_share_release(&m->share, &m->vm);
	migration_watch(m, false);
	migration_end(m, cancelled ? SWO_MIGRATION_CANCELLED : SWO_MIGRATION_FAILED, why);
}

/* The thread */

static int until_loaded(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	migration_set_status(m, SWO_MIGRATION_SETUP);
	if (target_await_source(t, err))
		return -1;
	uint64_t start = swo_now_ns();

	if (target_open_sessions(t, err))
		return -1;
	swo_timeline_span(m->timeline, SWO_EVENT_SETUP, "", start, swo_now_ns(), 0);
	migration_set_status(m, SWO_MIGRATION_ACTIVE);
	return target_load(t, err);
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
	uint32_t actions = step(t, event);

	/* What is not on record does not start: nobody could tell later that it did. */
	if ((actions & ACT_JOURNAL) && (actions & ACT_START) &&
		(migration_journal(m, target_record(TARGET_STARTING), 0, NULL, &err) ||
			take_ram_over(t, &err)))
		actions = step(t, TARGET_EV_START_FAILED);
	if (actions & ACT_START)
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
	swo_listener_close(t->listener);
	/* What a device's worker has been given is ours until it is done with it, which is a moment
	   after it has told us so. One that hangs keeps it. */
	if (!migration_devices_idle(m, swo_deadline_ms(FREE_MS))) {
		swo_log(SWO_LOG_WARN,
			"a device hangs: what its migration holds is left behind with it");
		swo_leak_hung(t);
		return;
	}
	for (unsigned i = 0; i < t->devices_made; i++)
		target_device_fini(&t->devices[i]);
	migration_hello_free(&t->hello);
	swo_buf_free(&t->machine);
	free(t->devices);
	pthread_mutex_destroy(&t->greeting);
	pthread_mutex_destroy(&t->taking);
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
	pthread_mutex_init(&t->greeting, NULL);
	pthread_mutex_init(&t->taking, NULL);
	t->machine = (struct swo_buf)SWO_BUF_INIT(SWO_MACHINE_STATE_MAX);
	t->devices = calloc(vm->device_count + 1, sizeof(*t->devices));
	if (!t->devices) {
		swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "migration of %u devices", vm->device_count);
		goto fail;
	}
	migration_watch(&t->m, true);
	if (swo_listener_open(uri, &t->m.security, &t->listener, err))
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
