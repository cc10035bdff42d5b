/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame.h - the unit of transfer: a header, a payload, a checksum over both. The only place
 * with the frame format of a migration.
 */
#ifndef CHANNEL_FRAME_H
#define CHANNEL_FRAME_H

#include "channel/conn.h"

#include <assert.h>

/*
 * On the wire, little-endian. The meaning of device, offset, pass and flags depends on the
 * type, see migration/wire.h.
 */
struct channel_frame_header {
	uint32_t magic;
	uint16_t type;
	uint16_t flags;
	uint32_t device;
	uint32_t length; /* of the payload that follows */
	uint64_t offset;
	uint64_t pass;
	uint64_t checksum; /* XXH3 of the payload, seeded with XXH3 of the fields before */
};
static_assert(sizeof(struct channel_frame_header) == 40, "the header is 40 bytes on the wire");

#define CHANNEL_FRAME_MAGIC	  0x464f5753u /* "SWOF" */
#define CHANNEL_FRAME_PAYLOAD_MAX (16u << 20)

/* The checksum of a header whose other fields are set, and its payload in one piece. */
uint64_t channel_frame_checksum(const struct channel_frame_header *header, const void *payload);
/* Likewise for a payload in two pieces (a wrapped ring buffer). */
uint64_t channel_frame_checksum2(const struct channel_frame_header *header, const void *first,
	size_t first_len, const void *second, size_t second_len);

/*
 * A connection that carries complete frames. Senders take turns, so any thread may send; one
 * thread receives.
 */
struct channel {
	struct channel_conn *conn;
	struct channel_turn turn;
	uint64_t stall_ms;
	/* Counted by who has the turn, compared by the peer at the end. */
	uint64_t frames_sent;
	uint64_t bytes_sent;
	uint64_t large_bytes, large_ns; /* for meter.h */
	/* Used by the receiver only. */
	uint64_t frames_received;
	uint64_t bytes_received;
};

/* Takes ownership of conn. */
void channel_init(struct channel *channel, struct channel_conn *conn, uint64_t stall_ms);
/* `from`, on which no thread sends or receives, is then as after channel_close. */
void channel_move(struct channel *to, struct channel *from);
void channel_close(struct channel *channel);
void channel_shutdown(struct channel *channel);

/*
 * Fills magic, length and checksum, and sends. *checksum (may be NULL) is the frame's checksum,
 * for a hash over a stream of frames.
 */
int channel_send(struct channel *channel, struct channel_frame_header *header, const void *payload,
	size_t len, struct swo_error *err);

/*
 * Sends a frame without payload if that needs no wait for another sender or for the peer; otherwise
 * nothing, and returns 0 too. For a thread that must go on receiving.
 */
int channel_send_now(
	struct channel *channel, struct channel_frame_header *header, struct swo_error *err);

/*
 * Receives a header and checks magic and length (at most max_payload); the payload must be
 * received next, in one or two pieces of exactly header->length bytes in total, which also
 * checks the checksum: SWO_E_CORRUPT. stall_ms 0: the channel's.
 */
int channel_recv_header(struct channel *channel, struct channel_frame_header *header,
	uint32_t max_payload, uint64_t stall_ms, struct swo_error *err);
int channel_recv_payload(struct channel *channel, const struct channel_frame_header *header,
	void *first, size_t first_len, void *second, size_t second_len, struct swo_error *err);

#endif
