/* SPDX-License-Identifier: BSD-3-Clause */
/* The bench without machines: figures and verdicts from reports, rows, table, processes. */
#include "cmd/common/qmp_client.h"
#include "testbed/bench/report.h"
#include "testbed/process.h"
#include "tests/support/cm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS 1000000ll

/* A device's report: last rung at `last` on the source, first at `first` on the target. */
static json_t *report(const char *device, json_int_t first, json_int_t last, json_int_t gap)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i,"
			 " s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}}",
		"device", device, "first_doorbell_ns", first, "last_doorbell_ns", last,
		"max_gap_ns", gap, "doorbells_lost", 0, "doorbells_repeated", 0, "p2p_violations",
		0, "quiesce_violations", 0, "state_mismatches", 0, "ram_mismatches", 0,
		"profile_values", "to_p2p_ms", 25.0, "to_stop_copy_ms", 40.0, "resuming_to_stop_ms",
		20.0, "to_running_p2p_ms", 25.0, "to_running_ms", 15.0, "config_load_ms", 70.0,
		"save_bytes_per_s", 0.0, "load_bytes_per_s", 0.0, "guesses", 1);
}

static json_t *span(const char *side, const char *kind, const char *name, const char *device,
	json_int_t start, json_int_t bytes)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "side", side, "kind", kind, "name",
		name, "device", device, "start_ns", start, "end_ns", start + 5, "bytes", bytes);
}

/* Two devices, rung last at 1000 and 1001 ms, first at 1130 and 1131.5 ms. */
static struct bench_gathered sound(void)
{
	struct bench_gathered g = {.vfs = 2};

	g.source_reports = json_pack("[o, o]", report("vf0", 1 * MS, 1000 * MS, 2 * MS),
		report("vf1", 1 * MS, 1001 * MS, 3 * MS));
	g.target_reports = json_pack("[o, o]", report("vf0", 1130 * MS, 1500 * MS, 4 * MS),
		report("vf1", 1131 * MS + MS / 2, 1500 * MS, 140 * MS));
	g.source_migrate = json_pack("{s:s, s:i}", "status", "completed", "downtime", 128);
	g.source_status = json_pack("{s:s}", "status", "postmigrate");
	g.target_status = json_pack("{s:s}", "status", "running");
	g.target_guest = json_pack("{s:i, s:i}", "error", 0, "ram-mismatches", 0);
	g.target_ram = json_pack("{s:i, s:i}", "pages", 1000, "mismatches", 0);
	g.timeline = json_pack("{s:i, s:s, s:i, s:[o, o, o, o, o, o, o]}", "version", 1, "clock",
		"CLOCK_MONOTONIC", "dropped", 0, "spans",
		span("source", "stream", "pre-copy", "vf0", 900 * MS, 7777),
		span("source", "mark", "vCPUs stopped", "", 1002 * MS, 0),
		span("source", "stream", "save", "vf0", 1040 * MS, 1000),
		span("source", "stream", "save", "vf1", 1041 * MS, 3000),
		span("target", "stream", "load", "vf1", 1041 * MS, 3000),
		span("source", "ram", "RAM pass 1", "", 800 * MS, 999),
		span("source", "ram", "RAM pass 2", "", 1003 * MS, 4096));
	return g;
}

static const struct bench_config config = {.vfs = {2, 4},
	.vfs_count = 2,
	.transitions = {"serial", "parallel"},
	.transitions_count = 2,
	.pair = {.profile = "even",
		.backend = "vfio-user",
		.accel = "native",
		.channel = "unix",
		.channels = 2,
		.ram = "256M",
		.vcpus = 2},
	.runs = 3};

