/* SPDX-License-Identifier: BSD-3-Clause */
/* The lower bound: the figures of the design, and one test for each term. */
#include "analysis/bound.h"
#include "tests/support/cm.h"

#include "switchover/base.h"

#include <math.h>
#include <string.h>

#define MB 1e6

static const struct bound_device even = {.quiesce_ms = 25,
	.stop_ms = 40,
	.finalise_ms = 20,
	.to_running_p2p_ms = 25,
	.to_running_ms = 15,
	.bytes = 32768,
	.pf = -1};

static struct bound bound_n(
	struct bound_device one, size_t count, double wire, double rtt, double ram)
{
	struct bound_device devices[64];

	assert_true(count <= 64);
	for (size_t i = 0; i < count; i++)
		devices[i] = one;
	const struct bound_input input = {.devices = devices,
		.count = count,
		.wire_rate = wire,
		.rtt_ms = rtt,
		.ram_bytes = ram};
	return analysis_bound(&input);
}

static void assert_near(double got, double wanted, double within)
{
	if (fabs(got - wanted) > within)
		fail_msg("%f is not within %f of %f", got, within, wanted);
}

static void even_is_125_ms_at_any_number_of_devices(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 64; n *= 2)
		assert_near(bound_n(even, n, 0, 0, 0).total_ms, 125, 1e-9);
	/* At this machine's rate the little state that there is does not count for much. */
	assert_near(bound_n(even, 16, 800 * MB, 0.05, 0).total_ms, 125, 1);
}

static void cx7_on_one_pf_is_177_335_964_ms(void **state)
{
	(void)state;
	struct bound_device cx7 = even;

	cx7.bytes = 20 << 20;
	cx7.save_rate = 400 * MB;
	cx7.load_rate = 420 * MB;
	cx7.pf = 0;
	assert_near(bound_n(cx7, 1, 0, 0, 0).total_ms, 177, 0.5);
	assert_near(bound_n(cx7, 4, 0, 0, 0).total_ms, 335, 0.5);
	assert_near(bound_n(cx7, 16, 0, 0, 0).total_ms, 964, 0.5);
	assert_string_equal(bound_n(cx7, 4, 0, 0, 0).limited_by, "save of PF 0");
	/* On a PF of its own each one's path is all that counts. */
	cx7.pf = -1;
	assert_near(bound_n(cx7, 16, 0, 0, 0).total_ms, 177, 0.5);
}

static void the_slower_of_save_load_and_wire_is_a_devices_path(void **state)
{
	(void)state;
	struct bound_device d = {.bytes = 10 * MB, .pf = -1};

	d.save_rate = 100 * MB;
	d.load_rate = 200 * MB;
	assert_near(bound_n(d, 1, 0, 0, 0).total_ms, 100, 1e-9);
	d.load_rate = 50 * MB;
	assert_near(bound_n(d, 1, 0, 0, 0).total_ms, 200, 1e-9);
	assert_near(bound_n(d, 1, 25 * MB, 0, 0).total_ms, 400, 1e-9);
}

static void the_wire_carries_all_devices_and_the_last_ram_passes(void **state)
{
	(void)state;
	struct bound_device d = {.stop_ms = 10, .finalise_ms = 5, .bytes = 10 * MB, .pf = -1};

	/* Little memory is out before the first device has stopped. */
	assert_near(bound_n(d, 4, 100 * MB, 0, 1 * MB).total_ms, 10 + 400 + 5, 1e-9);
	/* Much of it keeps the wire busy from the stop of the vCPUs on, whatever the arcs. */
	struct bound b = bound_n(d, 4, 100 * MB, 0, 60 * MB);
	assert_near(b.total_ms, 1000, 1e-9);
	assert_string_equal(b.limited_by, "memory on the wire");
}

static void memory_goes_beside_all_arcs_of_the_source_and_the_first_of_the_target(void **state)
{
	(void)state;
	struct bound_device d = even;

	d.bytes = 0;
	/* 80 ms of memory fit in 25 + 40 + 20 ms of arcs, 100 ms do not. */
	assert_near(bound_n(d, 2, 100 * MB, 0, 8 * MB).total_ms, 125, 1e-9);
	assert_near(bound_n(d, 2, 100 * MB, 0, 10 * MB).total_ms, 100 + 25 + 15, 1e-9);
}

static void a_late_config_counts_from_the_stop_of_the_vcpus_and_the_round_trip_counts(void **state)
{
	(void)state;
	struct bound_device d = even;

	/* 70 ms beside 25 + 40 ms of arcs: 5 ms are left of it. */
	d.config_ms = 70;
	d.bytes = 0;
	assert_near(bound_n(d, 3, 0, 0.5, 0).total_ms, 130.5, 1e-9);
	assert_string_equal(bound_n(d, 3, 0, 0.5, 0).limited_by, "device 0");
	d.config_ms = 65;
	assert_near(bound_n(d, 3, 0, 0, 0).total_ms, 125, 1e-9);
}

