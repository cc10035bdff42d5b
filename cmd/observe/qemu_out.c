/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qemu_out.c - the outage of QEMU's trace by phase and by device, as text and as JSON.
 */
#include "cmd/observe/qemu.h"

#include "cmd/common/cmd.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum part { SAVE, SAVE_CONFIG, LOAD, LOAD_CONFIG, ARCS_SOURCE, ARCS_TARGET, PARTS };

static const char *const part_names[PARTS] = {
	"save", "save_config", "load", "load_config", "source_arcs", "target_arcs"};

struct object {
	char name[64];
	bool device, has[PARTS];
	uint64_t ns[PARTS];
};

struct points {
	const struct qemu_record **all;
	size_t count;
};

struct objects {
	struct object *all;
	size_t count;
};

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static const char *side_name(enum swo_side side)
{
	return side == SWO_SIDE_SOURCE ? "source" : "target";
}

/* All parts of the machine but RAM are one line. */
static bool add(struct objects *o, const char *name, bool device, enum part part, uint64_t ns)
{
	const char *row = device || !strcmp(name, "ram") ? name : "machine";
	size_t i = 0;

	while (i < o->count && (o->all[i].device != device || strcmp(o->all[i].name, row)))
		i++;
	if (i == o->count) {
		struct object *all = reallocarray(o->all, o->count + 1, sizeof(*all));

		if (!all)
			return false;
		o->all = all;
		all[o->count++] = (struct object){.device = device};
		snprintf(all[i].name, sizeof(all[i].name), "%s", row);
	}
	o->all[i].ns[part] += ns;
	o->all[i].has[part] = true;
	return true;
}

static int compare_objects(const void *va, const void *vb)
{
	const struct object *a = va, *b = vb;

	return a->device != b->device ? a->device - b->device : strverscmp(a->name, b->name);
}

static bool add_arcs(struct objects *o, const struct qemu_trace *trace)
{
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, QEMU_RECORDS_MAX);
	struct swo_span span;
	bool good = timeline != NULL;

	if (good)
		qemu_trace_spans(trace, timeline);
	for (size_t i = 0; good && swo_timeline_get(timeline, i, &span); i++)
		if (span.kind == SWO_SPAN_ARC && span.end_ns >= trace->from_ns &&
			span.start_ns <= trace->to_ns)
			good = add(o, span.device, true,
				span.side == SWO_SIDE_SOURCE ? ARCS_SOURCE : ARCS_TARGET,
				span.end_ns - span.start_ns);
	swo_timeline_free(timeline);
	return good;
}

static bool collect_objects(const struct qemu_trace *trace, struct objects *o)
{
	for (size_t i = 0; i < trace->count; i++) {
		const struct qemu_record *r = &trace->all[i];
		const bool data = r->kind == QEMU_DATA;

		if ((data || r->kind == QEMU_CONFIG) && qemu_trace_has(trace, r) &&
			!add(o, r->object, r->device,
				r->side == SWO_SIDE_SOURCE ? (data ? SAVE : SAVE_CONFIG)
							   : (data ? LOAD : LOAD_CONFIG),
				r->length_ns))
			return false;
	}
	if (!add_arcs(o, trace))
		return false;
	if (o->count)
		qsort(o->all, o->count, sizeof(*o->all), compare_objects);
	return true;
}

static int compare_points(const void *va, const void *vb)
{
	const struct qemu_record *a = *(const struct qemu_record *const *)va,
				 *b = *(const struct qemu_record *const *)vb;

	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns ? -1 : 1;
	return a < b ? -1 : a > b;
}

static bool collect_points(const struct qemu_trace *trace, struct points *p)
{
	p->all = calloc(trace->count + 1, sizeof(struct qemu_record *));
	for (size_t i = 0; p->all && i < trace->count; i++) {
		const struct qemu_record *r = &trace->all[i];

		if (r->kind == QEMU_CHECKPOINT && r->at_ns && qemu_trace_has(trace, r) &&
			(r->at_ns <= trace->to_ns || !trace->same_clock))
			p->all[p->count++] = r;
	}
	/* One side after the other where the clocks have nothing in common. */
	size_t source = 0;

	while (source < p->count && (trace->same_clock || p->all[source]->side == SWO_SIDE_SOURCE))
		source++;
	if (source)
		qsort(p->all, source, sizeof(struct qemu_record *), compare_points);
	if (p->count > source)
		qsort(p->all + source, p->count - source, sizeof(struct qemu_record *),
			compare_points);
	return p->all != NULL;
}

/* Phase i: from point i to point i + 1, of one clock. */
static bool is_phase(const struct qemu_trace *trace, const struct points *p, size_t i)
{
	return i + 1 < p->count && (trace->same_clock || p->all[i]->side == p->all[i + 1]->side);
}

/* Text */

static void print_objects(const struct objects *o)
{
	printf("\n  ms %-24s %10s %10s %10s %10s %10s %10s\n", "", "save", "its config", "load",
		"its config", "src arcs", "dst arcs");
	for (size_t i = 0; i < o->count; i++) {
		printf("  %-27s", o->all[i].name);
		for (unsigned k = 0; k < PARTS; k++)
			if (o->all[i].has[k])
				printf(" %10.1f", ms(o->all[i].ns[k]));
			else
				printf(" %10s", "-");
		putchar('\n');
	}
}

