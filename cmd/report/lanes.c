/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lanes.c - one migration as lanes on one axis: those of the source above those of the target, a lane
 * a device. Arcs fill a lane, streams its lower half, other work its upper one; the critical path is a
 * line below the spans that it goes through.
 */
#include "cmd/report/report.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH	    REPORT_WIDTH
#define MARGIN	    12
#define LANE	    24 /* height */
#define BAR	    16
#define CHAR	    6.6 /* of the font, about: a text is drawn only where it fits */
#define MARK_LEVELS 4
#define MARK_LINE   14
#define HEAD	    22
#define AXIS	    26

enum lane_kind { LANE_PASSES, LANE_DEVICE, LANE_RAM, LANE_MACHINE };

struct lane {
	enum swo_side side;
	enum lane_kind kind;
	char name[64];
	double top;
};

struct lanes {
	FILE *out;
	const struct report_run *run;
	struct lane *all;
	size_t count;
	uint64_t from_ns, length_ns; /* of the axis */
	double left, scale;	     /* of the axis; units a ns */
	unsigned marks;		     /* height of their texts */
	uint64_t zero_ns;	     /* what the axis counts from: the stop of the vCPUs */
};

static struct lane lane_of(const struct swo_span *span)
{
	struct lane lane = {.side = span->side, .kind = LANE_DEVICE};

	if (span->device[0]) {
		snprintf(lane.name, sizeof(lane.name), "%s", span->device);
		return lane;
	}
	const bool passes = span->kind == SWO_SPAN_PHASE || span->kind == SWO_SPAN_PASS;

	lane.kind = passes ? LANE_PASSES : span->kind == SWO_SPAN_RAM ? LANE_RAM : LANE_MACHINE;
	snprintf(lane.name, sizeof(lane.name), "%s",
		passes			? "passes"
		: lane.kind == LANE_RAM ? "memory"
					: "machine");
	return lane;
}

static int compare(const void *va, const void *vb)
{
	const struct lane *a = va, *b = vb;

	if (a->side != b->side)
		return a->side < b->side ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return strverscmp(a->name, b->name);
}

/* Of phases only the passes of the stop and the start are drawn. */
static bool is_drawn(const struct lanes *l, const struct swo_span *span)
{
	return span->kind != SWO_SPAN_MARK && span->kind != SWO_SPAN_PHASE &&
	       span->end_ns >= l->from_ns && span->start_ns <= l->from_ns + l->length_ns;
}

static struct lane *find(const struct lanes *l, const struct swo_span *span)
{
	const struct lane wanted = lane_of(span);

	for (size_t i = 0; i < l->count; i++)
		if (!compare(&l->all[i], &wanted))
			return &l->all[i];
	return NULL;
}

static int collect(struct lanes *l)
{
	for (size_t i = 0; i < l->run->count; i++) {
		const struct swo_span *span = &l->run->spans[i];

		if (!is_drawn(l, span) || find(l, span))
			continue;
		struct lane *all = reallocarray(l->all, l->count + 1, sizeof(*all));

		if (!all)
			return -1;
		l->all = all;
		all[l->count++] = lane_of(span);
	}
	if (l->count)
		qsort(l->all, l->count, sizeof(*l->all), compare);
	return 0;
}

