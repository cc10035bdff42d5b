/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meter.h - how fast channels carry bytes while they carry any. Only frames that are large enough
 * for it count: a small one costs a wake-up of the other side, whatever the wire.
 */
#ifndef CHANNEL_METER_H
#define CHANNEL_METER_H

#include "channel/frame.h"

#define SWO_METER_FRAME_MIN (64u << 10) /* of payload */

/* Since the channel was made. */
struct swo_meter {
	uint64_t bytes;
	uint64_t busy_ns;  /* in sends of them */
	uint64_t tcp_rate; /* as TCP has seen it, bytes a second; 0: no TCP, or it does not say */
};
struct swo_meter swo_meter_read(struct swo_channel *channel);

/*
 * Bytes a second over `count` channels side by side, between two readings of each; 0 when fewer
 * than `least` bytes went. A channel that did not take part is not believed to be any faster.
 */
uint64_t swo_meter_rate(const struct swo_meter *before, const struct swo_meter *after,
	unsigned count, uint64_t least);

#endif
