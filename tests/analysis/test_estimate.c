/* SPDX-License-Identifier: BSD-3-Clause */
/* The predicted downtime, against sums done by hand. */
#include "analysis/estimate.h"
#include "tests/support/cm.h"

#include <math.h>

#define MS UINT64_C(1000000)
#define MB UINT64_C(1000000)

static const struct swo_device_costs even = {.running_to_p2p_ns = 25 * MS,
	.p2p_to_stop_ns = 40 * MS,
	.resuming_to_stop_ns = 20 * MS,
	.stop_to_p2p_ns = 25 * MS,
	.p2p_to_running_ns = 15 * MS,
	.pf = -1};

static struct swo_plan_device devices[16];
static struct swo_plan_setup setup;

/* So many of them, on a wire of 1 GB/s. */
static void set(unsigned count, bool serial, uint64_t ram_bytes)
{
	assert_true(count <= SWO_ARRAY_SIZE(devices));
	for (unsigned i = 0; i < count; i++)
		devices[i] = (struct swo_plan_device){.costs = even};
	swo_plan_setup_init(&setup);
	setup.devices = devices;
	setup.count = count;
	setup.wire_rate = 1000 * MB;
	setup.ram_bytes = ram_bytes;
	if (serial)
		setup.transitions = SWO_TRANSITIONS_SERIAL;
}

static struct estimate estimate_now(void)
{
	struct estimate e;

	assert_int_equal(analysis_estimate_downtime(&setup, &e, NULL), 0);
	return e;
}

static void assert_near(uint64_t got_ns, double wanted_ms, double within)
{
	if (fabs((double)got_ns / 1e6 - wanted_ms) > within)
		fail_msg("%f ms are not within %f of %f", (double)got_ns / 1e6, within, wanted_ms);
}

static void in_parallel_any_number_of_equal_devices_costs_what_one_costs(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 16; n++) {
		set(n, false, 0);
		assert_int_equal(estimate_now().downtime_ns, 125 * MS);
	}
}

static void fixed_cost_of_a_load_is_in_both_figures(void **state)
{
	(void)state;
	set(4, false, 0);
	devices[2].costs.load_fixed_ns = 140 * MS;
	assert_int_equal(estimate_now().downtime_ns, (125 + 140) * MS);
	assert_int_equal(estimate_now().irreducible_ns, (125 + 140) * MS);
	assert_int_equal(estimate_now().slowest, 2);
	devices[2].costs.load_fixed_ns = SWO_UNKNOWN;
	assert_int_equal(estimate_now().downtime_ns, 125 * MS);
}

static void in_series_they_add_up_but_for_the_last_finalise(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 16; n++) {
		set(n, true, 0);
		assert_int_equal(estimate_now().downtime_ns, (n * 105 + 20) * MS);
		setup.finalise = SWO_WHEN_LATE;
		assert_int_equal(estimate_now().downtime_ns, n * 125 * MS);
	}
}

static void ram_hides_behind_the_stop_arcs_until_it_is_larger_than_they(void **state)
{
	(void)state;
	/* 85 ms of RAM fit beside 25 ms to P2P, 40 of stop and 20 of finalise; 100 ms do not. */
	set(2, false, 85 * MB);
	assert_int_equal(estimate_now().downtime_ns, 125 * MS);
	setup.ram_bytes = 100 * MB;
	assert_near(estimate_now().downtime_ns, 100 + 25 + 15, 0.01);
}

static void no_pass_of_ram_shortens_what_is_irreducible(void **state)
{
	(void)state;
	set(4, false, 500 * MB);
	assert_int_equal(estimate_now().irreducible_ns, 125 * MS);
	assert_near(estimate_now().downtime_ns, 540, 1);
	assert_int_equal(estimate_now().bytes, 500 * MB);
}

static void the_slowest_device_is_named_and_none_when_there_is_none(void **state)
{
	(void)state;
	set(3, false, 0);
	devices[1].costs.state_bytes = 64 * MB;
	assert_int_equal(estimate_now().slowest, 1);
	assert_int_equal(estimate_now().bytes, 64 * MB);
	assert_near(estimate_now().downtime_ns, 125 + 64, 0.1);
	setup.count = 0;
	assert_int_equal(estimate_now().slowest, -1);
	assert_int_equal(estimate_now().downtime_ns, 0);
}

