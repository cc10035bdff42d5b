/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine with both sides in this process: what is transferred, and which side runs after every
   fault. */
#include "migration/internal.h"
#include "outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
	struct fake_vm source, target;
};

static void open_pair(struct pair *pair, unsigned devices, enum swo_transitions transitions)
{
	fake_vm_open(&pair->source, devices, true, 300000, transitions);
	fake_vm_open(&pair->target, devices, false, 300000, transitions);
}

static void close_pair(struct pair *pair)
{
	fake_vm_close(&pair->source);
	fake_vm_close(&pair->target);
}

/* The source runs as it was, the target never did. */
static void expect_taken_back(struct pair *pair, const char *words)
{
	expect_source_runs_on(&pair->source, &pair->target, words);
	assert_int_equal(swo_runstate_get(pair->source.vm.runstate), SWO_RUN_STATE_RUNNING);
	assert_true(swo_migration_may_run(pair->source.migration));
	assert_false(swo_migration_may_run(pair->target.migration));
	for (unsigned i = 0; i < pair->source.vm.device_count; i++)
		assert_int_equal(pair->source.devices[i].state, SWO_DEVICE_RUNNING);
}

static void expect_moved(struct pair *pair, bool running)
{
	expect_arrived(&pair->source, &pair->target, running);
	assert_int_equal(swo_runstate_get(pair->source.vm.runstate), SWO_RUN_STATE_POSTMIGRATE);
	assert_false(swo_migration_may_run(pair->source.migration));
	assert_true(swo_migration_may_run(pair->target.migration));
	for (unsigned i = 0; i < pair->source.vm.device_count; i++) {
		assert_int_equal(pair->target.config_seen[i], pair->source.config[i]);
		assert_int_equal(pair->target.renewed[i], 1);
		assert_int_equal(pair->target.devices[i].state,
			running ? SWO_DEVICE_RUNNING : SWO_DEVICE_STOP);
		assert_int_equal(pair->source.devices[i].state, SWO_DEVICE_STOP);
	}
}

/* It works */

static void moves_with(unsigned devices, enum swo_transitions transitions,
	const struct swo_migration_params *params)
{
	static struct pair pair;

	open_pair(&pair, devices, transitions);
	/* Arrives paused, so that both memories can be compared at rest. */
	pair.target.vm.autostart = false;
	fake_migrate(&pair.source, &pair.target, params);
	expect_moved(&pair, false);
	assert_int_equal(swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
	assert_int_equal(pair.source.counter, pair.target.counter);
	assert_int_equal(atomic_load(&pair.target.starts), 0);
	close_pair(&pair);
}

static void a_vm_with_any_number_of_devices_moves_completely(void **state)
{
	(void)state;
	const unsigned counts[] = {0, 1, 4, 8};

	for (unsigned i = 0; i < 4; i++) {
		moves_with(counts[i], SWO_TRANSITIONS_PARALLEL, NULL);
		moves_with(counts[i], SWO_TRANSITIONS_SERIAL, NULL);
	}
}

static void it_moves_over_one_or_many_channels(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();

	for (params.channels = 1; params.channels <= 16; params.channels *= 2)
		moves_with(3, SWO_TRANSITIONS_PARALLEL, &params);
}

static void it_moves_with_every_switch_thrown(void **state)
{
	(void)state;
	for (int i = 0; i < 3 * 2 * 2 * 2; i++) {
		struct swo_migration_params params = fake_params();

		params.finalise = (enum swo_when)(i % 3);
		params.stream = i / 3 % 2 ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		params.config = i / 6 % 2 ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		moves_with(3, i / 12 ? SWO_TRANSITIONS_SERIAL : SWO_TRANSITIONS_PARALLEL, &params);
	}
}

static void it_moves_through_the_smallest_window(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();

	params.device_window = 64 << 10;
	moves_with(4, SWO_TRANSITIONS_PARALLEL, &params);
}

static void a_large_device_uses_all_channels_and_arrives_in_order(void **state)
{
	(void)state;
	/* The last stripe is a short one; a window that wraps within a stripe, too. */
	static const size_t sizes[] = {20 << 20, (20 << 20) + 12345, 9 << 20};
	static struct fake_vm source, target;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(sizes); i++)
		for (unsigned devices = 1; devices <= 3; devices += 2) {
			struct swo_migration_params params = fake_params();
			const struct swo_migration *m;

			params.channels = 4;
			params.device_window = i == 2 ? 1000000 : 4 << 20;
			fake_vm_open(&source, devices, true, sizes[i], SWO_TRANSITIONS_PARALLEL);
			fake_vm_open(&target, devices, false, sizes[i], SWO_TRANSITIONS_PARALLEL);
			fake_migrate(&source, &target, &params);
			const struct swo_migration_info info = fake_end(&source);

			if (info.status != SWO_MIGRATION_COMPLETED)
				fail_msg("%u devices of %zu bytes: %s", devices, sizes[i],
					info.error.text);
			assert_int_equal(fake_end(&target).status, SWO_MIGRATION_COMPLETED);
			m = source.migration;
			/* RAM is 6 MiB in all. */
			for (unsigned c = 0; c < 4; c++)
				assert_true(m->data[c].bytes_sent > sizes[i] * devices / 5);
			for (unsigned d = 0; d < devices; d++)
				assert_true(target.devices[d].loaded_ok);
			fake_vm_close(&source);
			fake_vm_close(&target);
		}
}

