/* SPDX-License-Identifier: BSD-3-Clause */
/* The JSON form: there and back, shifted, and malformed ones. */
#include "sample.h"
#include "tests/support/cm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool equal(const struct swo_span *a, const struct swo_span *b, int64_t offset)
{
	return a->side == b->side && a->kind == b->kind && !strcmp(a->name, b->name) &&
	       !strcmp(a->device, b->device) && a->bytes == b->bytes &&
	       a->start_ns + (uint64_t)offset == b->start_ns &&
	       a->end_ns + (uint64_t)offset == b->end_ns;
}

static void a_timeline_survives_the_round_trip_through_text_shifted(void **state)
{
	(void)state;
	const int64_t offsets[] = {0, 1234567, -1234567};
	struct swo_timeline *t = sample_timeline();
	struct swo_span a, b;

	sample_put(t, SWO_SIDE_TARGET, SWO_SPAN_MARK, "a\"b\\c", "quote \"hi\" \\", 1, 1, 0);
	char *text = swo_timeline_to_json(t);
	assert_non_null(text);
	for (size_t o = 0; o < SWO_ARRAY_SIZE(offsets); o++) {
		struct swo_timeline *back = swo_timeline_new(SWO_SIDE_SOURCE, 64);

		assert_int_equal(
			swo_timeline_add_json(back, text, strlen(text), offsets[o], NULL), 0);
		size_t count = swo_timeline_count(t, NULL);
		assert_int_equal(swo_timeline_count(back, NULL), count);
		for (size_t i = 0; i < count; i++) {
			assert_true(swo_timeline_get(t, i, &a));
			assert_true(swo_timeline_get(back, i, &b));
			assert_true(equal(&a, &b, offsets[o]));
		}
		swo_timeline_free(back);
	}
	free(text);
	swo_timeline_free(t);
}

static void the_reader_takes_at_most_its_capacity_and_counts_the_rest(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	struct swo_timeline *small = swo_timeline_new(SWO_SIDE_SOURCE, 5);
	size_t count = swo_timeline_count(t, NULL), dropped;
	char *text = swo_timeline_to_json(t);

	assert_int_equal(swo_timeline_add_json(small, text, strlen(text), 0, NULL), 0);
	assert_int_equal(swo_timeline_count(small, &dropped), 5);
	assert_int_equal(dropped, count - 5);
	free(text);
	swo_timeline_free(small);
	swo_timeline_free(t);
}

static void times_saturate_instead_of_wrapping(void **state)
{
	(void)state;
	const char *text =
		"{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":["
		"{\"side\":\"target\",\"kind\":\"arc\",\"name\":\"A->B\",\"device\":\"v\","
		"\"start_ns\":5,\"end_ns\":9223372036854775807,\"bytes\":0}]}";
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 4);
	struct swo_span span;

	assert_int_equal(swo_timeline_add_json(t, text, strlen(text), 100, NULL), 0);
	assert_int_equal(swo_timeline_add_json(t, text, strlen(text), -100, NULL), 0);
	assert_int_equal(swo_timeline_add_json(t, text, strlen(text), INT64_MIN, NULL), 0);
	assert_true(swo_timeline_get(t, 0, &span));
	assert_int_equal(span.start_ns, 105);
	assert_int_equal(span.end_ns, INT64_MAX);
	assert_true(swo_timeline_get(t, 1, &span));
	assert_int_equal(span.start_ns, 0);
	assert_int_equal(span.end_ns, INT64_MAX - 100);
	char *picture = swo_timeline_picture(t, 80, false, 0, 0);
	assert_non_null(picture);
	free(picture);
	swo_timeline_free(t);
}

#define HEAD "{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":["
#define GOOD                                                                                       \
	"{\"side\":\"source\",\"kind\":\"arc\",\"name\":\"A->B\",\"device\":\"v\",\"start_ns\":1," \
	"\"end_ns\":2,\"bytes\":0}"

