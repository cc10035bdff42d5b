/* SPDX-License-Identifier: BSD-3-Clause */
/* The model: known answers, and what must hold for any devices and any link. */
#include "switchover/plan.h"
#include "tests/support/cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS     UINT64_C(1000000)
#define MB     UINT64_C(1000000)
#define MIB    UINT64_C(1048576)
#define COUNT  32
#define ROUNDS 500

static const struct swo_plan_device even = {.name = "even",
	.costs.running_to_p2p_ns = 25 * MS,
	.costs.p2p_to_stop_ns = 40 * MS,
	.costs.resuming_to_stop_ns = 20 * MS,
	.costs.stop_to_p2p_ns = 25 * MS,
	.costs.p2p_to_running_ns = 15 * MS,
	.costs.state_bytes = 65536,
	.costs.precopy_bytes = 32768,
	.costs.pf = -1};

struct plan {
	struct swo_plan_device devices[COUNT];
	struct swo_plan_setup setup;
};

static struct plan *plan_of(struct swo_plan_device one, unsigned count)
{
	static struct plan plan;

	assert_true(count <= COUNT);
	swo_plan_setup_init(&plan.setup);
	for (unsigned i = 0; i < count; i++) {
		plan.devices[i] = one;
		snprintf(plan.devices[i].name, sizeof(plan.devices[i].name), "vf%u", i);
	}
	plan.setup.devices = plan.devices;
	plan.setup.count = count;
	return &plan;
}

static struct swo_plan_device cx7(void)
{
	struct swo_plan_device d = even;

	d.costs.state_bytes = 20 * MIB;
	d.costs.precopy_bytes = 0;
	d.costs.save_rate = 400 * MB;
	d.costs.load_rate = 420 * MB;
	d.costs.config_load_ns = 70 * MS;
	d.costs.pf = 0;
	return d;
}

/* Runs it; whatever comes out must add up. */
static struct swo_plan_result result_of(const struct plan *plan)
{
	struct swo_plan_result result;
	struct swo_error err = {0};
	uint64_t sum = 0;

	if (swo_plan_run(&plan->setup, &result, NULL, &err))
		fail_msg("%s", err.text);
	for (size_t i = 0; i < result.path.count; i++)
		sum += result.path.steps[i].end_ns - result.path.steps[i].start_ns;
	assert_int_equal(sum, result.blackout_ns);
	return result;
}

static double ms_of(const struct plan *plan)
{
	struct swo_plan_result result = result_of(plan);
	double ms = (double)result.blackout_ns / 1e6;

	swo_plan_free(&result);
	return ms;
}

static double bound_ms(const struct plan *plan)
{
	return (double)swo_plan_lower_bound(&plan->setup).total_ns / 1e6;
}

static void assert_near(double got, double wanted, double within)
{
	if (fabs(got - wanted) > within)
		fail_msg("%f is not within %f of %f", got, within, wanted);
}

static void make_serial(struct plan *plan)
{
	plan->setup.transitions = SWO_TRANSITIONS_SERIAL;
}

/* Known answers */

static void even_is_125_ms_in_parallel_at_any_number_of_devices(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= COUNT; n *= 2)
		assert_near(ms_of(plan_of(even, n)), 125, 1e-6);
}

static void even_is_125_ms_a_device_when_every_arc_waits_for_the_one_before(void **state)
{
	(void)state;
	static const enum swo_when when[] = {SWO_WHEN_RAM, SWO_WHEN_LATE};

	for (unsigned n = 1; n <= COUNT; n *= 2)
		for (size_t w = 0; w < SWO_ARRAY_SIZE(when); w++) {
			struct plan *plan = plan_of(even, n);

			make_serial(plan);
			plan->setup.finalise = when[w];
			assert_near(ms_of(plan), 125.0 * n, 1e-6);
		}
}

static void finalising_early_hides_behind_the_next_devices_stop(void **state)
{
	(void)state;
	/* One after the other on each side, but the sides do not wait for each other. */
	for (unsigned n = 1; n <= COUNT; n *= 2) {
		struct plan *plan = plan_of(even, n);

		make_serial(plan);
		assert_near(ms_of(plan), 105.0 * n + 20, 1e-6);
	}
}

