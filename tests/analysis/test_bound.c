/* SPDX-License-Identifier: BSD-3-Clause */
/* The lower bound: the figures of the design, and one test for each term. */
#include "switchover/plan.h"
#include "tests/support/cm.h"

#include <math.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define MB UINT64_C(1000000)

static const struct swo_device_costs even = {.running_to_p2p_ns = 25 * MS,
	.p2p_to_stop_ns = 40 * MS,
	.resuming_to_stop_ns = 20 * MS,
	.stop_to_p2p_ns = 25 * MS,
	.p2p_to_running_ns = 15 * MS,
	.state_bytes = 32768,
	.pf = -1};

/* So many devices, with equal or with these costs. */
static struct swo_plan_setup setup_of(
	const struct swo_device_costs *costs, unsigned count, bool alike)
{
	static struct swo_plan_device devices[64];
	struct swo_plan_setup setup;

	assert_true(count <= SWO_ARRAY_SIZE(devices));
	for (unsigned i = 0; i < count; i++)
		devices[i] = (struct swo_plan_device){.costs = costs[alike ? 0 : i]};
	swo_plan_setup_init(&setup);
	setup.devices = devices;
	setup.count = count;
	return setup;
}

static double total_ms(const struct swo_plan_setup *setup)
{
	return (double)swo_plan_lower_bound(setup).total_ns / 1e6;
}

static double bound_ms(
	struct swo_device_costs one, unsigned count, uint64_t wire, double rtt_ms, uint64_t ram)
{
	struct swo_plan_setup setup = setup_of(&one, count, true);

	setup.wire_rate = wire;
	setup.rtt_ns = (uint64_t)(rtt_ms * 1e6);
	setup.ram_bytes = ram;
	return total_ms(&setup);
}

static void assert_near(double got, double wanted, double within)
{
	if (fabs(got - wanted) > within)
		fail_msg("%f, expected %f +- %f", got, wanted, within);
}

static void even_is_125_ms_at_any_number_of_devices(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 64; n *= 2)
		assert_near(bound_ms(even, n, 0, 0, 0), 125, 1e-9);
	/* At this machine's rate the little state that there is does not count for much. */
	assert_near(bound_ms(even, 16, 800 * MB, 0.05, 0), 125, 1);
}

static void cx7_on_one_pf_is_177_335_964_ms(void **state)
{
	(void)state;
	struct swo_device_costs cx7 = even;

	cx7.state_bytes = 20 << 20;
	cx7.save_rate = 400 * MB;
	cx7.load_rate = 420 * MB;
	cx7.pf = 0;
	assert_near(bound_ms(cx7, 1, 0, 0, 0), 177, 0.5);
	assert_near(bound_ms(cx7, 4, 0, 0, 0), 335, 0.5);
	assert_near(bound_ms(cx7, 16, 0, 0, 0), 964, 0.5);
	const struct swo_plan_setup setup = setup_of(&cx7, 4, true);

	assert_string_equal(swo_plan_lower_bound(&setup).limited_by, "save of PF 0");
	/* On a PF of its own each one's path is all that counts. */
	cx7.pf = -1;
	assert_near(bound_ms(cx7, 16, 0, 0, 0), 177, 0.5);
}

/* The two readings of what was measured: one firmware for all, or one for each. */
static void fixed_cost_of_a_load_counts_once(void **state)
{
	(void)state;
	struct swo_device_costs vf = {.running_to_p2p_ns = 30 * MS,
		.p2p_to_stop_ns = 40 * MS,
		.resuming_to_stop_ns = 2 * MS,
		.stop_to_p2p_ns = 7 * MS,
		.p2p_to_running_ns = 7 * MS,
		.state_bytes = 20 << 20,
		.save_rate = 600 * MB,
		.load_rate = 1200 * MB,
		.load_fixed_ns = 140 * MS,
		.pf = 0};
	const double save = 20 * 1.048576 / 0.6;

	for (unsigned n = 1; n <= 16; n *= 4)
		assert_near(bound_ms(vf, n, 0, 0, 0), 226 + n * save, 0.1);
	vf.pf = -1;
	assert_near(bound_ms(vf, 16, 0, 0, 0), 226 + save, 0.1);
	/* It is the device's own, also where the wire or the load of the PF is the slowest. */
	assert_near(bound_ms(vf, 16, 1000 * MB, 0, 0), 226 + 16 * 20 * 1.048576, 0.1);
	vf.pf = 0;
	vf.load_rate = 300 * MB;
	assert_near(bound_ms(vf, 4, 0, 0, 0), 226 + 4 * 2 * save, 0.1);
}

static void the_slower_of_save_load_and_wire_is_a_devices_path(void **state)
{
	(void)state;
	struct swo_device_costs d = {.state_bytes = 10 * MB, .pf = -1};

	d.save_rate = 100 * MB;
	d.load_rate = 200 * MB;
	assert_near(bound_ms(d, 1, 0, 0, 0), 100, 1e-9);
	d.load_rate = 50 * MB;
	assert_near(bound_ms(d, 1, 0, 0, 0), 200, 1e-9);
	assert_near(bound_ms(d, 1, 25 * MB, 0, 0), 400, 1e-9);
}

