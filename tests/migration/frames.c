/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frames.c - sends and receives single frames.
 */
#include "frames.h"

#include "tests/support/cm.h"

struct channel dial(const char *uri)
{
	struct channel channel;
	struct channel_conn *conn;

	assert_int_equal(channel_conn_open(uri, NULL, swo_deadline_ms(STALL_MS), &conn, NULL), 0);
	channel_init(&channel, conn, STALL_MS);
	return channel;
}

int send_frame(struct channel *channel, struct channel_frame_header header, const void *payload,
	size_t len)
{
	return channel_send(channel, &header, payload, len, NULL);
}

int next_frame(struct channel *channel, struct channel_frame_header *header, char text[65536])
{
	do {
		if (channel_recv_header(channel, header, 65535, 0, NULL) ||
			channel_recv_payload(channel, header, text, header->length, NULL, 0, NULL))
			return -1;
		text[header->length] = 0;
	} while (header->type == WIRE_PING);
	return header->type;
}
