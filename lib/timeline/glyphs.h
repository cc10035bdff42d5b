/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * glyphs.h - which letter stands for which span in a picture, and what the
 * legend says of it.
 */
#ifndef TIMELINE_GLYPHS_H
#define TIMELINE_GLYPHS_H

#include "switchover/timeline.h"

/* One line of the legend: spans that share a letter. */
struct glyph {
	char letter;
	enum swo_span_kind kind;
	char name[sizeof(((struct swo_span *)0)->name)];
	size_t count;
	uint64_t min_ns, max_ns;
	uint64_t bytes;
};

#define GLYPHS_MAX 40 /* distinct names; more share '?' */

struct glyphs {
	struct glyph all[GLYPHS_MAX];
	size_t count;
};

/* Counts a span in; arcs and work have a line for each name, streams, RAM and waits too, but
   share one sign. Words (phases, passes, marks) need no legend. */
void timeline_glyphs_note(struct glyphs *glyphs, const struct swo_span *span);
/* After the last note: orders the lines and hands out the letters. */
void timeline_glyphs_settle(struct glyphs *glyphs);
/* NULL: it has none. */
const struct glyph *timeline_glyphs_find(const struct glyphs *glyphs, const struct swo_span *span);

#endif
