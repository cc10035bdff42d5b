/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device hangs and the migration is given up: how long that takes, what the job that is left
 * behind may still use, and what the next migration meets. And a migration that is freed while its
 * observer runs, or in it.
 */
#include "fake_vm.h"
#include "outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 300
#define POLL_NS	    2000000

struct pair {
	struct fake_vm source, target;
	unsigned fds, threads; /* before the migration */
};

static void open_pair(struct pair *pair, unsigned devices, enum swo_transitions transitions)
{
	fake_vm_open(&pair->source, devices, true, 300000, transitions);
	fake_vm_open(&pair->target, devices, false, 300000, transitions);
	pair->fds = fake_entries("/proc/self/fd");
	pair->threads = fake_entries("/proc/self/task");
}

static void close_pair(struct pair *pair)
{
	fake_vm_close(&pair->source);
	fake_vm_close(&pair->target);
}

static void free_migration(struct fake_vm *vm)
{
	swo_migration_free(vm->migration);
	vm->migration = NULL;
}

/* Whatever a late job or a late free still held. */
static void await_nothing_held(const struct pair *pair)
{
	const swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	while (fake_entries("/proc/self/fd") > pair->fds ||
		fake_entries("/proc/self/task") > pair->threads) {
		if (swo_deadline_passed(guard))
			fail_msg("%u descriptors, %u before; %u threads, %u before",
				fake_entries("/proc/self/fd"), pair->fds,
				fake_entries("/proc/self/task"), pair->threads);
		swo_sleep_until(swo_now_ns() + POLL_NS);
	}
}

static void deadlines(uint64_t first, uint64_t others)
{
	for (unsigned i = 0; i < FAKE_DEVICES_MAX; i++)
		fake_arc_deadlines_ms[i] = i ? others : first;
}

/* The device answers at last. */
static void answer(struct fake_device *d, enum swo_device_state settled)
{
	fake_release(d);
	assert_true(
		swo_worker_idle_wait(swo_device_worker(d->dev), swo_deadline_ms(FAKE_GUARD_MS)));
	assert_int_equal(fake_state(d), settled);
}

/* Another migration of the source's VM: refused before anything is connected. */
static void expect_refused(struct fake_vm *vm, const char *name)
{
	const struct swo_migration_params params = fake_params();

	assert_int_equal(
		swo_migration_send(&vm->vm, fake_uri(), &params, NULL, NULL, &vm->migration, NULL),
		0);
	struct swo_migration_info info = fake_end(vm);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_true(strstr(info.error.text, name) && strstr(info.error.text, "still hangs"));
	assert_true(fake_vm_runs(vm));
	free_migration(vm);
}

/* The source */

struct hang {
	const char *name;
	enum fake_call call; /* NONE: an arc, `at`->`to` */
	enum swo_device_state at, to;
	bool connected;
};

static const struct hang hangs[] = {
	{"size", FAKE_CALL_SIZE, SWO_DEVICE_RUNNING, 0, false},
	{"start of the log", FAKE_CALL_LOG_START, SWO_DEVICE_RUNNING, 0, true},
	{"report in pre-copy", FAKE_CALL_LOG_REPORT, SWO_DEVICE_PRE_COPY, 0, true},
	{"read in pre-copy", FAKE_CALL_READ, SWO_DEVICE_PRE_COPY, 0, true},
	{"first arc", FAKE_CALL_NONE, SWO_DEVICE_RUNNING, SWO_DEVICE_PRE_COPY, true},
	{"last arc", FAKE_CALL_NONE, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, true},
	{"last report", FAKE_CALL_LOG_REPORT, SWO_DEVICE_STOP_COPY, 0, true},
	{"last read", FAKE_CALL_READ, SWO_DEVICE_STOP_COPY, 0, true},
};

static void hang_in(struct fake_device *d, const struct hang *hang)
{
	if (hang->call == FAKE_CALL_NONE)
		fake_script(d, hang->at, hang->to, FAKE_HANG, 1);
	d->hang_in = hang->call;
	d->hang_at = hang->at;
}