static void cx7_on_one_pf_is_close_to_177_335_964_ms(void **state)
{
	(void)state;
	static const struct {
		unsigned n;
		double bound;
	} known[] = {{1, 177}, {4, 335}, {16, 964}};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(known); i++) {
		struct plan *plan = plan_of(cx7(), known[i].n);

		assert_near(bound_ms(plan), known[i].bound, 0.5);
		/* More by what the last chunk takes to load. */
		assert_near(ms_of(plan), known[i].bound + 2.5, 1);
		plan->setup.wire_rate = 1500 * MB;
		assert_near(ms_of(plan), known[i].bound + 3.5, 1);
	}
}

static void fixed_cost_of_a_load_is_each_devices_own(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= COUNT; n *= 4) {
		struct plan *plan = plan_of(cx7(), n);
		const double without = ms_of(plan);

		for (unsigned i = 0; i < n; i++)
			plan->devices[i].costs.load_fixed_ns = 140 * MS;
		assert_near(ms_of(plan), without + 140, 1e-6);
		assert_near(bound_ms(plan), without + 140, 4);
		/* Without a load rate and without state, too. */
		for (unsigned i = 0; i < n; i++)
			plan->devices[i].costs.load_rate = plan->devices[i].costs.state_bytes = 0;
		assert_near(ms_of(plan), 125 + 140, 1e-6);
	}
}

static void two_pfs_take_half_the_streams_time_of_one(void **state)
{
	(void)state;
	struct plan *plan = plan_of(cx7(), 8);
	double one = ms_of(plan);

	for (unsigned i = 0; i < 8; i++)
		plan->devices[i].costs.pf = (int)i % 2;
	assert_near(one - ms_of(plan), 4 * 20 * 1.048576 / 0.4, 1);
}

static void ram_at_the_stop_counts_when_it_ends_last(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 4);

	plan->setup.wire_rate = 1000 * MB;
	plan->setup.ram_bytes = 50 * MB; /* beside the stop */
	assert_near(ms_of(plan), 125, 0.2);
	plan->setup.ram_bytes = 500 * MB;
	struct swo_plan_result result = result_of(plan);

	/* A device's last chunk gets its turn between those of memory. */
	assert_near((double)result.blackout_ns / 1e6, 500 + 40, 2);
	assert_string_equal(result.path.steps[0].name, "last RAM pass");
	swo_plan_free(&result);
}

static void ram_of_untracked_devices_follows_their_stop(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 4);

	plan->setup.wire_rate = 1000 * MB;
	plan->setup.ram_bytes = 50 * MB;
	plan->setup.ram_after_stop = true;
	/* 65 ms to the stop, 40 from READY on. */
	assert_near(ms_of(plan), 65 + 50 + 40, 2);
	plan->setup.ram_bytes = 500 * MB;
	assert_near(ms_of(plan), 65 + 500 + 40, 2);
	plan->setup.ram_bytes = 0;
	assert_near(ms_of(plan), 125, 0.2);
}

static void a_round_trip_counts_for_data_ready_and_go(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 2);

	plan->setup.rtt_ns = 10 * MS;
	assert_near(ms_of(plan), 125 + 15, 1e-6);
}

static void a_window_follows_a_long_link_up_to_what_all_may_have(void **state)
{
	(void)state;
	struct swo_plan_device d = {.name = "x", .costs.state_bytes = 256 * MIB, .costs.pf = -1};
	struct plan *plan = plan_of(d, 1);

	plan->setup.wire_rate = 1000 * MB;
	plan->setup.rtt_ns = 20 * MS;
	assert_near(ms_of(plan), 268.4 + 30, 1);
	/* 64 MiB a round trip, which begins when the first of their chunks has left. */
	plan->setup.rtt_ns = 200 * MS;
	assert_near(ms_of(plan), 3 * (200 + 1.05) + 67.1 + 300, 3);
	plan->setup.window = 0;
	assert_near(ms_of(plan), 268.4 + 300, 1);
}

static void a_slow_channel_is_helped_by_a_second(void **state)
{
	(void)state;
	struct swo_plan_device d = {.name = "x", .costs.state_bytes = 64 * MIB, .costs.pf = -1};
	struct plan *plan = plan_of(d, 2);

	plan->setup.channel_rate = 500 * MB;
	plan->setup.channels = 1;
	assert_near(ms_of(plan), 2 * 134.2, 3);
	plan->setup.channels = 2;
	assert_near(ms_of(plan), 134.2, 3);
}

