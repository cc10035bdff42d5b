/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_rx.c - receives messages of a server: replies for the waiting calls, commands for the
 * service thread. Reads only available data, so it can stop after any byte.
 */
#include "device/vfio_user/client_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_MAX (sizeof(struct vfio_user_dma_access) + VFIO_USER_CLIENT_DATA_MAX)
/* Bytes read at once with the lock held: it must not be held long. */
#define STEP_MAX    262144u
#define SCRATCH_MAX 16384u

void vfio_user_rx_reset(struct vfio_user_rx *rx)
{
	vfio_user_fds_close(&rx->fds);
	rx->target = VFIO_USER_TO_HEADER;
	rx->header_got = 0;
	rx->body_got = 0;
	rx->call = NULL;
}

void vfio_user_rx_free(struct vfio_user_rx *rx)
{
	vfio_user_rx_reset(rx);
	free(rx->command);
	rx->command = NULL;
	swo_close_fd(&rx->sock);
}

static struct vfio_user_call *find_call(struct vfio_user_client *client, uint16_t id)
{
	for (struct vfio_user_call *call = client->calls; call; call = call->next)
		if (call->id == id)
			return call;
	return NULL;
}

/* Completes the call; the rest of the body is skipped. */
static void finish_call(struct vfio_user_client *client, struct vfio_user_rx *rx)
{
	vfio_user_call_done(client, rx->call);
	rx->call = NULL;
	rx->target = VFIO_USER_TO_NOWHERE;
}

static void begin_reply_body(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct vfio_user_call *call)
{
	size_t payload = vfio_user_payload(&rx->header);
	size_t room = call->reply[0].iov_len + call->reply[1].iov_len;

	rx->call = call;
	if (rx->header.flags & VFIO_USER_ERROR) {
		/* Some servers send 0, or a number that is no errno. */
		call->refused = rx->header.error && rx->header.error < 4096 ? (int)rx->header.error
									    : EINVAL;
		finish_call(client, rx);
	} else if (payload < call->reply_min || payload > room) {
		swo_error_set(&call->err, SWO_E_PROTOCOL, 0,
			"malformed reply to %s: %zu bytes, expected %zu to %zu",
			vfio_user_call_name(call), payload, call->reply_min, room);
		finish_call(client, rx);
	} else {
		if (call->reply_fds) {
			*call->reply_fds = rx->fds;
			rx->fds.count = 0;
		}
		call->reply_len = payload;
		rx->target = VFIO_USER_TO_CALL;
	}
	vfio_user_fds_close(&rx->fds);
}

static int begin_reply(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err)
{
	const struct vfio_user_header *header = &rx->header;
	struct vfio_user_call *call = find_call(client, header->id);

	if (!rx->replies)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"its server sent a reply on the socket for its commands");
	if (!call && vfio_user_owed(client, header->id)) {
		vfio_user_set_owed(client, header->id, false);
		rx->target = VFIO_USER_TO_NOWHERE;
		vfio_user_fds_close(&rx->fds);
		return 0;
	}
	if (!call || call->command != header->command)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"its server sent an unexpected reply (ID %u, command %u)", header->id,
			header->command);
	begin_reply_body(client, rx, call);
	return 0;
}

static int begin_command(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err)
{
	size_t payload = vfio_user_payload(&rx->header);

	if (!client->serving || payload > COMMAND_MAX)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"its server sent command %u with %zu bytes, %s", rx->header.command,
			payload, client->serving ? "more than negotiated" : "before the setup");
	vfio_user_fds_close(&rx->fds);
	if (!rx->command)
		rx->command = malloc(COMMAND_MAX);
	if (!rx->command)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "buffer for its server's commands");
	rx->target = VFIO_USER_TO_COMMAND;
	return 0;
}

/* One read of up to `count` pieces into *got; false: look at *result. */
static bool read_now(struct vfio_user_client *client, struct vfio_user_rx *rx, struct iovec *iov,
	unsigned count, struct vfio_user_fds *fds, size_t *got, enum vfio_user_rx_result *result,
	struct swo_error *err)
{
	ssize_t n = vfio_user_recv_now(rx->sock, iov, count, fds, err);

	if (n <= 0) {
		*result = n ? VFIO_USER_RX_FAILED : VFIO_USER_RX_BLOCKED;
		return false;
	}
	*got += (size_t)n;
	client->received++;
	__atomic_store_n(&client->silent, false, __ATOMIC_RELEASE);
	return true;
}

/* A complete message is never left behind: nothing would wake the reader for it. */
static enum vfio_user_rx_result end_of_step(
	struct vfio_user_client *client, struct vfio_user_rx *rx)
{
	if (rx->body_got < vfio_user_payload(&rx->header))
		return VFIO_USER_RX_MORE;
	if (rx->target == VFIO_USER_TO_COMMAND)
		return VFIO_USER_RX_COMMAND;
	if (rx->target == VFIO_USER_TO_CALL)
		vfio_user_call_done(client, rx->call);
	vfio_user_rx_reset(rx);
	return VFIO_USER_RX_MORE;
}

