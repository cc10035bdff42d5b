/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * picture.c - a timeline as text: a row per side and device, a scale in
 * milliseconds, a legend with the duration of each arc.
 */
#include "timeline/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MIN    60
#define COLUMNS_MAX    1000
#define NAME_MAX_WIDTH 14 /* of a device's name; a longer one loses its middle */

/* What a row of the picture holds. */
enum row_kind { ROW_PHASES, ROW_PASSES, ROW_RAM, ROW_MACHINE, ROW_DEVICE, ROW_MARKS };

struct row {
	enum swo_side side;
	enum row_kind kind;
	char label[sizeof(((struct swo_span *)0)->device)];
};

/* One line of the legend: spans that share a letter. */
struct glyph {
	char letter;
	struct swo_span first; /* of them */
	size_t count;
	uint64_t min_ns, max_ns;
	uint64_t bytes;
};

#define GLYPHS_MAX 40 /* distinct names; more share '?' */

struct glyphs {
	struct glyph all[GLYPHS_MAX];
	size_t count;
};

struct picture {
	const struct swo_span *spans;
	size_t count;
	uint64_t from, to;
	unsigned label_width, width; /* in columns: what stands left of the axis, and the axis */
	bool utf8;
	struct row *rows;
	size_t row_count;
	struct glyphs glyphs;
	FILE *out;
};

/* Letters: the usual arcs have fixed ones, others get a free one. */

/* The arcs of a migration, in the order in which they happen. */
static const struct {
	enum swo_device_state from, to;
	char letter;
} usual[] = {
	{SWO_DEVICE_RUNNING, SWO_DEVICE_PRE_COPY, 'C'},
	{SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, 'P'},
	{SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, 'P'},
	{SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, 'S'},
	{SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, 'S'},
	{SWO_DEVICE_STOP, SWO_DEVICE_STOP_COPY, 'T'},
	{SWO_DEVICE_STOP, SWO_DEVICE_RESUMING, 'L'},
	{SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, 'F'},
	{SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, 'Q'},
	{SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, 'R'},
};

static bool has_line(enum swo_span_kind kind)
{
	return kind == SWO_SPAN_ARC || kind == SWO_SPAN_PASS || kind == SWO_SPAN_WORK ||
	       kind == SWO_SPAN_STREAM || kind == SWO_SPAN_RAM || kind == SWO_SPAN_WAIT;
}

static size_t usual_place(const struct glyph *glyph)
{
	const struct swo_span *arc = &glyph->first;
	size_t i = 0;

	if (arc->event != SWO_EVENT_ARC || arc->failed)
		return SWO_ARRAY_SIZE(usual);
	while (i < SWO_ARRAY_SIZE(usual) && (usual[i].from != arc->from || usual[i].to != arc->to))
		i++;
	return i;
}

static int compare(const void *va, const void *vb)
{
	const struct glyph *a = va, *b = vb;

	if (a->first.kind != b->first.kind)
		return a->first.kind < b->first.kind ? -1 : 1;
	size_t pa = usual_place(a), pb = usual_place(b);
	if (pa != pb)
		return pa < pb ? -1 : 1;
	return strcmp(a->first.name, b->first.name);
}

/* NULL: it has none. */
static struct glyph *find_glyph(struct glyphs *glyphs, const struct swo_span *span)
{
	for (size_t i = 0; i < glyphs->count; i++)
		if (glyphs->all[i].first.kind == span->kind &&
			!strcmp(glyphs->all[i].first.name, span->name))
			return &glyphs->all[i];
	return NULL;
}

/*
 * Counts a span in. Arcs and work have a line for each name; streams, RAM and waits too, but
 * share one sign. Phases and marks are words and need no legend.
 */
static void note_glyph(struct glyphs *glyphs, const struct swo_span *span)
{
	struct glyph *glyph = find_glyph(glyphs, span);
	uint64_t length = span->end_ns - span->start_ns;

	if (!has_line(span->kind))
		return;
	if (!glyph) {
		if (glyphs->count == GLYPHS_MAX)
			return;
		glyph = &glyphs->all[glyphs->count++];
		glyph->first = *span;
		glyph->min_ns = UINT64_MAX;
	}
	glyph->count++;
	glyph->bytes += span->bytes;
	if (length < glyph->min_ns)
		glyph->min_ns = length;
	if (length > glyph->max_ns)
		glyph->max_ns = length;
}

