/* SPDX-License-Identifier: BSD-3-Clause */
/* The picture: rows, scale, legend, widths. */
#include "sample.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char expected[] =
	"           ms  0        20       40       60        80       100      120\n"
	"               +--------+--------+--------+---------+--------+--------+---------\n"
	"source passes    [prepare--][stop: change pass]\n"
	"       memory               mmmmm\n"
	"       vf2       P--------  S------------------==\n"
	"       vf10      P----------S------------------==\n"
	"       marks                                               |GO\n"
	"target vf2                                     ==F---------Q----------R------\n"
	"       vf10                                    ==F---------Q----------R------\n"
	"\n"
	"  [  pass   stop: change pass          1x      40.0           ms\n"
	"  [  pass   stop: prepare pass         1x      25.0           ms\n"
	"  P  arc    PRE_COPY->PRE_COPY_P2P     2x      20.0 ..   25.0 ms\n"
	"  S  arc    PRE_COPY_P2P->STOP_COPY    2x      40.0 ..   40.0 ms\n"
	"  F  arc    RESUMING->STOP             2x      20.0 ..   20.0 ms\n"
	"  Q  arc    STOP->RUNNING_P2P          2x      25.0 ..   25.0 ms\n"
	"  R  arc    RUNNING_P2P->RUNNING       2x      15.0 ..   15.0 ms\n"
	"  =  stream load                       2x       5.0 ..    5.0 ms, 128.0 KiB\n"
	"  =  stream save                       2x       5.0 ..    5.0 ms, 128.0 KiB\n"
	"  m  ram    last pass                  1x      10.0           ms, 1.0 MiB\n";

static void the_picture_shows_rows_scale_and_legend_aligned(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	char *text =
		swo_timeline_picture(t, 80, false, SAMPLE_ZERO + 95 * MS, SAMPLE_ZERO + 235 * MS);

	assert_string_equal(text, expected);
	free(text);
	swo_timeline_free(t);
}

/* Signs on a terminal: bytes that do not continue a UTF-8 character. */
static unsigned columns_in(const char *line, size_t len)
{
	unsigned columns = 0;

	for (size_t i = 0; i < len; i++)
		columns += ((unsigned char)line[i] & 0xc0) != 0x80;
	return columns;
}

/* Lines of the drawing itself, which ends at the first empty one. */
static unsigned widest(const char *text)
{
	unsigned most = 0;

	while (*text && *text != '\n') {
		size_t len = strcspn(text, "\n");
		unsigned columns = columns_in(text, len);

		most = columns > most ? columns : most;
		text += len + (text[len] == '\n');
	}
	return most;
}

static void both_alphabets_draw_the_same_picture(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	char *ascii = swo_timeline_picture(t, 100, false, 0, 0);
	char *utf8 = swo_timeline_picture(t, 100, true, 0, 0);

	for (const char *c = ascii; *c; c++)
		assert_true(*c == '\n' || (*c >= 0x20 && *c <= 0x7e));
	assert_int_equal(columns_in(ascii, strlen(ascii)), columns_in(utf8, strlen(utf8)));
	assert_int_equal(widest(ascii), widest(utf8));
	assert_true(strlen(utf8) > strlen(ascii));
	free(ascii);
	free(utf8);
	swo_timeline_free(t);
}

static void any_timeline_fits_the_requested_width(void **state)
{
	(void)state;
	uint32_t seed = 42;

	for (unsigned round = 0; round < 200; round++) {
		struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 64);
		const unsigned columns = 60 + round;

		for (unsigned i = 0; i < 60; i++) {
			char device[32], name[40];
			unsigned r[4];

			for (unsigned k = 0; k < 4; k++) {
				seed = seed * 1664525 + 1013904223;
				r[k] = seed >> 9;
			}
			if (r[0] % 3)
				snprintf(device, sizeof(device), "a-long-name-of-a-vf%u", r[0] % 5);
			else
				device[0] = 0;
			snprintf(name, sizeof(name), "name %u", r[1] % 60);
			sample_put(t, (enum swo_side)(r[2] % 2), (enum swo_span_kind)(r[3] % 8),
				device, name, r[1] % 500, r[1] % 500 + r[2] % 90, r[3]);
		}
		uint64_t from = round % 3 ? SAMPLE_ZERO + round * MS : 0;
		char *text = swo_timeline_picture(
			t, columns, round % 2, from, from ? from + round * MS / 7 : 0);
		assert_non_null(text);
		assert_true(widest(text) <= columns);
		free(text);
		swo_timeline_free(t);
	}
}