/* The VMM goes on without what its migration used: its RAM and timeline are freed. */
static void drop_memory(struct fake_vm *vm, struct swo_timeline *timeline)
{
	struct swo_ram *ram = vm->vm.ram;

	fake_vm_run(vm, false);
	vm->vm.ram = swo_ram_new();
	swo_ram_free(ram);
	swo_timeline_free(timeline);
}

static void give_up_a_source(const struct hang *hang, bool drop)
{
	const struct swo_migration_params params = fake_params();
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, 1000);
	const char *uri = fake_uri();
	struct fake_device *d;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	d = &pair.source.devices[0];
	hang_in(d, hang);
	assert_int_equal(swo_migration_receive(&pair.target.vm, uri, &params, NULL, NULL,
				 &pair.target.migration, NULL),
		0);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &params, NULL, timeline,
				 &pair.source.migration, NULL),
		0);
	assert_true(fake_await_hang(d));
	assert_int_equal(swo_migration_cancel(pair.source.migration, NULL), 0);
	assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_CANCELLED);
	assert_true(fake_vm_runs(&pair.source));
	assert_int_equal(swo_device_health(d->dev), SWO_DEVICE_LOST);
	assert_int_equal(swo_device_health(pair.source.table[1]), SWO_DEVICE_SOUND);
	free_migration(&pair.source);
	free_migration(&pair.target);

	/* The job's connections are open for it. An arc has none of the migration's. */
	if (hang->connected && hang->call != FAKE_CALL_NONE)
		assert_true(fake_entries("/proc/self/fd") > pair.fds);
	expect_refused(&pair.source, "vf0");
	if (drop)
		drop_memory(&pair.source, timeline);
	answer(d, SWO_DEVICE_RUNNING);
	await_nothing_held(&pair);
	assert_false(d->log_on);
	if (!drop) {
		fake_migrate(&pair.source, &pair.target, NULL);
		expect_arrived(&pair.source, &pair.target, true);
		swo_timeline_free(timeline);
	}
	close_pair(&pair);
}

static void a_source_is_given_up_while_any_call_of_a_device_hangs(void **state)
{
	(void)state;
	deadlines(DEADLINE_MS, DEADLINE_MS);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(hangs); i++) {
		printf("# %s\n", hangs[i].name);
		give_up_a_source(&hangs[i], false);
		give_up_a_source(&hangs[i], true);
	}
	deadlines(0, 0);
}

static void the_end_of_a_log_that_hangs_holds_up_no_guest(void **state)
{
	(void)state;
	struct fake_device *d;
	static struct pair pair;

	deadlines(DEADLINE_MS, DEADLINE_MS);
	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	d = &pair.source.devices[0];
	d->hang_in = FAKE_CALL_LOG_STOP;
	pair.target.devices[1].refuse = true;
	fake_migrate(&pair.source, &pair.target, NULL);
	assert_true(fake_await_hang(d));
	assert_true(fake_vm_runs(&pair.source));
	expect_source_runs_on(&pair.source, &pair.target, "vf1");
	free_migration(&pair.source);
	free_migration(&pair.target);
	answer(d, SWO_DEVICE_RUNNING);
	await_nothing_held(&pair);
	close_pair(&pair);
	deadlines(0, 0);
}

/* How long it takes */

static uint64_t ms_until_it_runs(struct fake_vm *vm)
{
	const swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	const uint64_t start = swo_now_ns();

	assert_int_equal(swo_migration_cancel(vm->migration, NULL), 0);
	while (!fake_vm_runs(vm) && !swo_deadline_passed(guard))
		swo_sleep_until(swo_now_ns() + POLL_NS);
	assert_true(fake_vm_runs(vm));
	return (swo_now_ns() - start) / 1000000;
}

