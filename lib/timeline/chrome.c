/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chrome.c - a timeline as a Chrome trace, for chrome://tracing and Perfetto.
 * Source: the "Trace Event Format" document: complete events (X), instants (i), counters (C), metadata (M).
 */
#include "timeline/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Events of one row must nest, so what may overlap on a device goes on a row of its own. */
struct row {
	enum swo_side side;
	unsigned place; /* among those of its side */
	char device[sizeof(((struct swo_span *)0)->device)];
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

/* Passes above the devices, what is of no device below. */
static unsigned place_of(const struct swo_span *span)
{
	if (span->device[0])
		return 1;
	switch (span->kind) {
	case SWO_SPAN_PASS:
		return 0;
	case SWO_SPAN_RAM:
		return 2;
	case SWO_SPAN_WAIT:
		return 4;
	default:
		return 3;
	}
}

static int compare_rows(const void *va, const void *vb)
{
	const struct row *a = va, *b = vb;

	if (a->side != b->side)
		return a->side < b->side ? -1 : 1;
	if (a->place != b->place)
		return a->place < b->place ? -1 : 1;
	const int device = strverscmp(a->device, b->device);

	return device ? device : strcmp(a->label, b->label);
}

/* The row of a span, made when it is new; -1: no memory. */
static int find_row(struct row **rows, size_t *count, const struct swo_span *span)
{
	struct row row = {.side = span->side, .place = place_of(span)};
	const char *word = lane(span);

	memcpy(row.device, span->device, sizeof(row.device));
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

static int by_end(const void *va, const void *vb)
{
	const struct swo_span *a = *(const struct swo_span *const *)va,
			      *b = *(const struct swo_span *const *)vb;

	return a->end_ns < b->end_ns ? -1 : a->end_ns > b->end_ns;
}

/* What one side has yet to move of all that it moved: less by each span's bytes, at its end. */
static int add_counter(json_t *events, const struct swo_span *spans, size_t count,
	enum swo_side side, uint64_t zero)
{
	const struct swo_span **moved = calloc(count + 1, sizeof(struct swo_span *));
	uint64_t left = 0;
	size_t n = 0;
	int rc = moved ? 0 : -1;

	for (size_t i = 0; moved && i < count; i++)
		if (spans[i].side == side && spans[i].bytes &&
			(spans[i].kind == SWO_SPAN_STREAM || spans[i].kind == SWO_SPAN_RAM)) {
			moved[n++] = &spans[i];
			left += spans[i].bytes;
		}
	if (n)
		qsort(moved, n, sizeof(struct swo_span *), by_end);
	for (size_t i = 0; !rc && n && i <= n; i++) {
		const double at = i ? (double)(moved[i - 1]->end_ns - zero) / 1e3 : 0;

		left -= i ? moved[i - 1]->bytes : 0;
		rc = json_array_append_new(events,
			json_pack("{s:s, s:s, s:i, s:f, s:{s:I}}", "name", "bytes left", "ph", "C",
				"pid", (int)side + 1, "ts", at, "args", "bytes", (json_int_t)left));
	}
	free(moved);
	return rc;
}

static int add_rank(json_t *events, const char *what, int pid, int tid)
{
	return json_array_append_new(
		events, json_pack("{s:s, s:s, s:i, s:i, s:{s:i}}", "name", what, "ph", "M", "pid",
				pid, "tid", tid, "args", "sort_index", tid ? tid : pid));
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
	for (size_t i = 0; !rc && i < count; i++)
		rc = find_row(&rows, &row_count, &spans[i]) < 0 ? -1 : 0;
	if (row_count)
		qsort(rows, row_count, sizeof(*rows), compare_rows);
	for (size_t i = 0; !rc && i < count; i++) {
		int row = find_row(&rows, &row_count, &spans[i]);

		rc = row < 0 ? -1 : add_event(events, &spans[i], row + 1, zero);
	}
	for (int side = SWO_SIDE_SOURCE; !rc && side <= SWO_SIDE_TARGET; side++)
		rc = add_name(events, "process_name", side + 1, 0,
			     timeline_side_name((enum swo_side)side)) ||
		     add_rank(events, "process_sort_index", side + 1, 0) ||
		     add_counter(events, spans, count, (enum swo_side)side, zero);
	for (size_t i = 0; !rc && i < row_count; i++)
		rc = add_name(events, "thread_name", (int)rows[i].side + 1, (int)i + 1,
			     rows[i].label) ||
		     add_rank(events, "thread_sort_index", (int)rows[i].side + 1, (int)i + 1);
	free(rows);
	return rc ? -1 : 0;
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
