/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qemu.c - reads what QEMU writes of a migration: lines of its trace backend "log", and QMP events,
 * and trusts none of them. Source of the formats: migration/trace-events, hw/vfio/trace-events and
 * util/log.c of QEMU 8.2 to 11.1.
 */
#include "cmd/observe/qemu.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAME_CLOCK_NS UINT64_C(3600000000000) /* records of one migration are not further apart */
#define TIME_S_MAX    INT64_C(253402300799)   /* the year 9999: sums cannot overflow in ns */

void qemu_trace_free(struct qemu_trace *trace)
{
	free(trace->all);
	free(trace->unplaced);
	*trace = (struct qemu_trace){0};
}

static int not_placed(struct qemu_trace *trace, enum swo_side side, unsigned line, const char *name,
	const char *why, struct swo_error *err)
{
	struct qemu_unplaced *all =
		reallocarray(trace->unplaced, trace->unplaced_count + 1, sizeof(*all));

	if (!all)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "the trace");
	trace->unplaced = all;
	all += trace->unplaced_count++;
	*all = (struct qemu_unplaced){.side = side, .line = line, .why = why};
	swo_escape(name, all->name, sizeof(all->name));
	return 0;
}

static int keep(struct qemu_trace *trace, const struct qemu_record *record, struct swo_error *err)
{
	if (trace->count == trace->room) {
		const size_t room = trace->room ? trace->room * 2 : 256;
		struct qemu_record *all = room > QEMU_RECORDS_MAX
						  ? NULL
						  : reallocarray(trace->all, room, sizeof(*all));

		if (!all)
			return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM,
				"the trace (at most %d records)", QEMU_RECORDS_MAX);
		trace->all = all;
		trace->room = room;
	}
	trace->all[trace->count++] = *record;
	return 0;
}

/* Times: "PID@SECONDS.MICROSECONDS:" until 10.1, "2025-12-01T12:00:00.123456Z " from 10.2 on; 0: none. */

static uint64_t ns_of(long long s, long long us)
{
	return s < 0 || s > TIME_S_MAX / 100 || us < 0 || us > 999999
		       ? 0
		       : (uint64_t)s * 1000000000 + (uint64_t)us * 1000;
}

static const char *skip_time(const char *line, uint64_t *ns)
{
	long long pid, s, us;
	struct tm tm = {0};
	int end = 0;

	*ns = 0;
	if (sscanf(line, "%10lld@%12lld.%6lld:%n", &pid, &s, &us, &end) == 3 && end) {
		*ns = ns_of(s, us);
		return line + end;
	}
	if (sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%6lldZ %n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		    &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &us, &end) == 7 &&
		end) {
		tm.tm_year -= 1900;
		tm.tm_mon--;
		*ns = ns_of(timegm(&tm), us);
		return line + end;
	}
	return line;
}

/* With what stands between the time and the event: a VM's name, "(pid:thread): ". NULL: no event. */
static const char *find_event(const char *text)
{
	static const char *const heads[] = {"vmstate_downtime_", "vfio_migration_", "vfio_save_",
		"vfio_load_", "vfio_vmstate_change", "vfio_state_pending_"};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(heads); i++) {
		const char *at = strstr(text, heads[i]);

		/* Also behind a time that is none. */
		if (at && (at == text || strchr(" :)", at[-1])))
			return at;
	}
	return NULL;
}

static bool read_downtime(struct qemu_record *record, const char *args)
{
	char type[24], id[192];
	long long us;
	unsigned instance;

	if (sscanf(args, "type=%23s idstr=%191s instance_id=%u downtime=%lld", type, id, &instance,
		    &us) != 4 ||
		us < 0 || us > INT64_C(1000000000000))
		return false;
	const char *slash = strrchr(id, '/');

	record->kind = strcmp(type, "iterable") ? QEMU_CONFIG : QEMU_DATA;
	record->length_ns = (uint64_t)us * 1000;
	if (slash && !strcmp(slash, "/vfio"))
		record->device = true;
	if (record->device)
		id[slash - id] = 0;
	else if (instance && strlen(id) < 160)
		snprintf(id + strlen(id), sizeof(id) - strlen(id), "#%u", instance);
	swo_escape(id, record->object, sizeof(record->object));
	return true;
}