/* `count` of four devices; half of them in a read, the others in a state query. */
static void hang_some(unsigned count, enum swo_transitions transitions)
{
	const uint64_t deadline = 800;
	static struct pair pair;

	deadlines(deadline, deadline);
	open_pair(&pair, 4, transitions);
	for (unsigned i = 0; i < count; i++) {
		pair.source.devices[i].hang_in = FAKE_CALL_READ;
		pair.source.devices[i].hang_at = SWO_DEVICE_STOP_COPY;
	}
	fake_migrate(&pair.source, &pair.target, NULL);
	for (unsigned i = 0; i < count; i++)
		assert_true(fake_await_hang(&pair.source.devices[i]));
	for (unsigned i = 0; i < count / 2; i++) {
		pair.source.devices[i].hang_in = FAKE_CALL_STATE;
		fake_release(&pair.source.devices[i]);
	}
	const uint64_t took = ms_until_it_runs(&pair.source);

	/* Not before a device's own deadline, and not once for each device or step. */
	printf("# %u of 4 hang: the guest runs again after %u ms\n", count, (unsigned)took);
	assert_in_range(took, deadline, 2 * deadline - 1);
	assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_CANCELLED);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(swo_device_health(pair.source.table[i]),
			i < count ? SWO_DEVICE_LOST : SWO_DEVICE_SOUND);
	free_migration(&pair.source);
	free_migration(&pair.target);
	for (unsigned i = 0; i < count; i++)
		answer(&pair.source.devices[i], SWO_DEVICE_RUNNING);
	await_nothing_held(&pair);
	close_pair(&pair);
	deadlines(0, 0);
}

static void the_guest_waits_once_for_all_devices_that_hang(void **state)
{
	(void)state;
	hang_some(1, SWO_TRANSITIONS_PARALLEL);
	hang_some(4, SWO_TRANSITIONS_PARALLEL);
	hang_some(4, SWO_TRANSITIONS_SERIAL);
}

static void no_device_is_lost_before_its_own_deadline(void **state)
{
	(void)state;
	const swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	static struct pair pair;

	deadlines(DEADLINE_MS, FAKE_GUARD_MS);
	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	for (unsigned i = 0; i < 2; i++) {
		pair.source.devices[i].hang_in = FAKE_CALL_READ;
		pair.source.devices[i].hang_at = SWO_DEVICE_STOP_COPY;
	}
	fake_migrate(&pair.source, &pair.target, NULL);
	for (unsigned i = 0; i < 2; i++)
		assert_true(fake_await_hang(&pair.source.devices[i]));
	assert_int_equal(swo_migration_cancel(pair.source.migration, NULL), 0);
	while (swo_device_health(pair.source.table[0]) != SWO_DEVICE_LOST) {
		assert_false(swo_deadline_passed(guard));
		swo_sleep_until(swo_now_ns() + POLL_NS);
	}
	/* The other has longer, and uses it. */
	assert_false(fake_vm_runs(&pair.source));
	fake_release(&pair.source.devices[1]);
	assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_CANCELLED);
	assert_true(fake_vm_runs(&pair.source));
	assert_int_equal(swo_device_health(pair.source.table[1]), SWO_DEVICE_SOUND);
	assert_int_equal(fake_state(&pair.source.devices[1]), SWO_DEVICE_RUNNING);
	assert_int_equal(pair.source.devices[1].resets, 0);
	free_migration(&pair.source);
	answer(&pair.source.devices[0], SWO_DEVICE_RUNNING);
	close_pair(&pair);
	deadlines(0, 0);
}

/* The target */