static void late_config_is_loaded_beside_the_stop_and_before_the_data(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 1);

	plan->devices[0].costs.config_load_ns = 70 * MS;
	assert_near(ms_of(plan), 125, 1e-6);
	plan->setup.config = SWO_WHEN_LATE;
	struct swo_plan_result result = result_of(plan);

	assert_near((double)result.blackout_ns / 1e6, 130, 1e-6);
	assert_string_equal(result.path.steps[0].name, "config");
	swo_plan_free(&result);
}

static void depths_are_joined_one_after_the_other_or_at_the_end_of_the_pass(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 3);

	plan->devices[1].depth = plan->devices[2].depth = 1;
	plan->setup.join = SWO_JOIN_PASS;
	assert_near(ms_of(plan), 125, 1e-6);
	plan->setup.join = SWO_JOIN_DEPTH;
	/* RESUMING->STOP of the deeper ones goes on beside the stop of the other. */
	assert_near(ms_of(plan), 2 * 25 + 2 * 40 + 20 + 2 * 25 + 2 * 15, 1e-6);
}

static void late_streams_wait_for_the_slowest_to_stop(void **state)
{
	(void)state;
	struct swo_plan_device d = {.name = "x",
		.costs.state_bytes = 100 * MB,
		.costs.save_rate = 1000 * MB,
		.costs.pf = -1};
	struct plan *plan = plan_of(d, 2);

	plan->devices[1].costs.p2p_to_stop_ns = 60 * MS;
	plan->devices[1].costs.state_bytes = 0;
	assert_near(ms_of(plan), 100, 1e-6);
	plan->setup.stream = SWO_WHEN_LATE;
	/* But for the two chunks that the device saves ahead. */
	assert_near(ms_of(plan), 160 - 2.1, 0.1);
}

static void a_pf_that_takes_arcs_in_turn_makes_them_add_up(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 4);

	for (unsigned i = 0; i < 4; i++)
		plan->devices[i].costs.pf = (int)i / 2;
	plan->setup.pf_arcs = true;
	/* The first of each PF stops, and is finalised, while the second is still stopping. */
	assert_near(ms_of(plan), 2 * 105 + 20, 1e-6);
}

static void without_devices_only_the_link_is_left(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 0);

	plan->setup.rtt_ns = 2 * MS;
	assert_near(ms_of(plan), 3, 1e-6);
}

/* What must always hold */

static unsigned seed;

static uint64_t any(uint64_t below)
{
	return (uint64_t)rand_r(&seed) % below;
}

static struct swo_plan_device any_device(void)
{
	struct swo_plan_device d = {.costs.running_to_p2p_ns = any(60) * MS,
		.costs.p2p_to_stop_ns = any(60) * MS,
		.costs.resuming_to_stop_ns = any(60) * MS,
		.costs.stop_to_p2p_ns = any(40) * MS,
		.costs.p2p_to_running_ns = any(40) * MS,
		.costs.config_load_ns = any(100) * MS,
		.costs.state_bytes = any(3) ? any(30) * MIB + any(1000) : any(100000),
		.costs.save_rate = any(3) ? 0 : (100 + any(900)) * MB,
		.costs.load_rate = any(3) ? 0 : (100 + any(900)) * MB,
		.costs.pf = (int)any(4) - 1,
		.depth = (int)any(2)};

	d.costs.precopy_bytes = d.costs.state_bytes / (1 + any(4)) / 2;
	return d;
}

static struct plan *any_plan(unsigned round, bool alike)
{
	seed = round + 1;
	unsigned n = 1 + (unsigned)any(12);
	struct plan *plan = plan_of(any_device(), n);

	for (unsigned i = 0; i < n && !alike; i++) {
		plan->devices[i] = any_device();
		snprintf(plan->devices[i].name, sizeof(plan->devices[i].name), "vf%u", i);
	}
	plan->setup.wire_rate = (200 + any(2000)) * MB;
	plan->setup.rtt_ns = any(4) * MS / 2;
	plan->setup.ram_bytes = any(3) ? any(40) * MIB : 0;
	plan->setup.channels = 1 + (unsigned)any(4);
	plan->setup.stream = any(2) ? SWO_WHEN_EARLY : SWO_WHEN_LATE;
	plan->setup.finalise = (enum swo_when)any(3);
	plan->setup.config = any(2) ? SWO_WHEN_EARLY : SWO_WHEN_LATE;
	plan->setup.join = any(2) ? SWO_JOIN_DEPTH : SWO_JOIN_PASS;
	return plan;
}