static void a_malformed_timeline_is_refused_completely_with_a_reason(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"null",
		"{\"version\":2,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":[]}",
		"{\"version\":1,\"clock\":\"CLOCK_REALTIME\",\"dropped\":0,\"spans\":[]}",
		"{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":-1,\"spans\":[]}",
		"{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,\"spans\":{}}",
		HEAD GOOD ",3]}",
		HEAD GOOD ",{}]}",
		HEAD GOOD ",{\"side\":\"left\",\"kind\":\"arc\",\"name\":\"x\",\"device\":\"v\","
			  "\"start_ns\":1,\"end_ns\":2,\"bytes\":0}]}",
		HEAD GOOD ",{\"side\":\"source\",\"kind\":\"x\",\"name\":\"x\",\"device\":\"v\","
			  "\"start_ns\":1,\"end_ns\":2,\"bytes\":0}]}",
		HEAD GOOD ",{\"side\":\"source\",\"kind\":\"arc\",\"name\":7,\"device\":\"v\","
			  "\"start_ns\":1,\"end_ns\":2,\"bytes\":0}]}",
		HEAD GOOD ",{\"side\":\"source\",\"kind\":\"arc\",\"name\":\"x\",\"device\":\"v\","
			  "\"start_ns\":3,\"end_ns\":2,\"bytes\":0}]}",
		HEAD GOOD ",{\"side\":\"source\",\"kind\":\"arc\",\"name\":\"x\",\"device\":\"v\","
			  "\"start_ns\":1.5,\"end_ns\":2,\"bytes\":0}]}",
		HEAD GOOD ",{\"side\":\"source\",\"kind\":\"arc\",\"name\":\"x\",\"device\":\"v\","
			  "\"start_ns\":1,\"end_ns\":99999999999999999999,\"bytes\":0}]}",
		HEAD GOOD "]} trailing",
	};
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 64);

	for (size_t i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		struct swo_error err = {0};

		assert_int_equal(swo_timeline_add_json(t, bad[i], strlen(bad[i]), 0, &err), -1);
		assert_int_equal(err.code, SWO_E_PROTOCOL);
		assert_non_null(strstr(err.text, "not a timeline: "));
		assert_int_equal(swo_timeline_count(t, NULL), 0);
	}
	assert_int_equal(
		swo_timeline_add_json(t, HEAD GOOD "]}", strlen(HEAD GOOD "]}"), 0, NULL), 0);
	assert_int_equal(swo_timeline_count(t, NULL), 1);
	swo_timeline_free(t);
}

static void a_text_cut_anywhere_is_refused_and_adds_nothing(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	struct swo_timeline *back = swo_timeline_new(SWO_SIDE_SOURCE, 64);
	char *text = swo_timeline_to_json(t);
	size_t len = strlen(text) - 1; /* without the last newline */

	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(swo_timeline_add_json(back, text, cut, 0, NULL), -1);
	assert_int_equal(swo_timeline_count(back, NULL), 0);
	free(text);
	swo_timeline_free(back);
	swo_timeline_free(t);
}

static void a_flipped_byte_is_refused_or_leaves_only_sound_spans(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	struct swo_timeline *back = swo_timeline_new(SWO_SIDE_SOURCE, 64);
	char *text = swo_timeline_to_json(t);
	size_t len = strlen(text), refused = 0;
	uint32_t seed = 1;

	for (int i = 0; i < 3000; i++) {
		seed = seed * 1664525 + 1013904223;
		size_t at = (seed >> 8) % len;
		char kept = text[at];

		text[at] = (char)(text[at] ^ (1 << (seed & 7)));
		swo_timeline_clear(back);
		if (swo_timeline_add_json(back, text, len, -77, NULL))
			refused++;
		struct swo_span span;
		for (size_t n = 0; swo_timeline_get(back, n, &span); n++) {
			assert_true(span.start_ns <= span.end_ns);
			assert_true(strlen(span.name) < sizeof(span.name));
			assert_true(span.kind <= SWO_SPAN_MARK && span.side <= SWO_SIDE_TARGET);
		}
		text[at] = kept;
	}
	assert_true(refused > 100);
	free(text);
	swo_timeline_free(back);
	swo_timeline_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_timeline_survives_the_round_trip_through_text_shifted),
		cmocka_unit_test(the_reader_takes_at_most_its_capacity_and_counts_the_rest),
		cmocka_unit_test(times_saturate_instead_of_wrapping),
		cmocka_unit_test(a_malformed_timeline_is_refused_completely_with_a_reason),
		cmocka_unit_test(a_text_cut_anywhere_is_refused_and_adds_nothing),
		cmocka_unit_test(a_flipped_byte_is_refused_or_leaves_only_sound_spans),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