static void a_valid_migration_passes_and_is_measured_by_the_devices(void **state)
{
	(void)state;
	struct bench_gathered g = sound();
	struct bench_sample s = {0};

	bench_evaluate(&config, &g, &s);
	assert_string_equal(s.failed_checks, "");
	assert_true(s.passed);
	assert_true(s.blackout_ms == 129.0);
	assert_true(s.last_doorbell_ns == 1001 * MS && s.first_doorbell_ns == 1130 * MS);
	/* The largest gap was seen on the target after the switch. */
	assert_true(s.device_gap_ms == 140.0);
	assert_true(s.switchover_ms == 128.0);
	assert_true(s.guesses);
	assert_true(
		s.devices[0].costs.state_bytes == 1000 && s.devices[1].costs.state_bytes == 3000);
	assert_true(s.ram_bytes == 4096);
	assert_true(s.devices[0].costs.running_to_p2p_ns == 25 * MS &&
		    s.devices[1].costs.config_load_ns == 70 * MS);
	bench_sample_free(&s);
	bench_gathered_free(&g);
}

/* Puts one value in one place of a sound migration; a check must fail, and name it. */
static void assert_spoilt(size_t where, int device, const char *key, json_t *value, const char *why)
{
	struct bench_gathered g = sound();
	struct bench_sample s = {0};
	json_t *place = *(json_t **)((char *)&g + where);

	json_object_set_new(device < 0 ? place : json_array_get(place, (size_t)device), key, value);
	bench_evaluate(&config, &g, &s);
	assert_false(s.passed);
	if (!strstr(s.failed_checks, why))
		fail_msg("error '%s' without '%s'", s.failed_checks, why);
	bench_sample_free(&s);
	bench_gathered_free(&g);
}

#define AT(member) offsetof(struct bench_gathered, member)

static void anything_lost_repeated_or_wrong_fails_a_named_check(void **state)
{
	(void)state;
	static const char *const counts[] = {"doorbells_lost", "doorbells_repeated",
		"p2p_violations", "quiesce_violations", "state_mismatches", "ram_mismatches"};
	char why[80];

	for (size_t i = 0; i < SWO_ARRAY_SIZE(counts); i++) {
		snprintf(why, sizeof(why), "source's vf1: %s 3", counts[i]);
		assert_spoilt(AT(source_reports), 1, counts[i], json_integer(3), why);
		snprintf(why, sizeof(why), "target's vf0: %s 2", counts[i]);
		assert_spoilt(AT(target_reports), 0, counts[i], json_integer(2), why);
	}
	assert_spoilt(AT(source_migrate), -1, "status", json_string("failed"), "status is failed");
	assert_spoilt(AT(target_status), -1, "status", json_string("paused"), "target is paused");
	assert_spoilt(AT(source_status), -1, "status", json_string("running"), "source is running");
	assert_spoilt(AT(target_guest), -1, "error", json_integer(4), "error 4");
	assert_spoilt(AT(target_guest), -1, "ram-mismatches", json_integer(4), "4 pages");
	assert_spoilt(AT(target_ram), -1, "mismatches", json_integer(5), "5 pages");
	assert_spoilt(AT(target_ram), -1, "pages", json_integer(0), "no page");
	assert_spoilt(AT(target_reports), 1, "first_doorbell_ns", json_integer(0), "not rung");
	assert_spoilt(AT(target_reports), 0, "first_doorbell_ns", json_integer(1000 * MS),
		"when the target already ran");
}

static void answers_that_are_missing_are_not_taken_for_good_ones(void **state)
{
	(void)state;
	struct bench_gathered g = {.vfs = 2};
	struct bench_sample s = {0};

	bench_evaluate(&config, &g, &s);
	assert_false(s.passed);
	assert_true(s.blackout_ms == 0);
	bench_sample_free(&s);
}

static void a_spread_is_minimum_median_and_maximum(void **state)
{
	(void)state;
	double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2};
	struct bench_spread s = bench_spread_of(odd, 3);

	assert_true(s.min == 1 && s.median == 2 && s.max == 3);
	s = bench_spread_of(even, 4);
	assert_true(s.min == 1 && s.median == 2.5 && s.max == 4);
	s = bench_spread_of(even, 0);
	assert_true(s.min == 0 && s.median == 0 && s.max == 0);
}

