/* SPDX-License-Identifier: BSD-3-Clause */
/* The limits of a migration, and what its user sees of it while it runs. */
#include "outcome.h"
#include "testbed/link.h"

#include "migration/internal.h"
#include "migration/source/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct pair {
	struct fake_vm source, target;
};

static void open_pair(struct pair *pair, unsigned devices, size_t device_size)
{
	fake_vm_open(&pair->source, devices, true, device_size, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair->target, devices, false, device_size, SWO_TRANSITIONS_PARALLEL);
}

static void close_pair(struct pair *pair)
{
	fake_vm_close(&pair->source);
	fake_vm_close(&pair->target);
}

/* No page of it is zero: each has to be sent. */
static void fill_ram(struct fake_vm *vm)
{
	struct swo_ram_region *region = swo_ram_region(vm->vm.ram, 0);

	memset(region->host, 0x5a, region->size);
}

static struct swo_migration_info info_of(struct fake_vm *vm)
{
	struct swo_migration_info info;

	swo_migration_info(vm->migration, &info);
	return info;
}

/* Progress */

static void what_is_sent_and_left_is_live_in_the_first_pass(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	struct swo_migration_info info, last = {0};
	unsigned moved = 0;
	static struct pair pair;

	open_pair(&pair, 1, 300000);
	fill_ram(&pair.source);
	params.max_bandwidth = MIB;
	fake_migrate(&pair.source, &pair.target, &params);
	while (moved < 4) {
		assert_false(swo_deadline_passed(guard));
		info = info_of(&pair.source);
		assert_true(info.ram_passes <= 1);
		if (info.ram_sent > last.ram_sent && info.ram_dirty_pages < last.ram_dirty_pages &&
			info.rate) {
			assert_true(info.ram_normal_pages > last.ram_normal_pages);
			moved++;
		}
		if (!last.ram_dirty_pages || info.ram_sent > last.ram_sent)
			last = info;
		usleep(1000);
	}
	/* Nothing was measured of the link yet: it is unknown, and not what the engine assumes. */
	assert_int_equal(info.bandwidth, 0);
	assert_int_equal(swo_migration_cancel(pair.source.migration, NULL), 0);
	info = fake_end(&pair.source);
	assert_int_equal(info.status, SWO_MIGRATION_CANCELLED);
	assert_true(info.ram_sent >= last.ram_sent && info.rate > 0);
	fake_end(&pair.target);
	close_pair(&pair);
}

/* Pre-copy ends */

static void a_device_that_changes_faster_than_it_is_read_ends_its_rounds(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	open_pair(&pair, 2, 300000);
	pair.source.devices[1].churns = pair.target.devices[1].churns = true;
	pair.source.devices[1].chunk = 65536;
	fake_migrate(&pair.source, &pair.target, &params);
	struct swo_migration_info info = expect_arrived(&pair.source, &pair.target, true);

	/* It was read again and again, and some of it before the stop. */
	assert_true(info.device_sent - info.device_sent_stopped > 300000);
	close_pair(&pair);
}

/* max_bandwidth */

static void set_limits(struct fake_vm *vm, uint64_t downtime_ms, uint64_t bandwidth)
{
	struct swo_migration_limits limits = {.size = sizeof(limits)};

	assert_int_equal(swo_migration_get_limits(vm->migration, &limits, NULL), 0);
	limits.downtime_limit_ms = downtime_ms;
	limits.max_bandwidth = bandwidth;
	assert_int_equal(swo_migration_set_limits(vm->migration, &limits, NULL), 0);
}

static void ram_and_device_state_before_the_stop_have_one_limit_together(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	open_pair(&pair, 2, 2 * MIB);
	fill_ram(&pair.source);
	params.max_bandwidth = 8 * MIB;
	fake_migrate(&pair.source, &pair.target, &params);
	struct swo_migration_info info = expect_arrived(&pair.source, &pair.target, true);
	/* Half of each device's state may go before the stop, and RAM did. */
	const uint64_t device = info.device_sent - info.device_sent_stopped;
	const uint64_t ms = (info.end_ns - info.start_ns - info.downtime_ns) / 1000000;

	assert_int_equal(device, 2 * MIB);
	if (ms < (device + 6 * MIB) * 1000 / params.max_bandwidth - 50)
		fail_msg("8 MiB at 8 MiB/s in %llu ms", (unsigned long long)ms);
	close_pair(&pair);
}