static void give_up_a_target(const struct hang *hang, bool drop)
{
	const struct swo_migration_params params = fake_params();
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_TARGET, 1000);
	const char *uri = fake_uri();
	struct fake_device *d;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	d = &pair.target.devices[0];
	hang_in(d, hang);
	pair.target.devices[1].refuse = hang->call == FAKE_CALL_RESET;
	assert_int_equal(swo_migration_receive(&pair.target.vm, uri, &params, NULL, timeline,
				 &pair.target.migration, NULL),
		0);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &params, NULL, NULL,
				 &pair.source.migration, NULL),
		0);
	assert_true(fake_await_hang(d));
	/* Or it has failed already. */
	(void)swo_migration_cancel(pair.source.migration, NULL);
	assert_int_not_equal(fake_end(&pair.source).status, SWO_MIGRATION_COMPLETED);
	assert_true(fake_vm_runs(&pair.source));
	assert_int_equal(fake_end(&pair.target).status, SWO_MIGRATION_FAILED);
	assert_int_equal(swo_device_health(d->dev), SWO_DEVICE_LOST);
	free_migration(&pair.source);
	free_migration(&pair.target);
	if (hang->call == FAKE_CALL_WRITE)
		assert_true(fake_entries("/proc/self/fd") > pair.fds);
	if (drop)
		drop_memory(&pair.target, timeline);
	answer(d, SWO_DEVICE_RUNNING);
	await_nothing_held(&pair);
	if (!drop) {
		pair.target.devices[1].refuse = false;
		fake_migrate(&pair.source, &pair.target, NULL);
		expect_arrived(&pair.source, &pair.target, true);
		swo_timeline_free(timeline);
	}
	close_pair(&pair);
}

static void a_target_is_given_up_while_any_call_of_a_device_hangs(void **state)
{
	(void)state;
	static const struct hang at_target[] = {
		{"write", FAKE_CALL_WRITE, SWO_DEVICE_RESUMING, 0, true},
		{"check", FAKE_CALL_NONE, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, true},
		{"reset", FAKE_CALL_RESET, SWO_DEVICE_ERROR, 0, true},
	};

	deadlines(DEADLINE_MS, DEADLINE_MS);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(at_target); i++) {
		printf("# %s\n", at_target[i].name);
		give_up_a_target(&at_target[i], false);
		give_up_a_target(&at_target[i], true);
	}
	deadlines(0, 0);
}

/* Whose death it was */

static void expect_named(struct pair *pair, const char *what)
{
	const struct swo_migration_info left = fake_end(&pair->source);

	fake_end(&pair->target);
	if (!strstr(left.error.text, "vf1") || !strstr(left.error.text, what))
		fail_msg("'%s' without vf1 and '%s'", left.error.text, what);
	assert_int_equal(left.status, SWO_MIGRATION_FAILED);
	assert_true(fake_vm_runs(&pair->source));
	assert_false(fake_vm_runs(&pair->target));
}

static void a_device_of_the_source_dies(const struct hang *death)
{
	static struct pair pair;
	struct fake_device *d;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	d = &pair.source.devices[1];
	if (death->call == FAKE_CALL_NONE)
		fake_script(d, death->at, death->to, FAKE_LOSE, 1);
	d->lose_in = death->call;
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_named(&pair, death->name);
	const struct swo_migration_info left = fake_end(&pair.source);

	if (strstr(left.error.text, "the target refused") == left.error.text)
		fail_msg("'%s'", left.error.text);
	assert_int_equal(left.error.code, SWO_E_DEVICE);
	const struct swo_migration_info arrived = fake_end(&pair.target);

	/* The target's user reads it as well, not that a connection was closed. */
	if (!strstr(arrived.error.text, "vf1"))
		fail_msg("at the target: '%s'", arrived.error.text);
	close_pair(&pair);
}

static void a_device_of_the_target_dies(const struct hang *death)
{
	static struct pair pair;
	struct fake_device *d;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	d = &pair.target.devices[1];
	if (death->call == FAKE_CALL_NONE)
		fake_script(d, death->at, death->to, FAKE_LOSE, 1);
	d->lose_in = death->call;
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_named(&pair, death->name);
	const struct swo_migration_info arrived = fake_end(&pair.target);

	if (!strstr(arrived.error.text, "vf1") || !strstr(arrived.error.text, death->name))
		fail_msg("at the target: '%s'", arrived.error.text);
	assert_int_equal(arrived.error.code, SWO_E_DEVICE);
	close_pair(&pair);
}