static void a_running_vm_runs_on_over_there_and_only_there(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 4, SWO_TRANSITIONS_PARALLEL);
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_moved(&pair, true);
	assert_int_equal(atomic_load(&pair.target.starts), 1);
	struct swo_migration_info info = fake_end(&pair.source);
	assert_true(info.downtime_ns > 0);
	assert_true(info.ram_passes >= 2);
	assert_true(info.device_sent == 4 * 300000);
	close_pair(&pair);
}

/* How many pages are found dirty after each round of a VM that runs; the last one stays. */
struct plan {
	struct swo_dirty_source real;
	const unsigned *pages;
	unsigned count, rounds;
};

static int collect_by_plan(void *self, struct swo_ram *ram, struct swo_error *err)
{
	struct fake_vm *vm = self;
	struct plan *plan = vm->hook;

	/* Its writes meanwhile stay in its log until it is stopped. */
	if (!fake_vm_runs(vm))
		return plan->real.collect(plan->real.self, ram, err);
	unsigned i = plan->rounds++;

	swo_ram_mark(ram, 0, plan->pages[i < plan->count ? i : plan->count - 1] * SWO_PAGE_SIZE);
	return 0;
}

static unsigned rounds_of(const unsigned *pages, unsigned count)
{
	static struct pair pair;
	struct plan plan = {.pages = pages, .count = count};

	fake_vm_open(&pair.source, 1, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair.target, 1, false, 1000, SWO_TRANSITIONS_PARALLEL);
	plan.real = pair.source.dirty;
	pair.source.hook = &plan;
	pair.source.dirty.collect = collect_by_plan;
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_moved(&pair, true);
	close_pair(&pair);
	return plan.rounds;
}

static void with_the_limit_met_rounds_go_on_for_as_long_as_they_pay(void **state)
{
	(void)state;
	static const unsigned shrinks[] = {1200, 600, 100}, stays[] = {1200}, little[] = {10},
			      endless[] = {1500, 1100, 800, 590, 440, 320, 240, 170, 120, 80};

	/* The round of 600 is worthwhile, that of 100 as well, the next one would not be. */
	assert_int_equal(rounds_of(shrinks, SWO_ARRAY_SIZE(shrinks)), 4);
	assert_int_equal(rounds_of(stays, 1), 2);
	assert_int_equal(rounds_of(little, 1), 1);
	assert_int_equal(rounds_of(endless, SWO_ARRAY_SIZE(endless)), 5);
}

