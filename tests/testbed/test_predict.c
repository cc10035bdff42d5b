/* SPDX-License-Identifier: BSD-3-Clause */
/* The bench's predictions: of the row that was run, or an error that names what is not covered. */
#include "cmd/common/qmp_client.h"
#include "testbed/bench/report.h"
#include "tests/support/cm.h"

#include <math.h>
#include <string.h>

#define MS UINT64_C(1000000)

/* Two devices as in the profile "even"; the runs took 127, 128 and 129 ms. */
static struct swo_plan_device devices[2];
static struct bench_sample samples[3];
static struct bench_config config;
static struct bench_row row;

static int fresh(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		devices[i] = (struct swo_plan_device){.costs = {.running_to_p2p_ns = 25 * MS,
							      .p2p_to_stop_ns = 40 * MS,
							      .resuming_to_stop_ns = 20 * MS,
							      .stop_to_p2p_ns = 25 * MS,
							      .p2p_to_running_ns = 15 * MS,
							      .pf = -1}};
	for (int i = 0; i < 3; i++)
		samples[i] = (struct bench_sample){.passed = true,
			.blackout_ms = 127 + i,
			.estimate_ms = 60 + i,
			.devices = devices};
	config = (struct bench_config){.pair = {.profile = "even", .channels = 2}};
	row = (struct bench_row){.config = &config,
		.vfs = 2,
		.transitions = "parallel",
		.samples = samples,
		.count = 3,
		.rtt_ms = 0.2};
	return 0;
}

static void assert_predicts(double expected)
{
	struct swo_error err = {0};
	double ms;

	if (bench_predict(&row, &ms, &err))
		fail_msg("%s", err.text);
	/* A round trip or two of 0.2 ms are in it. */
	if (ms < expected || ms > expected + 0.6)
		fail_msg("%.3f ms predicted where %.1f were expected", ms, expected);
}

static void the_model_uses_the_parameters_of_the_row(void **state)
{
	(void)state;
	assert_predicts(125);
	config.pair.finalise = "late";
	assert_predicts(125);
	row.transitions = "serial";
	assert_predicts(250);
	config.pair.finalise = NULL;
	assert_predicts(230);
}

static void config_after_the_stop_and_shared_pfs_are_predicted_too(void **state)
{
	(void)state;
	/* From the stop on 200 ms of config, then 20 + 25 + 15. */
	config.pair.config = "late";
	devices[0].costs.config_load_ns = devices[1].costs.config_load_ns = 200 * MS;
	assert_predicts(260);
	config.pair.config = NULL;
	assert_predicts(125);
	/* Arcs of one PF in turn are as long as serial ones, but for what overlaps on the target.
	 */
	config.pair.pf_arcs = true;
	devices[0].costs.pf = devices[1].costs.pf = 0;
	assert_predicts(230);
}

static void bytes_and_the_wire_of_the_run_count(void **state)
{
	(void)state;
	/* 10 MB of each over 1000 MB/s: the second one's last byte leaves 20 ms after the stop. */
	devices[0].costs.state_bytes = devices[1].costs.state_bytes = 10000000;
	row.wire_rate = 1e9;
	struct swo_error err = {0};
	double with, without;

	assert_int_equal(bench_predict(&row, &with, &err), 0);
	devices[0].costs.state_bytes = devices[1].costs.state_bytes = 0;
	assert_int_equal(bench_predict(&row, &without, &err), 0);
	assert_true(with - without > 19 && with - without < 22);
	/* So does memory, where the arcs do not hide it. */
	for (int i = 0; i < 3; i++)
		samples[i].ram_bytes = 300000000;
	assert_int_equal(bench_predict(&row, &with, &err), 0);
	assert_true(with > 300);
}

static void the_engine_overhead_is_in_the_prediction_and_beside_it(void **state)
{
	(void)state;
	struct swo_error err = {0};
	double with, without;

	assert_int_equal(bench_predict(&row, &without, &err), 0);
	config.overhead = (struct swo_engine_overhead){.fixed_ns = 2000000, .arc_ns = 500000};
	config.pair.costs_file = "costs.json";
	assert_int_equal(bench_predict(&row, &with, &err), 0);
	/* Both devices' arcs in three passes; those of the second hide the launch of the stop. */
	assert_true(with - without > 5 && with - without < 7);
	json_t *json = json_object();

	assert_int_equal(bench_prediction_json(&row, json), 0);
	assert_true(json_path_number(json, "costs.fixed_ms") == 2);
	assert_true(json_path_number(json, "costs.arc_ms") == 0.5);
	json_decref(json);
}

static void a_row_outside_the_model_is_not_predicted_and_named(void **state)
{
	(void)state;
	struct swo_error err = {0};
	double ms;

	config.pair.handler_cost_ms = 10;
	assert_int_equal(bench_predict(&row, &ms, &err), -1);
	assert_non_null(strstr(err.text, "--handler-cost"));
	assert_true(ms == 0);
	json_t *json = json_object();
	assert_int_equal(bench_prediction_json(&row, json), 0);
	assert_non_null(strstr(json_path_string(json, "predicted_error"), "--handler-cost"));
	assert_true(json_is_null(json_object_get(json, "predicted_ms")));
	json_decref(json);
	config.pair.handler_cost_ms = 0;
	row.count = 0;
	assert_int_equal(bench_predict(&row, &ms, &err), -1);
	assert_true(bench_estimate(&row) == 0);
}

static void a_row_has_both_predictions_and_their_ratio_to_the_blackout(void **state)
{
	(void)state;
	json_t *json = json_object();

	assert_int_equal(bench_prediction_json(&row, json), 0);
	double ratio = json_path_number(json, "predicted_ratio");

	assert_true(fabs(ratio - json_path_number(json, "predicted_ms") / 128) < 0.001);
	assert_true(json_path_number(json, "estimated_ms") == 61);
	assert_true(fabs(json_path_number(json, "estimated_ratio") - 61.0 / 128) < 0.001);
	assert_null(json_object_get(json, "predicted_error"));
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_model_uses_the_parameters_of_the_row, fresh),
		cmocka_unit_test_setup(
			config_after_the_stop_and_shared_pfs_are_predicted_too, fresh),
		cmocka_unit_test_setup(bytes_and_the_wire_of_the_run_count, fresh),
		cmocka_unit_test_setup(
			the_engine_overhead_is_in_the_prediction_and_beside_it, fresh),
		cmocka_unit_test_setup(a_row_outside_the_model_is_not_predicted_and_named, fresh),
		cmocka_unit_test_setup(
			a_row_has_both_predictions_and_their_ratio_to_the_blackout, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
