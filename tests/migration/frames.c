/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frames.c - sends and receives single frames.
 */
#include "frames.h"

#include "tests/support/cm.h"

struct swo_channel dial(const char *uri)
{
	struct swo_channel channel;
	struct swo_conn *conn;

	assert_int_equal(swo_conn_open(uri, NULL, swo_deadline_ms(STALL_MS), &conn, NULL), 0);
	swo_channel_init(&channel, conn, STALL_MS);
	return channel;
}

int send_frame(struct swo_channel *channel, struct swo_frame_header header, const void *payload,
	size_t len)
{
	return swo_channel_send(channel, &header, payload, len, NULL);
}

int next_frame(struct swo_channel *channel, struct swo_frame_header *header, char text[65536])
{
	do {
		if (swo_channel_recv_header(channel, header, 65535, 0, NULL) ||
			swo_channel_recv_payload(
				channel, header, text, header->length, NULL, 0, NULL))
			return -1;
		text[header->length] = 0;
	} while (header->type == WIRE_PING);
	return header->type;
}
