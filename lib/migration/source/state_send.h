/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state_send.h - a large device's state over all channels: cut into stripes, each sent by its
 * channel's worker while the device is read on.
 */
#ifndef MIGRATION_SOURCE_STATE_SEND_H
#define MIGRATION_SOURCE_STATE_SEND_H

#include "migration/internal.h"

/* One worker a channel, for all devices that are spread. */
struct state_send;

int source_state_send_create(
	struct swo_migration *m, struct state_send **out, struct swo_error *err);
void source_state_send_destroy(struct state_send *send);

/* One device's: two buffers of `chunk` bytes, one being read into, one on its way. */
struct state_lane;

int source_lane_create(struct state_send *send, unsigned device, size_t chunk,
	struct state_lane **out, struct swo_error *err);
/* After the last drain. */
void source_lane_destroy(struct state_lane *lane);
/* Where to read to. */
uint8_t *source_lane_buffer(struct state_lane *lane);
/*
 * Sends `len` bytes of the buffer, which are at `offset` of the stream, and returns when the next
 * buffer is free. *sum grows by what has been sent meanwhile.
 */
int source_lane_send(
	struct state_lane *lane, uint64_t offset, size_t len, uint64_t *sum, struct swo_error *err);
/* Returns when all is handed to the sockets. */
int source_lane_drain(struct state_lane *lane, uint64_t *sum, struct swo_error *err);

#endif