static void print_phases(const struct qemu_trace *trace, const struct points *p)
{
	if (trace->same_clock)
		printf("The VM was out for %.1f ms, by QEMU's checkpoints.\n\n",
			ms(trace->to_ns - trace->from_ns));
	else
		printf("The outage is unknown: the target has no checkpoint within an hour after the "
		       "source's stop;\nthe clocks of the hosts differ, or the traces are of two "
		       "migrations. Each side by itself:\n\n");
	printf("       ms         from      to   phase\n");
	for (size_t i = 0; i < p->count; i++) {
		const struct qemu_record *a = p->all[i];
		const uint64_t zero = trace->same_clock || a->side == SWO_SIDE_SOURCE
					      ? trace->from_ns
					      : p->all[0]->at_ns;

		if (!is_phase(trace, p, i))
			continue;
		const struct qemu_record *b = p->all[i + 1];

		if (trace->same_clock || a->side == SWO_SIDE_SOURCE)
			printf("%9.1f   %10.1f %7.1f   %s to %s\n", ms(b->at_ns - a->at_ns),
				ms(a->at_ns - zero), ms(b->at_ns - zero), a->name, b->name);
		else
			printf("%9.1f   %10s %7s   %s to %s\n", ms(b->at_ns - a->at_ns), "-", "-",
				a->name, b->name);
	}
}

void qemu_trace_print(const struct qemu_trace *trace)
{
	struct objects objects = {0};
	struct points points = {0};

	if (collect_points(trace, &points) && collect_objects(trace, &objects)) {
		print_phases(trace, &points);
		print_objects(&objects);
		if (trace->unplaced_count)
			printf("\n%zu record%s without a place in the picture:\n",
				trace->unplaced_count, trace->unplaced_count == 1 ? "" : "s");
		for (size_t i = 0; i < trace->unplaced_count; i++)
			printf("  %s, line %u: %s: %s\n", side_name(trace->unplaced[i].side),
				trace->unplaced[i].line, trace->unplaced[i].name,
				trace->unplaced[i].why);
		if (trace->others)
			printf("%zu lines are not of a migration.\n", trace->others);
		putchar('\n');
	} else {
		fputs("switchover observe: no memory for its tables\n", stderr);
	}
	free(objects.all);
	free(points.all);
}

/* JSON */

static json_t *phases_json(const struct qemu_trace *trace, const struct points *p)
{
	json_t *all = json_array();

	for (size_t i = 0; i < p->count; i++) {
		if (!is_phase(trace, p, i))
			continue;
		const struct qemu_record *a = p->all[i], *b = p->all[i + 1];
		const bool known = trace->same_clock || a->side == SWO_SIDE_SOURCE;

		json_array_append_new(
			all, json_pack("{s:s, s:s, s:s, s:o, s:f}", "side", side_name(b->side),
				     "from", a->name, "to", b->name, "from_ms",
				     known ? json_real(ms(a->at_ns - trace->from_ns)) : json_null(),
				     "ms", ms(b->at_ns - a->at_ns)));
	}
	return all;
}

static json_t *objects_json(const struct objects *o)
{
	json_t *all = json_array();

	for (size_t i = 0; i < o->count; i++) {
		json_t *one = json_pack(
			"{s:s, s:b}", "name", o->all[i].name, "device", (int)o->all[i].device);
		char key[32];

		for (unsigned k = 0; k < PARTS; k++) {
			snprintf(key, sizeof(key), "%s_ms", part_names[k]);
			json_object_set_new(one, key,
				o->all[i].has[k] ? json_real(ms(o->all[i].ns[k])) : json_null());
		}
		json_array_append_new(all, one);
	}
	return all;
}

static json_t *unplaced_json(const struct qemu_trace *trace)
{
	json_t *all = json_array();

	for (size_t i = 0; i < trace->unplaced_count; i++)
		json_array_append_new(
			all, json_pack("{s:s, s:i, s:s, s:s}", "side",
				     side_name(trace->unplaced[i].side), "line",
				     (int)trace->unplaced[i].line, "record",
				     trace->unplaced[i].name, "why", trace->unplaced[i].why));
	return all;
}

int qemu_trace_print_json(const struct qemu_trace *trace)
{
	struct objects objects = {0};
	struct points points = {0};
	json_t *all = NULL;

	if (collect_points(trace, &points) && collect_objects(trace, &objects))
		all = json_pack("{s:o, s:o, s:o, s:o, s:I}", "outage_ms",
			trace->same_clock ? json_real(ms(trace->to_ns - trace->from_ns))
					  : json_null(),
			"phases", phases_json(trace, &points), "objects", objects_json(&objects),
			"unplaced", unplaced_json(trace), "other_lines", (json_int_t)trace->others);
	char *text = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

	if (text)
		puts(text);
	else
		fputs("switchover observe: no memory for its JSON\n", stderr);
	free(text);
	json_decref(all);
	free(objects.all);
	free(points.all);
	return text ? CLI_OK : CLI_FAILED;
}