static void a_devices_death_is_not_the_peers(void **state)
{
	(void)state;
	static const struct hang at_source[] = {
		{"RUNNING->PRE_COPY", 0, SWO_DEVICE_RUNNING, SWO_DEVICE_PRE_COPY, true},
		{"reading its data in PRE_COPY", FAKE_CALL_READ, 0, 0, true},
		{"PRE_COPY->PRE_COPY_P2P", 0, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, true},
		{"PRE_COPY_P2P->STOP_COPY", 0, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, true},
	};
	static const struct hang at_target[] = {
		{"STOP->RESUMING", 0, SWO_DEVICE_STOP, SWO_DEVICE_RESUMING, true},
		{"loading its data in RESUMING", FAKE_CALL_WRITE, 0, 0, true},
		{"RESUMING->STOP", 0, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, true},
	};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(at_source); i++)
		a_device_of_the_source_dies(&at_source[i]);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(at_target); i++)
		a_device_of_the_target_dies(&at_target[i]);
}

/* Observers */

struct watcher {
	struct swo_migration *_Atomic migration;
	enum swo_migration_status at; /* NONE: at the first device that is RUNNING or in RESUMING */
	atomic_bool freed;
};

static void free_now(struct watcher *w)
{
	if (atomic_exchange(&w->freed, true))
		return;
	/* It may be called before the call that starts the migration has returned. */
	while (!atomic_load(&w->migration))
		swo_sleep_until(swo_now_ns() + POLL_NS);
	swo_migration_free(atomic_load(&w->migration));
}

static void on_status(void *opaque, enum swo_migration_status status)
{
	struct watcher *w = opaque;

	if (status == w->at)
		free_now(w);
}

static void on_device(void *opaque, unsigned index, enum swo_device_state state)
{
	struct watcher *w = opaque;

	(void)index;
	if (w->at == SWO_MIGRATION_NONE &&
		(state == SWO_DEVICE_PRE_COPY || state == SWO_DEVICE_RESUMING))
		free_now(w);
}

/* One side frees itself; the other ends in whatever way it must. */
static void free_in_observer(bool at_source, enum swo_migration_status at)
{
	const struct swo_migration_params params = fake_params();
	struct watcher watcher = {.at = at};
	const struct swo_migration_observer observer = {
		.status = on_status, .device_state = on_device, .opaque = &watcher};
	const char *uri = fake_uri();
	struct swo_migration *migration;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	pair.target.devices[1].refuse = at == SWO_MIGRATION_FAILED;
	assert_int_equal(swo_migration_receive(&pair.target.vm, uri, &params,
				 at_source ? NULL : &observer, NULL, &pair.target.migration, NULL),
		0);
	if (!at_source)
		atomic_store(&watcher.migration, pair.target.migration);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &params,
				 at_source ? &observer : NULL, NULL, &migration, NULL),
		0);
	pair.source.migration = migration;
	if (at_source)
		atomic_store(&watcher.migration, migration);
	*(at_source ? &pair.source.migration : &pair.target.migration) = NULL;
	fake_end(at_source ? &pair.target : &pair.source);

	const swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	while (!atomic_load(&watcher.freed) && !swo_deadline_passed(guard))
		swo_sleep_until(swo_now_ns() + POLL_NS);
	assert_true(atomic_load(&watcher.freed));
	free_migration(at_source ? &pair.target : &pair.source);
	await_nothing_held(&pair);
	assert_int_equal(fake_vm_runs(&pair.source), at != SWO_MIGRATION_COMPLETED);
	assert_int_equal(fake_vm_runs(&pair.target), at == SWO_MIGRATION_COMPLETED);
	close_pair(&pair);
}

static void a_migration_may_be_freed_in_its_observer(void **state)
{
	(void)state;
	static const enum swo_migration_status at[] = {SWO_MIGRATION_NONE, SWO_MIGRATION_ACTIVE,
		SWO_MIGRATION_COMPLETED, SWO_MIGRATION_FAILED};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(at); i++) {
		free_in_observer(true, at[i]);
		free_in_observer(false, at[i]);
	}
}

struct blocker {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool armed, inside, go_on, freed;
};

