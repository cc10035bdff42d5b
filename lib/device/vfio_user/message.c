/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * message.c - one message at a time over a UNIX stream socket, with its fds and a deadline; an
 * incomplete transfer is always reported.
 */
#include "device/vfio_user/message.h"

#include "base/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PIECES_MAX 8

int vfio_user_header_check(
	const struct vfio_user_header *header, size_t max_payload, struct swo_error *err)
{
	uint32_t type = header->flags & VFIO_USER_TYPE_MASK;

	if (header->size < sizeof(*header) || header->size - sizeof(*header) > max_payload)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed message %u of command %u: %u bytes, expected %zu to %zu",
			header->id, header->command, header->size, sizeof(*header),
			sizeof(*header) + max_payload);
	if (type != VFIO_USER_COMMAND && type != VFIO_USER_REPLY)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed message %u of command %u: type %u, expected 0 or 1", header->id,
			header->command, type);
	return 0;
}

void vfio_user_fds_close(struct vfio_user_fds *fds)
{
	for (unsigned i = 0; i < fds->count; i++)
		swo_close_fd(&fds->fd[i]);
	fds->count = 0;
}

int vfio_user_fds_take(struct vfio_user_fds *fds, unsigned i)
{
	if (i >= fds->count)
		return -1;
	int fd = fds->fd[i];

	fds->fd[i] = -1;
	return fd;
}

static int wait_ready(int sock, short events, swo_deadline deadline, struct swo_error *err)
{
	int rc = base_wait_fd(sock, events, deadline, NULL);

	if (rc == ETIMEDOUT)
		return swo_error_set(err, SWO_E_TIMEOUT, 0,
			events == POLLOUT ? "timed out: the vfio-user peer does not read"
					  : "timed out: the vfio-user peer does not send");
	return rc ? swo_error_set(err, SWO_E_IO, rc, "cannot poll a vfio-user socket") : 0;
}

static int send_failed(struct swo_error *err)
{
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		return swo_error_set(
			err, SWO_E_PEER_LOST, 0, "the vfio-user peer closed the connection");
	return swo_error_set(err, SWO_E_IO, errno, "cannot send a vfio-user message");
}

int vfio_user_send(int sock, const struct iovec *pieces, unsigned count, const int *fds,
	unsigned fd_count, swo_deadline deadline, size_t *sent, struct swo_error *err)
{
	struct iovec iov[PIECES_MAX], *left = iov;
	size_t ignored;

	if (!sent)
		sent = &ignored;
	*sent = 0;
	if (!count || count > PIECES_MAX || fd_count > VFIO_USER_FDS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"vfio-user message of %u pieces with %u fds, at most %d and %d supported",
			count, fd_count, PIECES_MAX, VFIO_USER_FDS_MAX);
	memcpy(iov, pieces, count * sizeof(*pieces));
	count = base_iov_advance(&left, count, 0);
	while (count) {
		struct msghdr msg = {.msg_iov = left, .msg_iovlen = count};
		ssize_t n = base_send_fds(sock, &msg, fds, fd_count, MSG_DONTWAIT);

		if (n >= 0) {
			*sent += (size_t)n;
			count = base_iov_advance(&left, count, (size_t)n);
			fd_count = 0; /* sent with the first byte */
		} else if (errno != EAGAIN) {
			return send_failed(err);
		} else if (wait_ready(sock, POLLOUT, deadline, err)) {
			return -1;
		}
	}
	return 0;
}

/* Fds were dropped: there were too many, or this process had no free descriptor. */
static int fds_cut(int sock, struct swo_error *err)
{
	int one = fcntl(sock, F_DUPFD_CLOEXEC, 0);

	if (one < 0)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, errno, "cannot receive the fds of a message");
	close(one);
	return swo_error_set(
		err, SWO_E_PROTOCOL, 0, "message with more than %d fds", VFIO_USER_FDS_MAX);
}

static int recv_failed(ssize_t n, struct swo_error *err)
{
	if (n == 0 || errno == ECONNRESET || errno == EPIPE || errno == ENOTCONN)
		return swo_error_set(
			err, SWO_E_PEER_LOST, 0, "the vfio-user peer closed the connection");
	return swo_error_set(err, SWO_E_IO, errno, "cannot receive a vfio-user message");
}

ssize_t vfio_user_recv_now(int sock, struct iovec *pieces, unsigned count,
	struct vfio_user_fds *fds, struct swo_error *err)
{
	struct msghdr msg = {.msg_iov = pieces, .msg_iovlen = count};
	bool cut = false;
	ssize_t n;

	/* Without a buffer for control data the kernel closes any fds itself. */
	if (fds)
		n = base_recv_fds(
			sock, &msg, fds->fd, VFIO_USER_FDS_MAX, &fds->count, &cut, MSG_DONTWAIT);
	else
		do
			n = recvmsg(sock, &msg, MSG_DONTWAIT);
		while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return recv_failed(n, err);
	return cut ? fds_cut(sock, err) : n;
}

/* Reads into buf[done..len); returns once some bytes were read. */
static int recv_some(int sock, void *buf, size_t len, size_t *done, struct vfio_user_fds *fds,
	swo_deadline deadline, struct swo_error *err)
{
	for (;;) {
		struct iovec iov = {.iov_base = (char *)buf + *done, .iov_len = len - *done};
		ssize_t n = vfio_user_recv_now(sock, &iov, 1, fds, err);

		if (n < 0)
			return -1;
		*done += (size_t)n;
		if (n > 0)
			return 0;
		if (wait_ready(sock, POLLIN, deadline, err))
			return -1;
	}
}

int vfio_user_recv_header(int sock, struct vfio_user_header *header, struct vfio_user_fds *fds,
	swo_deadline deadline, size_t *got, struct swo_error *err)
{
	size_t ignored;

	if (!got)
		got = &ignored;
	*got = 0;
	if (fds)
		fds->count = 0;
	while (*got < sizeof(*header))
		if (recv_some(sock, header, sizeof(*header), got, fds, deadline, err)) {
			if (fds)
				vfio_user_fds_close(fds);
			return -1;
		}
	return 0;
}

int vfio_user_recv_body(
	int sock, void *buf, size_t len, swo_deadline deadline, struct swo_error *err)
{
	size_t done = 0;

	while (done < len)
		if (recv_some(sock, buf, len, &done, NULL, deadline, err))
			return -1;
	return 0;
}

int vfio_user_recv(int sock, struct vfio_user_header *header, void *buf, size_t room,
	struct vfio_user_fds *fds, swo_deadline deadline, struct swo_error *err)
{
	if (vfio_user_recv_header(sock, header, fds, deadline, NULL, err))
		return -1;
	if (!vfio_user_header_check(header, room, err) &&
		!vfio_user_recv_body(sock, buf, vfio_user_payload(header), deadline, err))
		return 0;
	if (fds)
		vfio_user_fds_close(fds);
	return -1;
}
