/* SPDX-License-Identifier: BSD-3-Clause */
/* The Chrome trace: a process a side, rows in which events nest, microseconds from zero. */
#include "sample.h"
#include "tests/support/cm.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *trace_of(struct swo_timeline *t)
{
	char *text = swo_timeline_to_chrome(t);

	assert_non_null(text);
	json_t *root = json_loads(text, 0, NULL);
	free(text);
	assert_non_null(root);
	return root;
}

static const char *get_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static double get_number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static const char *row_name(const json_t *events, const json_t *event)
{
	size_t i;
	json_t *e;

	json_array_foreach (events, i, e)
		if (!strcmp(get_text(e, "ph"), "M") &&
			!strcmp(get_text(e, "name"), "thread_name") &&
			get_number(e, "tid") == get_number(event, "tid") &&
			get_number(e, "pid") == get_number(event, "pid"))
			return get_text(json_object_get(e, "args"), "name");
	return NULL;
}

static void every_span_is_an_event_with_its_row_and_its_times(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	json_t *root = trace_of(t);
	const json_t *events = json_object_get(root, "traceEvents");
	size_t i, complete = 0, instants = 0, found = 0;
	json_t *e;

	json_array_foreach (events, i, e) {
		const char *ph = get_text(e, "ph");

		complete += !strcmp(ph, "X");
		instants += !strcmp(ph, "i");
		if (strcmp(ph, "M") && strcmp(ph, "C"))
			assert_non_null(row_name(events, e));
		if (strcmp(get_text(e, "name"), "RESUMING->STOP") ||
			strcmp(row_name(events, e), "vf10"))
			continue;
		found++;
		/* Zero is the first span, at 10 ms. */
		assert_true(get_number(e, "ts") == 160000.0);
		assert_true(get_number(e, "dur") == 20000.0);
		assert_int_equal((int)get_number(e, "pid"), 2);
	}
	assert_int_equal(found, 1);
	assert_int_equal(instants, 1);
	assert_int_equal(complete, swo_timeline_count(t, NULL) - 1);
	json_decref(root);
	swo_timeline_free(t);
}

static void events_of_one_row_nest_or_lie_apart(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	json_t *root;

	/* A stream that crosses an arc of its device. */
	sample_put(t, SWO_SIDE_TARGET, SWO_SPAN_STREAM, "vf2", "load", 180, 200, 10);
	root = trace_of(t);
	const json_t *events = json_object_get(root, "traceEvents");
	for (size_t i = 0; i < json_array_size(events); i++) {
		const json_t *a = json_array_get(events, i);

		for (size_t k = 0; k < i; k++) {
			const json_t *b = json_array_get(events, k);

			if (strcmp(get_text(a, "ph"), "X") || strcmp(get_text(b, "ph"), "X") ||
				get_number(a, "pid") != get_number(b, "pid") ||
				get_number(a, "tid") != get_number(b, "tid"))
				continue;
			double a0 = get_number(a, "ts"), a1 = a0 + get_number(a, "dur");
			double b0 = get_number(b, "ts"), b1 = b0 + get_number(b, "dur");
			assert_true(a1 <= b0 || b1 <= a0 || (a0 <= b0 && b1 <= a1) ||
				    (b0 <= a0 && a1 <= b1));
		}
	}
	json_decref(root);
	swo_timeline_free(t);
}

static void tracks_are_in_the_order_of_the_picture(void **state)
{
	(void)state;
	static const char *const source[] = {
		"passes", "vf2", "vf2 stream", "vf10", "vf10 stream", "memory", "machine"};
	struct swo_timeline *t = sample_timeline();
	json_t *root = trace_of(t), *e, *other;
	const json_t *events = json_object_get(root, "traceEvents");
	size_t i, k, found = 0;

	json_array_foreach (events, i, e) {
		if (strcmp(get_text(e, "name"), "thread_sort_index") || get_number(e, "pid") != 1)
			continue;
		const char *name = NULL;

		json_array_foreach (events, k, other)
			if (!strcmp(get_text(other, "name"), "thread_name") &&
				get_number(other, "tid") == get_number(e, "tid"))
				name = get_text(json_object_get(other, "args"), "name");
		assert_int_equal(
			(int)get_number(json_object_get(e, "args"), "sort_index"), (int)found + 1);
		assert_true(found < SWO_ARRAY_SIZE(source));
		assert_string_equal(name, source[found++]);
	}
	assert_int_equal(found, SWO_ARRAY_SIZE(source));
	json_decref(root);
	swo_timeline_free(t);
}

static void a_counter_has_the_bytes_that_are_left(void **state)
{
	(void)state;
	/* At 0: all; pass 1 ends at 80 ms, the last pass at 125, both streams at 160. */
	static const double wanted[][2] = {{0, (65 << 20) + 131072}, {80000, (1 << 20) + 131072},
		{125000, 131072}, {160000, 65536}, {160000, 0}};
	struct swo_timeline *t = sample_timeline();
	json_t *root = trace_of(t), *e;
	size_t i, found = 0;

	json_array_foreach (json_object_get(root, "traceEvents"), i, e) {
		if (strcmp(get_text(e, "ph"), "C") || get_number(e, "pid") != 1)
			continue;
		assert_true(found < SWO_ARRAY_SIZE(wanted));
		assert_true(get_number(e, "ts") == wanted[found][0]);
		assert_true(get_number(json_object_get(e, "args"), "bytes") == wanted[found][1]);
		found++;
	}
	assert_int_equal(found, SWO_ARRAY_SIZE(wanted));
	json_decref(root);
	swo_timeline_free(t);
}

static void an_empty_timeline_is_a_valid_trace(void **state)
{
	(void)state;
	json_t *root = trace_of(NULL);

	assert_int_equal(json_array_size(json_object_get(root, "traceEvents")), 4);
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_span_is_an_event_with_its_row_and_its_times),
		cmocka_unit_test(events_of_one_row_nest_or_lie_apart),
		cmocka_unit_test(tracks_are_in_the_order_of_the_picture),
		cmocka_unit_test(a_counter_has_the_bytes_that_are_left),
		cmocka_unit_test(an_empty_timeline_is_a_valid_trace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
