/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json.c - a timeline as JSON, and back. The reader parses text from a peer or a file, which is
 * not trusted: all of it is checked before any span is added.
 */
#include "timeline/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define CLOCK	"CLOCK_MONOTONIC"

/* A name in quotes. Names are printable ASCII (see the recorder), so two escapes are enough. */
static void put_string(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', out);
		putc(*text, out);
	}
	putc('"', out);
}

char *swo_timeline_to_json(struct swo_timeline *timeline)
{
	size_t count, dropped, len;
	char *text = NULL;
	swo_autofree struct swo_span *spans = timeline_copy(timeline, &count, &dropped);
	FILE *out = spans ? open_memstream(&text, &len) : NULL;

	if (!out)
		return NULL;
	fprintf(out, "{\"version\":%d,\"clock\":\"%s\",\"dropped\":%zu,\"spans\":[", VERSION, CLOCK,
		dropped);
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "%s{\"side\":\"%s\",\"kind\":\"%s\",\"name\":", i ? ",\n" : "\n",
			timeline_side_name(spans[i].side), timeline_kind_name(spans[i].kind));
		put_string(out, spans[i].name);
		fputs(",\"device\":", out);
		put_string(out, spans[i].device);
		fprintf(out,
			",\"start_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
			spans[i].start_ns, spans[i].end_ns, spans[i].bytes);
	}
	fputs("]}\n", out);
	bool failed = ferror(out);
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	return text;
}

static int bad(struct swo_error *err, const char *what)
{
	return swo_error_set(err, SWO_E_PROTOCOL, 0, "not a timeline: %s", what);
}

/* A time or a size: an integer that is not negative. */
static bool get_u64(const json_t *object, const char *key, uint64_t *out)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

static uint64_t shift(uint64_t when, int64_t offset)
{
	if (offset >= 0)
		return when > (uint64_t)INT64_MAX - (uint64_t)offset ? (uint64_t)INT64_MAX
								     : when + (uint64_t)offset;
	uint64_t back = 0 - (uint64_t)offset;
	return when > back ? when - back : 0;
}

static int parse_span(
	const json_t *object, int64_t offset, struct swo_span *out, struct swo_error *err)
{
	const char *side = json_string_value(json_object_get(object, "side"));
	const char *kind = json_string_value(json_object_get(object, "kind"));
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *device = json_string_value(json_object_get(object, "device"));

	if (!side || !kind || !name || !device)
		return bad(err, "a span without side, kind, name or device");
	if (timeline_side_of(side) < 0)
		return bad(err, "a span's side: expected source or target");
	if (timeline_kind_of(kind) < 0)
		return bad(err, "a span's kind is unknown");
	*out = (struct swo_span){.side = (enum swo_side)timeline_side_of(side),
		.kind = (enum swo_span_kind)timeline_kind_of(kind)};
	if (!get_u64(object, "start_ns", &out->start_ns) ||
		!get_u64(object, "end_ns", &out->end_ns) || !get_u64(object, "bytes", &out->bytes))
		return bad(err, "a span's start_ns, end_ns or bytes: expected a natural number");
	if (out->end_ns < out->start_ns)
		return bad(err, "a span ends before it starts");
	out->start_ns = shift(out->start_ns, offset);
	out->end_ns = shift(out->end_ns, offset);
	snprintf(out->device, sizeof(out->device), "%s", device);
	snprintf(out->name, sizeof(out->name), "%s", name);
	return 0;
}

static int add_parsed(
	struct swo_timeline *timeline, const json_t *root, int64_t offset, struct swo_error *err)
{
	const json_t *spans = json_object_get(root, "spans");
	const char *clock = json_string_value(json_object_get(root, "clock"));
	uint64_t version, dropped;
	struct swo_span span;

	if (!get_u64(root, "version", &version) || version != VERSION)
		return bad(err, "version: expected 1");
	if (!clock || strcmp(clock, CLOCK))
		return bad(err, "clock: expected " CLOCK);
	if (!get_u64(root, "dropped", &dropped) || !json_is_array(spans))
		return bad(err, "missing count of dropped spans or array of spans");
	for (size_t i = 0; i < json_array_size(spans); i++)
		if (parse_span(json_array_get(spans, i), offset, &span, err))
			return -1;
	/* All are good: now they count. */
	for (size_t i = 0; i < json_array_size(spans); i++)
		if (!parse_span(json_array_get(spans, i), offset, &span, NULL))
			swo_timeline_add(timeline, &span);
	timeline_add_dropped(timeline, (size_t)dropped);
	return 0;
}

int swo_timeline_add_json(struct swo_timeline *timeline, const char *text, size_t len,
	int64_t offset_ns, struct swo_error *err)
{
	json_error_t why;

	if (!timeline)
		return 0;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"not a timeline: line %d: %s; is it the JSON that switchover wrote?",
			why.line, why.text);
	int rc = add_parsed(timeline, root, offset_ns, err);
	json_decref(root);
	return rc;
}
