/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timeline_out.h - a timeline as files and on the terminal, for the verbs that
 * have one to show.
 */
#ifndef CMD_COMMON_TIMELINE_OUT_H
#define CMD_COMMON_TIMELINE_OUT_H

#include "switchover/timeline.h"

#include <stdio.h>

/* As JSON to path, "x.json", and for chrome://tracing beside it, "x.trace.json". */
int timeline_write(struct swo_timeline *timeline, const char *path, struct swo_error *err);
/* Would timeline_write() work? Leaves no file behind. */
int timeline_check(const char *path, struct swo_error *err);
/* A picture as wide as the terminal, of a window and a little around it; 0, 0: of all. */
void timeline_print(struct swo_timeline *timeline, uint64_t from_ns, uint64_t to_ns);
/* Its parts, for tests: is it in colour, and a picture of the library in colour. */
bool timeline_has_colour(bool terminal, const char *no_color, const char *term);
void timeline_print_colours(FILE *out, const char *picture);

#endif
