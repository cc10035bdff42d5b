/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hold.h - a timeline with several owners.
 */
#ifndef TIMELINE_HOLD_H
#define TIMELINE_HOLD_H

#include "switchover/timeline.h"

/* One more owner; each calls swo_timeline_free(), and the last one frees it. NULL: nothing. */
void timeline_hold(struct swo_timeline *timeline);

#endif
