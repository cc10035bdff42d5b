/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chrome.c - a timeline as a Chrome trace, for chrome://tracing and Perfetto.
 * Source: the "Trace Event Format" document: complete events (X), instants (i), metadata (M).
 */
#include "timeline/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Events of one row must nest, so what may overlap on a device goes on a row of its own. */
struct row {
	enum swo_side side;
	char label[sizeof(((struct swo_span *)0)->device) + 16];
};

static const char *lane(const struct swo_span *span)
{
	switch (span->kind) {
	case SWO_SPAN_STREAM:
		return "stream";
	case SWO_SPAN_RAM:
		return "memory";
	case SWO_SPAN_WAIT:
		return "waits";
	case SWO_SPAN_PASS:
		return "passes";
	case SWO_SPAN_PHASE:
	case SWO_SPAN_ARC:
	case SWO_SPAN_WORK:
	case SWO_SPAN_MARK:
		break;
	}
	return span->device[0] ? "" : "machine";
}

/* The row of a span, made when it is new; -1: no memory. */
static int find_row(struct row **rows, size_t *count, const struct swo_span *span)
{
	struct row row = {.side = span->side};
	const char *word = lane(span);

	snprintf(row.label, sizeof(row.label), "%s%s%s", span->device,
		span->device[0] && word[0] ? " " : "", word);
	for (size_t i = 0; i < *count; i++)
		if ((*rows)[i].side == row.side && !strcmp((*rows)[i].label, row.label))
			return (int)i;
	struct row *more = reallocarray(*rows, *count + 1, sizeof(row));
	if (!more)
		return -1;
	*rows = more;
	more[*count] = row;
	return (int)(*count)++;
}

static int add_name(json_t *events, const char *what, int pid, int tid, const char *name)
{
	return json_array_append_new(
		events, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", what, "ph", "M", "pid",
				pid, "tid", tid, "args", "name", name));
}

static int add_event(json_t *events, const struct swo_span *span, int tid, uint64_t zero)
{
	double at_us = (double)(span->start_ns - zero) / 1e3;
	double for_us = (double)(span->end_ns - span->start_ns) / 1e3;
	int pid = (int)span->side + 1;
	json_t *event = json_pack("{s:s, s:s, s:i, s:i, s:f}", "name", span->name, "cat",
		timeline_kind_name(span->kind), "pid", pid, "tid", tid, "ts", at_us);

	if (!event)
		return -1;
	if (span->kind == SWO_SPAN_MARK) {
		json_object_set_new(event, "ph", json_string("i"));
		json_object_set_new(event, "s", json_string("p"));
	} else {
		json_object_set_new(event, "ph", json_string("X"));
		json_object_set_new(event, "dur", json_real(for_us));
	}
	if (span->bytes)
		json_object_set_new(
			event, "args", json_pack("{s:I}", "bytes", (json_int_t)span->bytes));
	return json_array_append_new(events, event);
}

static int add_all(json_t *events, const struct swo_span *spans, size_t count)
{
	uint64_t zero = UINT64_MAX;
	struct row *rows = NULL;
	size_t row_count = 0;
	int rc = 0;

	for (size_t i = 0; i < count; i++)
		if (spans[i].start_ns < zero)
			zero = spans[i].start_ns;
	for (size_t i = 0; !rc && i < count; i++) {
		int row = find_row(&rows, &row_count, &spans[i]);

		rc = row < 0 ? -1 : add_event(events, &spans[i], row + 1, zero);
	}
	for (int side = SWO_SIDE_SOURCE; !rc && side <= SWO_SIDE_TARGET; side++)
		rc = add_name(events, "process_name", side + 1, 0,
			timeline_side_name((enum swo_side)side));
	for (size_t i = 0; !rc && i < row_count; i++)
		rc = add_name(
			events, "thread_name", (int)rows[i].side + 1, (int)i + 1, rows[i].label);
	free(rows);
	return rc;
}

char *swo_timeline_to_chrome(struct swo_timeline *timeline)
{
	size_t count, dropped;
	swo_autofree struct swo_span *spans = timeline_copy(timeline, &count, &dropped);
	json_t *events = json_array();
	char *text = NULL;

	if (spans && events && !add_all(events, spans, count)) {
		json_t *root = json_pack("{s:s, s:O, s:{s:I}}", "displayTimeUnit", "ms",
			"traceEvents", events, "otherData", "dropped", (json_int_t)dropped);

		if (root)
			text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(15));
		json_decref(root);
	}
	json_decref(events);
	return text;
}
