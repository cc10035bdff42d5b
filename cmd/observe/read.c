/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * read.c - reads records, line by line, and trusts none of them.
 */
#include "cmd/observe/observe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAME_CLOCK_NS 1000000 /* two records of one host differ by what NTP has slewed meanwhile */

int observed_init(struct observed *observed, struct swo_error *err)
{
	*observed = (struct observed){0};
	observed->timeline = swo_timeline_new(SWO_SIDE_SOURCE, OBSERVE_SPANS_MAX);
	return observed->timeline ? 0 : swo_error_set(err, SWO_E_NO_MEMORY, 0, "the timeline");
}

void observed_free(struct observed *observed)
{
	swo_timeline_free(observed->timeline);
	free(observed->arcs);
	*observed = (struct observed){0};
}

/* One file's lines, before its side and its clock's offset are known. */
struct file {
	struct swo_timeline *spans; /* as a source's, until the side is known */
	struct observed_arc *arcs;
	size_t count, room;
	bool has_clock;
	int64_t wall_ns;
	bool resumes, saves;
};

static bool get_text(json_t *line, const char *key, char *out, size_t room)
{
	const char *text = json_string_value(json_object_get(line, key));

	if (!text || strlen(text) >= room)
		return false;
	strcpy(out, text);
	return true;
}

static bool get_ns(json_t *line, const char *key, uint64_t *out)
{
	json_t *value = json_object_get(line, key);

	/* Until the year 2116 of a machine's uptime: sums of them cannot overflow. */
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		json_integer_value(value) > INT64_MAX / 4)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

static int keep_arc(struct file *file, const struct observed_arc *arc)
{
	if (file->count == file->room) {
		const size_t room = file->room ? file->room * 2 : 256;
		struct observed_arc *grown;

		if (room > OBSERVE_SPANS_MAX)
			return -1;
		grown = realloc(file->arcs, room * sizeof(*grown));
		if (!grown)
			return -1;
		file->arcs = grown;
		file->room = room;
	}
	file->arcs[file->count++] = *arc;
	return 0;
}

/* By its text: another program may have written it. */
static void keep_span(struct file *file, enum swo_span_kind kind, const char *device,
	const char *name, uint64_t start, uint64_t end, uint64_t bytes)
{
	struct swo_span span = {.kind = kind, .start_ns = start, .end_ns = end, .bytes = bytes};

	snprintf(span.device, sizeof(span.device), "%s", device);
	snprintf(span.name, sizeof(span.name), "%s", name);
	swo_timeline_record(file->spans, &span);
}

static bool read_arc(struct file *file, json_t *line)
{
	struct observed_arc arc = {0};
	char from[16], to[16], from_to[48];
	uint64_t error;

	if (!get_text(line, "device", arc.device, sizeof(arc.device)) ||
		!get_text(line, "from", from, sizeof(from)) ||
		!get_text(line, "to", to, sizeof(to)) || !get_ns(line, "asked_ns", &arc.asked_ns) ||
		!get_ns(line, "start_ns", &arc.start_ns) || !get_ns(line, "end_ns", &arc.end_ns) ||
		!get_ns(line, "answered_ns", &arc.answered_ns) || !get_ns(line, "errno", &error) ||
		error > 4095 || arc.end_ns < arc.start_ns ||
		!json_is_boolean(json_object_get(line, "ahead")))
		return false;
	arc.error = (int)error;
	arc.ahead = json_is_true(json_object_get(line, "ahead"));
	arc.from = swo_device_state_parse(from, strlen(from));
	arc.to = swo_device_state_parse(to, strlen(to));
	snprintf(arc.name, sizeof(arc.name), "%s->%s", from, to);
	snprintf(from_to, sizeof(from_to), "%s%s", arc.name, arc.error ? " failed" : "");
	keep_span(file, SWO_SPAN_ARC, arc.device, from_to, arc.start_ns, arc.end_ns, 0);
	if (arc.to == SWO_DEVICE_RESUMING)
		file->resumes = true;
	if (arc.to == SWO_DEVICE_STOP_COPY || arc.to == SWO_DEVICE_PRE_COPY)
		file->saves = true;
	return keep_arc(file, &arc) == 0;
}

static bool read_stream(struct file *file, json_t *line)
{
	char device[OBSERVE_NAME_ROOM], name[48];
	uint64_t start, end, bytes;

	if (!get_text(line, "device", device, sizeof(device)) ||
		!get_text(line, "name", name, sizeof(name)) || !get_ns(line, "start_ns", &start) ||
		!get_ns(line, "end_ns", &end) || !get_ns(line, "bytes", &bytes) || end < start)
		return false;
	keep_span(file, SWO_SPAN_STREAM, device, name, start, end, bytes);
	return true;
}