static void a_paused_vm_arrives_paused(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	fake_vm_run(&pair.source, false);
	assert_int_equal(swo_runstate_change(pair.source.vm.runstate, SWO_RUN_STATE_PAUSED,
				 SWO_ON_ERROR_CONTINUE, NULL),
		0);
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_moved(&pair, false);
	assert_int_equal(swo_runstate_get(pair.target.vm.runstate), SWO_RUN_STATE_PAUSED);
	assert_int_equal(swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
	close_pair(&pair);
}

static void a_vm_that_is_stopped_on_the_way_arrives_paused(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	/* Slow enough that the stop precedes the switchover. */
	params.max_bandwidth = 4 << 20;
	fake_migrate(&pair.source, &pair.target, &params);
	struct swo_migration_info info;
	do
		swo_migration_info(pair.source.migration, &info);
	while (info.status < SWO_MIGRATION_ACTIVE);
	fake_vm_run(&pair.source, false);
	assert_int_equal(swo_runstate_change(pair.source.vm.runstate, SWO_RUN_STATE_PAUSED,
				 SWO_ON_ERROR_CONTINUE, NULL),
		0);
	expect_moved(&pair, false);
	assert_int_equal(swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
	assert_int_equal(atomic_load(&pair.target.starts), 0);
	close_pair(&pair);
}

static void it_moves_over_tcp(void **state)
{
	(void)state;
	const struct swo_migration_params params = fake_params();
	struct swo_error err = {0};
	static struct pair pair;
	char uri[64];
	int port = 20000 + (int)(swo_now_ns() % 20000), tries = 50;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	do
		snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%d", port++);
	while (swo_migration_receive(
		       &pair.target.vm, uri, &params, NULL, NULL, &pair.target.migration, &err) &&
		--tries);
	if (!tries)
		fail_msg("%s", err.text);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &params, NULL, NULL,
				 &pair.source.migration, &err),
		0);
	expect_moved(&pair, true);
	close_pair(&pair);
}

/* Faults before GO */

static void any_failing_arc_before_go_leaves_the_source_running(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARCS_BEFORE_GO; i++)
		for (unsigned serial = 0; serial < 2; serial++) {
			static struct pair pair;

			open_pair(&pair, 3,
				serial ? SWO_TRANSITIONS_SERIAL : SWO_TRANSITIONS_PARALLEL);
			fail_arc(&pair.source, &pair.target, &arcs_before_go[i]);
			fake_migrate(&pair.source, &pair.target, NULL);
			expect_taken_back(&pair, arcs_before_go[i].words);
			assert_non_null(strstr(fake_end(&pair.source).error.text, "vf1"));
			close_pair(&pair);
		}
}

static void any_other_failure_before_go_leaves_the_source_running(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FAILURES_BEFORE_GO; i++) {
		static struct pair pair;

		open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
		const char *words = fail_before_go(&pair.source, &pair.target, i);
		fake_migrate(&pair.source, &pair.target, NULL);
		expect_taken_back(&pair, words);
		close_pair(&pair);
	}
}

static void a_target_that_differs_reports_the_difference_and_keeps_waiting(void **state)
{
	(void)state;
	const struct swo_migration_params params = fake_params();
	struct swo_error err = {0};
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	strcpy(pair.source.layout, "another machine");
	const char *uri = fake_uri();
	assert_int_equal(swo_migration_receive(&pair.target.vm, uri, &params, NULL, NULL,
				 &pair.target.migration, &err),
		0);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &params, NULL, NULL,
				 &pair.source.migration, &err),
		0);
	struct swo_migration_info info = fake_end(&pair.source);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "another machine"));
	assert_true(fake_vm_runs(&pair.source));

	/* The right one is still accepted. */
	swo_migration_free(pair.source.migration);
	strcpy(pair.source.layout, "fake");
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &params, NULL, NULL,
				 &pair.source.migration, &err),
		0);
	expect_moved(&pair, true);
	close_pair(&pair);
}

static void a_target_that_is_not_there_fails_at_once_and_clearly(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	struct fake_vm vm;

	fake_vm_open(&vm, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(
		swo_migration_send(&vm.vm, fake_uri(), &params, NULL, NULL, &vm.migration, NULL),
		0);
	struct swo_migration_info info = fake_end(&vm);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "is the target listening?"));
	assert_true(fake_vm_runs(&vm));
	fake_vm_close(&vm);
}

static void a_hung_arc_at_the_source_is_left_behind_and_the_rest_runs_on(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	fake_script(&pair.source.devices[1], SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY,
		FAKE_HANG, 1);
	fake_migrate(&pair.source, &pair.target, NULL);
	struct swo_migration_info info = fake_end(&pair.source);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "vf1"));
	assert_non_null(strstr(info.error.text, "lost"));
	fake_end(&pair.target);
	assert_true(fake_vm_runs(&pair.source));
	assert_false(fake_vm_runs(&pair.target));
	assert_int_equal(pair.source.devices[0].state, SWO_DEVICE_RUNNING);
	assert_int_equal(pair.source.devices[2].state, SWO_DEVICE_RUNNING);
	close_pair(&pair);
}

