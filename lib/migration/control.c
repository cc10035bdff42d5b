/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.c - the control connection: sends small frames, reads them, pings, and detects a
 * silent peer.
 */
#include "migration/internal.h"

#include <errno.h>
#include <stdlib.h>

int migration_control(struct swo_migration *m, enum wire_type type, const void *payload, size_t len,
	struct swo_error *err)
{
	struct channel_frame_header header = {.type = (uint16_t)type};

	return channel_send(&m->control, &header, payload, len, err);
}

/* The maximum payload of this type. */
static uint32_t payload_max(uint16_t type)
{
	switch (type) {
	case WIRE_HELLO:
	case WIRE_HELLO_OK:
		return WIRE_HELLO_MAX;
	case WIRE_MACHINE:
		return SWO_MACHINE_STATE_MAX;
	case WIRE_CONFIG:
		return SWO_CONFIG_MAX;
	case WIRE_TIMELINE:
		return WIRE_TIMELINE_MAX;
	default:
		return WIRE_TEXT_MAX;
	}
}

static int read_frame(struct swo_migration *m, control_handler *handle, struct swo_error *err)
{
	struct channel_frame_header header;

	if (channel_recv_header(&m->control, &header, CHANNEL_FRAME_PAYLOAD_MAX, 0, err))
		return -1;
	if (header.length > payload_max(header.type))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed control frame of type %u: %u bytes, expected at most %u",
			header.type, header.length, payload_max(header.type));

	swo_autofree uint8_t *payload = malloc((size_t)header.length + 1);

	if (!payload)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "control frame of %u bytes", header.length);
	if (channel_recv_payload(&m->control, &header, payload, header.length, NULL, 0, err))
		return -1;
	payload[header.length] = 0;
	if (header.type == WIRE_PING)
		return 0;
	return handle(m, &header, payload, err);
}

void migration_read_control(struct swo_migration *m, control_handler *handle)
{
	const uint64_t quarter_ms = m->params.idle_deadline_ms / 4;
	uint64_t heard = swo_now_ns(), pinged = 0;
	struct swo_error err = {0};
	bool deaf = false; /* the peer no longer reads, but may have sent something */

	for (;;) {
		uint64_t now = swo_now_ns();

		/*
		 * Without a wait: two readers that waited to send would not read what the other
		 * waits for. A peer that gets frames anyway needs none.
		 */
		if (!deaf && now - pinged >= quarter_ms * 1000000) {
			struct channel_frame_header ping = {.type = WIRE_PING};

			pinged = now;
			deaf = channel_send_now(&m->control, &ping, &err);
			if (deaf && err.code != SWO_E_PEER_LOST)
				break;
		}
		if (channel_conn_readable(m->control.conn, swo_deadline_ms(quarter_ms))) {
			if (read_frame(m, handle, &err))
				break;
			heard = swo_now_ns();
		} else if (swo_now_ns() - heard > m->params.idle_deadline_ms * 1000000) {
			swo_error_set(&err, SWO_E_PEER_LOST, 0,
				"timed out: no frame from the peer on '%s' for %llu ms",
				channel_conn_peer(m->control.conn),
				(unsigned long long)m->params.idle_deadline_ms);
			break;
		}
	}

	pthread_mutex_lock(&m->mutex);
	m->lost = true;
	m->lost_error = err;
	pthread_mutex_unlock(&m->mutex);
	migration_wake(m);
	migration_raise(m, m->handover.table->lost, &err);
	/* Senders must not wait for a peer that is lost. Last: their error would be only "closed". */
	channel_shutdown(&m->control);
}