static void the_wire_carries_all_devices_and_the_last_ram_passes(void **state)
{
	(void)state;
	struct swo_device_costs d = {.p2p_to_stop_ns = 10 * MS,
		.resuming_to_stop_ns = 5 * MS,
		.state_bytes = 10 * MB,
		.pf = -1};

	/* Little memory is out before the first device has stopped. */
	assert_near(bound_ms(d, 4, 100 * MB, 0, 1 * MB), 10 + 400 + 5, 1e-9);
	/* Much of it keeps the wire busy from the stop of the vCPUs on, whatever the arcs. */
	struct swo_plan_setup setup = setup_of(&d, 4, true);

	setup.wire_rate = 100 * MB;
	setup.ram_bytes = 60 * MB;
	assert_near(total_ms(&setup), 1000, 1e-9);
	assert_string_equal(swo_plan_lower_bound(&setup).limited_by, "memory on the wire");
}

static void memory_goes_beside_all_arcs_of_the_source_and_the_first_of_the_target(void **state)
{
	(void)state;
	struct swo_device_costs d = even;

	d.state_bytes = 0;
	/* 80 ms of memory fit in 25 + 40 + 20 ms of arcs, 100 ms do not. */
	assert_near(bound_ms(d, 2, 100 * MB, 0, 8 * MB), 125, 1e-9);
	assert_near(bound_ms(d, 2, 100 * MB, 0, 10 * MB), 100 + 25 + 15, 1e-9);
}

static void a_late_config_counts_from_the_stop_of_the_vcpus_and_the_round_trip_counts(void **state)
{
	(void)state;
	struct swo_device_costs d = even;

	/* 70 ms beside 25 + 40 ms of arcs: 5 ms are left of it. */
	d.config_load_ns = 70 * MS;
	d.state_bytes = 0;
	struct swo_plan_setup setup = setup_of(&d, 3, true);

	setup.rtt_ns = MS / 2;
	assert_near(total_ms(&setup), 125.75, 1e-9);
	setup.config = SWO_WHEN_LATE;
	assert_near(total_ms(&setup), 130.75, 1e-9);
	assert_string_equal(swo_plan_lower_bound(&setup).limited_by, "device 0");
	d.config_load_ns = 65 * MS;
	setup = setup_of(&d, 3, true);
	setup.config = SWO_WHEN_LATE;
	assert_near(total_ms(&setup), 125, 1e-9);
}

static void finalised_late_a_devices_last_arcs_count_together_and_not_each_maximum(void **state)
{
	(void)state;
	const struct swo_device_costs costs[] = {
		{.running_to_p2p_ns = 60 * MS,
			.p2p_to_stop_ns = 40 * MS,
			.resuming_to_stop_ns = 5 * MS,
			.stop_to_p2p_ns = 50 * MS,
			.p2p_to_running_ns = 20 * MS,
			.pf = -1},
		{.running_to_p2p_ns = 80 * MS,
			.p2p_to_stop_ns = 10 * MS,
			.resuming_to_stop_ns = 60 * MS,
			.stop_to_p2p_ns = 10 * MS,
			.pf = -1},
	};
	struct swo_plan_setup setup = setup_of(costs, 2, false);

	/* 80 + (10 + 60) + 50 + 20 with a barrier between them, 80 + 40 + (60 + 10) + 20 without.
	 */
	assert_near(total_ms(&setup), 220, 1e-9);
	setup.finalise = SWO_WHEN_LATE;
	const struct swo_plan_bound b = swo_plan_lower_bound(&setup);

	assert_int_equal(b.total_ns, 210 * MS);
	assert_int_equal(b.data_ns, 40 * MS);
	assert_int_equal(b.start_ns, 70 * MS);
}

/* The best that a schedule can do which breaks no barrier: a small simulation of it, in ns. */
static double best_schedule(const struct swo_device_costs *d, const struct swo_plan_setup *setup)
{
	const bool late = setup->finalise == SWO_WHEN_LATE;
	const double ns_per_byte = 1e9 / (double)setup->wire_rate;
	double quiesce = 0, free_at = 0, ready = 0, release = 0, run = 0;

	for (unsigned i = 0; i < setup->count; i++)
		quiesce = fmax(quiesce, (double)d[i].running_to_p2p_ns);
	/* Memory first: the wire is idle until the first device has stopped. */
	free_at = (double)setup->ram_bytes * ns_per_byte;
	ready = free_at;
	for (unsigned i = 0; i < setup->count; i++) {
		const double finalise = (double)d[i].resuming_to_stop_ns;

		free_at = fmax(free_at, quiesce + (double)d[i].p2p_to_stop_ns) +
			  (double)d[i].state_bytes * ns_per_byte;
		double loaded = fmax(free_at, (double)d[i].config_load_ns);
		ready = fmax(ready, loaded + (late ? 0 : finalise));
		release = fmax(release, (double)d[i].stop_to_p2p_ns + (late ? finalise : 0));
		run = fmax(run, (double)d[i].p2p_to_running_ns);
	}
	return ready + release + run;
}

