/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * message.h - vfio-user messages: sending a complete one, receiving a bounded one, and the
 * VERSION payload. Used by both ends; without device or state.
 *
 * The helpers that only build and parse do no I/O. Those that do I/O never block past their
 * deadline, whatever the socket's mode, and raise no SIGPIPE.
 */
#ifndef DEVICE_VFIO_USER_MESSAGE_H
#define DEVICE_VFIO_USER_MESSAGE_H

#include "base/net.h"
#include "device/vfio_user/proto.h"
#include "switchover/base.h"

#include <sys/types.h>
#include <sys/uio.h>

/* Building and parsing */

static inline struct vfio_user_header vfio_user_command_header(
	uint16_t id, uint16_t command, size_t payload, bool no_reply)
{
	return (struct vfio_user_header){.id = id,
		.command = command,
		.size = (uint32_t)(sizeof(struct vfio_user_header) + payload),
		.flags = VFIO_USER_COMMAND | (no_reply ? VFIO_USER_NO_REPLY : 0)};
}

/* error: an errno, or 0 for success. Our error replies have no payload: it is ignored then. */
static inline struct vfio_user_header vfio_user_reply_header(
	const struct vfio_user_header *request, size_t payload, int error)
{
	return (struct vfio_user_header){.id = request->id,
		.command = request->command,
		.size = (uint32_t)(sizeof(struct vfio_user_header) + (error ? 0 : payload)),
		.flags = VFIO_USER_REPLY | (error ? VFIO_USER_ERROR : 0),
		.error = (uint32_t)error};
}

static inline bool vfio_user_is_reply(const struct vfio_user_header *header)
{
	return (header->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_REPLY;
}

/* The payload bytes of a checked header. */
static inline size_t vfio_user_payload(const struct vfio_user_header *header)
{
	return header->size - sizeof(*header);
}

/*
 * Checks a header: size from 16 to 16 + max_payload, and an existing type. SWO_E_PROTOCOL
 * otherwise: the stream is lost. An error reply may have a payload (libvfio-user sends that of
 * the request, against the specification): it is to be skipped.
 */
int vfio_user_header_check(
	const struct vfio_user_header *header, size_t max_payload, struct swo_error *err);

/* The keys of VERSION, as bits. */
enum {
	VFIO_USER_HAS_MAX_MSG_FDS = 1,
	VFIO_USER_HAS_MAX_DATA_XFER = 2,
	VFIO_USER_HAS_MAX_DMA_MAPS = 4,
	VFIO_USER_HAS_PGSIZES = 8,
	VFIO_USER_HAS_TWIN_SOCKET = 16,
	VFIO_USER_HAS_WRITE_MULTIPLE = 32,
	VFIO_USER_HAS_X_SWITCHOVER = 64,
	VFIO_USER_HAS_ALL = 127,
};

/* The properties of one side in VERSION. */
struct vfio_user_caps {
	uint16_t major;
	uint16_t minor;
	unsigned keys;		/* VFIO_USER_HAS_*: those that were named, or that are to be sent */
	uint64_t max_msg_fds;	/* fds it can receive in one message */
	uint64_t max_data_xfer; /* largest count it accepts in data messages */
	uint64_t max_dma_maps;
	uint64_t pgsizes;
	bool twin_socket;
	int twin_fd_index; /* index of the fd in the reply; -1: not present */
	bool write_multiple;
	/* "x-switchover" */
	uint64_t max_write; /* 0: not present */
	bool exact_reads;
};

/* The protocol's defaults, version 0.2, and all keys. */
void vfio_user_caps_init(struct vfio_user_caps *caps);
/*
 * Appends the complete VERSION payload (numbers, JSON, NUL) to `out`, with caps->keys only: a
 * client may take a key that it did not propose for an error, as QEMU does.
 */
int vfio_user_version_build(
	const struct vfio_user_caps *caps, struct swo_buf *out, struct swo_error *err);
/*
 * Parses a VERSION payload; missing keys take the default, unknown keys are ignored.
 * SWO_E_PROTOCOL: too short, JSON without NUL or invalid, a key of the wrong type or negative.
 * The version numbers are not checked: that is up to the caller.
 */
int vfio_user_version_parse(
	const void *payload, size_t len, struct vfio_user_caps *caps, struct swo_error *err);

/* Sending and receiving */

#define VFIO_USER_FDS_MAX 16 /* in one message, either way: QEMU accepts no larger limit */

/* Fds received with a message; owned by the holder of this structure. */
struct vfio_user_fds {
	int fd[VFIO_USER_FDS_MAX];
	unsigned count;
};
void vfio_user_fds_close(struct vfio_user_fds *fds);
/* Takes fd i out (owned by the caller then); -1 if there is none. */
int vfio_user_fds_take(struct vfio_user_fds *fds, unsigned i);

/*
 * Sends one message of `count` (1..8) pieces, the header first, by one sendmsg; the part that
 * the socket does not accept at once is sent before this returns, so the message stays
 * complete. The fds are sent with the first byte and stay owned by the caller. One sender at a
 * time.
 *
 * Fails with SWO_E_TIMEOUT, SWO_E_PEER_LOST, SWO_E_IO; *sent (may be NULL) is the number of
 * bytes sent: if it is neither 0 nor everything, the stream is broken and must be closed.
 */
int vfio_user_send(int sock, const struct iovec *pieces, unsigned count, const int *fds,
	unsigned fd_count, swo_deadline deadline, size_t *sent, struct swo_error *err);

/*
 * Receives a header, with its fds (fds NULL: received fds are closed), without checking it: see
 * vfio_user_header_check. More than VFIO_USER_FDS_MAX fds: SWO_E_PROTOCOL. SWO_E_PEER_LOST at
 * the end of the stream. *got (may be NULL): bytes read from the stream; a SWO_E_TIMEOUT with
 * *got == 0 is harmless. On failure no fds are left open.
 */
int vfio_user_recv_header(int sock, struct vfio_user_header *header, struct vfio_user_fds *fds,
	swo_deadline deadline, size_t *got, struct swo_error *err);
/*
 * Reads available data without blocking into up to `count` pieces; fds are added to `fds`
 * (which may be NULL). Returns the bytes read, 0 if there are none at present, or -1.
 */
ssize_t vfio_user_recv_now(int sock, struct iovec *pieces, unsigned count,
	struct vfio_user_fds *fds, struct swo_error *err);
/* Receives exactly `len` bytes of body. After any failure the stream is broken. */
int vfio_user_recv_body(
	int sock, void *buf, size_t len, swo_deadline deadline, struct swo_error *err);
/*
 * Header, check, and body into buf[room]. The payload's length is vfio_user_payload(header). On
 * failure no fds are left open.
 */
int vfio_user_recv(int sock, struct vfio_user_header *header, void *buf, size_t room,
	struct vfio_user_fds *fds, swo_deadline deadline, struct swo_error *err);

#endif
