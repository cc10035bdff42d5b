/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meter.h - the rate of channels while they send. Only large frames count: a small one costs a
 * wake-up of the receiver, whatever the wire.
 */
#ifndef CHANNEL_METER_H
#define CHANNEL_METER_H

#include "channel/frame.h"

#define CHANNEL_METER_FRAME_MIN (64u << 10) /* of payload */

/* Since the channel was created. */
struct channel_meter {
	uint64_t bytes;
	uint64_t busy_ns;  /* time in their sends */
	uint64_t tcp_rate; /* measured by TCP, bytes/s; 0: no TCP, or not available */
	uint64_t tcp_acked;
	uint64_t tcp_busy_ns; /* with bytes that are not acknowledged */
};
struct channel_meter channel_meter_read(struct channel *channel);

struct channel_meter_sample {
	uint64_t bytes, ns; /* ns 0: too few bytes */
};
/*
 * Of `count` parallel channels between two readings of each; nothing if fewer than `least` bytes
 * were sent. A channel that did not send is not assumed to be faster.
 */
struct channel_meter_sample channel_meter_measure(const struct channel_meter *before,
	const struct channel_meter *after, unsigned count, uint64_t least);

/* Bytes in the socket: sent, but not acknowledged (TCP) or read (UNIX). They go first. */
uint64_t channel_meter_backlog(struct channel *channel);

#endif
