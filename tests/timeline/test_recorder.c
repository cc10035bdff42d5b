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

	swo_timeline_record(t, &(struct swo_span){.event = SWO_EVENT_ARC,
				       .from = SWO_DEVICE_RESUMING,
				       .to = SWO_DEVICE_STOP,
				       .device = "vf0",
				       .start_ns = 10,
				       .end_ns = 30});
	swo_timeline_span(t, SWO_EVENT_LOAD, "vf1", 20, 25, 4096);
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

	swo_timeline_mark(t, SWO_EVENT_GO);
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
		swo_timeline_span(t, SWO_EVENT_JOURNAL, "", 0, 1, 0);
	assert_int_equal(swo_timeline_count(t, &dropped), 2);
	assert_int_equal(dropped, 3);
	swo_timeline_clear(t);
	assert_int_equal(swo_timeline_count(t, &dropped), 0);
	assert_int_equal(dropped, 0);
	swo_timeline_span(t, SWO_EVENT_JOURNAL, "", 0, 1, 0);
	assert_int_equal(swo_timeline_count(t, NULL), 1);
	swo_timeline_free(t);
}

static void no_timeline_records_nothing_and_fails_nowhere(void **state)
{
	(void)state;
	struct swo_span span;
	size_t dropped = 7;
	uint64_t from, to;

	swo_timeline_span(NULL, SWO_EVENT_SAVE, "vf0", 1, 2, 0);
	swo_timeline_record(NULL, &(struct swo_span){.event = SWO_EVENT_ARC});
	swo_timeline_add(NULL, &(struct swo_span){.event = SWO_EVENT_ARC});
	swo_timeline_mark(NULL, SWO_EVENT_GO);
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
	struct swo_span longish = {.kind = SWO_SPAN_WORK};

	memset(longish.name, 'x', sizeof(longish.name));
	memset(longish.device, 'x', sizeof(longish.device));
	swo_timeline_record(t, &longish);
	swo_timeline_record(
		t, &(struct swo_span){
			   .kind = SWO_SPAN_WORK, .device = "v\xc3\xa9\n", .name = "a\tb\x1b[31m"});
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

	swo_timeline_span(t, SWO_EVENT_JOURNAL, NULL, 20, 10, 0);
	assert_true(swo_timeline_get(t, 0, &span));
	assert_int_equal(span.end_ns, 20);
	assert_string_equal(span.device, "");
	swo_timeline_free(t);
}

static void each_event_is_found_again_by_its_kind_and_text(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, SWO_EVENTS);
	struct swo_timeline *back = swo_timeline_new(SWO_SIDE_TARGET, SWO_EVENTS);
	struct swo_span a, b;

	for (unsigned event = 1; event < SWO_EVENTS; event++)
		swo_timeline_record(t, &(struct swo_span){.event = (enum swo_event)event,
					       .from = SWO_DEVICE_PRE_COPY_P2P,
					       .to = SWO_DEVICE_STOP_COPY,
					       .failed = event % 2,
					       .number = event + UINT64_C(1000000000000)});
	char *text = swo_timeline_to_json(t);

	assert_int_equal(swo_timeline_add_json(back, text, strlen(text), 0, NULL), 0);
	for (unsigned i = 0; i < SWO_EVENTS - 1; i++) {
		assert_true(swo_timeline_get(t, i, &a) && swo_timeline_get(back, i, &b));
		assert_int_equal(b.event, i + 1);
		assert_int_equal(b.side, SWO_SIDE_SOURCE);
		assert_int_equal(b.kind, a.kind);
		assert_true(a.name[0]);
		assert_string_equal(b.name, a.name);
		if (b.event == SWO_EVENT_ARC || b.event == SWO_EVENT_RESET) {
			assert_int_equal(b.from, a.from);
			assert_int_equal(b.failed, a.failed);
		}
		if (b.event == SWO_EVENT_ARC)
			assert_int_equal(b.to, a.to);
		if (b.event == SWO_EVENT_RAM_PASS)
			assert_int_equal(b.number, a.number);
		/* No two have the same. */
		for (unsigned k = 0; k < i; k++) {
			assert_true(swo_timeline_get(t, k, &b));
			assert_true(a.kind != b.kind || strcmp(a.name, b.name) != 0);
		}
	}
	free(text);
	swo_timeline_free(t);
	swo_timeline_free(back);
}

static void a_text_that_is_not_in_the_table_is_kept_as_it_is(void **state)
{
	(void)state;
	static const struct {
		enum swo_span_kind kind;
		const char *name;
	} others[] = {{SWO_SPAN_MARK, "go"}, {SWO_SPAN_MARK, "GO "}, {SWO_SPAN_PHASE, "GO"},
		{SWO_SPAN_ARC, "STOP->NOWHERE"}, {SWO_SPAN_ARC, "STOP>RUNNING"},
		{SWO_SPAN_ARC, "STOP->RUNNING failed twice"}, {SWO_SPAN_ARC, "STOP->"},
		{SWO_SPAN_ARC, ""}, {SWO_SPAN_MARK, "STOP->RUNNING"},
		{SWO_SPAN_RAM, "RAM pass 007"}, {SWO_SPAN_RAM, "RAM pass"},
		{SWO_SPAN_RAM, "RAM pass -1"}, {SWO_SPAN_WORK, "reset from nowhere"},
		{SWO_SPAN_WORK, "reset from unknown"}, {SWO_SPAN_STREAM, "save more"}};
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 64);
	struct swo_span span;

	for (size_t i = 0; i < SWO_ARRAY_SIZE(others); i++) {
		struct swo_span other = {.kind = others[i].kind};

		strcpy(other.name, others[i].name);
		swo_timeline_record(t, &other);
		assert_true(swo_timeline_get(t, i, &span));
		assert_int_equal(span.event, SWO_EVENT_OTHER);
		assert_int_equal(span.kind, others[i].kind);
		assert_string_equal(span.name, others[i].name);
	}
	/* Nor is an event that this version does not have. */
	swo_timeline_span(t, (enum swo_event)SWO_EVENTS, "", 1, 2, 0);
	assert_true(swo_timeline_get(t, SWO_ARRAY_SIZE(others), &span));
	assert_int_equal(span.event, SWO_EVENT_OTHER);
	swo_timeline_free(t);
}

static void *record_many(void *opaque)
{
	for (int i = 0; i < 1000; i++)
		swo_timeline_span(opaque, SWO_EVENT_SAVE, "vf0", 1, 2, 0);
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
		cmocka_unit_test(each_event_is_found_again_by_its_kind_and_text),
		cmocka_unit_test(a_text_that_is_not_in_the_table_is_kept_as_it_is),
		cmocka_unit_test(threads_record_side_by_side_and_nothing_is_lost),
		cmocka_unit_test(the_switchover_lies_from_the_last_stop_to_the_last_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
