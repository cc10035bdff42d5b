/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `switchover report` reads, and that its page is one of its own: no script, no network, and no
 * markup from a file. How it looks is tests/report/browser's.
 */
#include "cmd/common/text_in.h"
#include "cmd/common/timeline_out.h"
#include "cmd/report/report.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static char dir[32];

static const char *file(const char *name, const char *text)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	fclose(out);
	return path;
}

static const char migration[] =
	"{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":["
	"{\"side\":\"source\",\"kind\":\"pass\",\"name\":\"stop: prepare pass\",\"device\":\"\",\"bytes\":0,\"start_ns\":1000000,\"end_ns\":2000000},"
	"{\"side\":\"source\",\"kind\":\"arc\",\"name\":\"PRE_COPY->PRE_COPY_P2P\",\"device\":\"<b>&\\\"vf0\",\"bytes\":0,\"start_ns\":1000000,\"end_ns\":2000000},"
	"{\"side\":\"target\",\"kind\":\"arc\",\"name\":\"RUNNING_P2P->RUNNING\",\"device\":\"vf0\",\"bytes\":0,\"start_ns\":3000000,\"end_ns\":5000000}]}";

/* The page, or the SVG; to be freed. */
static char *page_of(const struct report *report, bool svg)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal((svg ? report_svg : report_page)(out, report), 0);
	fclose(out);
	return text;
}

static void a_timeline_becomes_lanes_and_its_text_no_markup(void **state)
{
	(void)state;
	struct report report = {0};
	struct swo_error err;

	if (report_read(&report, file("t.json", migration), &err))
		fail_msg("%s", err.text);
	assert_int_equal(report.run_count, 1);
	assert_true(report.runs[0].switched);
	assert_int_equal(report_longest(&report), 4000000);
	for (int svg = 0; svg < 2; svg++) {
		char *page = page_of(&report, svg);

		assert_null(strstr(page, "<b>&"));
		assert_null(strstr(page, "<script"));
		assert_null(strstr(page, "https:"));
		assert_non_null(strstr(page, "&lt;b&gt;&amp;&quot;vf0"));
		assert_non_null(strstr(page, "PRE_COPY_P2P: 1.000 ms"));
		assert_non_null(strstr(page, "barrier: the end of stop: prepare pass"));
		free(page);
	}
	report_free(&report);
}

static void rows_come_as_lines_or_in_one_object_and_a_failed_one_has_no_point(void **state)
{
	(void)state;
	static const char lines[] =
		"{\"vfs\":2,\"profile\":\"even\",\"transitions\":\"serial\",\"blackout_ms\":{\"min\":1,\"median\":2,\"max\":4},\"lower_bound_ms\":1}\n"
		"\n{\"vfs\":4,\"vmm\":\"qemu\",\"outage_ms\":12.5}\n"
		"{\"vfs\":4,\"vmm\":\"qemu\",\"outage_ms\":null}\n";
	static const char object[] =
		"{\"date\":\"today\",\"rows\":[{\"vfs\":1,\"profile\":\"cx7\",\"blackout_ms\":{\"min\":3,\"median\":3,\"max\":3}}]}";
	struct report report = {0};
	struct swo_error err;

	assert_int_equal(report_read(&report, file("l.jsonl", lines), &err), 0);
	assert_int_equal(report_read(&report, file("o.json", object), &err), 0);
	assert_int_equal(report.row_count, 3);
	assert_string_equal(report.rows[0].series, "serial");
	assert_true(report.rows[0].max == 4 && report.rows[0].bound == 1);
	assert_string_equal(report.rows[1].series, "qemu");
	assert_true(report.rows[1].median == 12.5 && report.rows[1].bound == 0);
	char *page = page_of(&report, false);

	/* What is not known is not 0; the original's figures are only beside its own hardware's. */
	assert_non_null(strstr(page, "<td>unknown</td>"));
	assert_non_null(strstr(page, "published: serial (ConnectX-7), 1 VFs: 497 ms"));
	free(page);
	report.row_count = 2;
	page = page_of(&report, false);
	assert_null(strstr(page, "published:"));
	free(page);
	report_free(&report);
}

static void what_is_neither_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"", "is empty"},
		{"{\"vfs\":1}", "neither a timeline nor rows"},
		{"{\"vfs\":1,\"blackout_ms\":{\"median\":3}}\nnonsense", "is not JSON at byte"},
		{"[1,2]", "neither a timeline nor rows"},
		{"{\"spans\":[]}", "version"},
		{"{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":[]}",
			"nothing was recorded"},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		struct report report = {0};
		struct swo_error err = {0};

		assert_int_equal(report_read(&report, file("bad", bad[i].text), &err), -1);
		if (!strstr(err.text, bad[i].words))
			fail_msg("'%s' without '%s'", err.text, bad[i].words);
		report_free(&report);
	}
	struct report report = {0};
	struct swo_error err;

	assert_int_equal(report_read(&report, "/proc/no/file", &err), -1);
	assert_int_equal(err.code, SWO_E_IO);
}

static void steps_of_an_axis_are_1_2_or_5(void **state)
{
	(void)state;
	assert_true(report_step(445, 10) == 50);
	assert_true(report_step(129.6, 10) > 19.99 && report_step(129.6, 10) < 20.01);
	assert_true(report_step(10, 10) == 1);
	assert_true(report_step(0, 10) == 1);
}

