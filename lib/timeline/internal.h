/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - what the recorder, the writers and the reader of a timeline
 * share with each other and with nobody else.
 */
#ifndef TIMELINE_INTERNAL_H
#define TIMELINE_INTERNAL_H

#include "switchover/timeline.h"

/* The pass with which a switchover begins, as the migration names it. */
#define TIMELINE_STOP_PASS "stop: prepare"

/* Adds a whole span, side and text included; false when it was dropped. */
bool timeline_add(struct swo_timeline *timeline, const struct swo_span *span);
void timeline_add_dropped(struct swo_timeline *timeline, size_t dropped);
/* Sets device and name, cut to their room and made printable. */
void timeline_span_text(struct swo_span *span, const char *device, const char *name);
/* All spans at this moment, to be freed by the caller (also when there are none); NULL: no memory.
 */
struct swo_span *timeline_copy(struct swo_timeline *timeline, size_t *count, size_t *dropped);

const char *timeline_side_name(enum swo_side side);	 /* "source", "target" */
const char *timeline_kind_name(enum swo_span_kind kind); /* "phase", "arc", ... */
/* -1 for a name that there is not. */
int timeline_side_of(const char *name);
int timeline_kind_of(const char *name);

#endif