/*
 * First come, first served: when one device's chunks come earlier, another's may come later. That
 * costs a chunk at most, here at 100 MB/s.
 */
#define ONE_CHUNK_MS 10.5

static void it_is_never_below_the_bound(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct plan *plan = any_plan(round, round % 2);

		/* The bound has one rate a PF: those of different devices differ. */
		double ms = ms_of(plan);

		for (unsigned i = 0; round % 2 == 0 && i < plan->setup.count; i++)
			plan->devices[i].costs.pf = -1;
		double bound = bound_ms(plan);

		if (ms < bound - 1e-3)
			fail_msg("round %u: %f ms, and the bound is %f", round, ms, bound);
	}
}

static void parallel_is_never_slower_than_serial(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct plan *plan = any_plan(round, round % 2);
		double parallel = ms_of(plan);

		make_serial(plan);
		double serial = ms_of(plan);

		if (parallel > serial + 1e-6)
			fail_msg("round %u: parallel %f, serial %f", round, parallel, serial);
	}
}

static void one_more_device_is_never_faster(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct plan *plan = any_plan(round, round % 2);
		double all = ms_of(plan);

		plan->setup.count--;
		double fewer = ms_of(plan);

		/* Of a kind, it is exact. */
		if (fewer > all + (round % 2 ? 1e-6 : ONE_CHUNK_MS))
			fail_msg("round %u: %f with one device less, %f with", round, fewer, all);
	}
}

static void a_faster_wire_is_never_slower(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct plan *plan = any_plan(round, round % 2);
		double slow = ms_of(plan);

		plan->setup.wire_rate += plan->setup.wire_rate / 2;
		double fast = ms_of(plan);

		if (fast > slow + (round % 2 ? 1e-6 : ONE_CHUNK_MS))
			fail_msg("round %u: %f with the faster wire, %f before", round, fast, slow);
	}
}

static void early_everything_is_never_slower_than_late(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct plan *plan = any_plan(round, true);

		plan->setup.stream = plan->setup.config = SWO_WHEN_EARLY;
		double early = ms_of(plan);

		plan->setup.stream = SWO_WHEN_LATE;
		assert_true(ms_of(plan) >= early - 1e-6);
		plan->setup.stream = SWO_WHEN_EARLY;
		plan->setup.config = SWO_WHEN_LATE;
		assert_true(ms_of(plan) >= early - 1e-6);
	}
}

static void what_each_device_does_is_in_order_and_as_long_as_it_costs(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct plan *plan = any_plan(round, false);
		struct swo_plan_result r = result_of(plan);

		for (unsigned i = 0; i < r.count; i++) {
			const struct swo_plan_schedule *s = &r.schedules[i];
			const struct swo_plan_device *d = &plan->devices[i];

			assert_int_equal(s->running_to_p2p.end_ns - s->running_to_p2p.start_ns,
				d->costs.running_to_p2p_ns);
			assert_true(s->p2p_to_stop.start_ns >= s->running_to_p2p.end_ns);
			assert_true(s->save.start_ns >= s->p2p_to_stop.end_ns);
			assert_true(s->save.end_ns >= s->save.start_ns);
			assert_true(s->load.end_ns >= s->save.end_ns);
			assert_true(s->resuming_to_stop.start_ns >= s->load.end_ns);
			assert_int_equal(s->resuming_to_stop.end_ns - s->resuming_to_stop.start_ns,
				d->costs.resuming_to_stop_ns);
			assert_true(s->stop_to_p2p.start_ns >= s->resuming_to_stop.end_ns);
			assert_true(s->stop_to_p2p.start_ns >= r.ready_ns);
			assert_true(s->p2p_to_running.start_ns >= s->stop_to_p2p.end_ns);
			assert_true(r.blackout_ns >= s->p2p_to_running.end_ns);
			/* The barriers. */
			for (unsigned k = 0; k < r.count; k++) {
				assert_true(s->p2p_to_stop.start_ns >=
					    r.schedules[k].running_to_p2p.end_ns);
				assert_true(s->p2p_to_running.start_ns >=
					    r.schedules[k].stop_to_p2p.end_ns);
			}
		}
		swo_plan_free(&r);
	}
}

