/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qemu.c - a yardstick: migrates stock QEMU with simvf.ko devices, as it is and under the
 * project's library, and the project's own VMM, and prints a JSON row for every number of devices.
 * Reads rows as a table, too.
 */
#include "held.h"

#include "testbed/bench/row.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#define RUNS_MAX 25

static struct held held;
static const struct pair_vmm *vmm;
static const char *profile;
static unsigned runs, count;

struct sample {
	double outage_ms, downtime_ms;
	uint64_t order_violations, p2p_violations, state_mismatches, resets;
	bool state_equal;
	char version[64];
};

static uint64_t both(const char *counter)
{
	return held_counter(&held, PAIR_SOURCE, counter) +
	       held_counter(&held, PAIR_TARGET, counter);
}

/* One migration */

static void ask_version(struct sample *sample)
{
	json_t *version = held_ask(&held, PAIR_SOURCE, "query-version", NULL);

	assert_non_null(version);
	snprintf(sample->version, sizeof(sample->version), "%g.%g.%g %s",
		json_path_number(version, "qemu.major"), json_path_number(version, "qemu.minor"),
		json_path_number(version, "qemu.micro"), json_path_string(version, "package"));
	json_decref(version);
}

static void migrate(struct sample *sample)
{
	held_start(&held, vmm, count, profile);
	ask_version(sample);
	held_precopy(&held);
	uint64_t resets = both("resets");
	held_switch(&held);
	held_handed_over(&held);
	assert_string_equal(held_outcome(&held), "completed");
	assert_true(held_runs(&held, PAIR_TARGET, 10000));
	json_t *info = held_ask(&held, PAIR_SOURCE, "query-migrate", NULL);
	sample->downtime_ms = json_path_number(info, "downtime");
	json_decref(info);
	sample->outage_ms = held_outage_ms(&held);
	sample->order_violations = held_order_violations(&held);
	sample->p2p_violations = both("p2p_violations");
	sample->state_mismatches = both("state_mismatches");
	sample->resets = both("resets") - resets;
	sample->state_equal = held_state_equal(&held);
	held_stop(&held);
}

/* A row */

static json_t *spread(const struct sample *samples, size_t member)
{
	double values[RUNS_MAX];

	for (unsigned i = 0; i < runs; i++)
		values[i] = *(const double *)((const char *)&samples[i] + member);
	struct bench_spread s = bench_spread_of(values, runs);
	return json_pack("{s:f, s:f, s:f}", "min", s.min, "median", s.median, "max", s.max);
}

static void row(void **state)
{
	static struct sample samples[RUNS_MAX], sum;
	struct utsname host;

	(void)state;
	sum = (struct sample){.state_equal = true};
	for (unsigned i = 0; i < runs; i++) {
		migrate(&samples[i]);
		sum.order_violations += samples[i].order_violations;
		sum.p2p_violations += samples[i].p2p_violations;
		sum.state_mismatches += samples[i].state_mismatches;
		sum.resets += samples[i].resets;
		sum.state_equal &= samples[i].state_equal;
	}
	assert_int_equal(uname(&host), 0);
	json_t *out = json_pack(
		"{s:s, s:i, s:s, s:s, s:s, s:i, s:o, s:o, s:I, s:I, s:I, s:I, s:b, s:s, s:s}",
		"vmm", vmm->name, "vfs", (int)count, "profile", profile, "backend", "kernel",
		"clock", getenv("LAB_MODE") ? getenv("LAB_MODE") : "real", "runs", (int)runs,
		"outage_ms", spread(samples, offsetof(struct sample, outage_ms)), "downtime_ms",
		spread(samples, offsetof(struct sample, downtime_ms)), "p2p_order_violations",
		(json_int_t)sum.order_violations, "p2p_violations", (json_int_t)sum.p2p_violations,
		"state_mismatches", (json_int_t)sum.state_mismatches, "resets",
		(json_int_t)sum.resets, "state_equal", (int)sum.state_equal, "version",
		samples[0].version, "kernel", host.release);
	assert_non_null(out);
	json_dumpf(out, stdout, JSON_REAL_PRECISION(6));
	putchar('\n');
	fflush(stdout);
	json_decref(out);
	/* It may be slow, but not wrong. */
	assert_int_equal(sum.order_violations, 0);
	assert_int_equal(sum.p2p_violations, 0);
	assert_int_equal(sum.state_mismatches, 0);
	assert_int_equal(sum.resets, 0);
	assert_true(sum.state_equal);
}

static int teardown(void **state)
{
	held_stop(&held);
	return bed_teardown(state);
}

static int rows(char **counts)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(row, teardown)};
	int failed = 0;

	process_init();
	for (; *counts; counts++) {
		count = (unsigned)atoi(*counts);
		if (count < 1 || count > HELD_DEVICES)
			return 2;
		failed |= cmocka_run_group_tests_name("rows", tests, NULL, NULL);
	}
	return failed ? 1 : 0;
}

/* The table */

static void print_row(const json_t *row)
{
	static bool headed;

	if (!headed)
		printf("                                device outage, ms           own, ms       "
		       "order   state\n"
		       "vmm                 VFs profile     min   median      max     median  "
		       "violations\n");
	headed = true;
	printf("%-18s %4g %-6s %8.1f %8.1f %8.1f   %8.1f   %9g   %s\n",
		json_path_string(row, "vmm"), json_path_number(row, "vfs"),
		json_path_string(row, "profile"), json_path_number(row, "outage_ms.min"),
		json_path_number(row, "outage_ms.median"), json_path_number(row, "outage_ms.max"),
		json_path_number(row, "downtime_ms.median"),
		json_path_number(row, "p2p_order_violations"),
		json_is_true(json_path(row, "state_equal")) ? "equal" : "DIFFERENT");
}

static const char *condition(const json_t *one, const char *running, const char *alive)
{
	if (json_is_true(json_path(one, running)))
		return "runs";
	return json_is_true(json_path(one, alive)) ? "stands" : "gone";
}

static void print_case(const json_t *one)
{
	static bool headed;

	if (!headed)
		printf("%-46s %-18s %-10s %-7s %-7s %-9s %s\n", "case", "vmm", "migration",
			"source", "target", "resets", "order violations");
	headed = true;
	printf("%-46s %-18s %-10s %-7s %-7s %4g %4g %4g\n", json_path_string(one, "case"),
		json_path_string(one, "vmm"), json_path_string(one, "migration"),
		condition(one, "source_runs", "source_alive"),
		condition(one, "target_runs", "target_alive"),
		json_path_number(one, "source_resets"), json_path_number(one, "target_resets"),
		json_path_number(one, "p2p_order_violations"));
}

static int table(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[4096];

	if (!file) {
		perror(path);
		return 1;
	}
	while (fgets(line, sizeof(line), file)) {
		json_t *one = json_loads(line, 0, NULL);

		if (json_path(one, "case"))
			print_case(one);
		else if (one)
			print_row(one);
		json_decref(one);
	}
	fclose(file);
	return 0;
}

/* lab-qemu rows VMM PROFILE RUNS COUNT... | table FILE */
int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "table"))
		return table(argv[2]);
	if (argc < 6 || strcmp(argv[1], "rows") != 0)
		return 2;
	vmm = pair_vmm_named(argv[2]);
	profile = argv[3];
	runs = (unsigned)atoi(argv[4]);
	if (!vmm || runs < 1 || runs > RUNS_MAX) {
		fprintf(stderr, "no VMM '%s', or not between 1 and %d runs\n", argv[2], RUNS_MAX);
		return 2;
	}
	return rows(argv + 5);
}
