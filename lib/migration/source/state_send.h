/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state_send.h - sends a large device's state over all channels: cut into stripes, each sent by
 * its channel's worker while the device is read.
 */
#ifndef MIGRATION_SOURCE_STATE_SEND_H
#define MIGRATION_SOURCE_STATE_SEND_H

#include "migration/internal.h"

/* One worker per channel, for all spread devices. */
struct state_send;

int source_state_send_create(
	struct swo_migration *m, struct state_send **out, struct swo_error *err);
void source_state_send_destroy(struct state_send *send);

/* Of one device: two buffers of `chunk` bytes, one being read into, one being sent. */
struct state_lane;

int source_lane_create(struct state_send *send, unsigned device, size_t chunk,
	struct state_lane **out, struct swo_error *err);
/* After the last drain. */
void source_lane_destroy(struct state_lane *lane);
/* The buffer for the next read. */
uint8_t *source_lane_buffer(struct state_lane *lane);
/*
 * Sends `len` bytes of the buffer, which are at `offset` of the stream, and returns when the
 * next buffer is free. *sum is increased by the frames sent meanwhile.
 */
int source_lane_send(
	struct state_lane *lane, uint64_t offset, size_t len, uint64_t *sum, struct swo_error *err);
/* Returns when everything is passed to the sockets. */
int source_lane_drain(struct state_lane *lane, uint64_t *sum, struct swo_error *err);

#endif