static const struct swo_plan_device even = {.costs = {.running_to_p2p_ns = 25 * MS,
						    .p2p_to_stop_ns = 40 * MS,
						    .resuming_to_stop_ns = 20 * MS,
						    .stop_to_p2p_ns = 25 * MS,
						    .p2p_to_running_ns = 15 * MS,
						    .pf = -1}};

static void fill(struct bench_sample *s, struct swo_plan_device *devices, double blackout)
{
	*s = (struct bench_sample){.passed = true,
		.accel = "native",
		.blackout_ms = blackout,
		.device_gap_ms = blackout + 1,
		.switchover_ms = blackout - 1,
		.threads_max = 9,
		.rss_max_bytes = 1 << 20,
		.devices = devices};
}

static void a_row_has_exactly_the_fields_that_were_promised(void **state)
{
	(void)state;
	static const char *const keys[] = {"vfs", "transitions", "profile", "accel", "runs",
		"blackout_ms", "device_gap_ms", "switchover_ms", "lower_bound_ms", "overhead_ms",
		"doorbells_lost", "doorbells_repeated", "p2p_violations", "state_mismatches",
		"ram_mismatches", "threads_max", "rss_max_bytes", "files_max", "start_ms",
		"total_ms", "doorbell_period_ms", "doorbell_turns", "vmm", "backend", "handover",
		"critical_path", "critical_path_sum_ms", "critical_path_error", "predicted_ms",
		"predicted_ratio", "estimated_ms", "estimated_ratio"};
	struct swo_plan_device devices[2] = {even, even};
	struct bench_sample samples[3];
	struct bench_row row = {.vfs = 2,
		.transitions = "parallel",
		.samples = samples,
		.count = 3,
		.rtt_ms = 0.5,
		.doorbell_period_us = 1000,
		.doorbell_turns = 3};

	for (int i = 0; i < 3; i++)
		fill(&samples[i], devices, 127.0 + i);
	json_t *json = bench_row_json(&config, &row);
	assert_int_equal(json_object_size(json), SWO_ARRAY_SIZE(keys));
	for (size_t i = 0; i < SWO_ARRAY_SIZE(keys); i++)
		assert_non_null(json_object_get(json, keys[i]));
	assert_true(json_path_number(json, "blackout_ms.median") == 128);
	assert_true(json_path_number(json, "lower_bound_ms") == 125.75);
	assert_true(json_path_number(json, "overhead_ms.min") == 1.25);
	assert_true(json_path_number(json, "overhead_ms.max") == 3.25);
	assert_true(json_path_number(json, "doorbell_period_ms") == 1.0);
	assert_true(json_path_number(json, "doorbell_turns") == 3);
	json_decref(json);
}

static json_t *piece(const char *side, const char *kind, const char *name, json_int_t start_ms,
	json_int_t end_ms)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:i}", "side", side, "kind", kind, "name",
		name, "device", strcmp(kind, "arc") ? "" : "vf0", "start_ns", start_ms * MS,
		"end_ns", end_ms * MS, "bytes", 0);
}

/* The engine's chain goes from 1003 to 1129 ms. */
static char *a_timeline(void)
{
	json_t *root = json_pack("{s:i, s:s, s:i, s:[o, o, o, o, o, o, o]}", "version", 1, "clock",
		"CLOCK_MONOTONIC", "dropped", 0, "spans",
		piece("source", "mark", "vCPUs stopped", 1003, 1003),
		piece("source", "arc", "PRE_COPY->PRE_COPY_P2P", 1003, 1028),
		piece("source", "arc", "PRE_COPY_P2P->STOP_COPY", 1029, 1069),
		piece("target", "arc", "RESUMING->STOP", 1070, 1090),
		piece("target", "arc", "STOP->RUNNING_P2P", 1090, 1114),
		piece("target", "arc", "RUNNING_P2P->RUNNING", 1114, 1128),
		piece("target", "mark", "STARTED", 1129, 1129));
	char *text = json_dumps(root, 0);

	json_decref(root);
	return text;
}

static double path_sum(const struct bench_path *path)
{
	double sum = 0;

	for (size_t i = 0; i < path->count; i++)
		sum += path->steps[i].ms;
	return sum;
}

