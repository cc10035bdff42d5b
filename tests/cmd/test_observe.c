/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `switchover observe`: the sides of the records, their clocks, the start and end of the outage, and
 * malformed records.
 */
#include "cmd/common/event_record.h"
#include "cmd/observe/observe.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS 1000000ull

static char dir[] = "/tmp/swo-observe-XXXXXX";

static const char *path_of(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *out = path[next++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
	return out;
}

static FILE *begin(const char *name, uint64_t monotonic_ns, uint64_t wall_ns)
{
	FILE *out = fopen(path_of(name), "w");

	assert_non_null(out);
	fprintf(out, "{\"kind\":\"clock\",\"monotonic_ns\":%llu,\"realtime_ns\":%llu,\"pid\":1}\n",
		(unsigned long long)monotonic_ns, (unsigned long long)wall_ns);
	return out;
}

/* Times in ms. asked_ns 0: started without a request. */
static void arc(FILE *out, const char *device, const char *from, const char *to, unsigned asked,
	unsigned start, unsigned end, bool ahead)
{
	fprintf(out,
		"{\"kind\":\"arc\",\"device\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"asked_ns\":%"
		"llu,"
		"\"start_ns\":%llu,\"end_ns\":%llu,\"answered_ns\":%llu,\"errno\":0,\"ahead\":%s}"
		"\n",
		device, from, to, asked * MS, start * MS, end * MS, asked ? end * MS : 0,
		ahead ? "true" : "false");
}

static void serial_source(FILE *out)
{
	arc(out, "a", "RUNNING", "PRE_COPY", 100, 100, 110, false);
	arc(out, "b", "RUNNING", "PRE_COPY", 110, 110, 120, false);
	arc(out, "b", "PRE_COPY", "PRE_COPY_P2P", 1000, 1000, 1025, false);
	arc(out, "a", "PRE_COPY", "PRE_COPY_P2P", 1025, 1025, 1050, false);
	arc(out, "b", "PRE_COPY_P2P", "STOP_COPY", 1050, 1050, 1090, false);
	arc(out, "a", "PRE_COPY_P2P", "STOP_COPY", 1090, 1090, 1130, false);
	fprintf(out,
		"{\"kind\":\"stream\",\"device\":\"a\",\"name\":\"save\",\"start_ns\":%llu,"
		"\"end_ns\":%llu,\"bytes\":4096}\n",
		1131 * MS, 1140 * MS);
	arc(out, "a", "STOP_COPY", "STOP", 1300, 1300, 1301, false);
}

static void parallel_target(FILE *out, unsigned shift)
{
	arc(out, "c", "RUNNING", "RESUMING", shift + 200, shift + 200, shift + 230, false);
	arc(out, "d", "RUNNING", "RESUMING", shift + 230, shift + 230, shift + 260, false);
	arc(out, "c", "RESUMING", "RUNNING_P2P", shift + 1150, shift + 1150, shift + 1195, false);
	arc(out, "d", "RESUMING", "RUNNING_P2P", shift + 1195, shift + 1150, shift + 1196, true);
	arc(out, "c", "RUNNING_P2P", "RUNNING", shift + 1196, shift + 1196, shift + 1211, false);
	arc(out, "d", "RUNNING_P2P", "RUNNING", shift + 1211, shift + 1196, shift + 1212, true);
}

/* Records of both sides, started at those times; the target's CLOCK_MONOTONIC is `shift` ms ahead. */
static void record_both(uint64_t source_ms, uint64_t target_ms, unsigned shift)
{
	FILE *out = begin("src", source_ms * MS, (1000000 + source_ms) * MS);

	serial_source(out);
	fclose(out);
	out = begin("dst", (target_ms + shift) * MS, (1000000 + target_ms) * MS);
	parallel_target(out, shift);
	fclose(out);
}

static void both_sides_make_one_outage(void **state)
{
	(void)state;
	struct observed observed;
	struct observed_outage outage;

	record_both(0, 0, 0);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("src"), NULL, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("dst"), NULL, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, NULL), 0);
	assert_int_equal(outage.from_ns, 1000 * MS);
	assert_int_equal(outage.to_ns, 1212 * MS);
	assert_int_equal(outage.devices, 2);
	assert_int_equal(outage.count, 4);
	assert_string_equal(outage.passes[1].name, "PRE_COPY_P2P->STOP_COPY");
	assert_int_equal(outage.passes[1].sum_ns, 80 * MS);
	assert_int_equal(outage.passes[1].waited_ns, 80 * MS);
	assert_int_equal(outage.passes[1].ahead, 0);
	assert_int_equal(outage.passes[2].side, SWO_SIDE_TARGET);
	assert_int_equal(outage.passes[2].sum_ns, 91 * MS);
	assert_int_equal(outage.passes[2].waited_ns, 46 * MS);
	assert_int_equal(outage.passes[2].ahead, 1);
	assert_int_equal(swo_timeline_count(observed.timeline, NULL), 14);
	observed_free(&observed);
}

