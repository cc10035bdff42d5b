/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - what the recorder, the writers and the reader of a timeline
 * share; private to the folder.
 */
#ifndef TIMELINE_INTERNAL_H
#define TIMELINE_INTERNAL_H

#include "switchover/timeline.h"

void timeline_add_dropped(struct swo_timeline *timeline, size_t dropped);
/* All spans at this moment, to be freed by the caller (also when there are none); NULL: no memory.
 */
struct swo_span *timeline_copy(struct swo_timeline *timeline, size_t *count, size_t *dropped);

const char *timeline_side_name(enum swo_side side);	 /* "source", "target" */
const char *timeline_kind_name(enum swo_span_kind kind); /* "phase", "arc", ... */
/* -1 for a name that there is not. */
int timeline_side_of(const char *name);
int timeline_kind_of(const char *name);
/* Kind and name of a span whose event is not OTHER. */
void timeline_set_name(struct swo_span *span);
/* The event (and what belongs to it) of a span that has a kind and a name; OTHER stays. */
void timeline_find_event(struct swo_span *span);

#endif