static void the_critical_path_adds_up_to_the_blackout_wherever_its_ends_lie(void **state)
{
	(void)state;
	/* Doorbells around the engine's chain, inside of it, and on either side of one end. */
	static const struct {
		uint64_t last_ms, first_ms;
		const char *head, *tail;
	} ends[] = {
		{1001, 1130, "last doorbell to vCPUs stopped", "STARTED to first doorbell"},
		{1010, 1120, "PRE_COPY->PRE_COPY_P2P", "RUNNING_P2P->RUNNING"},
		{1001, 1120, "last doorbell to vCPUs stopped", "RUNNING_P2P->RUNNING"},
		{1010, 1130, "PRE_COPY->PRE_COPY_P2P", "STARTED to first doorbell"},
		{900, 950, "last doorbell to vCPUs stopped", "last doorbell to vCPUs stopped"},
		{1200, 1300, "STARTED to first doorbell", "STARTED to first doorbell"},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(ends); i++) {
		struct bench_sample s = {.timeline = a_timeline(),
			.last_doorbell_ns = ends[i].last_ms * MS,
			.first_doorbell_ns = ends[i].first_ms * MS};
		double blackout = (double)(ends[i].first_ms - ends[i].last_ms);
		struct bench_path path;
		struct swo_error err;

		if (bench_path_of(&s, &path, &err))
			fail_msg("%s", err.text);
		assert_true(path.sum_ms > 0.99 * blackout && path.sum_ms < 1.01 * blackout);
		assert_true(path_sum(&path) > 0.99 * blackout);
		assert_string_equal(path.steps[0].span, ends[i].head);
		assert_string_equal(path.steps[path.count - 1].span, ends[i].tail);
		for (size_t k = 0; k < path.count; k++)
			assert_true(path.steps[k].span[0] && path.steps[k].ms > 0);
		bench_path_free(&path);
		free(s.timeline);
	}
}

static void a_run_without_a_timeline_has_no_critical_path_and_reports_it(void **state)
{
	(void)state;
	struct bench_sample s = {.last_doorbell_ns = 1, .first_doorbell_ns = 2};
	struct bench_path path;
	struct swo_error err;

	assert_int_equal(bench_path_of(&s, &path, &err), -1);
	assert_non_null(strstr(err.text, "no timeline"));
	s.timeline = strdup("{}");
	assert_int_equal(bench_path_of(&s, &path, &err), -1);
	assert_int_equal(path.count, 0);
	free(s.timeline);
}

static void the_table_shows_medians_side_by_side_and_the_improvement(void **state)
{
	(void)state;
	struct swo_plan_device devices[4] = {even, even, even, even};
	const double blackouts[] = {250, 130, 500, 131};
	struct bench_sample samples[4][3];
	struct bench_row rows[4];
	char *text;
	size_t len;

	for (unsigned r = 0; r < 4; r++) {
		rows[r] = (struct bench_row){.vfs = config.vfs[r / 2],
			.transitions = config.transitions[r % 2],
			.samples = samples[r],
			.count = 3};
		for (int i = 0; i < 3; i++)
			fill(&samples[r][i], devices, blackouts[r] + 2 * i - 2);
	}
	FILE *out = open_memstream(&text, &len);
	bench_print_table(out, &config, rows, 4);
	fclose(out);
	assert_non_null(strstr(text, "                          2 VFs    4 VFs\n"
				     "serial   transitions      250.0    500.0\n"
				     "parallel transitions      130.0    131.0\n"
				     "improvement                48 %     74 %\n"));
	assert_non_null(strstr(text, "12 migrations: doorbells lost 0"));
	assert_ptr_equal(bench_median_run(&rows[2]), &samples[2][1]);
	free(text);
}