static void a_stop_that_lasts_over_the_ceiling_is_aborted_and_names_the_device(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	params.downtime_ceiling_ms = 1500;
	fake_script(&pair.target.devices[1], SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, FAKE_HANG, 1);
	fake_migrate(&pair.source, &pair.target, &params);
	struct swo_migration_info info = fake_end(&pair.source);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "downtime-ceiling of 1500 ms"));
	assert_non_null(strstr(info.error.text, "still waiting for device vf1"));
	assert_string_equal(info.slowest_device, "vf1");
	assert_true(info.projected_downtime_ns >= UINT64_C(1500000000));
	assert_false(info.committed);
	assert_true(fake_vm_runs(&pair.source));
	fake_release(&pair.target.devices[1]);
	fake_end(&pair.target);
	assert_false(fake_vm_runs(&pair.target));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pair.source.devices[i].state, SWO_DEVICE_RUNNING);
	close_pair(&pair);
}

/* The device's arc takes at least this long once, which is measured. */
static void teach_slowness(struct fake_device *d, uint64_t ms)
{
	assert_int_equal(swo_device_set_state(d->dev, SWO_DEVICE_PRE_COPY, NULL), 0);
	fake_script(d, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, FAKE_HANG, 1);
	assert_int_equal(swo_device_launch(d->dev, SWO_DEVICE_PRE_COPY_P2P, NULL), 0);
	swo_sleep_until(swo_now_ns() + ms * 1000000);
	fake_release(d);
	assert_int_equal(swo_device_wait(d->dev, NULL), 0);
	assert_int_equal(swo_device_set_state(d->dev, SWO_DEVICE_RUNNING, NULL), 0);
}

static void a_stop_that_would_last_over_the_ceiling_is_not_started(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	teach_slowness(&pair.source.devices[2], 60);
	params.downtime_ceiling_ms = 30;
	fake_migrate(&pair.source, &pair.target, &params);
	struct swo_migration_info info = fake_end(&pair.source);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "not started"));
	assert_non_null(strstr(info.error.text, "vf2 takes longest"));
	assert_string_equal(info.slowest_device, "vf2");
	assert_true(info.projected_downtime_ns >= UINT64_C(60000000));
	fake_end(&pair.target);
	assert_true(fake_vm_runs(&pair.source));
	assert_int_equal(atomic_load(&pair.source.starts), 0);
	close_pair(&pair);
}

static void a_limit_below_what_the_devices_cost_is_refused_with_the_figure(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	static struct pair pair;

	open_pair(&pair, 1, SWO_TRANSITIONS_PARALLEL);
	params.downtime_limit_ms = 0;
	fake_migrate(&pair.source, &pair.target, &params);
	expect_taken_back(&pair, "raise downtime-limit");
	close_pair(&pair);
}

/* Faults after GO */

static void a_device_that_fails_to_start_over_there_is_reset_and_reported(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	fake_script(
		&pair.target.devices[2], SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, FAKE_FAIL, 1);
	fake_migrate(&pair.source, &pair.target, NULL);
	struct swo_migration_info info = fake_end(&pair.source);
	assert_int_equal(info.status, SWO_MIGRATION_COMPLETED);
	assert_non_null(strstr(info.error.text, "vf2"));
	fake_end(&pair.target);
	assert_false(fake_vm_runs(&pair.source));
	assert_true(fake_vm_runs(&pair.target));
	assert_int_equal(pair.target.devices[2].state, SWO_DEVICE_RUNNING);
	close_pair(&pair);
}

/* At any moment */

static void expect_exactly_one(struct pair *pair)
{
	bool source = fake_vm_runs(&pair->source), target = fake_vm_runs(&pair->target);

	assert_int_equal(source + target, 1);
	assert_int_equal(target, atomic_load(&pair->target.starts) == 1);
}

/* A target whose source aborted before it connected keeps waiting: its user has to end it. */
static struct swo_migration_info end_both(struct pair *pair)
{
	struct swo_migration_info info = fake_end(&pair->source);

	if (info.status != SWO_MIGRATION_COMPLETED)
		swo_migration_cancel(pair->target.migration, NULL);
	fake_end(&pair->target);
	return info;
}