static double x_of(const struct lanes *l, uint64_t ns)
{
	const uint64_t from = l->from_ns, to = from + l->length_ns;

	ns = ns < from ? from : ns > to ? to : ns;
	return l->left + (double)(ns - from) * l->scale;
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* Colour and letter of an arc are those of its part in a migration. */
static const char *class_of(const struct swo_span *span)
{
	switch (span->kind) {
	case SWO_SPAN_ARC:
		if (span->to == SWO_DEVICE_PRE_COPY_P2P ||
			(span->to == SWO_DEVICE_RUNNING_P2P && span->from == SWO_DEVICE_RUNNING))
			return "quiesce";
		if (span->to == SWO_DEVICE_STOP_COPY ||
			(span->to == SWO_DEVICE_STOP && span->from == SWO_DEVICE_RUNNING_P2P))
			return "stop";
		if (span->from == SWO_DEVICE_RESUMING)
			return "finalise";
		if (span->from == SWO_DEVICE_STOP && span->to == SWO_DEVICE_RUNNING_P2P)
			return "start";
		if (span->to == SWO_DEVICE_RUNNING)
			return "run";
		return "other";
	case SWO_SPAN_STREAM:
		return "data";
	case SWO_SPAN_RAM:
		return "ram";
	case SWO_SPAN_WAIT:
		return "wait";
	case SWO_SPAN_PASS:
		return "pass";
	default:
		return "work";
	}
}

static void title(FILE *out, const struct swo_span *span, const struct lanes *l)
{
	fputs("<title>", out);
	report_text(out, span->side == SWO_SIDE_SOURCE ? "source " : "target ");
	if (span->device[0]) {
		report_text(out, span->device);
		putc(' ', out);
	}
	report_text(out, span->name);
	fprintf(out, "%s: %.3f ms, from %.3f to %.3f ms", span->failed ? " (failed)" : "",
		ms(span->end_ns - span->start_ns),
		((double)span->start_ns - (double)l->zero_ns) / 1e6,
		((double)span->end_ns - (double)l->zero_ns) / 1e6);
	if (span->bytes)
		fprintf(out, ", %.3f MB", (double)span->bytes / 1e6);
	fputs("</title>", out);
}

static void draw_span(const struct lanes *l, const struct swo_span *span)
{
	const struct lane *lane = find(l, span);
	const char *class = class_of(span);
	const double x = x_of(l, span->start_ns);
	const double wide = x_of(l, span->end_ns) - x, width = wide > 1 ? wide : 1;
	const bool device = lane->kind == LANE_DEVICE;
	const bool half = device && span->kind != SWO_SPAN_ARC;
	const double top = lane->top + (half && span->kind == SWO_SPAN_STREAM ? BAR / 2.0 : 0);

	fprintf(l->out, "<g>");
	title(l->out, span, l);
	fprintf(l->out,
		"<rect class=\"%s%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.1f\"/>",
		class, span->failed ? " failed" : "", x, top, width, half ? BAR / 2.0 : BAR);
	/* The arrow of an arc needs no device's state that it leaves. */
	const char *text = strstr(span->name, "->") ? strstr(span->name, "->") + 2 : span->name;

	if (!half && (double)strlen(text) * CHAR + 6 < width) {
		const bool dark = !strcmp(class, "stop") || !strcmp(class, "finalise") ||
				  !strcmp(class, "run");

		fprintf(l->out, "<text class=\"%s\" x=\"%.2f\" y=\"%.2f\">",
			span->kind == SWO_SPAN_PASS || span->kind == SWO_SPAN_WAIT ? "faint"
			: dark							   ? "on-dark"
										   : "on",
			x + 3, top + BAR - 4);
		report_text(l->out, text);
		fputs("</text>", l->out);
	}
	fputs("</g>\n", l->out);
}

/* The end of a pass is a barrier for all devices of its side. */
static void draw_barriers(const struct lanes *l)
{
	for (size_t i = 0; i < l->run->count; i++) {
		const struct swo_span *span = &l->run->spans[i];
		double top = -1, bottom = 0;

		if (span->kind != SWO_SPAN_PASS || !is_drawn(l, span))
			continue;
		for (size_t k = 0; k < l->count; k++)
			if (l->all[k].side == span->side && l->all[k].kind <= LANE_DEVICE) {
				top = top < 0 ? l->all[k].top : top;
				bottom = l->all[k].top + BAR;
			}
		fprintf(l->out, "<g><title>barrier: the end of ");
		report_text(l->out, span->name);
		fprintf(l->out,
			"</title><line class=\"barrier\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.2f\" "
			"y2=\"%.2f\"/></g>\n",
			x_of(l, span->end_ns), x_of(l, span->end_ns), top - 2, bottom + 2);
	}
}

static void draw_path(const struct lanes *l)
{
	double last_x = -1, last_y = 0;

	for (size_t i = 0; i < l->run->path.count; i++) {
		const struct swo_path_step *step = &l->run->path.steps[i];
		struct swo_span span = {.side = step->side,
			.kind = step->kind == SWO_SPAN_MARK ? SWO_SPAN_WAIT : step->kind,
			.start_ns = step->start_ns,
			.end_ns = step->end_ns};

		memcpy(span.device, step->device, sizeof(span.device));
		const struct lane *lane = find(l, &span);

		if (!lane && l->count)
			lane = &l->all[step->side == SWO_SIDE_SOURCE ? 0 : l->count - 1];
		if (!lane)
			continue;
		const double y = lane->top + BAR + 3, x1 = x_of(l, step->start_ns),
			     x2 = x_of(l, step->end_ns);

		if (last_x >= 0 && last_y != y)
			fprintf(l->out,
				"<line class=\"hop\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.2f\" y2=\"%.2f\"/>",
				x1, x1, last_y, y);
		fprintf(l->out, "<g><title>critical path: ");
		report_text(l->out, step->name);
		fprintf(l->out,
			", %.3f ms</title><line class=\"%s\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.2f\" "
			"y2=\"%.2f\"/></g>\n",
			ms(step->end_ns - step->start_ns), step->gap ? "gap" : "path", x1, x2, y,
			y);
		last_x = x2;
		last_y = y;
	}
}

static int by_start(const void *va, const void *vb)
{
	const struct swo_span *const *a = va, *const *b = vb;

	return (*a)->start_ns < (*b)->start_ns ? -1 : (*a)->start_ns > (*b)->start_ns;
}

/* A mark of both sides, at the same place of the axis, has one text. */
static bool is_repeated(const struct lanes *l, const struct swo_span *const *sorted, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (!strcmp(sorted[i]->name, sorted[at]->name) &&
			x_of(l, sorted[at]->start_ns) - x_of(l, sorted[i]->start_ns) < CHAR)
			return true;
	return false;
}

/* Marks are lines over all lanes; their texts stand at the first level where they fit. Returns the
   levels used; draws if there is a bottom. */
static unsigned marks(const struct lanes *l, double top, double bottom)
{
	double ends[MARK_LEVELS];
	unsigned levels = 0;
	size_t count = 0;
	const struct swo_span **sorted = calloc(l->run->count + 1, sizeof(struct swo_span *));

	for (unsigned i = 0; i < MARK_LEVELS; i++)
		ends[i] = -1;
	for (size_t i = 0; sorted && i < l->run->count; i++) {
		const struct swo_span *span = &l->run->spans[i];

		if (span->kind == SWO_SPAN_MARK && span->start_ns >= l->from_ns &&
			span->start_ns <= l->from_ns + l->length_ns)
			sorted[count++] = span;
	}
	if (count)
		qsort(sorted, count, sizeof(struct swo_span *), by_start);
	for (size_t i = 0; i < count; i++) {
		const double x = x_of(l, sorted[i]->start_ns);
		const double wide = (double)strlen(sorted[i]->name) * CHAR + 12;
		/* At the right edge it stands on the left of its line. */
		const bool turned = x + wide > WIDTH - MARGIN;
		const double from = turned ? x - wide : x;
		unsigned level = is_repeated(l, sorted, i) ? MARK_LEVELS : 0;

		while (level < MARK_LEVELS && ends[level] > from)
			level++;
		if (level < MARK_LEVELS)
			ends[level] = from + wide;
		levels = level + 1 > levels && level < MARK_LEVELS ? level + 1 : levels;
		if (bottom <= 0)
			continue;
		fprintf(l->out, "<g>");
		title(l->out, sorted[i], l);
		fprintf(l->out,
			"<line class=\"mark\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.2f\" y2=\"%.2f\"/>", x,
			x, top + (level < MARK_LEVELS ? level * MARK_LINE : 0), bottom);
		if (level < MARK_LEVELS) {
			fprintf(l->out,
				"<text class=\"faint\" x=\"%.2f\" y=\"%.2f\" text-anchor=\"%s\">",
				turned ? x - 3 : x + 3, top + level * MARK_LINE + 10,
				turned ? "end" : "start");
			report_text(l->out, sorted[i]->name);
			fputs("</text>", l->out);
		}
		fputs("</g>\n", l->out);
	}
	free(sorted);
	return levels;
}

static void draw_axis(const struct lanes *l, double top, double bottom)
{
	const double step = report_step(ms(l->length_ns), 10);
	const double from = ((double)l->from_ns - (double)l->zero_ns) / 1e6;
	const double to = from + ms(l->length_ns);
	long n = (long)(from / step) - 1;

	for (; (double)n * step <= to; n++) {
		const double at = (double)n * step, x = l->left + (at - from) * 1e6 * l->scale;

		if (at < from)
			continue;
		fprintf(l->out,
			"<line class=\"grid\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.1f\" y2=\"%.1f\"/>", x,
			x, top, bottom + 4);
		if (x < WIDTH - MARGIN - 20)
			fprintf(l->out,
				"<text class=\"faint\" x=\"%.2f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>",
				x, bottom + 17, at);
	}
	fprintf(l->out, "<text class=\"faint\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">ms</text>\n",
		WIDTH - MARGIN + 6, bottom + 17);
}

/* Tops of the lanes, with a head a side. Returns the bottom. */
static double place(struct lanes *l, double top)
{
	for (size_t i = 0; i < l->count; i++) {
		if (!i || l->all[i].side != l->all[i - 1].side)
			top += HEAD;
		l->all[i].top = top;
		top += LANE;
	}
	return top;
}

static void draw_names(const struct lanes *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct lane *lane = &l->all[i];

		if (!i || lane->side != l->all[i - 1].side)
			fprintf(l->out, "<text class=\"head\" x=\"%d\" y=\"%.1f\">%s</text>\n",
				MARGIN, lane->top - 7,
				lane->side == SWO_SIDE_SOURCE ? "source" : "target");
		if (i % 2)
			fprintf(l->out,
				"<rect class=\"band\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\"/>",
				MARGIN, lane->top - 4, WIDTH - 2 * MARGIN, LANE);
		fprintf(l->out, "<text x=\"%d\" y=\"%.1f\">", MARGIN + 8, lane->top + BAR - 4);
		report_text(l->out, lane->name);
		fputs("</text>\n", l->out);
	}
}