/* " (0000:3b:00.2) new state STOP_COPY, recover state ERROR" */
static bool read_vfio(struct qemu_record *record, const char *args)
{
	char device[64], state[24] = "";
	int end = 0;

	if (sscanf(args, " (%63[^)])%n", device, &end) != 1 || !end)
		return false;
	record->kind = QEMU_VFIO;
	record->device = true;
	swo_escape(device, record->object, sizeof(record->object));
	if (!strcmp(record->name, "vfio_migration_set_state")) {
		record->kind = QEMU_STATE_WANTED;
		if (sscanf(args + end, " new state %23[A-Z0-9_]", state) != 1 &&
			sscanf(args + end, " state %23[A-Z0-9_]", state) != 1)
			return false;
	} else if (!strcmp(record->name, "vfio_migration_set_device_state")) {
		record->kind = QEMU_STATE;
		if (sscanf(args + end, " state %23[A-Z0-9_]", state) != 1)
			return false;
	}
	strcpy(record->state, state);
	return true;
}

static int read_event(struct qemu_trace *trace, struct qemu_record *record, unsigned number,
	const char *event, struct swo_error *err)
{
	const char *args = event + strcspn(event, " ");
	bool good = true;

	snprintf(record->name, sizeof(record->name), "%.*s", (int)(args - event), event);
	if (!strcmp(record->name, "vmstate_downtime_checkpoint")) {
		char point[64];

		good = sscanf(args, " %63s", point) == 1;
		record->kind = QEMU_CHECKPOINT;
		if (good)
			swo_escape(point, record->name, sizeof(record->name));
		if (good && !strncmp(record->name,
				    record->side == SWO_SIDE_SOURCE ? "dst-" : "src-", 4))
			return swo_error_set(err, SWO_E_INVALID, 0,
				"line %u has the checkpoint '%s' of the other side: expected first the "
				"source's trace, then the target's",
				number, record->name);
	} else if (!strcmp(record->name, record->side == SWO_SIDE_SOURCE
						 ? "vmstate_downtime_save"
						 : "vmstate_downtime_load")) {
		good = read_downtime(record, args + strspn(args, " "));
	} else if (!strncmp(record->name, "vfio_", 5)) {
		good = read_vfio(record, args);
	} else {
		return not_placed(trace, record->side, number, record->name,
			"not expected on this side", err);
	}
	if (!good)
		return not_placed(
			trace, record->side, number, event, "not in the format of QEMU", err);
	if (!record->at_ns) {
		/* A duration counts without its place. */
		if ((record->kind == QEMU_DATA || record->kind == QEMU_CONFIG) &&
			keep(trace, record, err))
			return -1;
		return not_placed(trace, record->side, number, event,
			"without a time (start QEMU with -msg timestamp=on)", err);
	}
	return keep(trace, record, err);
}

/* A QMP event. false: another message of QMP. */
static bool read_qmp(struct qemu_record *record, const char *line)
{
	json_t *root = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
	const json_t *stamp = json_object_get(root, "timestamp");
	const char *event = json_string_value(json_object_get(root, "event"));
	const json_t *data = json_object_get(root, "data");
	const char *status = json_string_value(json_object_get(data, "status"));
	const char *state = json_string_value(json_object_get(data, "device-state"));
	const char *id = json_string_value(json_object_get(data, "device-id"));
	const bool good = stamp && event;

	if (good) {
		const char *detail = status ? status : state ? state : "";
		char name[160];

		record->kind = QEMU_EVENT;
		record->at_ns = ns_of(json_integer_value(json_object_get(stamp, "seconds")),
			json_integer_value(json_object_get(stamp, "microseconds")));
		snprintf(name, sizeof(name), "%.60s%s%.60s", event, *detail ? " " : "", detail);
		swo_escape(name, record->name, sizeof(record->name));
		record->device = id != NULL;
		swo_escape(id ? id : "", record->object, sizeof(record->object));
	}
	json_decref(root);
	return good;
}

/* The clock of a file is that of its trace lines: a QMP event far from them is on another. */
static int check_clock(
	struct qemu_trace *trace, size_t first, enum swo_side side, struct swo_error *err)
{
	uint64_t base = 0;

	for (size_t i = first; i < trace->count && !base; i++)
		if (trace->all[i].kind != QEMU_EVENT)
			base = trace->all[i].at_ns;
	for (size_t i = first; base && i < trace->count; i++) {
		struct qemu_record *r = &trace->all[i];

		if (r->kind != QEMU_EVENT || !r->at_ns ||
			(r->at_ns + SAME_CLOCK_NS > base && r->at_ns < base + SAME_CLOCK_NS))
			continue;
		if (not_placed(trace, side, r->line, r->name,
			    "on another clock than the trace lines", err))
			return -1;
		r->at_ns = 0;
	}
	return 0;
}

static int read_line(struct qemu_trace *trace, struct qemu_record *record, const char *line,
	struct swo_error *err)
{
	const char *text = skip_time(line, &record->at_ns);

