/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * glyphs.c - letters for a picture: the usual arcs always have the same ones,
 * whatever else comes takes one that is free.
 */
#include "timeline/glyphs.h"

#include <stdlib.h>
#include <string.h>

/* The arcs of a migration, in the order in which they happen. */
static const struct {
	const char *name;
	char letter;
} usual[] = {
	{"RUNNING->PRE_COPY", 'C'},
	{"PRE_COPY->PRE_COPY_P2P", 'P'},
	{"RUNNING->RUNNING_P2P", 'P'},
	{"PRE_COPY_P2P->STOP_COPY", 'S'},
	{"RUNNING_P2P->STOP", 'S'},
	{"STOP->STOP_COPY", 'T'},
	{"STOP->RESUMING", 'L'},
	{"RESUMING->STOP", 'F'},
	{"STOP->RUNNING_P2P", 'Q'},
	{"RUNNING_P2P->RUNNING", 'R'},
};

static bool has_line(enum swo_span_kind kind)
{
	return kind == SWO_SPAN_ARC || kind == SWO_SPAN_WORK || kind == SWO_SPAN_STREAM ||
	       kind == SWO_SPAN_RAM || kind == SWO_SPAN_WAIT;
}

static size_t usual_place(const struct glyph *glyph)
{
	size_t i = 0;

	while (i < SWO_ARRAY_SIZE(usual) && strcmp(usual[i].name, glyph->name))
		i++;
	return i;
}

static int compare(const void *va, const void *vb)
{
	const struct glyph *a = va, *b = vb;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	size_t pa = usual_place(a), pb = usual_place(b);
	if (pa != pb)
		return pa < pb ? -1 : 1;
	return strcmp(a->name, b->name);
}

void timeline_glyphs_note(struct glyphs *glyphs, const struct swo_span *span)
{
	struct glyph *glyph = (struct glyph *)timeline_glyphs_find(glyphs, span);
	uint64_t length = span->end_ns - span->start_ns;

	if (!has_line(span->kind))
		return;
	if (!glyph) {
		if (glyphs->count == GLYPHS_MAX)
			return;
		glyph = &glyphs->all[glyphs->count++];
		glyph->kind = span->kind;
		memcpy(glyph->name, span->name, sizeof(glyph->name));
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
	char first = (char)(glyph->name[0] | 0x20);

	if (place < SWO_ARRAY_SIZE(usual) && is_free(glyphs, usual[place].letter))
		return usual[place].letter;
	if (glyph->kind == SWO_SPAN_WORK && first >= 'a' && first <= 'z' && is_free(glyphs, first))
		return first;
	for (const char *other = others; *other; other++)
		if (is_free(glyphs, *other))
			return *other;
	return '?';
}

void timeline_glyphs_settle(struct glyphs *glyphs)
{
	qsort(glyphs->all, glyphs->count, sizeof(glyphs->all[0]), compare);
	for (size_t i = 0; i < glyphs->count; i++) {
		struct glyph *glyph = &glyphs->all[i];

		if (glyph->kind == SWO_SPAN_STREAM)
			glyph->letter = '=';
		else if (glyph->kind == SWO_SPAN_RAM)
			glyph->letter = 'm';
		else if (glyph->kind == SWO_SPAN_WAIT)
			glyph->letter = '.';
		else
			glyph->letter = pick(glyphs, glyph);
	}
}

const struct glyph *timeline_glyphs_find(const struct glyphs *glyphs, const struct swo_span *span)
{
	for (size_t i = 0; i < glyphs->count; i++)
		if (glyphs->all[i].kind == span->kind && !strcmp(glyphs->all[i].name, span->name))
			return &glyphs->all[i];
	return NULL;
}
