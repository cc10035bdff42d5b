/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame.c - frames over a connection: complete, checksummed, bounded.
 */
#include "channel/frame.h"

#include "channel/meter.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>
/* The state is on the stack; XXH3_state_t is only then completely declared. */
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#ifdef HAVE_XXH_DISPATCH
/* The same functions, in the widest variant that this CPU supports. */
#include <xxh_x86dispatch.h>
#endif

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "the frame header is written as it lies in memory: little-endian hosts only"
#endif

uint64_t channel_frame_checksum2(const struct channel_frame_header *header, const void *first,
	size_t first_len, const void *second, size_t second_len)
{
	uint64_t seed = XXH3_64bits(header, offsetof(struct channel_frame_header, checksum));

	if (!second_len)
		return XXH3_64bits_withSeed(first, first_len, seed);
	XXH3_state_t state;
	XXH3_INITSTATE(&state);
	XXH3_64bits_reset_withSeed(&state, seed);
	XXH3_64bits_update(&state, first, first_len);
	XXH3_64bits_update(&state, second, second_len);
	return XXH3_64bits_digest(&state);
}

uint64_t channel_frame_checksum(const struct channel_frame_header *header, const void *payload)
{
	return channel_frame_checksum2(header, payload, header->length, NULL, 0);
}

void channel_init(struct channel *channel, struct channel_conn *conn, uint64_t stall_ms)
{
	memset(channel, 0, sizeof(*channel));
	channel->conn = conn;
	channel->stall_ms = stall_ms;
	channel_turn_init(&channel->turn);
}

void channel_move(struct channel *to, struct channel *from)
{
	*to = *from;
	channel_turn_init(&to->turn);
	channel_turn_destroy(&from->turn);
	from->conn = NULL;
}

void channel_close(struct channel *channel)
{
	if (!channel->conn)
		return;
	channel_conn_close(channel->conn);
	channel->conn = NULL;
	channel_turn_destroy(&channel->turn);
}

void channel_shutdown(struct channel *channel)
{
	channel_conn_shutdown(channel->conn);
}

/* Having the turn. */
static int send_in_turn(struct channel *channel, struct channel_frame_header *header,
	const void *payload, size_t len, struct swo_error *err)
{
	struct iovec iov[2] = {{.iov_base = header, .iov_len = sizeof(*header)},
		{.iov_base = (void *)(uintptr_t)payload, .iov_len = len}};
	uint64_t start = len >= CHANNEL_METER_FRAME_MIN ? swo_now_ns() : 0;
	int rc = channel_conn_send(channel->conn, iov, 2, channel->stall_ms, err);

	if (len >= CHANNEL_METER_FRAME_MIN) {
		channel->large_bytes += len;
		channel->large_ns += swo_now_ns() - start;
	}
	if (!rc) {
		channel->frames_sent++;
		channel->bytes_sent += sizeof(*header) + len;
	} else {
		/* Part of a frame may have been sent: the connection cannot be used any more. */
		channel_conn_shutdown(channel->conn);
	}
	return rc;
}

static void seal(struct channel_frame_header *header, const void *payload, size_t len)
{
	header->magic = CHANNEL_FRAME_MAGIC;
	header->length = (uint32_t)len;
	header->checksum = channel_frame_checksum(header, payload);
}

int channel_send(struct channel *channel, struct channel_frame_header *header, const void *payload,
	size_t len, struct swo_error *err)
{
	if (len > CHANNEL_FRAME_PAYLOAD_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0, "frame too large: %zu bytes", len);
	seal(header, payload, len);

	int rc = channel_turn_take(&channel->turn, channel_conn_limit(channel->conn));

	if (rc)
		return channel_limit_error(err, rc, channel_conn_peer(channel->conn));
	rc = send_in_turn(channel, header, payload, len, err);
	channel_turn_leave(&channel->turn);
	return rc;
}

int channel_send_now(
	struct channel *channel, struct channel_frame_header *header, struct swo_error *err)
{
	int rc = 0;

	if (!channel_turn_try(&channel->turn))
		return 0;
	seal(header, NULL, 0);
	if (channel_conn_writable(channel->conn))
		rc = send_in_turn(channel, header, NULL, 0, err);
	channel_turn_leave(&channel->turn);
	return rc;
}

/* The first two bytes of a TLS record, as they are read into `magic`. */
#define TLS_ALERT     0x0315
#define TLS_HANDSHAKE 0x0316

/* A plain end that receives a TLS record: reports that instead. Keeps *err otherwise. */
static int explain_tls(
	struct channel *channel, const struct channel_frame_header *header, struct swo_error *err)
{
	uint32_t start = header->magic & 0xffff;

	if (channel_conn_has_tls(channel->conn) || (start != TLS_ALERT && start != TLS_HANDSHAKE))
		return -1;
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"the peer on '%s' uses TLS and this side does not: give this side TLS "
		"credentials (tls-creds) too",
		channel_conn_peer(channel->conn));
}

int channel_recv_header(struct channel *channel, struct channel_frame_header *header,
	uint32_t max_payload, uint64_t stall_ms, struct swo_error *err)
{
	struct iovec iov = {.iov_base = header, .iov_len = sizeof(*header)};

	*header = (struct channel_frame_header){0};
	if (channel_conn_recv(channel->conn, &iov, 1, stall_ms ? stall_ms : channel->stall_ms, err))
		return explain_tls(channel, header, err);
	if ((header->magic & 0xffff) == TLS_HANDSHAKE)
		return explain_tls(channel, header, err);
	if (header->magic != CHANNEL_FRAME_MAGIC)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed frame on '%s': magic %08x; not a migration stream",
			channel_conn_peer(channel->conn), header->magic);
	if (header->length > max_payload)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed frame of type %u: %u bytes on '%s', expected at most %u",
			header->type, header->length, channel_conn_peer(channel->conn),
			max_payload);
	return 0;
}

int channel_recv_payload(struct channel *channel, const struct channel_frame_header *header,
	void *first, size_t first_len, void *second, size_t second_len, struct swo_error *err)
{
	struct iovec iov[2] = {{.iov_base = first, .iov_len = first_len},
		{.iov_base = second, .iov_len = second_len}};

	if (channel_conn_recv(channel->conn, iov, 2, channel->stall_ms, err))
		return -1;
	if (channel_frame_checksum2(header, first, first_len, second, second_len) !=
		header->checksum)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"corrupt frame of type %u (device %u, offset %llu) on '%s': wrong "
			"checksum",
			header->type, header->device, (unsigned long long)header->offset,
			channel_conn_peer(channel->conn));
	channel->frames_received++;
	channel->bytes_received += sizeof(*header) + header->length;
	return 0;
}
