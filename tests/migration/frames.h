/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frames.h - one side of a migration simulated frame by frame: shared by both sides.
 */
#ifndef TESTS_MIGRATION_FRAMES_H
#define TESTS_MIGRATION_FRAMES_H

#include "migration/wire.h"

#define STALL_MS 5000

struct channel dial(const char *uri);
int send_frame(struct channel *channel, struct channel_frame_header header, const void *payload,
	size_t len);
/* The next frame that is not a ping; -1 when the other side has closed. */
int next_frame(struct channel *channel, struct channel_frame_header *header, char text[65536]);

#endif