/* The target's host was started 5 s earlier: its CLOCK_MONOTONIC is ahead, its wall clock right. */
/* Mediated devices are named by UUIDs, and those of one host often begin alike. */
static void names_of_mediated_devices_stay_apart(void **state)
{
	(void)state;
	static const char *const uuid[] = {
		"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"};
	struct observed observed;
	struct observed_outage outage;
	struct swo_span span;
	FILE *out = begin("src", 0, 1000000 * MS);

	for (unsigned i = 0; i < 2; i++) {
		arc(out, uuid[i], "RUNNING", "RUNNING_P2P", 10, 10, 20, false);
		fprintf(out,
			"{\"kind\":\"mark\",\"device\":\"%s\",\"name\":\"reset\",\"start_ns\":1}\n",
			uuid[i]);
		fprintf(out,
			"{\"kind\":\"stream\",\"device\":\"%s\",\"name\":\"save\",\"start_ns\":1,"
			"\"end_ns\":2,\"bytes\":1}\n",
			uuid[i]);
		arc(out, uuid[i], "RUNNING_P2P", "STOP_COPY", 20, 20, 30, false);
	}
	fclose(out);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("src"), NULL, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, NULL), 0);
	assert_int_equal(outage.devices, 2);
	assert_int_equal(swo_timeline_count(observed.timeline, NULL), 8);
	for (unsigned i = 0; i < 8; i++) {
		assert_true(swo_timeline_get(observed.timeline, i, &span));
		assert_string_equal(span.device, uuid[i / 4]);
	}
	observed_free(&observed);
}

static void two_hosts_meet_by_their_wall_clocks(void **state)
{
	(void)state;
	struct observed observed;
	struct observed_outage outage;

	record_both(50, 80, 5000);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("src"), NULL, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("dst"), NULL, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, NULL), 0);
	assert_int_equal(outage.from_ns, 1000 * MS);
	assert_int_equal(outage.to_ns, 1212 * MS);
	observed_free(&observed);
}

static void one_side_alone_shows_its_own(void **state)
{
	(void)state;
	struct observed observed;
	struct observed_outage outage;

	record_both(0, 0, 0);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("src"), NULL, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, NULL), 0);
	assert_int_equal(outage.from_ns, 1000 * MS);
	assert_int_equal(outage.to_ns, 1130 * MS);
	observed_free(&observed);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("dst"), NULL, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, NULL), 0);
	assert_int_equal(outage.from_ns, 1150 * MS);
	assert_int_equal(outage.to_ns, 1212 * MS);
	observed_free(&observed);
}

static void a_stop_that_was_taken_back_is_not_the_one(void **state)
{
	(void)state;
	struct observed observed;
	struct observed_outage outage;
	FILE *out = begin("src", 0, 1000000 * MS);

	arc(out, "a", "RUNNING", "RUNNING_P2P", 10, 10, 20, false);
	arc(out, "a", "RUNNING_P2P", "STOP", 20, 20, 30, false);
	arc(out, "a", "STOP", "RUNNING_P2P", 40, 40, 50, false);
	arc(out, "a", "RUNNING_P2P", "RUNNING", 50, 50, 60, false);
	serial_source(out);
	fclose(out);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("src"), NULL, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, NULL), 0);
	assert_int_equal(outage.from_ns, 1000 * MS);
	observed_free(&observed);
}

static void a_process_that_was_both_needs_an_explicit_role(void **state)
{
	(void)state;
	static const enum swo_side side = SWO_SIDE_TARGET;
	struct observed observed;
	struct observed_outage outage;
	struct swo_error err = {0};
	FILE *out = begin("both", 0, 1000000 * MS);

	parallel_target(out, 0);
	serial_source(out);
	fclose(out);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("both"), NULL, &err), -1);
	assert_non_null(strstr(err.text, "source="));
	assert_int_equal(observed.count, 0);
	assert_int_equal(observed_read(&observed, path_of("both"), &side, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, NULL), 0);
	assert_int_equal(outage.to_ns, 1212 * MS);
	observed_free(&observed);
}

static int read_text(const char *text, struct swo_error *err)
{
	struct observed observed;
	FILE *out = fopen(path_of("text"), "w");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
	assert_int_equal(observed_init(&observed, NULL), 0);
	const int rc = observed_read(&observed, path_of("text"), NULL, err);

	if (rc)
		assert_int_equal(observed.count, 0);
	observed_free(&observed);
	return rc;
}

