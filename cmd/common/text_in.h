/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text_in.h - files that an option or an argument names, to be read: any text, and timelines.
 */
#ifndef CMD_COMMON_TEXT_IN_H
#define CMD_COMMON_TEXT_IN_H

#include "switchover/timeline.h"

/* All of it, as far as the buffer's maximum. The error begins with `what`, the option; "": none. */
int text_read(const char *what, const char *path, struct swo_buf *text, struct swo_error *err);
/* The timeline in this text; errors name `path`. NULL: *err. */
struct swo_timeline *timeline_parse(
	const struct swo_buf *text, const char *path, struct swo_error *err);

#define TEXT_BYTES_MAX (256u << 20)

#endif