static enum vfio_user_rx_result step_header(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err)
{
	struct iovec iov = {.iov_base = (char *)&rx->header + rx->header_got,
		.iov_len = sizeof(rx->header) - rx->header_got};
	enum vfio_user_rx_result result;

	if (!read_now(client, rx, &iov, 1, &rx->fds, &rx->header_got, &result, err))
		return result;
	if (rx->header_got < sizeof(rx->header))
		return VFIO_USER_RX_MORE;
	if (vfio_user_header_check(&rx->header, VFIO_USER_CLIENT_PAYLOAD_MAX, err))
		return VFIO_USER_RX_FAILED;
	if (vfio_user_is_reply(&rx->header) ? begin_reply(client, rx, err)
					    : begin_command(client, rx, err))
		return VFIO_USER_RX_FAILED;
	return end_of_step(client, rx);
}

/* The parts of [body_got, body_got + left) in the call's reply. */
static unsigned reply_pieces(const struct vfio_user_rx *rx, size_t left, struct iovec iov[2])
{
	size_t skip = rx->body_got;
	unsigned count = 0;

	for (unsigned i = 0; i < 2 && left; i++) {
		const struct iovec *piece = &rx->call->reply[i];

		if (skip >= piece->iov_len) {
			skip -= piece->iov_len;
			continue;
		}
		size_t len = piece->iov_len - skip < left ? piece->iov_len - skip : left;

		iov[count++] =
			(struct iovec){.iov_base = (char *)piece->iov_base + skip, .iov_len = len};
		left -= len;
		skip = 0;
	}
	return count;
}

enum vfio_user_rx_result vfio_user_rx_step(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err)
{
	uint8_t scratch[SCRATCH_MAX];
	struct iovec iov[2];
	unsigned count = 1;
	enum vfio_user_rx_result result;

	if (rx->target == VFIO_USER_TO_HEADER)
		return step_header(client, rx, err);
	size_t left = vfio_user_payload(&rx->header) - rx->body_got;

	if (left > STEP_MAX)
		left = STEP_MAX;
	switch (rx->target) {
	case VFIO_USER_TO_CALL:
		count = reply_pieces(rx, left, iov);
		break;
	case VFIO_USER_TO_COMMAND:
		iov[0] = (struct iovec){.iov_base = rx->command + rx->body_got, .iov_len = left};
		break;
	default:
		iov[0] = (struct iovec){.iov_base = scratch,
			.iov_len = left < sizeof(scratch) ? left : sizeof(scratch)};
		break;
	}
	if (!read_now(client, rx, iov, count, NULL, &rx->body_got, &result, err))
		return result;
	return end_of_step(client, rx);
}

/* The server's commands */

static int send_answer(struct vfio_user_client *client, struct vfio_user_rx *rx,
	const void *payload, size_t len, int error, struct swo_error *err)
{
	struct vfio_user_header header = vfio_user_reply_header(&rx->header, len, error);
	struct iovec iov[] = {{&header, sizeof(header)}, {(void *)payload, error ? 0 : len}};
	swo_deadline deadline = swo_deadline_ms(client->command_deadline_ms);
	bool shared = rx->sock == client->rx.sock;

	if (rx->header.flags & VFIO_USER_NO_REPLY)
		return 0;
	if (shared && vfio_user_client_begin_send(client, deadline, err))
		return -1;
	int rc = vfio_user_send(rx->sock, iov, 2, NULL, 0, deadline, NULL, err);

	if (shared)
		vfio_user_client_end_send(client);
	return rc;
}

/* True if this is a DMA command whose length matches its count. */
static bool dma_command_is_sound(const struct vfio_user_rx *rx, struct vfio_user_dma_access *access)
{
	size_t payload = vfio_user_payload(&rx->header);

	if (payload < sizeof(*access))
		return false;
	memcpy(access, rx->command, sizeof(*access));
	if (access->count > VFIO_USER_CLIENT_DATA_MAX ||
		access->address + access->count < access->address)
		return false;
	return payload ==
	       sizeof(*access) + (rx->header.command == VFIO_USER_DMA_WRITE ? access->count : 0);
}

int vfio_user_rx_answer(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err)
{
	bool write = rx->header.command == VFIO_USER_DMA_WRITE;
	struct vfio_user_dma_access access;
	int error;

	if (!write && rx->header.command != VFIO_USER_DMA_READ)
		return send_answer(client, rx, NULL, 0, ENOTSUP, err);
	if (!dma_command_is_sound(rx, &access))
		return send_answer(client, rx, NULL, 0, EINVAL, err);
	error = client->dma(
		client->opaque, write, access.address, rx->command + sizeof(access), access.count);
	/* The request at the start of the buffer also starts the reply, followed by a read's data. */
	return send_answer(client, rx, rx->command,
		sizeof(access) + (write ? 0 : (size_t)access.count), error, err);
}