static void an_ablation_switches_one_thing_at_a_time_off(void **state)
{
	(void)state;
	struct bench_variant variants[BENCH_VARIANTS_MAX];
	struct bench_config base = config;
	size_t count = bench_variants(&base, variants);

	assert_int_equal(count, 7);
	for (size_t i = 0; i < count; i++) {
		const struct bench_variant *v = &variants[i];

		assert_int_equal(
			(v->config.pair.stream != NULL) + (v->config.pair.finalise != NULL) +
				(v->config.pair.config != NULL) + (v->config.pair.join != NULL) +
				!strcmp(v->transitions, "serial"),
			i ? 1 : 0);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(v->name, variants[k].name);
	}
	/* The join that was given is the full pipeline's, and the other one is the row. */
	base.pair.join = "depth";
	base.pair.handler_cost_ms = 10;
	assert_int_equal(bench_variants(&base, variants), 9);
	assert_string_equal(variants[0].config.pair.join, "depth");
	assert_string_equal(variants[5].config.pair.join, "pass");
	for (size_t i = 0; i < 9; i++)
		assert_int_equal(variants[i].config.pair.handler_cost_ms, i < 7 ? 0 : 10);
	assert_string_equal(variants[7].name, "--handler-cost 10");
}

static void the_design_of_the_original_is_a_row_beside_ours(void **state)
{
	(void)state;
	struct bench_variant variants[BENCH_VARIANTS_MAX];
	struct bench_config base = config;
	struct swo_plan_device devices[2] = {even, even};
	struct bench_sample samples[2][3];
	struct bench_row rows[2] = {{.vfs = 2}, {.vfs = 2, .variant = "seed"}};
	struct bench_worth worth;
	size_t len;
	char *text = NULL;

	base.vfs[0] = 2;
	base.vfs_count = base.transitions_count = 1;
	base.transitions[0] = "parallel";
	base.like[0] = "seed";
	base.like[1] = "qemu";
	base.like_count = 2;
	assert_int_equal(bench_like(&base, variants), 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct pair_config *p = &variants[i].config.pair;

		assert_string_equal(variants[i].transitions, i ? "serial" : "parallel");
		assert_string_equal(p->join, "depth");
		assert_true(!strcmp(p->stream, "late") && !strcmp(p->finalise, "late") &&
			    !strcmp(p->config, "late"));
	}
	base.like_count = 1;
	for (unsigned r = 0; r < 2; r++) {
		rows[r].config = r ? &variants[0].config : &base;
		rows[r].transitions = "parallel";
		rows[r].samples = samples[r];
		rows[r].count = 3;
		for (int i = 0; i < 3; i++)
			fill(&samples[r][i], devices, r ? 240 : 120);
	}
	assert_false(bench_worth(rows, 2, &rows[1], &worth));
	FILE *out = open_memstream(&text, &len);

	bench_print_table(out, &base, rows, 2);
	fclose(out);
	assert_non_null(strstr(text, "parallel transitions      120.0\n"
				     "like seed                 240.0\n"
				     "published, serial           758\n"
				     "published, parallel         653\n"));
	/* Without the costs of its devices the source's estimate has no meaning. */
	assert_null(strstr(text, "estimated"));
	free(text);
	base.pair.probed = true;
	out = open_memstream(&text, &len);
	bench_print_table(out, &base, rows, 2);
	fclose(out);
	assert_non_null(strstr(text, "estimated"));
	free(text);
}

static void the_worth_of_a_part_is_what_its_row_takes_longer_than_the_full(void **state)
{
	(void)state;
	struct swo_plan_device devices[4] = {even, even, even, even};
	struct bench_sample samples[3][3];
	struct bench_row rows[3] = {{.vfs = 2, .variant = "full pipeline"},
		{.vfs = 2, .variant = "--stream late"}, {.vfs = 4, .variant = "--stream late"}};
	struct bench_worth worth;

	for (unsigned r = 0; r < 3; r++) {
		rows[r].config = &config;
		rows[r].transitions = "parallel";
		rows[r].samples = samples[r];
		rows[r].count = 3;
		for (int i = 0; i < 3; i++)
			fill(&samples[r][i], devices, 120.0 + 30 * r + i);
	}
	assert_true(bench_worth(rows, 3, &rows[0], &worth) && worth.ms == 0);
	assert_true(bench_worth(rows, 3, &rows[1], &worth));
	assert_true(worth.ms == 30 && worth.percent > 24.7 && worth.percent < 24.9);
	/* Of so many VFs there is no full pipeline to compare with. */
	assert_false(bench_worth(rows, 3, &rows[2], &worth));
	json_t *json = bench_row_json(&config, &rows[1]);
	assert_int_equal(bench_worth_json(rows, 3, &rows[1], json), 0);
	assert_string_equal(json_path_string(json, "variant"), "--stream late");
	assert_true(json_path_number(json, "worth_ms") == 30);
	json_decref(json);
	rows[0].count = 0;
	assert_false(bench_worth(rows, 3, &rows[1], &worth));
}