	if (*line == '{' && read_qmp(record, line))
		return record->at_ns ? keep(trace, record, err)
				     : not_placed(trace, record->side, record->line, record->name,
					       "without a time", err);
	const char *event = find_event(text);

	if (event)
		return read_event(trace, record, record->line, event, err);
	trace->others += *line != 0;
	return 0;
}

int qemu_trace_read_from(
	struct qemu_trace *trace, FILE *in, enum swo_side side, struct swo_error *err)
{
	const size_t first = trace->count;
	swo_autofree char *line = malloc(QEMU_LINE_MAX);
	unsigned number = 0;
	int rc = line ? 0 : swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a line");

	while (!rc && fgets(line, QEMU_LINE_MAX, in)) {
		struct qemu_record record = {.side = side, .line = ++number};

		if (!strchr(line, '\n') && !feof(in)) {
			rc = swo_error_set(err, SWO_E_INVALID, 0, "line %u is longer than %d bytes",
				number, QEMU_LINE_MAX);
			break;
		}
		line[strcspn(line, "\r\n")] = 0;
		rc = read_line(trace, &record, line, err);
	}
	if (!rc && ferror(in))
		rc = swo_error_set(err, SWO_E_IO, errno, "read");
	return rc ? rc : check_clock(trace, first, side, err);
}

int qemu_trace_read(
	struct qemu_trace *trace, const char *path, enum swo_side side, struct swo_error *err)
{
	FILE *in = fopen(path, "re");

	if (!in)
		return swo_error_set(err, SWO_E_IO, errno, "cannot open the trace '%s'", path);
	const int rc = qemu_trace_read_from(trace, in, side, err);

	fclose(in);
	return rc ? swo_error_prefix(err, "'%s'", path) : 0;
}

/* The switchover: the last stop on the source, to the last record of the start on the target. */

static uint64_t begin_of(const struct qemu_record *r)
{
	return r->at_ns > r->length_ns ? r->at_ns - r->length_ns : 0;
}

static bool is_point(const struct qemu_record *r)
{
	return r->at_ns && r->kind == QEMU_CHECKPOINT;
}

bool qemu_trace_has(const struct qemu_trace *trace, const struct qemu_record *r)
{
	if (!r->at_ns)
		return r->kind == QEMU_DATA || r->kind == QEMU_CONFIG;
	if (r->side == SWO_SIDE_TARGET && !trace->same_clock)
		return true;
	return r->at_ns >= trace->from_ns && r->at_ns < trace->from_ns + SAME_CLOCK_NS;
}

int qemu_trace_window(struct qemu_trace *trace, struct swo_error *err)
{
	uint64_t last_source = 0, last = 0, target = 0;

	for (size_t i = 0; i < trace->count; i++) {
		const struct qemu_record *r = &trace->all[i];

		if (is_point(r) && !strcmp(r->name, "src-downtime-start") &&
			r->at_ns > trace->from_ns)
			trace->from_ns = r->at_ns;
		if (is_point(r) && r->side == SWO_SIDE_TARGET && r->at_ns > target)
			target = r->at_ns;
	}
	if (!trace->from_ns)
		return swo_error_set(err, SWO_E_STATE, 0,
			"no switchover in the source's trace: expected the checkpoint src-downtime-start "
			"with a time (-trace vmstate_downtime_checkpoint -msg timestamp=on)");
	trace->same_clock = target > trace->from_ns && target < trace->from_ns + SAME_CLOCK_NS;
	for (size_t i = 0; i < trace->count; i++) {
		const struct qemu_record *r = &trace->all[i];
		const bool started =
			is_point(r) || (r->kind == QEMU_EVENT && !strcmp(r->name, "RESUME"));

		if (!r->at_ns || !started || !qemu_trace_has(trace, r))
			continue;
		if (r->side == SWO_SIDE_SOURCE && r->at_ns > last_source)
			last_source = r->at_ns;
		if (r->side == SWO_SIDE_TARGET && trace->same_clock && r->at_ns > last)
			last = r->at_ns;
	}
	trace->to_ns = last ? last : last_source;
	return 0;
}

/* As spans */

/* The arc that QEMU reports in two lines; 8.2 has the second one alone, by the first one's name. */
static bool pair_of(const struct qemu_trace *trace, size_t at, const char *begin, size_t *out)
{
	const struct qemu_record *end = &trace->all[at];

	for (size_t i = at; i-- > 0;) {
		const struct qemu_record *r = &trace->all[i];

		if (r->side != end->side || strcmp(r->object, end->object) || !r->at_ns)
			continue;
		if (!strcmp(r->name, begin)) {
			*out = i;
			return r->at_ns <= end->at_ns;
		}
		if (!strcmp(r->name, end->name))
			return false;
	}
	return false;
}