static void finalised_late_a_devices_last_arcs_count_together_and_not_each_maximum(void **state)
{
	(void)state;
	const struct bound_device devices[] = {
		{.quiesce_ms = 60,
			.stop_ms = 40,
			.finalise_ms = 5,
			.to_running_p2p_ms = 50,
			.to_running_ms = 20,
			.pf = -1},
		{.quiesce_ms = 80,
			.stop_ms = 10,
			.finalise_ms = 60,
			.to_running_p2p_ms = 10,
			.pf = -1},
	};
	struct bound_input input = {.devices = devices, .count = 2};

	/* 80 + (10 + 60) + 50 + 20 with a barrier between them, 80 + 40 + (60 + 10) + 20 without.
	 */
	assert_near(analysis_bound(&input).total_ms, 220, 1e-9);
	input.finalise_late = true;
	struct bound b = analysis_bound(&input);
	assert_near(b.total_ms, 210, 1e-9);
	assert_near(b.data_ms, 40, 1e-9);
	assert_near(b.to_running_p2p_ms, 70, 1e-9);
}

/* The best that a schedule can do which breaks no barrier: a small simulation of it, in ms. */
static double best_schedule(
	const struct bound_device *d, size_t count, double rate, double ram, bool finalise_late)
{
	double quiesce = 0, free_at = 0, ready = 0, release = 0, run = 0;

	for (size_t i = 0; i < count; i++)
		quiesce = fmax(quiesce, d[i].quiesce_ms);
	/* Memory first: the wire is idle until the first device has stopped. */
	free_at = ram / rate * 1e3;
	ready = free_at;
	for (size_t i = 0; i < count; i++) {
		free_at = fmax(free_at, quiesce + d[i].stop_ms) + d[i].bytes / rate * 1e3;
		double loaded = fmax(free_at, d[i].config_ms);
		ready = fmax(ready, loaded + (finalise_late ? 0 : d[i].finalise_ms));
		release = fmax(
			release, d[i].to_running_p2p_ms + (finalise_late ? d[i].finalise_ms : 0));
		run = fmax(run, d[i].to_running_ms);
	}
	return ready + release + run;
}

static void no_schedule_that_keeps_the_barriers_beats_it(void **state)
{
	(void)state;
	uint32_t seed = 1;

	for (int round = 0; round < 20000; round++) {
		struct bound_device d[4];
		double figures[32];

		for (size_t i = 0; i < SWO_ARRAY_SIZE(figures); i++) {
			seed = seed * 1664525 + 1013904223;
			figures[i] = (double)(seed >> 16 & 127);
		}
		for (size_t i = 0; i < 4; i++) {
			const double *f = figures + 7 * i;

			d[i] = (struct bound_device){.quiesce_ms = f[0],
				.stop_ms = f[1],
				.config_ms = f[2] * 2,
				.finalise_ms = f[3],
				.to_running_p2p_ms = f[4],
				.to_running_ms = f[5],
				.bytes = f[6] * MB / 10,
				.pf = -1};
		}
		struct bound_input input = {.devices = d,
			.count = 1 + (size_t)figures[28] % 4,
			.wire_rate = 100 * MB,
			.ram_bytes = figures[29] * MB / 4,
			.finalise_late = round % 2};
		double best = best_schedule(
			d, input.count, input.wire_rate, input.ram_bytes, input.finalise_late);
		double bound = analysis_bound(&input).total_ms;

		if (bound > best + 1e-6)
			fail_msg("round %d: the bound is %f, a schedule takes %f", round, bound,
				best);
	}
}

static void the_slowest_of_mixed_devices_counts_in_each_term(void **state)
{
	(void)state;
	const struct bound_device devices[] = {
		{.quiesce_ms = 60,
			.stop_ms = 40,
			.to_running_p2p_ms = 20,
			.to_running_ms = 20,
			.pf = -1},
		{.quiesce_ms = 80, .finalise_ms = 60, .to_running_p2p_ms = 10, .pf = -1},
		{.quiesce_ms = 5, .stop_ms = 5, .bytes = 30 * MB, .save_rate = 300 * MB, .pf = -1},
		{.pf = -1},
	};
	const struct bound_input input = {.devices = devices, .count = 4};
	struct bound b = analysis_bound(&input);

	assert_near(b.quiesce_ms, 80, 1e-9);
	assert_near(b.data_ms, 105, 1e-9);
	assert_near(b.to_running_p2p_ms, 20, 1e-9);
	assert_near(b.to_running_ms, 20, 1e-9);
	assert_near(b.total_ms, 225, 1e-9);
	assert_string_equal(b.limited_by, "device 2");
}

static void two_pfs_take_half_the_time_of_one(void **state)
{
	(void)state;
	struct bound_device devices[4];

	for (int i = 0; i < 4; i++)
		devices[i] =
			(struct bound_device){.bytes = 100 * MB, .save_rate = 100 * MB, .pf = 7};
	struct bound_input input = {.devices = devices, .count = 4};
	assert_near(analysis_bound(&input).total_ms, 4000, 1e-9);
	devices[1].pf = devices[3].pf = 8;
	assert_near(analysis_bound(&input).total_ms, 2000, 1e-9);
}

static void without_devices_only_the_round_trip_and_memory_are_left(void **state)
{
	(void)state;
	struct bound_input input = {.rtt_ms = 0.25, .wire_rate = 100 * MB};

	assert_near(analysis_bound(&input).total_ms, 0.25, 1e-9);
	input.ram_bytes = 5 * MB;
	assert_near(analysis_bound(&input).total_ms, 50.25, 1e-9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(even_is_125_ms_at_any_number_of_devices),
		cmocka_unit_test(cx7_on_one_pf_is_177_335_964_ms),
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