static bool is_free(const struct glyphs *glyphs, char letter)
{
	for (size_t i = 0; i < glyphs->count; i++)
		if (glyphs->all[i].letter == letter)
			return false;
	return letter != 'm'; /* memory's */
}

static char pick(const struct glyphs *glyphs, const struct glyph *glyph)
{
	static const char others[] = "abcdefghijklnopqrstuvwxyzABDEGHIJKMNOUVWXYZ0123456789";
	size_t place = usual_place(glyph);
	char first = (char)(glyph->first.name[0] | 0x20);

	if (place < SWO_ARRAY_SIZE(usual) && is_free(glyphs, usual[place].letter))
		return usual[place].letter;
	if (glyph->first.kind == SWO_SPAN_WORK && first >= 'a' && first <= 'z' &&
		is_free(glyphs, first))
		return first;
	for (const char *other = others; *other; other++)
		if (is_free(glyphs, *other))
			return *other;
	return '?';
}

/* After the last one: orders the lines and assigns the letters. */
static void assign_letters(struct glyphs *glyphs)
{
	qsort(glyphs->all, glyphs->count, sizeof(glyphs->all[0]), compare);
	for (size_t i = 0; i < glyphs->count; i++) {
		struct glyph *glyph = &glyphs->all[i];

		if (glyph->first.kind == SWO_SPAN_STREAM)
			glyph->letter = '=';
		else if (glyph->first.kind == SWO_SPAN_RAM)
			glyph->letter = 'm';
		else if (glyph->first.kind == SWO_SPAN_WAIT)
			glyph->letter = '.';
		else if (glyph->first.kind == SWO_SPAN_PASS)
			glyph->letter = '[';
		else
			glyph->letter = pick(glyphs, glyph);
	}
}

/* Rows and columns */

static bool inside(const struct picture *p, const struct swo_span *span)
{
	/* What begins where the picture ends is not part of it, unless it is a moment. */
	return span->end_ns >= p->from &&
	       (span->start_ns < p->to ||
		       (span->start_ns == p->to && span->end_ns == span->start_ns));
}

static struct row row_of(const struct swo_span *span)
{
	struct row row = {.side = span->side, .kind = ROW_DEVICE};

	if (span->kind == SWO_SPAN_MARK) {
		row.kind = ROW_MARKS;
		strcpy(row.label, "marks");
	} else if (span->device[0]) {
		memcpy(row.label, span->device, sizeof(row.label));
	} else if (span->kind == SWO_SPAN_PHASE) {
		row.kind = ROW_PHASES;
		strcpy(row.label, "phases");
	} else if (span->kind == SWO_SPAN_PASS) {
		row.kind = ROW_PASSES;
		strcpy(row.label, "passes");
	} else if (span->kind == SWO_SPAN_RAM) {
		row.kind = ROW_RAM;
		strcpy(row.label, "memory");
	} else {
		row.kind = ROW_MACHINE;
		strcpy(row.label, "machine");
	}
	return row;
}

static bool same_row(const struct row *a, const struct row *b)
{
	return a->side == b->side && a->kind == b->kind && !strcmp(a->label, b->label);
}

/* By side, then kind; devices by name as people count: vf2 before vf10. */
static int compare_rows(const void *va, const void *vb)
{
	const struct row *a = va, *b = vb;

	if (a->side != b->side)
		return a->side < b->side ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return strverscmp(a->label, b->label);
}

static int collect_rows(struct picture *p)
{
	size_t room = 0;

	for (size_t i = 0; i < p->count; i++) {
		struct row row = row_of(&p->spans[i]);
		size_t at = 0;

		if (!inside(p, &p->spans[i]))
			continue;
		while (at < p->row_count && !same_row(&p->rows[at], &row))
			at++;
		if (at < p->row_count)
			continue;
		if (p->row_count == room) {
			struct row *more = reallocarray(p->rows, room + 64, sizeof(row));

			if (!more)
				return -1;
			p->rows = more;
			room += 64;
		}
		p->rows[p->row_count++] = row;
	}
	if (p->row_count)
		qsort(p->rows, p->row_count, sizeof(p->rows[0]), compare_rows);
	return 0;
}

static unsigned column_of(const struct picture *p, uint64_t when)
{
	if (when <= p->from)
		return 0;
	if (when >= p->to)
		return p->width - 1;
	double part = (double)(when - p->from) / (double)(p->to - p->from);
	unsigned column = (unsigned)(part * p->width);

	return column < p->width ? column : p->width - 1;
}