static void block(void *opaque, unsigned index, enum swo_device_state state)
{
	struct blocker *b = opaque;

	(void)index, (void)state;
	pthread_mutex_lock(&b->mutex);
	b->inside = b->armed;
	pthread_cond_broadcast(&b->changed);
	while (b->armed && !b->go_on)
		pthread_cond_wait(&b->changed, &b->mutex);
	pthread_mutex_unlock(&b->mutex);
}

static void *stop_vm(void *opaque)
{
	struct fake_vm *vm = opaque;

	fake_vm_run(vm, false);
	swo_runstate_change(vm->vm.runstate, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, NULL);
	return NULL;
}

struct freeing {
	struct blocker *blocker;
	struct swo_migration *migration;
};

static void *free_it(void *opaque)
{
	struct freeing *freeing = opaque;

	swo_migration_free(freeing->migration);
	pthread_mutex_lock(&freeing->blocker->mutex);
	freeing->blocker->freed = true;
	pthread_mutex_unlock(&freeing->blocker->mutex);
	return NULL;
}

static void a_migration_is_not_freed_around_its_observer(void **state)
{
	(void)state;
	const struct swo_migration_params params = fake_params();
	struct blocker b = {.armed = false};
	const struct swo_migration_observer observer = {.device_state = block, .opaque = &b};
	pthread_t stopping, freeing;
	static struct pair pair;
	const char *uri = fake_uri();

	pthread_mutex_init(&b.mutex, NULL);
	pthread_cond_init(&b.changed, NULL);
	open_pair(&pair, 1, SWO_TRANSITIONS_PARALLEL);
	pair.target.devices[0].refuse = true;
	assert_int_equal(swo_migration_receive(&pair.target.vm, uri, &params, NULL, NULL,
				 &pair.target.migration, NULL),
		0);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &params, &observer, NULL,
				 &pair.source.migration, NULL),
		0);
	expect_source_runs_on(&pair.source, &pair.target, NULL);

	/* It has failed, and a user stops the VM: its devices are still watched. */
	pthread_mutex_lock(&b.mutex);
	b.armed = true;
	pthread_mutex_unlock(&b.mutex);
	assert_int_equal(pthread_create(&stopping, NULL, stop_vm, &pair.source), 0);
	pthread_mutex_lock(&b.mutex);
	while (!b.inside)
		pthread_cond_wait(&b.changed, &b.mutex);
	pthread_mutex_unlock(&b.mutex);

	struct freeing job = {&b, pair.source.migration};

	pair.source.migration = NULL;
	assert_int_equal(pthread_create(&freeing, NULL, free_it, &job), 0);
	/* Longer than the free waits for jobs that do not hang. */
	swo_sleep_until(swo_deadline_ms(1500));
	pthread_mutex_lock(&b.mutex);
	assert_false(b.freed);
	b.armed = false;
	b.go_on = true;
	pthread_cond_broadcast(&b.changed);
	pthread_mutex_unlock(&b.mutex);
	pthread_join(stopping, NULL);
	pthread_join(freeing, NULL);
	close_pair(&pair);
	pthread_cond_destroy(&b.changed);
	pthread_mutex_destroy(&b.mutex);
}

static void log_nothing(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level, (void)text;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_is_given_up_while_any_call_of_a_device_hangs),
		cmocka_unit_test(the_end_of_a_log_that_hangs_holds_up_no_guest),
		cmocka_unit_test(the_guest_waits_once_for_all_devices_that_hang),
		cmocka_unit_test(no_device_is_lost_before_its_own_deadline),
		cmocka_unit_test(a_target_is_given_up_while_any_call_of_a_device_hangs),
		cmocka_unit_test(a_devices_death_is_not_the_peers),
		cmocka_unit_test(a_migration_may_be_freed_in_its_observer),
		cmocka_unit_test(a_migration_is_not_freed_around_its_observer),
	};

	swo_log_set(SWO_LOG_WARN, getenv("F") ? NULL : log_nothing, NULL);
	if (getenv("F"))
		cmocka_set_test_filter(getenv("F"));
	/* The log has a thread of its own, from the first line on. */
	swo_log(SWO_LOG_WARN, "giving up");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