static void no_schedule_that_keeps_the_barriers_beats_it(void **state)
{
	(void)state;
	uint32_t seed = 1;

	for (int round = 0; round < 20000; round++) {
		struct swo_device_costs d[4];
		uint64_t figures[32];

		for (size_t i = 0; i < SWO_ARRAY_SIZE(figures); i++) {
			seed = seed * 1664525 + 1013904223;
			figures[i] = seed >> 16 & 127;
		}
		for (size_t i = 0; i < 4; i++) {
			const uint64_t *f = figures + 7 * i;

			d[i] = (struct swo_device_costs){.running_to_p2p_ns = f[0] * MS,
				.p2p_to_stop_ns = f[1] * MS,
				.config_load_ns = f[2] * 2 * MS,
				.resuming_to_stop_ns = f[3] * MS,
				.stop_to_p2p_ns = f[4] * MS,
				.p2p_to_running_ns = f[5] * MS,
				.state_bytes = f[6] * MB / 10,
				.pf = -1};
		}
		struct swo_plan_setup setup = setup_of(d, 1 + (unsigned)figures[28] % 4, false);

		setup.wire_rate = 100 * MB;
		setup.ram_bytes = figures[29] * MB / 4;
		setup.config = SWO_WHEN_LATE;
		setup.finalise = round % 2 ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		double best = best_schedule(d, &setup) / 1e6, bound = total_ms(&setup);

		if (bound > best + 1e-6)
			fail_msg("round %d: the bound is %f, a schedule takes %f", round, bound,
				best);
	}
}

static void the_slowest_of_mixed_devices_counts_in_each_term(void **state)
{
	(void)state;
	const struct swo_device_costs costs[] = {
		{.running_to_p2p_ns = 60 * MS,
			.p2p_to_stop_ns = 40 * MS,
			.stop_to_p2p_ns = 20 * MS,
			.p2p_to_running_ns = 20 * MS,
			.pf = -1},
		{.running_to_p2p_ns = 80 * MS,
			.resuming_to_stop_ns = 60 * MS,
			.stop_to_p2p_ns = 10 * MS,
			.pf = -1},
		{.running_to_p2p_ns = 5 * MS,
			.p2p_to_stop_ns = 5 * MS,
			.state_bytes = 30 * MB,
			.save_rate = 300 * MB,
			.pf = -1},
		{.pf = -1},
	};
	const struct swo_plan_setup setup = setup_of(costs, 4, false);
	const struct swo_plan_bound b = swo_plan_lower_bound(&setup);

	assert_int_equal(b.quiesce_ns, 80 * MS);
	assert_int_equal(b.data_ns, 105 * MS);
	assert_int_equal(b.start_ns, 20 * MS);
	assert_int_equal(b.run_ns, 20 * MS);
	assert_int_equal(b.total_ns, 225 * MS);
	assert_string_equal(b.limited_by, "device 2");
}

static void two_pfs_take_half_the_time_of_one(void **state)
{
	(void)state;
	struct swo_device_costs costs[4];

	for (int i = 0; i < 4; i++)
		costs[i] = (struct swo_device_costs){
			.state_bytes = 100 * MB, .save_rate = 100 * MB, .pf = 7};
	struct swo_plan_setup setup = setup_of(costs, 4, false);

	assert_near(total_ms(&setup), 4000, 1e-9);
	costs[1].pf = costs[3].pf = 8;
	setup = setup_of(costs, 4, false);
	assert_near(total_ms(&setup), 2000, 1e-9);
}

static void without_devices_only_the_round_trip_and_memory_are_left(void **state)
{
	(void)state;
	struct swo_plan_setup setup = setup_of(NULL, 0, true);

	setup.rtt_ns = MS / 4;
	setup.wire_rate = 100 * MB;
	assert_near(total_ms(&setup), 0.375, 1e-9);
	setup.ram_bytes = 5 * MB;
	assert_near(total_ms(&setup), 50.375, 1e-9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(even_is_125_ms_at_any_number_of_devices),
		cmocka_unit_test(cx7_on_one_pf_is_177_335_964_ms),
		cmocka_unit_test(fixed_cost_of_a_load_counts_once),
		cmocka_unit_test(the_slower_of_save_load_and_wire_is_a_devices_path),
		cmocka_unit_test(the_wire_carries_all_devices_and_the_last_ram_passes),
		cmocka_unit_test(
			memory_goes_beside_all_arcs_of_the_source_and_the_first_of_the_target),
		cmocka_unit_test(
			a_late_config_counts_from_the_stop_of_the_vcpus_and_the_round_trip_counts),
		cmocka_unit_test(
			finalised_late_a_devices_last_arcs_count_together_and_not_each_maximum),
		cmocka_unit_test(no_schedule_that_keeps_the_barriers_beats_it),
		cmocka_unit_test(the_slowest_of_mixed_devices_counts_in_each_term),
		cmocka_unit_test(two_pfs_take_half_the_time_of_one),
		cmocka_unit_test(without_devices_only_the_round_trip_and_memory_are_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