/* Spans that end where they start, or within a column, still take one. */
static void columns_of(
	const struct picture *p, const struct swo_span *span, unsigned *first, unsigned *last)
{
	*first = column_of(p, span->start_ns);
	*last = column_of(p, span->end_ns);
	if (*last > *first && span->end_ns <= p->to)
		(*last)--; /* the column belongs to what comes next */
}

static int importance(enum swo_span_kind kind)
{
	switch (kind) {
	case SWO_SPAN_ARC:
		return 4;
	case SWO_SPAN_STREAM:
		return 3;
	case SWO_SPAN_WORK:
	case SWO_SPAN_RAM:
		return 2;
	default:
		return 1;
	}
}

/* Which of two spans that meet in a column is shown there: the shorter of equals. */
static bool goes_above(const struct swo_span *a, const struct swo_span *b)
{
	if (importance(a->kind) != importance(b->kind))
		return importance(a->kind) > importance(b->kind);
	return a->end_ns - a->start_ns < b->end_ns - b->start_ns;
}

static void put_glyph(struct picture *p, const struct swo_span *span, bool begins)
{
	const struct glyph *glyph = find_glyph(&p->glyphs, span);
	char letter = glyph ? glyph->letter : '?';

	if (span->kind == SWO_SPAN_STREAM)
		fputs(p->utf8 ? "═" : "=", p->out);
	else if (span->kind == SWO_SPAN_RAM)
		fputs(p->utf8 ? "▒" : "m", p->out);
	else if (span->kind == SWO_SPAN_WAIT)
		fputs(p->utf8 ? "·" : ".", p->out);
	else if (begins)
		putc(letter, p->out);
	else
		fputs(p->utf8 ? "─" : "-", p->out);
}

/* A row of glyphs: each column shows the most important span that it meets. */
static void draw_glyphs(struct picture *p, const struct row *row, const struct swo_span **owner)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct swo_span *span = &p->spans[i];
		struct row own = row_of(span);
		unsigned first, last;

		if (!inside(p, span) || !same_row(&own, row))
			continue;
		columns_of(p, span, &first, &last);
		for (unsigned c = first; c <= last; c++)
			if (!owner[c] || goes_above(span, owner[c]))
				owner[c] = span;
	}
	unsigned end = p->width;
	while (end && !owner[end - 1])
		end--;
	for (unsigned c = 0; c < end; c++) {
		if (!owner[c])
			putc(' ', p->out);
		else
			put_glyph(p, owner[c], !c || owner[c] != owner[c - 1]);
	}
}

/* As much of a name as fits whole: "stop: prepare pass", "prepare pass", "prepare", or nothing. */
static const char *fitting(const char *name, size_t room, size_t *len)
{
	const char *colon = strstr(name, ": ");

	*len = strlen(name);
	if (*len > room && colon) {
		name = colon + 2;
		*len = strlen(name);
	}
	if (*len > room)
		*len = strcspn(name, " ");
	if (*len > room)
		*len = 0;
	return name;
}

static void put_cells(struct picture *p, const char *cells)
{
	unsigned end = p->width;

	while (end && cells[end - 1] == ' ')
		end--;
	fwrite(cells, 1, end, p->out);
}

/* What lasts: "[stop------]". The legend has the names that do not fit. */
static void draw_words(struct picture *p, const struct row *row, char *cells)
{
	memset(cells, ' ', p->width);
	for (size_t i = 0; i < p->count; i++) {
		const struct swo_span *span = &p->spans[i];
		struct row own = row_of(span);
		unsigned first, last;
		size_t len;

		if (!inside(p, span) || !same_row(&own, row))
			continue;
		columns_of(p, span, &first, &last);
		if (first == last) {
			cells[first] = '|';
			continue;
		}
		const char *name = fitting(span->name, last - first - 1, &len);

		memset(cells + first, '-', last - first + 1);
		cells[first] = '[';
		cells[last] = ']';
		memcpy(cells + first + 1, name, len);
	}
	put_cells(p, cells);
}

static bool is_blank(const char *cells, unsigned from, unsigned to)
{
	while (from < to && cells[from] == ' ')
		from++;
	return from == to;
}

