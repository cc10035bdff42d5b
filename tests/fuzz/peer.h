/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.h - an input as a list of a peer's steps, each a frame or other bytes. Checksums are
 * corrected, as the fuzzer would never pass them otherwise.
 */
#ifndef TESTS_FUZZ_PEER_H
#define TESTS_FUZZ_PEER_H

#include "fuzz.h"
#include "migration/wire.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#define PEER_PAYLOAD_MAX 8192
#define PEER_STEPS_MAX	 64
#define PEER_MS		 2000 /* a hang guard: longer than any deadline of the side under test */

struct peer_step {
	uint8_t kind, type, device, pass;
	uint16_t len;	 /* of the payload, which follows */
	uint16_t offset; /* in pages; the highest bit: 8 bytes follow instead */
};

struct peer_input {
	const uint8_t *data;
	size_t size;
	unsigned steps;
};

/* false: no more steps. */
static inline bool peer_next(struct peer_input *in, struct peer_step *step,
	struct channel_frame_header *header, uint8_t payload[PEER_PAYLOAD_MAX])
{
	if (in->size < sizeof(*step) || in->steps++ == PEER_STEPS_MAX)
		return false;
	fuzz_take(&in->data, &in->size, step, sizeof(*step));
	*header = (struct channel_frame_header){
		.type = step->type, .device = step->device, .pass = step->pass};
	header->offset = (uint64_t)step->offset * 4096;
	if (step->offset & 0x8000)
		fuzz_take(&in->data, &in->size, &header->offset, sizeof(header->offset));
	step->len %= PEER_PAYLOAD_MAX + 1;
	/* A whole page need not be in the input. */
	memset(payload, step->pass, step->len);
	if (!(step->kind & 0x80))
		fuzz_take(
			&in->data, &in->size, payload, step->len < in->size ? step->len : in->size);
	return true;
}

static inline void peer_raw(struct channel *channel, const void *bytes, size_t len)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, len};

	if (channel->conn)
		channel_conn_send(channel->conn, &iov, 1, PEER_MS, NULL);
}

static inline bool peer_frame(struct channel *channel, struct channel_frame_header header,
	const void *payload, size_t len)
{
	return channel->conn && !channel_send(channel, &header, payload, len, NULL);
}

/* Until the other side has read all that it was sent, or reads no more. */
static inline void peer_settle(struct channel *channel)
{
	int queued = 0, before = 0;

	for (int still = 0; still < 10 && channel->conn; still++) {
		if (ioctl(channel_conn_fd(channel->conn), SIOCOUTQ, &queued) || !queued)
			return;
		if (queued != before)
			still = 0;
		before = queued;
		swo_sleep_until(swo_now_ns() + 100000);
	}
}

#endif
