/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * read.c - the files of a report: a timeline (one object with "spans"), or rows of switchover-bench
 * or the lab, one object a line or as "rows" of one object.
 */
#include "cmd/report/report.h"

#include "cmd/common/text_in.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int add_run(
	struct report *report, const char *path, const struct swo_buf *text, struct swo_error *err)
{
	struct swo_timeline *timeline = timeline_parse(text, path, err);
	struct report_run *runs, *run;

	if (!timeline)
		return -1;
	runs = reallocarray(report->runs, report->run_count + 1, sizeof(*runs));
	if (!runs) {
		swo_timeline_free(timeline);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "'%s'", path);
	}
	report->runs = runs;
	run = &runs[report->run_count];
	*run = (struct report_run){.file = path, .count = swo_timeline_count(timeline, NULL)};
	swo_timeline_count(timeline, &run->dropped);
	run->spans = calloc(run->count + 1, sizeof(*run->spans));
	if (!run->spans || !run->count) {
		int rc = !run->spans ? swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "'%s'", path)
				     : swo_error_set(err, SWO_E_INVALID, 0,
					       "'%s' has no spans: nothing was recorded", path);
		free(run->spans);
		swo_timeline_free(timeline);
		return rc;
	}
	report->run_count++;
	run->from_ns = UINT64_MAX;
	for (size_t i = 0; i < run->count; i++) {
		struct swo_span *span = &run->spans[i];

		swo_timeline_get(timeline, i, span);
		run->from_ns = span->start_ns < run->from_ns ? span->start_ns : run->from_ns;
		run->to_ns = span->end_ns > run->to_ns ? span->end_ns : run->to_ns;
	}
	uint64_t from, to;

	if (swo_timeline_switchover(timeline, &from, &to) && to > from) {
		run->switched = true;
		run->from_ns = from;
		run->to_ns = to;
	}
	if (run->to_ns <= run->from_ns)
		run->to_ns = run->from_ns + 1;
	/* A migration that did not complete has none. */
	if (swo_critical_path(timeline, &run->path, NULL))
		run->path = (struct swo_path){0};
	swo_timeline_free(timeline);
	return 0;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* {"min", "median", "max"}, or a number, which is all three. */
static bool take_spread(const json_t *value, struct report_row *row)
{
	if (json_is_number(value)) {
		row->min = row->median = row->max = json_number_value(value);
		return true;
	}
	row->min = json_number_value(json_object_get(value, "min"));
	row->median = json_number_value(json_object_get(value, "median"));
	row->max = json_number_value(json_object_get(value, "max"));
	return json_is_object(value) && row->median > 0;
}

static bool is_row(const json_t *object)
{
	return json_is_integer(json_object_get(object, "vfs")) &&
	       (json_object_get(object, "blackout_ms") || json_object_get(object, "outage_ms"));
}

static int add_row(
	struct report *report, const char *path, const json_t *object, struct swo_error *err)
{
	static const char *const parts[] = {"vmm", "transitions", "variant", "rules"};
	struct report_row *rows, row = {0};
	const json_t *time = json_object_get(object, "blackout_ms");
	const json_int_t vfs = json_integer_value(json_object_get(object, "vfs"));

	if (!is_row(object))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' is neither a timeline nor rows: expected \"spans\", \"rows\", or objects with "
			"\"vfs\" and \"blackout_ms\" or \"outage_ms\"",
			path);
	/* A migration that failed has no time. */
	if (!take_spread(time ? time : json_object_get(object, "outage_ms"), &row) || vfs < 1 ||
		vfs > SWO_DEVICES_MAX)
		return 0;
	row.vfs = (unsigned)vfs;
	row.bound = json_number_value(json_object_get(object, "lower_bound_ms"));
	snprintf(row.profile, sizeof(row.profile), "%s", text_of(object, "profile"));
	for (size_t i = 0; i < SWO_ARRAY_SIZE(parts); i++) {
		const size_t len = strlen(row.series);
		const char *part = text_of(object, parts[i]);

		if (*part)
			snprintf(row.series + len, sizeof(row.series) - len, "%s%.40s",
				len ? ", " : "", part);
	}
	rows = reallocarray(report->rows, report->row_count + 1, sizeof(*rows));
	if (!rows)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "'%s'", path);
	report->rows = rows;
	rows[report->row_count++] = row;
	return 0;
}

static int add_rows(
	struct report *report, const char *path, const json_t *list, struct swo_error *err)
{
	const json_t *object;
	size_t i;

	json_array_foreach (list, i, object)
		if (add_row(report, path, object, err))
			return -1;
	return 0;
}

/* One object a line. */
static int add_lines(
	struct report *report, const char *path, const struct swo_buf *text, struct swo_error *err)
{
	size_t at = 0;
	int rc = 0;

	while (!rc) {
		json_error_t where;

		while (at < text->len && strchr(" \t\r\n", text->data[at]))
			at++;
		if (at == text->len)
			break;
		json_t *object = json_loadb((const char *)text->data + at, text->len - at,
			JSON_DISABLE_EOF_CHECK, &where);

		if (!object)
			rc = swo_error_set(err, SWO_E_INVALID, 0,
				"'%s' is not JSON at byte %zu: %s", path,
				at + (size_t)(where.position > 0 ? where.position : 0), where.text);
		else
			rc = add_row(report, path, object, err);
		at += object ? (size_t)where.position : 0;
		json_decref(object);
	}
	return rc;
}

int report_read(struct report *report, const char *path, struct swo_error *err)
{
	struct swo_buf text = SWO_BUF_INIT(TEXT_BYTES_MAX);
	int rc = text_read("", path, &text, err);

	if (!rc && !text.len)
		rc = swo_error_set(err, SWO_E_INVALID, 0, "'%s' is empty", path);
	if (!rc) {
		json_t *root = json_loadb((const char *)text.data, text.len, 0, NULL);
		const json_t *rows = json_object_get(root, "rows");

		if (json_object_get(root, "spans"))
			rc = add_run(report, path, &text, err);
		else if (json_is_array(rows))
			rc = add_rows(report, path, rows, err);
		else
			rc = add_lines(report, path, &text, err);
		json_decref(root);
	}
	swo_buf_free(&text);
	return rc;
}

uint64_t report_longest(const struct report *report)
{
	uint64_t most = 1;

	for (size_t i = 0; i < report->run_count; i++)
		if (report->runs[i].to_ns - report->runs[i].from_ns > most)
			most = report->runs[i].to_ns - report->runs[i].from_ns;
	return most;
}

void report_free(struct report *report)
{
	for (size_t i = 0; i < report->run_count; i++) {
		swo_path_free(&report->runs[i].path);
		free(report->runs[i].spans);
	}
	free(report->runs);
	free(report->rows);
}