static void a_prediction_is_a_timeline_with_the_same_path(void **state)
{
	(void)state;
	struct plan *plan = plan_of(cx7(), 3);
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, 256);
	struct swo_plan_result result;
	struct swo_path path;
	struct swo_error err = {0};

	plan->setup.ram_bytes = 1000000;
	assert_int_equal(swo_plan_run(&plan->setup, &result, timeline, &err), 0);
	assert_int_equal(swo_critical_path(timeline, &path, &err), 0);
	assert_int_equal(path.end_ns - path.start_ns, result.blackout_ns);
	assert_int_equal(path.count, result.path.count);
	assert_memory_equal(path.steps, result.path.steps, path.count * sizeof(*path.steps));
	swo_path_free(&path);
	swo_plan_free(&result);
	swo_timeline_free(timeline);
}

static void figures_out_of_bounds_are_refused_by_name(void **state)
{
	(void)state;
	struct swo_plan_result result;
	struct swo_error err;
	struct plan *plan = plan_of(even, 2);

	plan->devices[1].costs.save_rate = 5;
	assert_int_equal(swo_plan_run(&plan->setup, &result, NULL, &err), -1);
	assert_non_null(strstr(err.text, "vf1"));
	plan = plan_of(even, 2);
	plan->devices[1].costs.precopy_bytes = 65537;
	assert_int_equal(swo_plan_run(&plan->setup, &result, NULL, &err), -1);
	plan = plan_of(even, 2);
	plan->setup.channels = 0;
	assert_int_equal(swo_plan_run(&plan->setup, &result, NULL, &err), -1);
	plan = plan_of(even, 2);
	plan->setup.count = SWO_DEVICES_MAX + 1;
	assert_int_equal(swo_plan_run(&plan->setup, &result, NULL, &err), -1);
	plan = plan_of(even, 2);
	plan->devices[0].costs.running_to_p2p_ns = UINT64_MAX - 1;
	assert_int_equal(swo_plan_run(&plan->setup, &result, NULL, &err), -1);
}

static void what_is_unknown_takes_no_time_and_sets_no_limit(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 2);

	swo_device_costs_init(&plan->devices[0].costs);
	assert_near(ms_of(plan), 125, 1e-6);
	assert_near(bound_ms(plan), 125, 1e-6);
	swo_device_costs_init(&plan->devices[1].costs);
	assert_near(ms_of(plan), 0, 1e-9);
	assert_near(bound_ms(plan), 0, 1e-9);
}

static void a_huge_state_is_simulated_in_larger_chunks(void **state)
{
	(void)state;
	struct swo_plan_device d = {.name = "x",
		.costs.state_bytes = UINT64_C(1) << 43,
		.costs.save_rate = 10000 * MB,
		.costs.pf = -1};
	struct plan *plan = plan_of(d, 2);

	assert_near(ms_of(plan), 879609.3, 20);
}

/* Overhead */

static const struct swo_engine_overhead overhead = {
	.fixed_ns = 2 * MS, .arc_ns = MS / 10, .stream_ns = MS / 2, .state_rate = 1000 * MB};

static void of_devices_that_cost_nothing_the_overhead_is_left_device_by_device(void **state)
{
	(void)state;
	struct swo_plan_device instant = {.name = "instant", .costs.pf = -1};

	for (unsigned n = 0; n <= COUNT; n += 4) {
		struct plan *plan = plan_of(instant, n);

		plan->setup.overhead = overhead;
		assert_near(ms_of(plan), 2 + n * (4 * 0.1 + 0.5), 1e-6);
	}
}

static void state_of_all_devices_goes_through_one_cpu(void **state)
{
	(void)state;
	struct swo_plan_device d = {.name = "x", .costs.state_bytes = 50 * MB, .costs.pf = -1};
	struct plan *plan = plan_of(d, 4);

	plan->setup.overhead.state_rate = 1000 * MB;
	assert_near(ms_of(plan), 200, 0.1);
	/* A device that is slower by itself leaves it time for others. */
	plan->setup.window = 0;
	for (unsigned i = 0; i < 4; i++)
		plan->devices[i].costs.save_rate = 200 * MB;
	assert_near(ms_of(plan), 250, 5);
}