/* "|GO" where that is free, else "GO|"; names that neither fits go on one of the next lines. */
static bool put_mark(const struct picture *p, const struct swo_span *span, char *cells)
{
	const unsigned at = column_of(p, span->start_ns);
	const unsigned len = (unsigned)strlen(span->name);
	const unsigned before = at > len ? at - len - 1 : 0, behind = at + len + 2;

	/* Two marks of one name in one column are one. */
	if (at + len < p->width && cells[at] == '|' && !memcmp(cells + at + 1, span->name, len))
		return true;
	if (at >= len && cells[at] == '|' && !memcmp(cells + at - len, span->name, len))
		return true;
	/* A blank on both sides keeps names apart. */
	if (at + len < p->width &&
		is_blank(cells, at ? at - 1 : 0, behind < p->width ? behind : p->width)) {
		cells[at] = '|';
		memcpy(cells + at + 1, span->name, len);
		return true;
	}
	if (at + len >= p->width && at >= len && is_blank(cells, before, at + 1)) {
		cells[at] = '|';
		memcpy(cells + at - len, span->name, len);
		return true;
	}
	return false;
}

#define MARK_LINES 6 /* of names; further marks have none */

/* Moments. `cells` has MARK_LINES lines. */
static void draw_marks(struct picture *p, const struct row *row, char *cells)
{
	unsigned lines = 1;

	memset(cells, ' ', (size_t)p->width * MARK_LINES);
	for (size_t i = 0; i < p->count; i++) {
		const struct swo_span *span = &p->spans[i];
		struct row own = row_of(span);
		unsigned line = 0;

		if (!inside(p, span) || !same_row(&own, row))
			continue;
		while (line < MARK_LINES && !put_mark(p, span, cells + (size_t)line * p->width))
			line++;
		if (line == MARK_LINES) {
			char *cell = cells + column_of(p, span->start_ns);

			*cell = *cell == ' ' ? '|' : *cell;
		} else if (line + 1 > lines) {
			lines = line + 1;
		}
	}
	for (unsigned line = 0; line < lines; line++) {
		if (line)
			fprintf(p->out, "\n%*s", (int)p->label_width, "");
		put_cells(p, cells + (size_t)line * p->width);
	}
}

/* The end of a long name stays: UUIDs of one host often begin alike. */
static void put_label(const struct picture *p, const char *label)
{
	const int room = (int)p->label_width - 8;
	const int len = (int)strlen(label), head = (room - 2) / 2, tail = room - 2 - head;

	if (len <= room)
		fprintf(p->out, "%-*s ", room, label);
	else
		fprintf(p->out, "%.*s..%s ", head, label, label + len - tail);
}

static int draw_rows(struct picture *p)
{
	const struct swo_span **owner = calloc(p->width, sizeof(*owner));
	swo_autofree char *cells = malloc((size_t)p->width * MARK_LINES);
	const char *side = "";

	for (size_t i = 0; owner && cells && i < p->row_count; i++) {
		const struct row *row = &p->rows[i];
		const char *name = timeline_side_name(row->side);

		fprintf(p->out, "%-6s ", strcmp(side, name) ? name : "");
		put_label(p, row->label);
		side = name;
		if (row->kind == ROW_DEVICE || row->kind == ROW_RAM || row->kind == ROW_MACHINE) {
			memset(owner, 0, p->width * sizeof(*owner));
			draw_glyphs(p, row, owner);
		} else if (row->kind == ROW_MARKS) {
			draw_marks(p, row, cells);
		} else {
			draw_words(p, row, cells);
		}
		putc('\n', p->out);
	}
	int rc = owner && cells ? 0 : -1;
	free(owner);
	return rc;
}

/* The smallest of 1, 2, 5, 10, ... ms (or tenths) that leaves eight columns between ticks. */
static double tick_ms(double ms_per_column)
{
	static const double nice[] = {1, 2, 5};

	for (double decade = 0.001; decade < 1e12; decade *= 10)
		for (size_t i = 0; i < SWO_ARRAY_SIZE(nice); i++)
			if (nice[i] * decade >= ms_per_column * 8)
				return nice[i] * decade;
	return 1e12;
}

static void draw_scale(const struct picture *p)
{
	double span_ms = (double)(p->to - p->from) / 1e6;
	double step = tick_ms(span_ms / p->width);
	unsigned at = 0;

	fprintf(p->out, "%*s", (int)p->label_width, "ms  ");
	for (unsigned i = 0; i * step <= span_ms; i++) {
		char label[32];
		unsigned column = (unsigned)(i * step / span_ms * p->width);
		int len = snprintf(label, sizeof(label), "%g", i * step);

		if (column < at || column + (unsigned)len > p->width)
			continue;
		fprintf(p->out, "%*s%s", (int)(column - at), "", label);
		at = column + (unsigned)len;
	}
	fprintf(p->out, "\n%*s", (int)p->label_width, "");
	unsigned tick = 0;
	for (unsigned c = 0; c < p->width; c++) {
		bool is_tick = c == (unsigned)(tick * step / span_ms * p->width);

		tick += is_tick;
		fputs(is_tick ? (p->utf8 ? "┬" : "+") : (p->utf8 ? "─" : "-"), p->out);
	}
	putc('\n', p->out);
}