static void devices_stand_in_the_order_in_which_people_count(void **state)
{
	(void)state;
	struct swo_timeline *t = sample_timeline();
	char *text = swo_timeline_picture(t, 80, false, 0, 0);
	const char *second = strstr(text, " vf2 "), *tenth = strstr(text, " vf10 ");

	assert_non_null(second);
	assert_non_null(tenth);
	assert_true(second < tenth);
	free(text);
	swo_timeline_free(t);
}

static void long_names_that_begin_alike_have_rows_that_differ(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 8);

	for (unsigned i = 1; i <= 2; i++) {
		char uuid[64];

		snprintf(uuid, sizeof(uuid), "83b8f4f2-509f-382f-3c1e-e6bfe0fa100%u", i);
		sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_ARC, uuid, "RUNNING->RUNNING_P2P", i * 100,
			i * 100 + 50, 0);
	}
	char *text = swo_timeline_picture(t, 60, false, 0, 0);
	assert_non_null(strstr(text, "source 83b8f4..fa1001 P---"));
	assert_non_null(strstr(text, "       83b8f4..fa1002    "));
	free(text);
	swo_timeline_free(t);
}

static void a_short_arc_over_a_long_span_stays_visible(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 8);

	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_STREAM, "vf0", "save", 0, 1000, 1);
	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_ARC, "vf0", "PRE_COPY->PRE_COPY_P2P", 500, 501, 0);
	char *text = swo_timeline_picture(t, 60, false, 0, 0);
	char *row = strstr(text, "source vf0");
	assert_non_null(row);
	assert_non_null(strstr(row, "=P="));
	free(text);
	swo_timeline_free(t);
}

static void names_of_moments_are_whole_or_on_a_line_of_their_own(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 128);

	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_MARK, "", "vCPUs stopped", 0, 0, 0);
	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_MARK, "", "READY", 1, 1, 0);
	/* The same once more is no further one. */
	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_MARK, "", "READY", 1, 1, 0);
	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_MARK, "", "STARTED", 1000, 1000, 0);
	/* More than there are lines for have no name, and do no harm. */
	for (int i = 0; i < 40; i++) {
		char name[16];

		snprintf(name, sizeof(name), "mark %d", i);
		sample_put(t, SWO_SIDE_TARGET, SWO_SPAN_MARK, "", name, 500, 500, 0);
	}
	char *text = swo_timeline_picture(t, 60, false, 0, 0);

	assert_non_null(strstr(text, "|vCPUs stopped"));
	assert_non_null(strstr(text, "\n               |READY\n"));
	assert_null(strstr(strstr(text, "READY") + 1, "READY"));
	assert_non_null(strstr(text, " STARTED|\n"));
	assert_non_null(strstr(text, "|mark 5\n"));
	assert_null(strstr(text, "mark 6"));
	free(text);
	swo_timeline_free(t);
}

static void an_empty_timeline_is_reported(void **state)
{
	(void)state;
	char *text = swo_timeline_picture(NULL, 80, false, 0, 0);

	assert_string_equal(text, "nothing was recorded\n");
	free(text);
}

static void a_moment_alone_can_be_drawn(void **state)
{
	(void)state;
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 8);

	sample_put(t, SWO_SIDE_SOURCE, SWO_SPAN_MARK, "", "GO", 5, 5, 0);
	char *text = swo_timeline_picture(t, 0, false, 0, 0);
	assert_non_null(strstr(text, "|GO"));
	free(text);
	swo_timeline_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_picture_shows_rows_scale_and_legend_aligned),
		cmocka_unit_test(both_alphabets_draw_the_same_picture),
		cmocka_unit_test(any_timeline_fits_the_requested_width),
		cmocka_unit_test(devices_stand_in_the_order_in_which_people_count),
		cmocka_unit_test(long_names_that_begin_alike_have_rows_that_differ),
		cmocka_unit_test(a_short_arc_over_a_long_span_stays_visible),
		cmocka_unit_test(names_of_moments_are_whole_or_on_a_line_of_their_own),
		cmocka_unit_test(an_empty_timeline_is_reported),
		cmocka_unit_test(a_moment_alone_can_be_drawn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
