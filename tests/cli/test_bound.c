/* SPDX-License-Identifier: BSD-3-Clause */
/* The lower bound: the figures of the design, and one test for each term. */
#include "../cm.h"
#include "cli/bench_bound.h"

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
	return bound_of(&input);
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

static void the_wire_carries_all_devices_and_the_last_ram_pass(void **state)
{
	(void)state;
	struct bound_device d = {.stop_ms = 10, .finalise_ms = 5, .bytes = 10 * MB, .pf = -1};
	struct bound b = bound_n(d, 4, 100 * MB, 0, 60 * MB);

	assert_near(b.total_ms, 10 + 1000 + 5, 1e-9);
	assert_string_equal(b.limited_by, "the wire");
}

static void a_config_load_that_is_late_and_the_round_trip_count(void **state)
{
	(void)state;
	struct bound_device d = even;

	d.config_ms = 70;
	d.bytes = 0;
	assert_near(bound_n(d, 3, 0, 0.5, 0).total_ms, 195.5, 1e-9);
	assert_string_equal(bound_n(d, 3, 0, 0.5, 0).limited_by, "device 0");
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
	struct bound b = bound_of(&input);

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
	assert_near(bound_of(&input).total_ms, 4000, 1e-9);
	devices[1].pf = devices[3].pf = 8;
	assert_near(bound_of(&input).total_ms, 2000, 1e-9);
}

static void without_devices_only_the_round_trip_is_left(void **state)
{
	(void)state;
	const struct bound_input input = {.rtt_ms = 0.25, .wire_rate = 1, .ram_bytes = 5};

	assert_near(bound_of(&input).total_ms, 0.25, 1e-9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(even_is_125_ms_at_any_number_of_devices),
		cmocka_unit_test(cx7_on_one_pf_is_177_335_964_ms),
		cmocka_unit_test(the_slower_of_save_load_and_wire_is_a_devices_path),
		cmocka_unit_test(the_wire_carries_all_devices_and_the_last_ram_pass),
		cmocka_unit_test(a_config_load_that_is_late_and_the_round_trip_count),
		cmocka_unit_test(the_slowest_of_mixed_devices_counts_in_each_term),
		cmocka_unit_test(two_pfs_take_half_the_time_of_one),
		cmocka_unit_test(without_devices_only_the_round_trip_is_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