static void a_malformed_record_is_refused_with_its_line(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"hello\n",
		"{}\n",
		"[1]\n",
		"{\"kind\":\"what\"}\n",
		"{\"kind\":\"mark\",\"name\":\"x\"}\n",
		"{\"kind\":\"mark\",\"name\":\"x\",\"start_ns\":-1}\n",
		"{\"kind\":\"mark\",\"name\":\"x\",\"start_ns\":9223372036854775807}\n",
		"{\"kind\":\"mark\",\"name\":7,\"start_ns\":1}\n",
		"{\"kind\":\"stream\",\"device\":\"a\",\"name\":\"save\",\"start_ns\":2,\"end_ns\":"
		"1,"
		"\"bytes\":1}\n",
		"{\"kind\":\"arc\",\"device\":\"a\",\"from\":\"RUNNING\",\"to\":\"STOP\"}\n",
		"{\"kind\":\"arc\",\"device\":\"a234567890123456789012345678901234567890123456789012345678901234\"," /* of 64 */
		"\"from\":\"STOP\",\"to\":\"STOP\",\"asked_ns\":1,\"start_ns\":1,\"end_ns\":1,"
		"\"answered_ns\":1,\"errno\":0,\"ahead\":false}\n",
		"{\"kind\":\"clock\",\"monotonic_ns\":1}\n",
	};
	char line[4096];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct swo_error err = {0};

		snprintf(line, sizeof(line),
			"{\"kind\":\"mark\",\"name\":\"x\",\"start_ns\":1}\n%s", wrong[i]);
		assert_int_equal(read_text(line, &err), -1);
		assert_non_null(strstr(err.text, "line 2:"));
	}
	memset(line, 'x', sizeof(line) - 2);
	strcpy(line + sizeof(line) - 2, "\n");
	assert_int_equal(read_text(line, NULL), -1);
}

static void a_line_that_its_writer_died_over_is_left_out(void **state)
{
	(void)state;
	assert_int_equal(
		read_text(
			"{\"kind\":\"mark\",\"name\":\"x\",\"start_ns\":1}\n{\"kind\":\"ar", NULL),
		0);
	assert_int_equal(read_text("", NULL), 0);
}

static void a_record_without_a_switchover_is_reported(void **state)
{
	(void)state;
	struct observed observed;
	struct observed_outage outage;
	struct swo_error err = {0};
	FILE *out = begin("idle", 0, 1000000 * MS);

	arc(out, "a", "RUNNING", "PRE_COPY", 10, 10, 20, false);
	fclose(out);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, &err), -1);
	assert_int_equal(observed_read(&observed, path_of("idle"), NULL, NULL), 0);
	assert_int_equal(observed_outage(&observed, &outage, &err), -1);
	assert_non_null(strstr(err.text, "no switchover in the records"));
	observed_free(&observed);
}

static void a_monitors_events_go_onto_the_same_timeline(void **state)
{
	(void)state;
	struct event_record record = {0};
	struct observed observed;
	struct swo_span span;

	assert_int_equal(event_record_open(&record, path_of("events"), NULL), 0);
	const int64_t wall = record.wall_ns + (int64_t)(77777 * MS);
	json_t *event = json_pack("{s:s, s:{s:s}, s:{s:I, s:I}}", "event", "MIGRATION", "data",
		"status", "device", "timestamp", "seconds", (json_int_t)(wall / 1000000000),
		"microseconds", (json_int_t)(wall / 1000 % 1000000));

	event_record_add(&record, event);
	json_decref(event);
	event_record_add(&record, NULL);
	assert_int_equal(event_record_close(&record, NULL), 0);
	assert_int_equal(observed_init(&observed, NULL), 0);
	assert_int_equal(observed_read(&observed, path_of("events"), NULL, NULL), 0);
	assert_int_equal(swo_timeline_count(observed.timeline, NULL), 1);
	assert_true(swo_timeline_get(observed.timeline, 0, &span));
	assert_string_equal(span.name, "MIGRATION device");
	assert_in_range(span.start_ns, 77777 * MS - 1000, 77777 * MS); /* QMP has microseconds */
	observed_free(&observed);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	static const char *const names[] = {"src", "dst", "both", "text", "idle", "events"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(path_of(names[i]));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_sides_make_one_outage),
		cmocka_unit_test(names_of_mediated_devices_stay_apart),
		cmocka_unit_test(two_hosts_meet_by_their_wall_clocks),
		cmocka_unit_test(one_side_alone_shows_its_own),
		cmocka_unit_test(a_stop_that_was_taken_back_is_not_the_one),
		cmocka_unit_test(a_process_that_was_both_needs_an_explicit_role),
		cmocka_unit_test(a_malformed_record_is_refused_with_its_line),
		cmocka_unit_test(a_line_that_its_writer_died_over_is_left_out),
		cmocka_unit_test(a_record_without_a_switchover_is_reported),
		cmocka_unit_test(a_monitors_events_go_onto_the_same_timeline),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