static void limits_change_while_it_runs(void **state)
{
	(void)state;
	struct swo_migration_limits limits = {.size = sizeof(limits)};
	struct swo_migration_params params = fake_params();
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	struct swo_error err = {0};
	static struct pair pair;

	open_pair(&pair, 1, 300000);
	fill_ram(&pair.source);
	/* The first pass would take minutes, and its estimate would be refused. */
	params.max_bandwidth = 16 << 10;
	params.downtime_limit_ms = 0;
	fake_migrate(&pair.source, &pair.target, &params);
	while (!info_of(&pair.source).ram_sent) {
		assert_false(swo_deadline_passed(guard));
		usleep(1000);
	}
	assert_int_equal(swo_migration_get_limits(pair.source.migration, &limits, NULL), 0);
	assert_int_equal(limits.max_bandwidth, 16 << 10);
	limits.downtime_limit_ms = UINT64_MAX;
	assert_int_not_equal(swo_migration_set_limits(pair.source.migration, &limits, &err), 0);
	assert_non_null(strstr(err.text, "downtime-limit"));
	limits.size = 3;
	assert_int_not_equal(swo_migration_set_limits(pair.source.migration, &limits, &err), 0);
	/* A target takes them, too. */
	set_limits(&pair.target, 7, 7);
	set_limits(&pair.source, 60000, 0);
	expect_arrived(&pair.source, &pair.target, true);
	close_pair(&pair);
}