static void draw_legend(const struct picture *p)
{
	unsigned name_width = 0;

	for (size_t i = 0; i < p->glyphs.count; i++) {
		unsigned len = (unsigned)strlen(p->glyphs.all[i].first.name);

		name_width = len > name_width ? len : name_width;
	}
	putc('\n', p->out);
	for (size_t i = 0; i < p->glyphs.count; i++) {
		const struct glyph *g = &p->glyphs.all[i];
		const char *sign = g->letter == '=' && p->utf8	 ? "═"
				   : g->letter == 'm' && p->utf8 ? "▒"
				   : g->letter == '.' && p->utf8 ? "·"
								 : NULL;
		char letter[2] = {g->letter, 0};

		fprintf(p->out, "  %s  %-6s %-*s %4zux  %8.1f", sign ? sign : letter,
			timeline_kind_name(g->first.kind), (int)name_width, g->first.name, g->count,
			(double)g->min_ns / 1e6);
		if (g->count > 1)
			fprintf(p->out, " .. %6.1f", (double)g->max_ns / 1e6);
		else
			fprintf(p->out, "%10s", "");
		fputs(" ms", p->out);
		if (g->bytes >= 1u << 20)
			fprintf(p->out, ", %.1f MiB", (double)g->bytes / (1 << 20));
		else if (g->bytes)
			fprintf(p->out, ", %.1f KiB", (double)g->bytes / (1 << 10));
		putc('\n', p->out);
	}
}

/* The given window, or that of all spans; never empty, so that nothing divides by zero. */
static void set_window(struct picture *p, uint64_t from, uint64_t to)
{
	if (!from && !to) {
		from = UINT64_MAX;
		for (size_t i = 0; i < p->count; i++) {
			if (p->spans[i].start_ns < from)
				from = p->spans[i].start_ns;
			if (p->spans[i].end_ns > to)
				to = p->spans[i].end_ns;
		}
	}
	p->from = from;
	p->to = to > from ? to : from + 1;
}

static int draw(struct picture *p, unsigned columns, size_t dropped)
{
	unsigned label = 7; /* "machine" */

	if (collect_rows(p))
		return -1;
	for (size_t i = 0; i < p->row_count; i++) {
		unsigned len = (unsigned)strlen(p->rows[i].label);

		label = len > label ? len : label;
	}
	p->label_width = 8 + (label > NAME_MAX_WIDTH ? NAME_MAX_WIDTH : label);
	p->width = columns - p->label_width;
	for (size_t i = 0; i < p->count; i++)
		if (inside(p, &p->spans[i]))
			note_glyph(&p->glyphs, &p->spans[i]);
	assign_letters(&p->glyphs);
	draw_scale(p);
	if (draw_rows(p))
		return -1;
	draw_legend(p);
	if (dropped)
		fprintf(p->out, "  %zu more spans were not kept\n", dropped);
	return 0;
}

char *swo_timeline_picture(struct swo_timeline *timeline, unsigned columns, bool utf8,
	uint64_t from_ns, uint64_t to_ns)
{
	size_t dropped, len;
	char *text = NULL;
	struct picture p = {.utf8 = utf8};
	swo_autofree struct swo_span *spans = timeline_copy(timeline, &p.count, &dropped);

	if (columns < COLUMNS_MIN)
		columns = COLUMNS_MIN;
	if (columns > COLUMNS_MAX)
		columns = COLUMNS_MAX;
	if (!spans || !(p.out = open_memstream(&text, &len)))
		return NULL;
	p.spans = spans;
	if (!p.count)
		fputs("nothing was recorded\n", p.out);
	set_window(&p, from_ns, to_ns);
	bool failed = p.count && draw(&p, columns, dropped);
	free(p.rows);
	failed |= ferror(p.out) != 0;
	failed |= fclose(p.out) != 0;
	if (failed) {
		free(text);
		return NULL;
	}
	return text;
}