#define SPAN(side, kind, name, device, from, to)                                                   \
	"{\"side\":\"" side "\",\"kind\":\"" kind "\",\"name\":\"" name "\",\"device\":\"" device  \
	"\",\"bytes\":0,\"start_ns\":" #from "000000,\"end_ns\":" #to "000000}"

static bool is_in(const json_t *slice, const json_t *flow)
{
	const double at = json_number_value(json_object_get(flow, "ts"));
	const double from = json_number_value(json_object_get(slice, "ts"));

	return !strcmp(json_string_value(json_object_get(slice, "ph")), "X") &&
	       json_equal(json_object_get(slice, "pid"), json_object_get(flow, "pid")) &&
	       json_equal(json_object_get(slice, "tid"), json_object_get(flow, "tid")) &&
	       at >= from && at <= from + json_number_value(json_object_get(slice, "dur"));
}

static void the_trace_has_arrows_along_the_critical_path(void **state)
{
	(void)state;
	static const char text[] =
		"{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":[" SPAN(
			"source", "mark", "vCPUs stopped", "", 10, 10) "," SPAN("source", "arc",
			"PRE_COPY->PRE_COPY_P2P", "vf0", 10, 15) "," SPAN("source", "arc",
			"PRE_COPY->PRE_COPY_P2P", "vf1", 10, 20) "," SPAN("source", "arc",
			"PRE_COPY_P2P->STOP_COPY", "vf1", 20, 30) "," SPAN("target", "arc",
			"RESUMING->STOP", "vf0", 31, 35) "," SPAN("target", "arc", "RESUMING->STOP",
			"vf1", 31, 40) "," SPAN("target", "mark", "READY", "", 40,
			40) "," SPAN("source", "mark", "GO", "", 40, 40) "," SPAN("target", "mark",
			"GO", "", 41, 41) "," SPAN("target", "arc", "STOP->RUNNING_P2P", "vf1", 41,
			50) "," SPAN("target", "arc", "RUNNING_P2P->RUNNING", "vf1", 50,
			60) "," SPAN("target", "mark", "STARTED", "", 60, 60) "]}";
	struct swo_buf in = {.data = (uint8_t *)text, .len = sizeof(text) - 1};
	struct swo_error err = {0};
	struct swo_timeline *timeline = timeline_parse(&in, "x", &err);
	char path[64];

	assert_non_null(timeline);
	snprintf(path, sizeof(path), "%s/flow.json", dir);
	assert_int_equal(timeline_write(timeline, path, &err), 0);
	snprintf(path, sizeof(path), "%s/flow.trace.json", dir);
	json_t *root = json_load_file(path, 0, NULL);
	json_t *events = json_object_get(root, "traceEvents"), *flow, *slice;
	size_t i, k, flows = 0, inside = 0;
	char last = 0;
	double at = 0;

	json_array_foreach (events, i, flow) {
		const char *phase = json_string_value(json_object_get(flow, "ph"));

		if (!strchr("stf", *phase))
			continue;
		assert_true(*phase == (flows ? *phase : 's') && last != 'f');
		assert_true(json_number_value(json_object_get(flow, "ts")) >= at);
		at = json_number_value(json_object_get(flow, "ts"));
		last = *phase;
		flows++;
		json_array_foreach (events, k, slice)
			inside += is_in(slice, flow);
	}
	assert_int_equal(last, 'f');
	assert_int_equal(flows, 5);
	assert_int_equal(inside, flows);
	json_decref(root);
	swo_timeline_free(timeline);
}

static void a_terminal_that_has_colours_gets_them_for_spans_and_not_for_names(void **state)
{
	(void)state;
	static const char picture[] = "           ms  0     10\n"
				      "               +-----+--\n"
				      "source passes  [Stop---]\n"
				      "       QFS     P--S-- ==\n"
				      "       marks      |READY\n"
				      "               |STARTED\n"
				      "\n"
				      "  P  arc    to P2P 1x\n"
				      "  m  ram    RAM    1x\n";
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	timeline_print_colours(out, picture);
	timeline_print_colours(out, "nothing was recorded\n");
	timeline_print_colours(out, "\n");
	fclose(out);
	assert_string_equal(text, "           ms  0     10\n"
				  "               +-----+--\n"
				  "source passes  [Stop---]\n"
				  "       QFS     \033[36mP--\033[34mS--\033[0m \033[33m==\033[0m\n"
				  "       marks      |READY\n"
				  "               |STARTED\n"
				  "\n"
				  "  \033[36mP\033[0m  arc    to P2P 1x\n"
				  "  m  ram    RAM    1x\n"
				  "nothing was recorded\n"
				  "\n");
	free(text);
	assert_true(timeline_has_colour(true, NULL, "xterm"));
	assert_true(timeline_has_colour(true, "", "xterm"));
	assert_false(timeline_has_colour(true, "1", "xterm"));
	assert_false(timeline_has_colour(false, NULL, "xterm"));
	assert_false(timeline_has_colour(true, NULL, "dumb"));
	assert_false(timeline_has_colour(true, NULL, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_timeline_becomes_lanes_and_its_text_no_markup),
		cmocka_unit_test(rows_come_as_lines_or_in_one_object_and_a_failed_one_has_no_point),
		cmocka_unit_test(what_is_neither_is_named),
		cmocka_unit_test(the_trace_has_arrows_along_the_critical_path),
		cmocka_unit_test(a_terminal_that_has_colours_gets_them_for_spans_and_not_for_names),
		cmocka_unit_test(steps_of_an_axis_are_1_2_or_5),
	};

	assert_int_equal(dir_make(dir), 0);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	dir_remove(dir);
	return failed;
}
