/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migration.c - shared by both sides of a migration: life cycle, outcome, the public calls that
 * are the same on both sides.
 */
#include "migration/internal.h"

#include "device/core/engine.h"
#include "journal/write.h"
#include "memory/ram.h"
#include "timeline/hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

/* For jobs in progress, in migration_close(). */
#define CLOSE_MS 1000
/* So long a record is waited for without which the step is taken too: not longer than the guest. */
#define RECORD_MS 200
/* So long a device has to answer, even if a stop that failed has used up its time. */
#define CHECK_MIN_MS 100

int migration_init(struct swo_migration *m, const struct migration_ops *ops,
	const struct handover_table *table, const struct handover_ops *handover,
	const struct swo_vm *vm, const char *uri, const struct swo_migration_params *params,
	const struct swo_migration_observer *observer, struct swo_timeline *timeline,
	struct swo_error *err)
{
	if (params)
		m->params = *params;
	else
		swo_migration_params_init(&m->params);
	if (swo_migration_params_check(&m->params, err))
		return -1;
	if (swo_vm_check(vm, m->is_source ? SWO_SIDE_SOURCE : SWO_SIDE_TARGET, &m->params, err))
		return -1;

	ram_share_init(&m->share);
	if (ram_share_check(vm, uri, &m->params, m->is_source, err))
		return -1;
	m->security.insecure = m->params.insecure;
	if (m->params.tls.creds[0] &&
		channel_tls_creds_load(&m->params.tls, !m->is_source, &m->security.tls, err))
		return -1;
	m->info.status = SWO_MIGRATION_SETUP;
	m->ops = ops;
	m->limit.abort = &m->abort;
	m->vm = *vm;
	m->timeline = timeline;
	if (observer)
		m->observer = *observer;
	m->uri = strdup(uri);
	m->vm.devices = calloc(vm->device_count + 1, sizeof(*vm->devices));
	m->watches = calloc(vm->device_count + 1, sizeof(*m->watches));
	if (!m->uri || !m->vm.devices || !m->watches) {
		free(m->uri);
		free(m->vm.devices);
		free(m->watches);
		channel_tls_creds_free(m->security.tls);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "migration");
	}
	if (vm->device_count)
		memcpy(m->vm.devices, vm->devices, vm->device_count * sizeof(*vm->devices));
	atomic_store(&m->references, 1);
	memory_ram_hold(vm->ram);
	timeline_hold(timeline);
	pthread_mutex_init(&m->mutex, NULL);
	swo_cond_init(&m->changed);
	handover_init(&m->handover, table, handover, m);
	m->info.start_ns = swo_now_ns();
	m->info.ram_total = swo_ram_size(vm->ram);
	return 0;
}

void migration_fini(struct swo_migration *m)
{
	swo_ram_free(m->vm.ram);
	swo_timeline_free(m->timeline);
	handover_fini(&m->handover);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->mutex);
	free(m->uri);
	free(m->vm.devices);
	free(m->watches);
	channel_tls_creds_free(m->security.tls);
}

void migration_hold(struct swo_migration *m)
{
	atomic_fetch_add(&m->references, 1);
}

void migration_release(struct swo_migration *m)
{
	if (atomic_fetch_sub(&m->references, 1) == 1)
		m->ops->destroy(m);
}

void migration_close(struct swo_migration *m)
{
	const swo_deadline deadline = swo_deadline_ms(CLOSE_MS);

	m->ops->close(m);
	migration_watch(m, false);
	/* Another migration of this VM may follow at once. */
	pthread_mutex_lock(&m->mutex);
	struct swo_journal *journal = m->journal;
	m->journal = NULL;
	pthread_mutex_unlock(&m->mutex);
	journal_close(journal, m->journal_remove);
	ram_share_close(&m->share);
	/* Jobs that do not hang end now: usually their memory is gone on return. */
	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (swo_device_health(m->vm.devices[i]) != SWO_DEVICE_LOST)
			swo_worker_idle_wait(swo_device_worker(m->vm.devices[i]), deadline);
	migration_release(m);
}

static void *migration_thread(void *opaque)
{
	struct swo_migration *m = opaque;

	m->ops->main(m);
	return NULL;
}

int migration_run(struct swo_migration *m, struct swo_error *err)
{
	return swo_thread_start(
		&m->thread, m->is_source ? "swo-source" : "swo-target", migration_thread, m, err);
}

static bool setup_gives_way(void *opaque)
{
	return atomic_load(&((struct swo_migration *)opaque)->abort);
}