static void a_cancel_at_any_moment_leaves_exactly_one_running(void **state)
{
	(void)state;
	unsigned cancelled = 0;

	for (unsigned i = 0; i < 30; i++) {
		static struct pair pair;

		open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
		fake_migrate(&pair.source, &pair.target, NULL);
		swo_sleep_until(swo_now_ns() + i * 400000);
		swo_migration_cancel(i % 2 ? pair.source.migration : pair.target.migration, NULL);
		enum swo_migration_status status = end_both(&pair).status;

		cancelled += status != SWO_MIGRATION_COMPLETED;
		expect_exactly_one(&pair);
		close_pair(&pair);
	}
	assert_true(cancelled > 0);
}

static void a_cancelled_migration_can_be_tried_again(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	fake_migrate(&pair.source, &pair.target, NULL);
	assert_int_equal(swo_migration_cancel(pair.source.migration, NULL), 0);
	assert_int_equal(end_both(&pair).status, SWO_MIGRATION_CANCELLED);
	swo_migration_free(pair.source.migration);
	swo_migration_free(pair.target.migration);
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_moved(&pair, true);
	close_pair(&pair);
}

static void after_the_end_there_is_nothing_to_cancel_or_resolve(void **state)
{
	(void)state;
	struct swo_error err = {0};
	static struct pair pair;

	open_pair(&pair, 1, SWO_TRANSITIONS_PARALLEL);
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_moved(&pair, true);
	assert_int_equal(swo_migration_cancel(pair.source.migration, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	assert_int_equal(swo_migration_resolve(pair.source.migration, true, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	close_pair(&pair);
}

/* By a user */

static void *stop_as_a_user(void *opaque)
{
	struct fake_vm *vm = opaque;

	fake_vm_run(vm, false);
	swo_runstate_change(vm->vm.runstate, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, NULL);
	return NULL;
}

static void stop_by_hand(struct fake_vm *vm)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stop_as_a_user, vm), 0);
	pthread_join(thread, NULL);
}

static void a_stop_just_before_that_of_the_migration_lets_it_go_on_paused(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	pair.source.on_stop = stop_by_hand;
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_moved(&pair, false);
	assert_int_equal(atomic_load(&pair.target.starts), 0);
	assert_int_equal(swo_runstate_get(pair.target.vm.runstate), SWO_RUN_STATE_PAUSED);
	close_pair(&pair);
}

/* The same, and the target fails: it stays paused, its devices in STOP. */
static void a_paused_vm_whose_migration_fails_stays_paused(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	pair.source.on_stop = stop_by_hand;
	pair.target.fail_machine_load = true;
	fake_migrate(&pair.source, &pair.target, NULL);
	assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_FAILED);
	assert_int_equal(swo_runstate_get(pair.source.vm.runstate), SWO_RUN_STATE_PAUSED);
	assert_int_equal(atomic_load(&pair.source.starts), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fake_state(&pair.source.devices[i]), SWO_DEVICE_STOP);
	fake_end(&pair.target);
	close_pair(&pair);
}

/* start() succeeds and leaves it: the user of the target has stopped it before it arrived. */
static void a_target_whose_start_leaves_the_vm_arrives_paused(void **state)
{
	(void)state;
	for (unsigned late = 0; late < 2; late++) {
		struct swo_migration_params params = fake_params();
		static struct pair pair;

		params.finalise = late ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
		pair.target.leaves = true;
		fake_migrate(&pair.source, &pair.target, &params);
		expect_moved(&pair, false);
		assert_int_equal(swo_runstate_get(pair.target.vm.runstate), SWO_RUN_STATE_PAUSED);
		close_pair(&pair);
	}
}

/* By the VMM itself */