unsigned report_lanes(FILE *out, const struct report_run *run, uint64_t length_ns)
{
	const uint64_t before = length_ns / 32;
	struct lanes l = {.out = out,
		.run = run,
		.from_ns = run->from_ns > before ? run->from_ns - before : 0,
		.length_ns = length_ns + 2 * before,
		.zero_ns = run->from_ns};
	size_t longest = 8;
	char label[160];

	for (size_t i = 0; i < run->count; i++)
		if (run->spans[i].event == SWO_EVENT_VCPUS_STOPPED)
			l.zero_ns = run->spans[i].start_ns;
	if (collect(&l)) {
		free(l.all);
		return 0;
	}
	for (size_t i = 0; i < l.count; i++)
		longest = strlen(l.all[i].name) > longest ? strlen(l.all[i].name) : longest;
	l.left = MARGIN + 16 + (double)longest * CHAR;
	l.scale = (WIDTH - MARGIN - l.left) / (double)l.length_ns;
	l.marks = marks(&l, 0, 0) * MARK_LINE;
	const double bottom = place(&l, MARGIN + l.marks);

	snprintf(label, sizeof(label), "lanes of source and target, %.1f ms",
		ms(run->to_ns - run->from_ns));
	report_svg_begin(out, WIDTH, (unsigned)(bottom + AXIS), label);
	draw_names(&l);
	draw_axis(&l, MARGIN + l.marks, bottom);
	(void)marks(&l, MARGIN, bottom);
	for (size_t i = 0; i < run->count; i++)
		if (is_drawn(&l, &run->spans[i]) && run->spans[i].kind == SWO_SPAN_PASS)
			draw_span(&l, &run->spans[i]);
	for (size_t i = 0; i < run->count; i++)
		if (is_drawn(&l, &run->spans[i]) && run->spans[i].kind != SWO_SPAN_PASS)
			draw_span(&l, &run->spans[i]);
	draw_barriers(&l);
	draw_path(&l);
	report_svg_end(out);
	free(l.all);
	return (unsigned)(bottom + AXIS);
}