int migration_journal_open(struct swo_migration *m, struct swo_error *err)
{
	const struct swo_journal_config *config = m->vm.journal;
	const struct journal_wait wait = {.until = swo_deadline_ms(m->params.setup_deadline_ms),
		.must = true,
		.gives_way = setup_gives_way,
		.opaque = m};
	struct swo_journal *journal;

	if (!config)
		return 0;
	if (journal_create(config, m->is_source ? SWO_JOURNAL_SOURCE : SWO_JOURNAL_TARGET,
		    m->info.id, m->uri, &wait, &journal, err))
		return -1;
	/* A cancel on another thread may write a record from here on. */
	pthread_mutex_lock(&m->mutex);
	m->journal = journal;
	pthread_mutex_unlock(&m->mutex);
	if (m->is_source)
		journal_prune(journal);
	return 0;
}

static bool record_gives_way(void *opaque)
{
	return handover_gives_way(&((struct swo_migration *)opaque)->handover);
}

int migration_record(struct swo_migration *m, enum swo_journal_event record, uint64_t nonce,
	const struct handover_cause *cause, swo_deadline deadline, struct swo_error *err)
{
	const bool must = handover_must_record(&m->handover);
	const struct journal_wait wait = {.until = must ? deadline : swo_deadline_ms(RECORD_MS),
		.must = must,
		.gives_way = must ? record_gives_way : NULL,
		.opaque = m};
	uint64_t start = swo_now_ns();

	pthread_mutex_lock(&m->mutex);
	struct swo_journal *journal = m->journal;
	pthread_mutex_unlock(&m->mutex);
	if (!journal)
		return 0;
	int rc = journal_write(
		journal, record, nonce, cause && cause->why ? cause->why->text : NULL, &wait, err);

	swo_timeline_span(m->timeline,
		journal_is_sync(journal) ? SWO_EVENT_JOURNAL_SYNC : SWO_EVENT_JOURNAL, "", start,
		swo_now_ns(), 0);
	if (rc && err->code != SWO_E_CANCELLED)
		swo_log(SWO_LOG_WARN, "%s", err->text);
	return rc;
}

int migration_random(uint64_t *out, struct swo_error *err)
{
	do
		/*
		 * A read of 8 bytes neither blocks nor is short once the pool is initialised
		 * (getrandom(2)).
		 */
		if (getrandom(out, sizeof(*out), 0) != sizeof(*out))
			return swo_error_set(err, SWO_E_IO, errno,
				"no random numbers (getrandom): without them a stranger could guess "
				"the secrets of this migration");
	while (!*out);
	return 0;
}

