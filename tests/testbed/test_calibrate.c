/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine overhead: from the bench's rows to a file and back, and what is no such file. */
#include "cmd/common/overhead.h"
#include "testbed/bench/report.h"
#include "tests/support/cm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/switchover-costs-XXXXXX";

/* The calibration */

static struct bench_config config;
static struct bench_variant variants[BENCH_VARIANTS_MAX];
static struct bench_sample samples[3][3];
static struct swo_plan_device devices[3][8];
static struct bench_row rows[3];

/* A run whose start passes, 1 ms apart from each other, took so long. */
static char *timeline(double start_ms)
{
	char *text = malloc(1024);

	assert_non_null(text);
	snprintf(text, 1024,
		"{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":[{\"side\":\"source\",\"kind\":\"pass\",\"name\":\"stop: prepare "
		"pass\",\"start_ns\":0,\"end_ns\":9000000,\"device\":\"\",\"bytes\":0},"
		"{\"side\":\"target\",\"kind\":\"pass\",\"name\":\"start: prepare pass\","
		"\"start_ns\":0,\"end_ns\":%.0f,\"device\":\"\",\"bytes\":0},"
		"{\"side\":\"target\",\"kind\":\"pass\",\"name\":\"start: change pass\","
		"\"start_ns\":1000000,\"end_ns\":%.0f,\"device\":\"\",\"bytes\":0}]}",
		start_ms * 5e5, start_ms * 5e5 + 1e6);
	return text;
}

static void make_row(unsigned r, double blackout_ms, double start_ms, double bytes)
{
	for (unsigned i = 0; i < 8; i++)
		devices[r][i].costs.state_bytes = (uint64_t)bytes;
	for (int i = 0; i < 3; i++)
		samples[r][i] = (struct bench_sample){.passed = true,
			.accel = "native",
			.blackout_ms = blackout_ms + i - 1,
			.devices = devices[r],
			.timeline = timeline(start_ms)};
	rows[r] = (struct bench_row){.config = &variants[r].config,
		.vfs = variants[r].config.vfs[0],
		.transitions = variants[r].transitions,
		.variant = variants[r].name,
		.samples = samples[r],
		.count = 3};
}

/* 3 ms once; a device 0.2 ms an arc and 0.4 for its stream, 8 MB/ms of state. */
static int fresh(void **state)
{
	(void)state;
	bench_defaults(&config);
	bench_calibrate_defaults(&config);
	config.output = path;
	assert_int_equal(bench_calibrate_rows(&config, variants), 3);
	make_row(0, 3 + 1.2, 0.4, 4096);
	make_row(1, 3 + 8 * 1.2, 8 * 0.4, 4096);
	make_row(2, 3 + 8 * 1.2 + 4, 8 * 0.4, 4096 + 4e6);
	return 0;
}

static int over(void **state)
{
	(void)state;
	for (unsigned r = 0; r < 3; r++)
		for (unsigned i = 0; i < 3; i++)
			free(samples[r][i].timeline);
	return 0;
}

static void assert_near(uint64_t got, double wanted)
{
	if ((double)got < wanted * 0.999 || (double)got > wanted * 1.001)
		fail_msg("%llu is not %.0f", (unsigned long long)got, wanted);
}

static void rows_of_one_and_several_devices_with_and_without_state_give_the_overhead(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct swo_engine_overhead overhead;

	if (bench_calibrate(rows, 3, &overhead, &err))
		fail_msg("%s", err.text);
	assert_near(overhead.fixed_ns, 3e6);
	assert_near(overhead.arc_ns, 0.2e6);
	assert_near(overhead.stream_ns, 0.4e6);
	assert_near(overhead.state_rate, 8e9);
}

static void the_rows_are_of_devices_that_cost_nothing(void **state)
{
	(void)state;
	assert_string_equal(variants[0].config.pair.profile, "instant");
	assert_int_equal(variants[0].config.vfs[0], 1);
	assert_true(variants[1].config.vfs[0] > 1);
	assert_int_equal(variants[1].config.vfs[0], variants[2].config.vfs[0]);
	assert_int_equal(variants[0].config.pair.state_bytes, variants[1].config.pair.state_bytes);
	assert_true(variants[2].config.pair.state_bytes > variants[1].config.pair.state_bytes);
}

static void passes_that_are_longer_than_all_a_device_costs_are_cut_to_that(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct swo_engine_overhead overhead;

	over(state);
	make_row(0, 4, 1, 4096);
	make_row(1, 4 + 7 * 0.4, 30, 4096);
	make_row(2, 20, 30, 4096 + 4e6);
	assert_int_equal(bench_calibrate(rows, 3, &overhead, &err), 0);
	assert_near(overhead.arc_ns, 0.1e6);
	assert_true(overhead.stream_ns < 1000);
}

static void runs_that_contradict_each_other_are_an_error_and_write_nothing(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct swo_engine_overhead overhead;
	FILE *null = fopen("/dev/null", "we");

	over(state);
	make_row(0, 12, 1, 4096);
	make_row(1, 11, 2, 4096);
	make_row(2, 20, 2, 4096 + 4e6);
	assert_int_equal(bench_calibrate(rows, 3, &overhead, &err), -1);
	assert_non_null(strstr(err.text, "other load disturbs the measurement"));
	unlink(path);
	assert_int_equal(bench_show_calibration(null, &config, rows, 3, &err), -1);
	assert_int_equal(access(path, F_OK), -1);
	rows[1].count = 0;
	assert_int_equal(bench_calibrate(rows, 3, &overhead, &err), -1);
	assert_non_null(strstr(err.text, "no runs"));
	fclose(null);
}

/* The file */

static void what_is_written_is_read_again(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct swo_engine_overhead overhead;
	FILE *null = fopen("/dev/null", "we");

	if (bench_show_calibration(null, &config, rows, 3, &err) ||
		overhead_read(path, &overhead, &err))
		fail_msg("%s", err.text);
	assert_near(overhead.fixed_ns, 3e6);
	assert_near(overhead.arc_ns, 0.2e6);
	assert_near(overhead.stream_ns, 0.4e6);
	assert_near(overhead.state_rate, 8e9);
	fclose(null);
}

static void assert_refused(const char *text, const char *word)
{
	struct swo_error err = {0};
	struct swo_engine_overhead overhead;
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(overhead_read(path, &overhead, &err), -1);
	if (!strstr(err.text, word) || !strstr(err.text, path))
		fail_msg("error '%s' without '%s'", err.text, word);
}

static void a_malformed_overhead_file_is_refused_with_its_name(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct swo_engine_overhead overhead;

	assert_refused("", "line");
	assert_refused("{", "line");
	assert_refused("[]", "switchover-bench calibrate");
	assert_refused("{\"devices\": []}", "switchover-bench calibrate");
	assert_refused(
		"{\"format\": \"switchover-costs\", \"version\": 2}", "switchover-bench calibrate");
	assert_refused("{\"format\": \"switchover-costs\", \"version\": 1}", "fixed_ms");
	assert_refused(
		"{\"format\": \"switchover-costs\", \"version\": 1, \"fixed_ms\": -1}", "fixed_ms");
	assert_refused("{\"format\": \"switchover-costs\", \"version\": 1, \"fixed_ms\": 1, "
		       "\"arc_ms\": \"x\"}",
		"arc_ms");
	assert_refused("{\"format\": \"switchover-costs\", \"version\": 1, \"fixed_ms\": 1, "
		       "\"arc_ms\": 1, \"stream_ms\": 1e300}",
		"stream_ms");
	assert_refused("{\"format\": \"switchover-costs\", \"version\": 1, \"fixed_ms\": 1, "
		       "\"arc_ms\": 1, \"stream_ms\": 1, \"state_rate\": 0.01}",
		"state_rate");
	assert_int_equal(overhead_read("/does/not/exist", &overhead, &err), -1);
	assert_non_null(strstr(err.text, "/does/not/exist"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			rows_of_one_and_several_devices_with_and_without_state_give_the_overhead,
			fresh, over),
		cmocka_unit_test_setup_teardown(
			the_rows_are_of_devices_that_cost_nothing, fresh, over),
		cmocka_unit_test_setup_teardown(
			passes_that_are_longer_than_all_a_device_costs_are_cut_to_that, fresh,
			over),
		cmocka_unit_test_setup_teardown(
			runs_that_contradict_each_other_are_an_error_and_write_nothing, fresh,
			over),
		cmocka_unit_test_setup_teardown(what_is_written_is_read_again, fresh, over),
		cmocka_unit_test(a_malformed_overhead_file_is_refused_with_its_name),
	};
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	unlink(path);
	return rc;
}