static void an_abort_fails_the_migration_with_the_vmms_reason(void **state)
{
	(void)state;
	const struct swo_error why = {.code = SWO_E_STATE, .text = "the guest has crashed"};
	const struct swo_error cancel = {.code = SWO_E_CANCELLED};
	struct swo_error err = {0};

	for (unsigned at_target = 0; at_target < 2; at_target++) {
		static struct pair pair;

		open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
		pair.target.devices[1].hang_in = FAKE_CALL_WRITE;
		fake_migrate(&pair.source, &pair.target, NULL);
		assert_true(fake_await_hang(&pair.target.devices[1]));
		struct swo_migration *m = at_target ? pair.target.migration : pair.source.migration;

		assert_int_equal(swo_migration_abort(m, NULL, &err), -1);
		assert_int_equal(swo_migration_abort(m, &cancel, &err), -1);
		assert_int_equal(err.code, SWO_E_INVALID);
		assert_int_equal(swo_migration_abort(m, &why, &err), 0);
		fake_release(&pair.target.devices[1]);
		expect_taken_back(&pair, why.text);
		assert_int_equal(fake_end(&pair.target).status, SWO_MIGRATION_FAILED);
		assert_int_equal(swo_migration_abort(m, &why, &err), -1);
		assert_int_equal(err.code, SWO_E_STATE);
		close_pair(&pair);
	}
}

/* It sets the run state, without an abort. */
static void a_guest_that_has_failed_is_not_migrated(void **state)
{
	(void)state;
	static const enum swo_run_state states[] = {
		SWO_RUN_STATE_INTERNAL_ERROR, SWO_RUN_STATE_SHUTDOWN};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(states); i++) {
		static struct pair pair;

		open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
		fake_vm_run(&pair.source, false);
		assert_int_equal(swo_runstate_change(pair.source.vm.runstate, states[i],
					 SWO_ON_ERROR_CONTINUE, NULL),
			0);
		fake_migrate(&pair.source, &pair.target, NULL);
		assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_FAILED);
		assert_non_null(
			strstr(fake_end(&pair.source).error.text, swo_run_state_name(states[i])));
		fake_end(&pair.target);
		assert_int_equal(swo_runstate_get(pair.source.vm.runstate), states[i]);
		assert_int_equal(atomic_load(&pair.target.starts), 0);
		close_pair(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vm_with_any_number_of_devices_moves_completely),
		cmocka_unit_test(it_moves_over_one_or_many_channels),
		cmocka_unit_test(it_moves_with_every_switch_thrown),
		cmocka_unit_test(it_moves_through_the_smallest_window),
		cmocka_unit_test(a_large_device_uses_all_channels_and_arrives_in_order),
		cmocka_unit_test(a_running_vm_runs_on_over_there_and_only_there),
		cmocka_unit_test(with_the_limit_met_rounds_go_on_for_as_long_as_they_pay),
		cmocka_unit_test(a_paused_vm_arrives_paused),
		cmocka_unit_test(a_vm_that_is_stopped_on_the_way_arrives_paused),
		cmocka_unit_test(it_moves_over_tcp),
		cmocka_unit_test(any_failing_arc_before_go_leaves_the_source_running),
		cmocka_unit_test(any_other_failure_before_go_leaves_the_source_running),
		cmocka_unit_test(a_target_that_differs_reports_the_difference_and_keeps_waiting),
		cmocka_unit_test(a_target_that_is_not_there_fails_at_once_and_clearly),
		cmocka_unit_test(a_hung_arc_at_the_source_is_left_behind_and_the_rest_runs_on),
		cmocka_unit_test(
			a_stop_that_lasts_over_the_ceiling_is_aborted_and_names_the_device),
		cmocka_unit_test(a_stop_that_would_last_over_the_ceiling_is_not_started),
		cmocka_unit_test(a_limit_below_what_the_devices_cost_is_refused_with_the_figure),
		cmocka_unit_test(a_device_that_fails_to_start_over_there_is_reset_and_reported),
		cmocka_unit_test(a_cancel_at_any_moment_leaves_exactly_one_running),
		cmocka_unit_test(a_cancelled_migration_can_be_tried_again),
		cmocka_unit_test(after_the_end_there_is_nothing_to_cancel_or_resolve),
		cmocka_unit_test(a_stop_just_before_that_of_the_migration_lets_it_go_on_paused),
		cmocka_unit_test(a_paused_vm_whose_migration_fails_stays_paused),
		cmocka_unit_test(a_target_whose_start_leaves_the_vm_arrives_paused),
		cmocka_unit_test(an_abort_fails_the_migration_with_the_vmms_reason),
		cmocka_unit_test(a_guest_that_has_failed_is_not_migrated),
	};
	swo_log_set(getenv("SWO_TEST_VERBOSE") ? SWO_LOG_DEBUG : SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