static void overhead_hides_behind_arcs_where_it_can(void **state)
{
	(void)state;
	struct plan *plan = plan_of(even, 16);
	double without = ms_of(plan);

	plan->setup.overhead = overhead;
	/* The stops are as long as each other, so that launching them hides behind the first; the
	   streams are the longer part of the two. State is 16 times 32 KiB. */
	assert_near(ms_of(plan) - without, 2 + 16 * (3 * 0.1 + 0.5) + 0.1 + 0.52, 0.2);
}

static void overhead_never_shortens_and_none_changes_nothing(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= COUNT; n++) {
		struct plan *plan = plan_of(n % 2 ? cx7() : even, n);
		double without = ms_of(plan);

		plan->setup.overhead = overhead;
		assert_true(ms_of(plan) > without);
		plan->setup.overhead = (struct swo_engine_overhead){0};
		assert_near(ms_of(plan), without, 1e-9);
	}
}

static void overhead_out_of_bounds_is_refused(void **state)
{
	(void)state;
	struct swo_plan_result result;
	struct swo_error err;
	struct plan *plan = plan_of(even, 1);

	plan->setup.overhead.arc_ns = UINT64_MAX;
	assert_int_equal(swo_plan_run(&plan->setup, &result, NULL, &err), -1);
	plan->setup.overhead = (struct swo_engine_overhead){.state_rate = 5};
	assert_int_equal(swo_plan_run(&plan->setup, &result, NULL, &err), -1);
	assert_non_null(strstr(err.text, "overhead"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(even_is_125_ms_in_parallel_at_any_number_of_devices),
		cmocka_unit_test(even_is_125_ms_a_device_when_every_arc_waits_for_the_one_before),
		cmocka_unit_test(finalising_early_hides_behind_the_next_devices_stop),
		cmocka_unit_test(cx7_on_one_pf_is_close_to_177_335_964_ms),
		cmocka_unit_test(fixed_cost_of_a_load_is_each_devices_own),
		cmocka_unit_test(two_pfs_take_half_the_streams_time_of_one),
		cmocka_unit_test(ram_at_the_stop_counts_when_it_ends_last),
		cmocka_unit_test(ram_of_untracked_devices_follows_their_stop),
		cmocka_unit_test(a_round_trip_counts_for_data_ready_and_go),
		cmocka_unit_test(a_window_follows_a_long_link_up_to_what_all_may_have),
		cmocka_unit_test(a_slow_channel_is_helped_by_a_second),
		cmocka_unit_test(late_config_is_loaded_beside_the_stop_and_before_the_data),
		cmocka_unit_test(depths_are_joined_one_after_the_other_or_at_the_end_of_the_pass),
		cmocka_unit_test(late_streams_wait_for_the_slowest_to_stop),
		cmocka_unit_test(a_pf_that_takes_arcs_in_turn_makes_them_add_up),
		cmocka_unit_test(without_devices_only_the_link_is_left),
		cmocka_unit_test(it_is_never_below_the_bound),
		cmocka_unit_test(parallel_is_never_slower_than_serial),
		cmocka_unit_test(one_more_device_is_never_faster),
		cmocka_unit_test(a_faster_wire_is_never_slower),
		cmocka_unit_test(early_everything_is_never_slower_than_late),
		cmocka_unit_test(what_each_device_does_is_in_order_and_as_long_as_it_costs),
		cmocka_unit_test(a_prediction_is_a_timeline_with_the_same_path),
		cmocka_unit_test(figures_out_of_bounds_are_refused_by_name),
		cmocka_unit_test(what_is_unknown_takes_no_time_and_sets_no_limit),
		cmocka_unit_test(a_huge_state_is_simulated_in_larger_chunks),
		cmocka_unit_test(
			of_devices_that_cost_nothing_the_overhead_is_left_device_by_device),
		cmocka_unit_test(state_of_all_devices_goes_through_one_cpu),
		cmocka_unit_test(overhead_hides_behind_arcs_where_it_can),
		cmocka_unit_test(overhead_never_shortens_and_none_changes_nothing),
		cmocka_unit_test(overhead_out_of_bounds_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
