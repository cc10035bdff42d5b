/* SPDX-License-Identifier: BSD-3-Clause */
/* Recording: order, capacity, text, several threads. */
#include "sample.h"
#include "tests/support/cm.h"

#include <stdlib.h>
#include <string.h>

static void spans_come_back_as_recorded_and_in_order(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_TARGET, 8);
	struct swo_span span;

	swo_timeline_span(t, SWO_SPAN_ARC, "vf0", 10, 30, 0, "%s->%s", "RESUMING", "STOP");
	swo_timeline_span(t, SWO_SPAN_STREAM, "vf1", 20, 25, 4096, "load");
	assert_int_equal(swo_timeline_count(t, NULL), 2);
	assert_true(swo_timeline_get(t, 0, &span));
	assert_int_equal(span.side, SWO_SIDE_TARGET);
	assert_int_equal(span.kind, SWO_SPAN_ARC);
	assert_string_equal(span.name, "RESUMING->STOP");
	assert_string_equal(span.device, "vf0");
	assert_int_equal(span.start_ns, 10);
	assert_int_equal(span.end_ns, 30);
	assert_true(swo_timeline_get(t, 1, &span));
	assert_int_equal(span.bytes, 4096);
	assert_false(swo_timeline_get(t, 2, &span));
	swo_timeline_free(t);
}

static void a_mark_is_a_moment_between_two_looks_at_the_clock(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 1);
	struct swo_span span;
	uint64_t before = swo_now_ns();

	swo_timeline_mark(t, "", "GO");
	uint64_t after = swo_now_ns();
	assert_true(swo_timeline_get(t, 0, &span));
	assert_int_equal(span.kind, SWO_SPAN_MARK);
	assert_true(span.start_ns >= before && span.start_ns <= after);
	assert_int_equal(span.start_ns, span.end_ns);
	swo_timeline_free(t);
}

static void what_does_not_fit_is_counted_until_cleared(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 2);
	size_t dropped;

	for (int i = 0; i < 5; i++)
		swo_timeline_span(t, SWO_SPAN_WORK, "", 0, 1, 0, "work %d", i);
	assert_int_equal(swo_timeline_count(t, &dropped), 2);
	assert_int_equal(dropped, 3);
	swo_timeline_clear(t);
	assert_int_equal(swo_timeline_count(t, &dropped), 0);
	assert_int_equal(dropped, 0);
	swo_timeline_span(t, SWO_SPAN_WORK, "", 0, 1, 0, "again");
	assert_int_equal(swo_timeline_count(t, NULL), 1);
	swo_timeline_free(t);
}

static void no_timeline_records_nothing_and_fails_nowhere(void **state)
{
	(void)state;
	struct swo_span span;
	size_t dropped = 7;
	uint64_t from, to;

	swo_timeline_span(NULL, SWO_SPAN_ARC, "vf0", 1, 2, 0, "x");
	swo_timeline_mark(NULL, "vf0", "x");
	swo_timeline_clear(NULL);
	swo_timeline_free(NULL);
	assert_int_equal(swo_timeline_count(NULL, &dropped), 0);
	assert_int_equal(dropped, 0);
	assert_false(swo_timeline_get(NULL, 0, &span));
	assert_false(swo_timeline_switchover(NULL, &from, &to));
	assert_int_equal(swo_timeline_add_json(NULL, "{}", 2, 0, NULL), 0);
	char *text = swo_timeline_to_json(NULL);
	assert_non_null(strstr(text, "\"spans\":["));
	free(text);
	assert_null(swo_timeline_new(SWO_SIDE_SOURCE, SIZE_MAX));
}

static void names_are_cut_to_their_room_and_made_printable(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 4);
	struct swo_span span;
	char longish[200];

	memset(longish, 'x', sizeof(longish) - 1);
	longish[sizeof(longish) - 1] = 0;
	swo_timeline_span(t, SWO_SPAN_WORK, longish, 0, 1, 0, "%s", longish);
	swo_timeline_span(t, SWO_SPAN_WORK, "v\xc3\xa9\n", 0, 1, 0, "a\tb\x1b[31m");
	assert_true(swo_timeline_get(t, 0, &span));
	assert_int_equal(strlen(span.name), sizeof(span.name) - 1);
	assert_int_equal(strlen(span.device), sizeof(span.device) - 1);
	assert_true(swo_timeline_get(t, 1, &span));
	assert_string_equal(span.device, "v???");
	assert_string_equal(span.name, "a?b?[31m");
	swo_timeline_free(t);
}

static void a_span_never_ends_before_it_starts(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 1);
	struct swo_span span;

	swo_timeline_span(t, SWO_SPAN_WORK, NULL, 20, 10, 0, "backwards");
	assert_true(swo_timeline_get(t, 0, &span));
	assert_int_equal(span.end_ns, 20);
	assert_string_equal(span.device, "");
	swo_timeline_free(t);
}

static void *record_many(void *opaque)
{
	for (int i = 0; i < 1000; i++)
		swo_timeline_span(opaque, SWO_SPAN_ARC, "vf0", 1, 2, 0, "A->B");
	return NULL;
}

static void threads_record_side_by_side_and_nothing_is_lost(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 2500);
	pthread_t threads[4];
	size_t dropped;

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, record_many, t), 0);
	free(swo_timeline_to_json(t));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(swo_timeline_count(t, &dropped), 2500);
	assert_int_equal(dropped, 1500);
	swo_timeline_free(t);
}

static void the_switchover_lies_from_the_last_stop_to_the_last_start(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	uint64_t from, to;

	/* An attempt that was taken back, long before. */
	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_PASS, "", "stop: prepare pass", 20, 30, 0);
	assert_true(swo_timeline_switchover(t, &from, &to));
	assert_int_equal(from, SAMPLE_ZERO + 100 * MS);
	assert_int_equal(to, SAMPLE_ZERO + 230 * MS);
	swo_timeline_clear(t);
	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_PASS, "", "stop: prepare pass", 20, 30, 0);
	assert_false(swo_timeline_switchover(t, &from, &to));
	swo_timeline_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_come_back_as_recorded_and_in_order),
		cmocka_unit_test(a_mark_is_a_moment_between_two_looks_at_the_clock),
		cmocka_unit_test(what_does_not_fit_is_counted_until_cleared),
		cmocka_unit_test(no_timeline_records_nothing_and_fails_nowhere),
		cmocka_unit_test(names_are_cut_to_their_room_and_made_printable),
		cmocka_unit_test(a_span_never_ends_before_it_starts),
		cmocka_unit_test(threads_record_side_by_side_and_nothing_is_lost),
		cmocka_unit_test(the_switchover_lies_from_the_last_stop_to_the_last_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