int migration_make_id(char id[40], struct swo_error *err)
{
	uint64_t a, b;

	if (migration_random(&a, err) || migration_random(&b, err))
		return -1;
	snprintf(id, 40, "%08x-%04x-4%03x-%04x-%04x%08x", (unsigned)(a >> 32),
		(unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff,
		0x8000 | ((unsigned)(b >> 48) & 0x3fff), (unsigned)(b >> 32) & 0xffff, (unsigned)b);
	return 0;
}

unsigned migration_threads(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	unsigned count = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Threads: %u", &count) == 1)
			break;
	fclose(file);
	return count;
}

uint64_t migration_sum(uint64_t sum, uint64_t frame_checksum)
{
	return sum + XXH3_64bits(&frame_checksum, sizeof(frame_checksum));
}

static void wake_locked(struct swo_migration *m)
{
	pthread_cond_broadcast(&m->changed);
	if (m->ops->wake)
		m->ops->wake(m);
}

void migration_wake(struct swo_migration *m)
{
	pthread_mutex_lock(&m->mutex);
	wake_locked(m);
	pthread_mutex_unlock(&m->mutex);
}

static void set_abort_locked(struct swo_migration *m)
{
	if (!m->abort_ns)
		m->abort_ns = swo_now_ns();
	atomic_store(&m->abort, true);
}

void migration_set_abort(struct swo_migration *m)
{
	pthread_mutex_lock(&m->mutex);
	set_abort_locked(m);
	pthread_mutex_unlock(&m->mutex);
}

void migration_entered(
	struct swo_migration *m, unsigned event, const struct handover_cause *cause, bool give_up)
{
	pthread_mutex_lock(&m->mutex);
	m->info.committed = handover_committed(&m->handover);
	if (cause && cause->why)
		m->reason = *cause->why;
	m->given_up = m->given_up || give_up;
	m->info.given_up = m->given_up;
	if (event == m->handover.table->cancel) {
		m->cancelled = true;
		m->info.status = SWO_MIGRATION_CANCELLING;
	}
	/* The first one: what the abort breaks off has errors of its own. */
	if (event == m->handover.table->fail && cause && cause->why &&
		m->failure.code == SWO_E_NONE && cause->why->code != SWO_E_CANCELLED &&
		!m->abort_ns)
		m->failure = *cause->why;
	if (give_up)
		set_abort_locked(m);
	wake_locked(m);
	pthread_mutex_unlock(&m->mutex);
}

enum handover_outcome migration_raise(
	struct swo_migration *m, unsigned event, const struct swo_error *why)
{
	return handover_raise(
		&m->handover, event, &(struct handover_cause){.why = why}, &(struct swo_error){0});
}

void migration_perform(struct swo_migration *m)
{
	while (handover_perform(&m->handover))
		;
}

void migration_fail(struct swo_migration *m, const struct swo_error *err)
{
	pthread_mutex_lock(&m->mutex);
	/* Keep the first error: later ones are its consequences. */
	if (m->failure.code == SWO_E_NONE && err->code != SWO_E_CANCELLED && !m->abort_ns)
		m->failure = *err;
	set_abort_locked(m);
	wake_locked(m);
	pthread_mutex_unlock(&m->mutex);
	if (err->code != SWO_E_CANCELLED)
		migration_raise(m, m->handover.table->fail, err);
}

void migration_note_failure(struct swo_migration *m, const struct swo_error *err)
{
	pthread_mutex_lock(&m->mutex);
	if (m->failure.code == SWO_E_NONE)
		m->failure = *err;
	pthread_mutex_unlock(&m->mutex);
}

int migration_device_error(struct swo_error *err)
{
	if (err && err->code == SWO_E_PEER_LOST)
		err->code = SWO_E_DEVICE;
	return -1;
}

int migration_data_error(struct swo_device *dev, const char *what, struct swo_error *err)
{
	migration_device_error(err);
	return swo_error_prefix(err, "device %s: %s in %s", swo_device_name(dev), what,
		swo_device_state_name(swo_device_state(dev)));
}

/* With the mutex held. A local failure is reported first: it often closes the connection. */
static bool broken_locked(struct swo_migration *m, struct swo_error *err)
{
	if (m->failure.code != SWO_E_NONE) {
		*err = m->failure;
		return true;
	}
	if (m->cancelled || m->quit) {
		swo_error_set(err, SWO_E_CANCELLED, 0, "the migration was cancelled");
		return true;
	}
	if (m->lost) {
		*err = m->lost_error;
		return true;
	}
	if (m->given_up)
		*err = m->reason;
	return m->given_up;
}

bool migration_broken(struct swo_migration *m, struct swo_error *err)
{
	struct swo_error ignored;

	pthread_mutex_lock(&m->mutex);
	bool broken = broken_locked(m, err ? err : &ignored);
	pthread_mutex_unlock(&m->mutex);
	return broken;
}

static bool is_final(enum swo_migration_status status)
{
	return status == SWO_MIGRATION_COMPLETED || status == SWO_MIGRATION_FAILED ||
	       status == SWO_MIGRATION_CANCELLED;
}

/* The migration whose observer this thread is inside: it cannot wait there for its own end. */
static _Thread_local const struct swo_migration *observing;

static void tell_status(struct swo_migration *m, enum swo_migration_status status)
{
	if (!m->observer.status)
		return;
	observing = m;
	m->observer.status(m->observer.opaque, status);
	observing = NULL;
}

void migration_tell_pass(struct swo_migration *m, uint64_t pass)
{
	if (!m->observer.pass)
		return;
	observing = m;
	m->observer.pass(m->observer.opaque, pass);
	observing = NULL;
}

void migration_set_status(struct swo_migration *m, enum swo_migration_status status)
{
	pthread_mutex_lock(&m->mutex);
	/* Errors in flight when a cancel arrives are not reported. */
	bool news = m->info.status != status && (!m->cancelled || is_final(status));
	if (news)
		m->info.status = status;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	if (news)
		tell_status(m, status);
}

void migration_report_setup(struct swo_migration *m)
{
	pthread_mutex_lock(&m->mutex);
	const bool cancelled = m->cancelled;
	pthread_mutex_unlock(&m->mutex);
	if (!cancelled)
		tell_status(m, SWO_MIGRATION_SETUP);
}

void migration_report_cancel(struct swo_migration *m)
{
	pthread_mutex_lock(&m->mutex);
	const bool cancelled = m->cancelled;
	pthread_mutex_unlock(&m->mutex);
	if (cancelled)
		tell_status(m, SWO_MIGRATION_CANCELLING);
}

void migration_end(
	struct swo_migration *m, enum swo_migration_status status, const struct swo_error *err)
{
	pthread_mutex_lock(&m->mutex);
	m->info.end_ns = swo_now_ns();
	if (err)
		m->info.error = *err;
	pthread_mutex_unlock(&m->mutex);

	/* The observer is called before a waiter may free the migration. */
	migration_set_status(m, status);
	pthread_mutex_lock(&m->mutex);
	m->ended = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
}

int migration_wait_until(struct swo_migration *m, bool (*done)(void *arg), void *arg,
	bool regardless, swo_deadline deadline, const char *what, struct swo_error *err)
{
	const uint64_t start_ns = swo_now_ns();
	struct swo_error local;
	int rc = 0;

	if (!err)
		err = &local;
	pthread_mutex_lock(&m->mutex);
	while (!done(arg)) {
		if (!regardless && broken_locked(m, err)) {
			rc = -1;
			break;
		}
		if (swo_cond_wait(&m->changed, &m->mutex, deadline) && !done(arg)) {
			rc = swo_error_set(err, SWO_E_TIMEOUT, 0,
				"timed out waiting for %s (%llu ms)", what,
				(unsigned long long)((swo_now_ns() - start_ns) / 1000000));
			break;
		}
	}
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

struct stay {
	const struct handover *handover;
	unsigned state;
};

static bool has_left(void *arg)
{
	const struct stay *stay = arg;

	return !handover_is(stay->handover, stay->state);
}

int migration_wait_step(struct swo_migration *m, unsigned state, swo_deadline deadline,
	const char *what, struct swo_error *err)
{
	struct stay stay = {&m->handover, state};

	return migration_wait_until(m, has_left, &stay, true, deadline, what, err);
}

void migration_check_devices(struct swo_migration *m)
{
	const swo_deadline soonest = swo_deadline_ms(CHECK_MIN_MS);

	if (m->checked)
		return;
	m->checked = true;
	migration_set_abort(m);
	for (unsigned i = 0; i < m->vm.device_count; i++) {
		struct swo_device *dev = m->vm.devices[i];
		const swo_deadline due = m->abort_ns + swo_device_arc_deadline_ms(dev) * 1000000;

		m->watches[i].checking =
			swo_device_health(dev) != SWO_DEVICE_LOST &&
			!device_check_launch(dev, due > soonest ? due : soonest, NULL);
	}
	for (unsigned i = 0; i < m->vm.device_count; i++) {
		struct swo_error err = {0};

		/* Another error than a timeout is left to the device's recovery. */
		if (m->watches[i].checking && device_check_wait(m->vm.devices[i], &err) &&
			err.code == SWO_E_TIMEOUT)
			swo_log(SWO_LOG_WARN, "after the migration was given up: %s", err.text);
	}
}

/* Observers */

static void watch_device(void *opaque, enum swo_device_state state)
{
	const struct device_watch *watch = opaque;
	const struct swo_migration_observer *observer = &watch->m->observer;

	observing = watch->m;
	observer->device_state(observer->opaque, watch->index, state);
	observing = NULL;
}

static void watch_pass(
	void *opaque, enum swo_pass pass, bool running, uint64_t start_ns, uint64_t end_ns)
{
	static const enum swo_event events[2][2] = {
		{SWO_EVENT_STOP_PREPARE, SWO_EVENT_STOP_CHANGE},
		{SWO_EVENT_START_PREPARE, SWO_EVENT_START_CHANGE},
	};
	struct swo_migration *m = opaque;

	swo_timeline_span(
		m->timeline, events[running][pass != SWO_PASS_PREPARE], "", start_ns, end_ns, 0);
}

void migration_watch(struct swo_migration *m, bool on)
{
	struct swo_runstate_observer observer = {
		.size = sizeof(struct swo_runstate_observer), .pass = watch_pass, .opaque = m};

	swo_runstate_observe(m->vm.runstate, on ? &observer : NULL);
	for (unsigned i = 0; i < m->vm.device_count; i++) {
		swo_device_set_timeline(m->vm.devices[i], on ? m->timeline : NULL);
		if (!m->observer.device_state)
			continue;
		if (!on) {
			swo_device_observe(m->vm.devices[i], NULL, NULL);
			continue;
		}
		struct device_watch *watch = &m->watches[i];

		*watch = (struct device_watch){.m = m, .index = i};
		swo_device_observe(m->vm.devices[i], watch_device, watch);
	}
}

/* Public calls common to both sides */

const char *swo_migration_status_name(enum swo_migration_status status)
{
	static const char *const names[] = {"none", "setup", "active", "device", "cancelling",
		"cancelled", "completed", "failed", "in-doubt", "pre-switchover"};

	return (size_t)status < SWO_ARRAY_SIZE(names) ? names[status] : "unknown";
}

void swo_migration_info(struct swo_migration *m, struct swo_migration_info *out)
{
	pthread_mutex_lock(&m->mutex);
	*out = m->info;
	pthread_mutex_unlock(&m->mutex);
	if (m->ops->progress)
		m->ops->progress(m, out);
}

int swo_migration_continue(struct swo_migration *m, struct swo_error *err)
{
	pthread_mutex_lock(&m->mutex);
	const enum swo_migration_status status = m->info.status;

	m->continued = m->continued || status == SWO_MIGRATION_PRE_SWITCHOVER;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	if (status == SWO_MIGRATION_PRE_SWITCHOVER)
		return 0;
	return swo_error_set(err, SWO_E_STATE, 0, "Migration not in expected state: %s",
		swo_migration_status_name(status));
}

static enum handover_outcome cancel(struct swo_migration *m)
{
	struct swo_error why;

	swo_error_set(&why, SWO_E_CANCELLED, 0, "the migration was cancelled%s",
		m->is_source ? "" : " at the target");
	return migration_raise(m, m->handover.table->cancel, &why);
}

/* Of a cancel or an abort, which no rule had a use for. */
static int too_late(struct swo_migration *m, struct swo_error *err)
{
	pthread_mutex_lock(&m->mutex);
	const bool committed = m->info.committed;
	const bool over = m->ended || is_final(m->info.status);
	pthread_mutex_unlock(&m->mutex);
	if (over)
		return swo_error_set(
			err, SWO_E_STATE, 0, "the migration has ended: nothing to cancel");
	if (committed)
		return swo_error_set(err, SWO_E_STATE, 0,
			"the migration is past its point of no return and cannot be cancelled");
	return 0;
}

int swo_migration_cancel(struct swo_migration *m, struct swo_error *err)
{
	if (cancel(m) == HANDOVER_IGNORED && too_late(m, err))
		return -1;
	m->ops->interrupt(m);
	return 0;
}

int swo_migration_abort(struct swo_migration *m, const struct swo_error *why, struct swo_error *err)
{
	if (!why || why->code == SWO_E_NONE || why->code == SWO_E_CANCELLED)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"abort: why needs a reason; for a user's request there is a cancel");
	if (migration_raise(m, m->handover.table->fail, why) == HANDOVER_IGNORED &&
		too_late(m, err))
		return -1;
	m->ops->interrupt(m);
	return 0;
}

int swo_migration_resolve(struct swo_migration *m, bool run_here, struct swo_error *err)
{
	return m->ops->resolve(m, run_here, err);
}

bool swo_migration_may_run(struct swo_migration *m)
{
	return handover_may_run(&m->handover) && !(m->is_source && atomic_load(&m->share.lost));
}

bool swo_migration_settled(struct swo_migration *m)
{
	return swo_migration_wait(m, swo_now_ns()) && (!m->ops->settled || m->ops->settled(m));
}

bool swo_migration_wait(struct swo_migration *m, swo_deadline deadline)
{
	pthread_mutex_lock(&m->mutex);
	while (!m->ended)
		if (swo_cond_wait(&m->changed, &m->mutex, deadline))
			break;
	bool ended = m->ended;
	pthread_mutex_unlock(&m->mutex);
	return ended;
}

static void *free_now(void *opaque)
{
	struct swo_migration *m = opaque;

	cancel(m);
	pthread_mutex_lock(&m->mutex);
	m->quit = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	m->ops->interrupt(m);
	pthread_join(m->thread, NULL);
	migration_close(m);
	return NULL;
}

void swo_migration_free(struct swo_migration *m)
{
	struct swo_error err;
	pthread_t thread;

	if (!m)
		return;
	if (observing != m)
		free_now(m);
	else if (!swo_thread_start(&thread, "swo-free", free_now, m, &err))
		pthread_detach(thread);
	else
		swo_log(SWO_LOG_ERROR, "cannot free a migration in its observer: %s", err.text);
}
