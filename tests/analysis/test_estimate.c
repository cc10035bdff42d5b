/* SPDX-License-Identifier: BSD-3-Clause */
/* The predicted downtime, against sums done by hand. */
#include "analysis/estimate.h"
#include "tests/support/cm.h"

#define MS UINT64_C(1000000)

static const struct estimate_device even = {.quiesce_ns = 25 * MS,
	.stop_ns = 40 * MS,
	.finalise_ns = 20 * MS,
	.to_p2p_ns = 25 * MS,
	.to_running_ns = 15 * MS,
	.pf = -1};

static struct estimate of(unsigned count, bool serial, uint64_t ram_bytes)
{
	struct estimate_device devices[16];

	for (unsigned i = 0; i < count; i++)
		devices[i] = even;
	return analysis_estimate_downtime(&(struct estimate_input){.devices = devices,
		.count = count,
		.ram_bytes = ram_bytes,
		.bandwidth = 1000000000,
		.serial = serial});
}

static void in_parallel_any_number_of_equal_devices_costs_what_one_costs(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 16; n++)
		assert_int_equal(of(n, false, 0).downtime_ns, 125 * MS);
}

static void in_series_they_add_up(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 16; n++)
		assert_int_equal(of(n, true, 0).downtime_ns, n * 125 * MS);
}

static void ram_hides_behind_the_stop_arcs_until_it_is_larger_than_they(void **state)
{
	(void)state;
	/* 85 ms of RAM fit beside 25 ms to P2P, 40 of stop and 20 of finalise; 100 ms do not. */
	assert_int_equal(of(2, false, 85000000).downtime_ns, 125 * MS);
	assert_int_equal(of(2, false, 100000000).downtime_ns, (100 + 25 + 15) * MS);
	assert_int_equal(of(2, true, 100000000).downtime_ns, (250 + 100) * MS);
}

static void no_pass_of_ram_shortens_what_is_irreducible(void **state)
{
	(void)state;
	assert_int_equal(of(4, false, 500000000).irreducible_ns, 125 * MS);
	assert_int_equal(of(4, true, 500000000).irreducible_ns, 500 * MS);
}

static void the_slowest_device_is_named_and_none_when_there_is_none(void **state)
{
	(void)state;
	struct estimate_device devices[3] = {even, even, even};
	struct estimate_input in = {.devices = devices, .count = 3, .bandwidth = 1000000000};

	devices[1].bytes = 64000000;
	assert_int_equal(analysis_estimate_downtime(&in).slowest, 1);
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (125 + 64) * MS);
	in.count = 0;
	assert_int_equal(analysis_estimate_downtime(&in).slowest, -1);
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, 0);
}

static void a_device_that_saves_slower_than_the_wire_carries_sets_the_pace_of_its_stream(
	void **state)
{
	(void)state;
	struct estimate_device devices[2] = {even, even};
	struct estimate_input in = {.devices = devices, .count = 2, .bandwidth = 1000000000};

	devices[1].bytes = 20000000;
	devices[1].rate = 400000000;
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (125 + 50) * MS);
	in.serial = true;
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (250 + 50) * MS);
	/* A wire that is slower still does. */
	in.bandwidth = 100000000;
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (250 + 200) * MS);
}

static void devices_of_one_pf_take_turns_in_their_streams(void **state)
{
	(void)state;
	struct estimate_device devices[4] = {even, even, even, even};
	struct estimate_input in = {.devices = devices, .count = 4, .bandwidth = 10000000000};

	for (unsigned i = 0; i < 4; i++) {
		devices[i].bytes = 20000000;
		devices[i].rate = 400000000;
		devices[i].pf = (int)i % 2;
	}
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (125 + 2 * 50) * MS);
	in.serial = true;
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (4 * 125 + 2 * 50) * MS);
}

static void what_the_machinery_costs_is_added_and_holds_state_up(void **state)
{
	(void)state;
	struct estimate_device devices[4] = {even, even, even, even};
	struct estimate_input in = {.devices = devices,
		.count = 4,
		.bandwidth = 10000000000,
		.costs = {.fixed_ns = 2 * MS, .arc_ns = MS, .stream_ns = 3 * MS}};

	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (125 + 2 + 4 * (4 + 3)) * MS);
	in.costs.state_rate = 1000000000;
	for (unsigned i = 0; i < 4; i++)
		devices[i].bytes = 10000000;
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (125 + 40 + 2 + 28) * MS);
	assert_int_equal(analysis_estimate_downtime(&in).irreducible_ns, (125 + 40 + 2 + 28) * MS);
	/* A wire that is slower has the last word. */
	in.bandwidth = 500000000;
	assert_int_equal(analysis_estimate_downtime(&in).downtime_ns, (125 + 80 + 2 + 28) * MS);
}

static void unknown_bandwidth_promises_nothing(void **state)
{
	(void)state;
	struct estimate_input in = {.ram_bytes = 4096};

	assert_true(analysis_estimate_downtime(&in).downtime_ns > 1000000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_parallel_any_number_of_equal_devices_costs_what_one_costs),
		cmocka_unit_test(in_series_they_add_up),
		cmocka_unit_test(ram_hides_behind_the_stop_arcs_until_it_is_larger_than_they),
		cmocka_unit_test(no_pass_of_ram_shortens_what_is_irreducible),
		cmocka_unit_test(the_slowest_device_is_named_and_none_when_there_is_none),
		cmocka_unit_test(
			a_device_that_saves_slower_than_the_wire_carries_sets_the_pace_of_its_stream),
		cmocka_unit_test(devices_of_one_pf_take_turns_in_their_streams),
		cmocka_unit_test(what_the_machinery_costs_is_added_and_holds_state_up),
		cmocka_unit_test(unknown_bandwidth_promises_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