/* Waits for a process that must end by itself. */
static void assert_ends(const char *words)
{
	struct swo_error err = {0};
	swo_deadline guard = swo_deadline_ms(20000);

	while (!process_check_alive(&err)) {
		assert_false(swo_deadline_passed(guard));
		usleep(1000);
	}
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	if (!strstr(err.text, words))
		fail_msg("error '%s' without '%s'", err.text, words);
}

static void a_process_that_ends_is_named_with_its_last_output(void **state)
{
	(void)state;
	const char *const says[] = {
		"/bin/sh", "-c", "echo first; echo no such device; exit 3", NULL};
	const char *const dies[] = {"/bin/sh", "-c", "kill -9 $$", NULL};
	const char *const none[] = {"/no/such/program", NULL};
	char log[] = "/tmp/switchover-test-log.XXXXXX";

	close(mkstemp(log));
	assert_true(process_spawn("the talker", says, log, NULL) >= 0);
	assert_ends("the talker ended by itself with status 3: no such device");
	assert_true(process_spawn("the mute", dies, log, NULL) >= 0);
	assert_ends("the mute was killed by signal 9");
	assert_true(process_spawn("the absent", none, log, NULL) >= 0);
	assert_ends("cannot run /no/such/program");
	unlink(log);
}

static void what_is_killed_is_gone_and_the_rest_lives_on(void **state)
{
	(void)state;
	const char *const sleeps[] = {"/bin/sleep", "100", NULL};
	struct swo_error err = {0};

	int one = process_spawn("one", sleeps, "/dev/null", &err);
	int two = process_spawn("two", sleeps, "/dev/null", &err);
	assert_true(one >= 0 && two >= 0 && one != two);
	pid_t first = process_pid(one), second = process_pid(two);
	process_kill(one);
	assert_int_equal(kill(first, 0), -1);
	assert_int_equal(kill(second, 0), 0);
	assert_int_equal(process_check_alive(&err), 0);
	unsigned threads = 0;
	uint64_t rss = 0;
	process_sample(second, &threads, &rss);
	assert_true(threads > 0);
	assert_true(rss > 0);
	process_kill_all();
	assert_int_equal(kill(second, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_valid_migration_passes_and_is_measured_by_the_devices),
		cmocka_unit_test(anything_lost_repeated_or_wrong_fails_a_named_check),
		cmocka_unit_test(answers_that_are_missing_are_not_taken_for_good_ones),
		cmocka_unit_test(a_spread_is_minimum_median_and_maximum),
		cmocka_unit_test(a_row_has_exactly_the_fields_that_were_promised),
		cmocka_unit_test(the_critical_path_adds_up_to_the_blackout_wherever_its_ends_lie),
		cmocka_unit_test(a_run_without_a_timeline_has_no_critical_path_and_reports_it),
		cmocka_unit_test(the_table_shows_medians_side_by_side_and_the_improvement),
		cmocka_unit_test(an_ablation_switches_one_thing_at_a_time_off),
		cmocka_unit_test(the_design_of_the_original_is_a_row_beside_ours),
		cmocka_unit_test(the_worth_of_a_part_is_what_its_row_takes_longer_than_the_full),
		cmocka_unit_test(a_process_that_ends_is_named_with_its_last_output),
		cmocka_unit_test(what_is_killed_is_gone_and_the_rest_lives_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