static void a_device_that_saves_slower_than_the_wire_carries_sets_the_pace_of_its_stream(
	void **state)
{
	(void)state;
	set(2, false, 0);
	devices[1].costs.state_bytes = 20 * MB;
	devices[1].costs.save_rate = 400 * MB;
	/* And its last chunk crosses the wire after it was saved. */
	assert_near(estimate_now().downtime_ns, 125 + 50 + 1, 0.1);
	/* A wire that is slower still does. */
	setup.wire_rate = 100 * MB;
	assert_near(estimate_now().downtime_ns, 125 + 200 + 2.5, 0.2);
}

static void devices_of_one_pf_take_turns_in_their_streams(void **state)
{
	(void)state;
	set(4, false, 0);
	setup.wire_rate = 10000 * MB;
	for (unsigned i = 0; i < 4; i++) {
		devices[i].costs.state_bytes = 20 * MB;
		devices[i].costs.save_rate = 400 * MB;
		devices[i].costs.pf = (int)i % 2;
	}
	assert_near(estimate_now().downtime_ns, 125 + 2 * 50, 0.2);
}

static void overhead_is_added_and_holds_state_up(void **state)
{
	(void)state;
	set(4, false, 0);
	setup.wire_rate = 10000 * MB;
	setup.overhead.fixed_ns = 2 * MS;
	assert_int_equal(estimate_now().downtime_ns, 127 * MS);
	setup.overhead.arc_ns = MS;
	assert_int_equal(estimate_now().downtime_ns, (127 + 4 * 4) * MS);
	setup.overhead.state_rate = 1000 * MB;
	for (unsigned i = 0; i < 4; i++)
		devices[i].costs.state_bytes = 10 * MB;
	/* The first device's stream goes beside the stop of the other three. */
	assert_near(estimate_now().downtime_ns, 127 + 16 + 40 - 3, 1);
	assert_near(estimate_now().irreducible_ns, 127 + 16 + 40 - 3, 1);
	/* A wire that is slower decides. */
	setup.wire_rate = 500 * MB;
	assert_near(estimate_now().downtime_ns, 127 + 16 + 80 - 3, 3);
}

static void unknown_costs_take_no_time(void **state)
{
	(void)state;
	set(2, false, 0);
	swo_device_costs_init(&devices[0].costs);
	assert_int_equal(estimate_now().downtime_ns, 125 * MS);
	assert_int_equal(estimate_now().slowest, 1);
	assert_int_equal(estimate_now().bytes, 0);
}

/* A peer's figures are not checked before they come here. */
static void figures_without_bounds_give_a_long_time_and_no_overflow(void **state)
{
	(void)state;
	set(16, true, UINT64_MAX / 4096 * 4096);
	setup.wire_rate = 1;
	for (unsigned i = 0; i < 16; i++)
		devices[i].costs = (struct swo_device_costs){UINT64_MAX - 1, INT64_MAX, INT64_MAX,
			INT64_MAX, INT64_MAX, INT64_MAX, UINT64_MAX - 1, 0, 1, 1, INT64_MAX, 0};
	assert_true(estimate_now().downtime_ns > UINT64_C(1000000) * MS);
	assert_true(estimate_now().irreducible_ns <= estimate_now().downtime_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_parallel_any_number_of_equal_devices_costs_what_one_costs),
		cmocka_unit_test(fixed_cost_of_a_load_is_in_both_figures),
		cmocka_unit_test(in_series_they_add_up_but_for_the_last_finalise),
		cmocka_unit_test(ram_hides_behind_the_stop_arcs_until_it_is_larger_than_they),
		cmocka_unit_test(no_pass_of_ram_shortens_what_is_irreducible),
		cmocka_unit_test(the_slowest_device_is_named_and_none_when_there_is_none),
		cmocka_unit_test(
			a_device_that_saves_slower_than_the_wire_carries_sets_the_pace_of_its_stream),
		cmocka_unit_test(devices_of_one_pf_take_turns_in_their_streams),
		cmocka_unit_test(overhead_is_added_and_holds_state_up),
		cmocka_unit_test(unknown_costs_take_no_time),
		cmocka_unit_test(figures_without_bounds_give_a_long_time_and_no_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