static bool is_ended(const struct qemu_trace *trace, size_t at, const char *name)
{
	size_t begin;

	for (size_t i = at + 1; i < trace->count; i++) {
		const struct qemu_record *r = &trace->all[i];

		if (r->side == trace->all[at].side && !strcmp(r->name, name) &&
			!strcmp(r->object, trace->all[at].object) && r->at_ns)
			return pair_of(trace, i, trace->all[at].name, &begin) && begin == at;
	}
	return false;
}

static void set_state(const struct qemu_trace *trace, size_t at, struct swo_span *span)
{
	const struct qemu_record *r = &trace->all[at];
	const char *from = "?";
	size_t begin;

	for (size_t i = 0; i < at; i++)
		if (trace->all[i].kind == QEMU_STATE && trace->all[i].side == r->side &&
			!strcmp(trace->all[i].object, r->object))
			from = trace->all[i].state;
	if (pair_of(trace, at, "vfio_migration_set_state", &begin) &&
		!strcmp(trace->all[begin].state, r->state)) {
		span->kind = SWO_SPAN_ARC;
		span->start_ns = trace->all[begin].at_ns;
		snprintf(span->name, sizeof(span->name), "%s->%s", from, r->state);
	} else {
		snprintf(span->name, sizeof(span->name), "in %s", r->state);
	}
}

/* "x_start" and "x_end" are a span x. false: drawn by its other half. */
static bool set_vfio(const struct qemu_trace *trace, size_t at, struct swo_span *span)
{
	const char *name = trace->all[at].name;
	const size_t len = strlen(name);
	char other[QEMU_NAME_ROOM + 8];
	size_t begin;

	snprintf(span->name, sizeof(span->name), "%.47s", name);
	if (len > 6 && !strcmp(name + len - 6, "_start")) {
		snprintf(other, sizeof(other), "%.*s_end", (int)len - 6, name);
		if (is_ended(trace, at, other))
			return false;
		other[len - 6] = 0;
		return !is_ended(trace, at, other);
	}
	if (len > 4 && !strcmp(name + len - 4, "_end"))
		snprintf(other, sizeof(other), "%.*s_start", (int)len - 4, name);
	else
		snprintf(other, sizeof(other), "%s_start", name);
	if (pair_of(trace, at, other, &begin)) {
		span->kind = SWO_SPAN_WORK;
		span->start_ns = trace->all[begin].at_ns;
		snprintf(span->name, sizeof(span->name), "%.*s", (int)strlen(other) - 6, other);
	}
	return true;
}

static bool span_of(const struct qemu_trace *trace, size_t at, struct swo_span *span)
{
	const struct qemu_record *r = &trace->all[at];
	const bool source = r->side == SWO_SIDE_SOURCE;

	*span = (struct swo_span){.side = r->side,
		.kind = SWO_SPAN_MARK,
		.start_ns = begin_of(r),
		.end_ns = r->at_ns};
	if (r->device)
		snprintf(span->device, sizeof(span->device), "%s", r->object);
	snprintf(span->name, sizeof(span->name), "%.47s", r->name);
	switch (r->kind) {
	case QEMU_DATA:
		span->kind = r->device			 ? SWO_SPAN_STREAM
			     : !strcmp(r->object, "ram") ? SWO_SPAN_RAM
							 : SWO_SPAN_WORK;
		snprintf(span->name, sizeof(span->name), "%s", source ? "save" : "load");
		if (span->kind == SWO_SPAN_WORK)
			snprintf(span->name, sizeof(span->name), "%.47s", r->object);
		break;
	case QEMU_CONFIG:
		span->kind = SWO_SPAN_WORK;
		snprintf(span->name, sizeof(span->name), "%.47s",
			!r->device ? r->object
			: source   ? "config save"
				   : "config load");
		break;
	case QEMU_STATE:
		set_state(trace, at, span);
		break;
	case QEMU_STATE_WANTED:
		snprintf(span->name, sizeof(span->name), "in %s", r->state);
		return !is_ended(trace, at, "vfio_migration_set_device_state");
	case QEMU_VFIO:
		return set_vfio(trace, at, span);
	case QEMU_CHECKPOINT:
	case QEMU_EVENT:
		break;
	}
	return true;
}

void qemu_trace_spans(const struct qemu_trace *trace, struct swo_timeline *timeline)
{
	struct swo_span span;

	for (size_t i = 0; i < trace->count; i++)
		if (trace->all[i].at_ns &&
			(trace->same_clock || trace->all[i].side == SWO_SIDE_SOURCE) &&
			span_of(trace, i, &span))
			swo_timeline_add(timeline, &span);
}