/* Programs that were compiled with earlier and with later headers. */
static void limits_of_other_sizes_are_taken_and_given(void **state)
{
	(void)state;
	struct later {
		struct swo_migration_limits known;
		uint64_t more, canary;
	} later = {.known.size = offsetof(struct later, canary), .more = 1, .canary = 2};
	struct swo_migration_limits earlier = {
		.size = offsetof(struct swo_migration_limits, converge),
		.converge.throttle_max = 12345};
	struct swo_migration *m;
	struct swo_error err;
	struct fake_vm vm;

	fake_vm_open(&vm, 1, false, 300000, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(
		swo_migration_receive(&vm.vm, fake_uri(), NULL, NULL, NULL, &vm.migration, &err),
		0);
	m = vm.migration;

	assert_int_equal(swo_migration_get_limits(m, &earlier, NULL), 0);
	assert_int_equal(earlier.downtime_limit_ms, 300);
	assert_int_equal(earlier.converge.throttle_max, 12345);
	earlier.downtime_limit_ms = 77;
	assert_int_equal(swo_migration_set_limits(m, &earlier, NULL), 0);

	assert_int_equal(swo_migration_get_limits(m, &later.known, NULL), 0);
	assert_int_equal(later.known.size, offsetof(struct later, canary));
	assert_int_equal(later.known.downtime_limit_ms, 77);
	/* An earlier program does not change it. */
	assert_int_equal(later.known.converge.throttle_max, 99);
	assert_int_equal(later.more, 0);
	assert_int_equal(later.canary, 2);
	later.known.downtime_limit_ms = 78;
	later.more = 1;
	assert_int_equal(swo_migration_set_limits(m, &later.known, &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	assert_int_equal(migration_limits(m).downtime_limit_ms, 77);
	later.more = 0;
	assert_int_equal(swo_migration_set_limits(m, &later.known, NULL), 0);
	assert_int_equal(migration_limits(m).downtime_limit_ms, 78);

	earlier.size = 0;
	assert_int_equal(swo_migration_get_limits(m, &earlier, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_int_equal(swo_migration_set_limits(m, &earlier, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	fake_vm_close(&vm);
}

/* Before its thread has done anything. */
static void a_migration_is_in_setup_from_the_start(void **state)
{
	(void)state;
	static const struct migration_ops ops;
	static const struct handover_ops handover;
	struct swo_migration *m = calloc(1, sizeof(*m));
	struct swo_migration_info info;
	struct fake_vm vm;

	assert_non_null(m);
	fake_vm_open(&vm, 1, true, 300000, SWO_TRANSITIONS_PARALLEL);
	m->is_source = true;
	assert_int_equal(migration_init(m, &ops, &handover_source, &handover, &vm.vm, fake_uri(),
				 NULL, NULL, NULL, NULL),
		0);
	swo_migration_info(m, &info);
	assert_int_equal(info.status, SWO_MIGRATION_SETUP);
	migration_fini(m);
	free(m);
	fake_vm_close(&vm);
}

static void a_users_stop_does_not_wait_for_the_bandwidth(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	struct swo_error err = {0};
	static struct pair pair;

	open_pair(&pair, 1, 300000);
	/* After its first chunk the device's worker sleeps for longer than an arc may take. */
	params.max_bandwidth = 1024;
	fake_migrate(&pair.source, &pair.target, &params);
	while (!info_of(&pair.source).device_sent) {
		assert_false(swo_deadline_passed(guard));
		usleep(1000);
	}
	fake_vm_run(&pair.source, false);
	if (swo_runstate_change(
		    pair.source.vm.runstate, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, &err))
		fail_msg("%s", err.text);
	assert_int_equal(swo_device_health(pair.source.table[0]), SWO_DEVICE_SOUND);
	swo_migration_cancel(pair.source.migration, NULL);
	fake_end(&pair.source);
	fake_end(&pair.target);
	close_pair(&pair);
}

/* A slow link */

/* A guest that writes 20 KiB every 100 ms, less than half of what the link carries, and nothing in
   the stop. By time: with so much a round the rounds alone would keep the sockets full. */
static int collect_some(void *self, struct swo_ram *ram, struct swo_error *err)
{
	static _Atomic uint64_t last_ns;
	struct fake_vm *vm = self;
	const uint64_t now = swo_now_ns();

	(void)err;
	if (swo_runstate_get(vm->vm.runstate) == SWO_RUN_STATE_RUNNING &&
		now - last_ns > 100000000) {
		last_ns = now;
		swo_ram_mark(ram, 0, 5 * SWO_PAGE_SIZE);
	}
	return 0;
}

struct passed {
	struct link *link;
	uint64_t at_stop;
};

static void note_what_passed(struct fake_vm *vm)
{
	struct passed *passed = vm->hook;

	passed->at_stop = link_passed(passed->link);
}

/*
 * What is sent in the stop is counted, not timed: a slow machine lets the engine measure a slower
 * link and send less. The limit is 256 KiB of this link; without what waits in sockets it sends
 * three times as much.
 */
static void downtime_limit_holds_on_a_link_slower_than_max_bandwidth(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	char there[128], here[128];
	static struct pair pair;
	struct passed passed = {0};
	struct link *link;

	open_pair(&pair, 1, 30000);
	/* Of each piece of RAM, which is sent on one channel, what fits into a socket. */
	for (unsigned i = 0; i < 3; i++)
		memset(swo_ram_region(pair.source.vm.ram, 0)->host + i * 2 * MIB, 0x5a, 448 << 10);
	/* Its thread writes nothing: what it writes is up to collect_some. */
	fake_vm_run(&pair.source, false);
	pair.source.dirty.collect = collect_some;
	strcpy(there, fake_uri());
	strcpy(here, fake_uri());
	link = link_start(here, there, NULL);
	assert_non_null(link);
	link_set_rate(link, MIB / 2);
	passed.link = link;
	pair.source.hook = &passed;
	pair.source.on_stop = note_what_passed;
	params.max_bandwidth = 1024 * MIB;
	params.downtime_limit_ms = 500;
	params.channels = 8;
	assert_int_equal(swo_migration_receive(&pair.target.vm, there, &params, NULL, NULL,
				 &pair.target.migration, NULL),
		0);
	assert_int_equal(swo_migration_send(&pair.source.vm, here, &params, NULL, NULL,
				 &pair.source.migration, NULL),
		0);
	struct swo_migration_info info = fake_end(&pair.source);

	if (info.status != SWO_MIGRATION_COMPLETED)
		fail_msg("%s", info.error.text);
	assert_true(info.predicted_downtime_ns <= UINT64_C(500000000));
	fake_end(&pair.target);
	const uint64_t in_stop = link_passed(link) - passed.at_stop;

	assert_true(passed.at_stop > 0);
	if (in_stop > 512 << 10)
		fail_msg("%llu KiB in the stop, with a limit of 256 KiB",
			(unsigned long long)(in_stop >> 10));
	print_message("# %llu KiB in the stop, %llu ms\n", (unsigned long long)(in_stop >> 10),
		(unsigned long long)(info.downtime_ns / 1000000));
	link_stop(link);
	close_pair(&pair);
}

/* The ceiling */

static void load_until_given_up(struct fake_vm *target)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	while (!fake_vm_runs(target->hook) && !swo_deadline_passed(guard))
		usleep(1000);
}

/* One that is over the limit: it was stopped all the same, or more was found out since. */
static void a_prediction_that_was_accepted_is_not_given_up_by_default(void **state)
{
	(void)state;
	struct source s = {.m.params = fake_params()};

	pthread_mutex_init(&s.m.mutex, NULL);
	s.m.params.downtime_limit_ms = 300;
	s.m.info.predicted_downtime_ns = UINT64_C(1400000000);
	assert_int_equal(source_ceiling_ns(&s), UINT64_C(3000000000));
	s.m.info.predicted_downtime_ns = UINT64_C(1600000000);
	assert_int_equal(source_ceiling_ns(&s), UINT64_C(3200000000));
	s.m.params.downtime_ceiling_ms = 2000;
	assert_int_equal(source_ceiling_ns(&s), UINT64_C(2000000000));
	s.m.params.downtime_ceiling_ms = 0;
	assert_int_equal(source_ceiling_ns(&s), 0);
	pthread_mutex_destroy(&s.m.mutex);
}

static void a_stop_that_takes_ten_times_the_limit_is_given_up_by_default(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	assert_true(params.downtime_ceiling_ms == SWO_CEILING_DEFAULT);
	assert_int_equal(swo_migration_default_ceiling_ms(0), 3000);
	assert_int_equal(swo_migration_default_ceiling_ms(300), 3000);
	assert_int_equal(swo_migration_default_ceiling_ms(1000), 10000);
	open_pair(&pair, 2, 300000);
	params.downtime_limit_ms = 300;
	pair.target.hook = &pair.source;
	pair.target.on_load = load_until_given_up;
	fake_migrate(&pair.source, &pair.target, &params);
	struct swo_migration_info info = fake_end(&pair.source);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "downtime-ceiling of 3000 ms"));
	assert_true(fake_vm_runs(&pair.source));
	fake_end(&pair.target);
	close_pair(&pair);
}

/* What is not known */

static atomic_int warned;

static void count_warnings(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level;
	if (strstr(text, "2 devices of unknown cost (vf0"))
		atomic_fetch_add(&warned, 1);
}

static void a_stop_for_an_unknown_time_is_preceded_by_a_warning(void **state)
{
	(void)state;
	struct swo_device_costs costs = {0};

	costs.pf = -1;
	swo_log_set(SWO_LOG_WARN, count_warnings, NULL);
	for (int known = 0; known < 2; known++) {
		static struct pair pair;

		open_pair(&pair, 2, 300000);
		for (unsigned i = 0; known && i < 2; i++)
			swo_device_expect(pair.source.table[i], &costs);
		atomic_store(&warned, 0);
		fake_migrate(&pair.source, &pair.target, NULL);
		expect_arrived(&pair.source, &pair.target, true);
		assert_int_equal(atomic_load(&warned), !known);
		close_pair(&pair);
	}
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
}

static void start_late(struct fake_vm *target)
{
	(void)target;
	swo_sleep_until(swo_now_ns() + UINT64_C(400000000));
}

static void a_missed_limit_is_reported_with_what_took_longest(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	open_pair(&pair, 2, 300000);
	params.downtime_limit_ms = 100;
	pair.target.on_start = start_late;
	fake_migrate(&pair.source, &pair.target, &params);
	struct swo_migration_info info = expect_arrived(&pair.source, &pair.target, true);

	assert_true(info.over_limit_ns == info.downtime_ns - UINT64_C(100000000));
	assert_non_null(strstr(info.over_limit_reason, "the start at the target took"));
	close_pair(&pair);
	open_pair(&pair, 2, 300000);
	fake_migrate(&pair.source, &pair.target, NULL);
	info = expect_arrived(&pair.source, &pair.target, true);
	assert_int_equal(info.over_limit_ns, 0);
	assert_string_equal(info.over_limit_reason, "");
	close_pair(&pair);
}

/* A failed switchover teaches */

static void hang_the_finalise(struct fake_vm *source, struct fake_vm *target)
{
	(void)source;
	fake_script(&target->devices[1], SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, FAKE_HANG, 1);
}

static void hang_the_stop_arc(struct fake_vm *source, struct fake_vm *target)
{
	(void)target;
	fake_script(
		&source->devices[1], SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_HANG, 1);
}

static void release_when_stopped(struct fake_vm *source, struct fake_vm *target)
{
	/* It ends, but after the ceiling. */
	if (fake_await_hang(&source->devices[1]))
		swo_sleep_until(swo_now_ns() + UINT64_C(700000000));
	fake_release(&source->devices[1]);
	fake_release(&target->devices[1]);
}

static void let_it_hang(struct fake_vm *source, struct fake_vm *target)
{
	(void)source, (void)target;
}

static void what_took_too_long_is_named_and_counted_the_next_time(void **state)
{
	(void)state;
	static const struct {
		void (*spoil)(struct fake_vm *source, struct fake_vm *target);
		void (*meanwhile)(struct fake_vm *source, struct fake_vm *target);
		const char *words;
	} cases[] = {
		{hang_the_finalise, let_it_hang, "vf1: RESUMING->STOP at the target"},
		{hang_the_stop_arc, release_when_stopped, "device vf1 takes longest"},
	};
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		struct swo_migration_params params = fake_params();
		struct swo_migration_info info;
		static struct pair pair;

		params.downtime_limit_ms = 200;
		params.downtime_ceiling_ms = 600;
		open_pair(&pair, 2, 300000);
		cases[i].spoil(&pair.source, &pair.target);
		fake_migrate(&pair.source, &pair.target, &params);
		cases[i].meanwhile(&pair.source, &pair.target);
		info = fake_end(&pair.source);
		assert_int_equal(info.status, SWO_MIGRATION_FAILED);
		if (!strstr(info.error.text, cases[i].words))
			fail_msg("'%s' in '%s'", cases[i].words, info.error.text);
		assert_int_equal(atomic_load(&pair.source.starts), 1);
		/* Other targets have no figures; the VM is not stopped for them. */
		for (int again = 0; again < 2; again++) {
			swo_migration_free(pair.source.migration);
			fake_release(&pair.target.devices[1]);
			/* It may not have met its source. */
			swo_migration_cancel(pair.target.migration, NULL);
			fake_end(&pair.target);
			fake_vm_close(&pair.target);
			fake_vm_open(&pair.target, 2, false, 300000, SWO_TRANSITIONS_PARALLEL);
			fake_migrate(&pair.source, &pair.target, &params);
			info = fake_end(&pair.source);
			assert_int_equal(info.status, SWO_MIGRATION_FAILED);
			if (!strstr(info.error.text, "the slowest is vf1"))
				fail_msg("again: '%s'", info.error.text);
			assert_string_equal(info.slowest_device, "");
			assert_int_equal(atomic_load(&pair.source.starts), 1);
		}
		/* Who accepts that it may take so long gets the VM moved. */
		swo_migration_free(pair.source.migration);
		swo_migration_cancel(pair.target.migration, NULL);
		fake_end(&pair.target);
		fake_vm_close(&pair.target);
		fake_vm_open(&pair.target, 2, false, 300000, SWO_TRANSITIONS_PARALLEL);
		params.downtime_limit_ms = 5000;
		params.downtime_ceiling_ms = SWO_CEILING_DEFAULT;
		fake_migrate(&pair.source, &pair.target, &params);
		expect_arrived(&pair.source, &pair.target, true);
		close_pair(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sent_and_left_is_live_in_the_first_pass),
		cmocka_unit_test(a_device_that_changes_faster_than_it_is_read_ends_its_rounds),
		cmocka_unit_test(ram_and_device_state_before_the_stop_have_one_limit_together),
		cmocka_unit_test(limits_change_while_it_runs),
		cmocka_unit_test(limits_of_other_sizes_are_taken_and_given),
		cmocka_unit_test(a_migration_is_in_setup_from_the_start),
		cmocka_unit_test(downtime_limit_holds_on_a_link_slower_than_max_bandwidth),
		cmocka_unit_test(a_prediction_that_was_accepted_is_not_given_up_by_default),
		cmocka_unit_test(a_stop_that_takes_ten_times_the_limit_is_given_up_by_default),
		cmocka_unit_test(a_stop_for_an_unknown_time_is_preceded_by_a_warning),
		cmocka_unit_test(a_missed_limit_is_reported_with_what_took_longest),
		cmocka_unit_test(what_took_too_long_is_named_and_counted_the_next_time),
		cmocka_unit_test(a_users_stop_does_not_wait_for_the_bandwidth),
	};
	swo_log_set(getenv("SWO_TEST_VERBOSE") ? SWO_LOG_DEBUG : SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