/* Of a device, or of the migration when it has none: `switchover migrate --record` writes such. */
static bool read_mark(struct file *file, json_t *line)
{
	char device[OBSERVE_NAME_ROOM] = "", name[48];
	uint64_t at;

	if (!get_text(line, "name", name, sizeof(name)) || !get_ns(line, "start_ns", &at))
		return false;
	if (json_object_get(line, "device") && !get_text(line, "device", device, sizeof(device)))
		return false;
	keep_span(file, SWO_SPAN_MARK, device, name, at, at, 0);
	return true;
}

static bool read_clock(struct file *file, json_t *line)
{
	uint64_t monotonic, wall;

	if (!get_ns(line, "monotonic_ns", &monotonic) || !get_ns(line, "realtime_ns", &wall))
		return false;
	if (!file->has_clock)
		file->wall_ns = (int64_t)wall - (int64_t)monotonic;
	file->has_clock = true;
	return true;
}

static bool read_line(struct file *file, const char *text, size_t len)
{
	json_t *line = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	const char *kind = json_string_value(json_object_get(line, "kind"));
	bool good = false;

	if (!kind)
		good = false;
	else if (!strcmp(kind, "arc"))
		good = read_arc(file, line);
	else if (!strcmp(kind, "stream"))
		good = read_stream(file, line);
	else if (!strcmp(kind, "mark"))
		good = read_mark(file, line);
	else if (!strcmp(kind, "clock"))
		good = read_clock(file, line);
	json_decref(line);
	return good;
}

static int read_lines(struct file *file, const char *path, struct swo_error *err)
{
	FILE *in = fopen(path, "re");
	char line[2048];
	unsigned number = 0;
	size_t dropped;
	int rc = 0;

	if (!in)
		return swo_error_set(err, SWO_E_IO, errno, "cannot open the record '%s'", path);
	while (!rc && fgets(line, sizeof(line), in)) {
		const size_t len = strlen(line);

		number++;
		if (!len || line[len - 1] != '\n') {
			if (feof(in))
				break; /* its writer died over it */
			rc = -1;
		}
		if (rc || !read_line(file, line, len))
			rc = swo_error_set(err, SWO_E_INVALID, 0,
				"malformed record '%s', line %u: not written by `switchover exec`",
				path, number);
	}
	if (!rc && ferror(in))
		rc = swo_error_set(err, SWO_E_IO, errno, "read '%s'", path);
	fclose(in);
	swo_timeline_count(file->spans, &dropped);
	if (!rc && dropped)
		rc = swo_error_set(err, SWO_E_INVALID, 0, "'%s' has more than %d lines", path,
			OBSERVE_SPANS_MAX);
	return rc;
}

static int64_t offset_of(struct observed *observed, const struct file *file)
{
	if (!file->has_clock)
		return 0;
	if (!observed->has_clock) {
		observed->has_clock = true;
		observed->wall_ns = file->wall_ns;
	}
	const int64_t offset = file->wall_ns - observed->wall_ns;

	return offset > -SAME_CLOCK_NS && offset < SAME_CLOCK_NS ? 0 : offset;
}

static uint64_t shifted(uint64_t ns, int64_t offset)
{
	return offset < 0 && ns < (uint64_t)-offset ? 0 : ns + (uint64_t)offset;
}

static int merge(
	struct observed *observed, struct file *file, enum swo_side side, struct swo_error *err)
{
	const int64_t offset = offset_of(observed, file);
	struct observed_arc *grown =
		realloc(observed->arcs, (observed->count + file->count + 1) * sizeof(*grown));

	struct swo_span span;

	if (!grown)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "the records");
	observed->arcs = grown;
	for (size_t i = 0; i < file->count; i++) {
		struct observed_arc *arc = &observed->arcs[observed->count++];

		*arc = file->arcs[i];
		arc->side = side;
		if (arc->asked_ns)
			arc->asked_ns = shifted(arc->asked_ns, offset);
		arc->start_ns = shifted(arc->start_ns, offset);
		arc->end_ns = shifted(arc->end_ns, offset);
		arc->answered_ns = shifted(arc->answered_ns, offset);
	}
	for (size_t i = 0; swo_timeline_get(file->spans, i, &span); i++) {
		span.side = side;
		span.start_ns = shifted(span.start_ns, offset);
		span.end_ns = shifted(span.end_ns, offset);
		swo_timeline_add(observed->timeline, &span);
	}
	return 0;
}

int observed_read(struct observed *observed, const char *path, const enum swo_side *side,
	struct swo_error *err)
{
	struct file file = {.spans = swo_timeline_new(SWO_SIDE_SOURCE, OBSERVE_SPANS_MAX)};
	int rc = file.spans ? read_lines(&file, path, err)
			    : swo_error_set(err, SWO_E_NO_MEMORY, 0, "the records");

	if (!rc && !side && file.resumes && file.saves)
		rc = swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' has been both a source and a target: select one with source=%s "
			"or target=%s",
			path, path, path);
	if (!rc)
		rc = merge(observed, &file,
			side	       ? *side
			: file.resumes ? SWO_SIDE_TARGET
				       : SWO_SIDE_SOURCE,
			err);
	swo_timeline_free(file.spans);
	free(file.arcs);
	return rc;
}
