/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn.c - one client's socket: receives messages in pieces together with their fds, and sends
 * one reply at a time.
 */
#include "server.h"

#include "base/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void srv_conn_init(struct srv_conn *c)
{
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	c->twin = -1;
	c->deferred_end = &c->deferred;
}

void srv_message_free(struct srv_message *m)
{
	if (!m)
		return;
	vfio_user_fds_close(&m->fds);
	free(m->body);
	free(m);
}

void srv_conn_accept(struct srv *s)
{
	struct srv_conn *c = &s->conn;
	int fd = base_accept(s->listen_fd);

	if (fd < 0)
		return;
	srv_conn_init(c);
	c->fd = fd;
	vfio_user_caps_init(&c->peer);
}

/* 1: some bytes came; 0: none now; -1: the end. */
static int receive_some(struct srv_conn *c, void *buf, size_t len, size_t *got)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct vfio_user_fds *fds = &c->in->fds;
	bool cut = false; /* what does not fit is closed, and not missed */
	ssize_t n = base_recv_fds(
		c->fd, &msg, fds->fd, VFIO_USER_FDS_MAX, &fds->count, &cut, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	*got = (size_t)n;
	return n ? 1 : -1;
}

static int skip_body(struct srv_conn *c)
{
	static char nowhere[65536];

	while (c->skip) {
		size_t want = c->skip < sizeof(nowhere) ? (size_t)c->skip : sizeof(nowhere), got;
		int rc = receive_some(c, nowhere, want, &got);

		if (rc <= 0)
			return rc;
		c->skip -= got;
	}
	return 1;
}

static int receive_header(struct srv *s, struct srv_conn *c)
{
	struct srv_message *m = c->in;
	struct swo_error err;

	while (c->header_got < sizeof(m->header)) {
		size_t got;
		int rc = receive_some(c, (char *)&m->header + c->header_got,
			sizeof(m->header) - c->header_got, &got);

		if (rc <= 0)
			return rc;
		c->header_got += got;
	}
	if (m->len || m->body || c->skip)
		return 1;
	if (!vfio_user_header_check(&m->header, SRV_BODY_MAX, &err)) {
		m->len = vfio_user_payload(&m->header);
		m->body = malloc(m->len + 1);
		return m->body ? 1 : -1;
	}
	/* A malformed header ends the connection; a body that is too long is skipped. */
	if (m->header.size < sizeof(m->header) || c->awaiting ||
		(m->header.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_COMMAND)
		return -1;
	srv_reply(s, &m->header, 0, EINVAL, NULL, 0);
	c->skip = vfio_user_payload(&m->header);
	return 1;
}

/* One step: 1 with a complete message in c->in, 2 after one was skipped, else as above. */
static int receive_step(struct srv *s, struct srv_conn *c)
{
	struct srv_message *m;
	int rc;

	if (!c->in) {
		c->in = calloc(1, sizeof(*c->in));
		c->header_got = c->body_got = 0;
		if (!c->in)
			return -1;
	}
	m = c->in;
	rc = receive_header(s, c);
	if (rc <= 0)
		return rc;
	if (c->skip) {
		rc = skip_body(c);
		if (rc > 0) {
			srv_message_free(m);
			c->in = NULL;
			return 2;
		}
		return rc;
	}
	while (c->body_got < m->len) {
		size_t got;

		rc = receive_some(c, m->body + c->body_got, m->len - c->body_got, &got);
		if (rc <= 0)
			return rc;
		c->body_got += got;
	}
	return 1;
}

int srv_conn_receive(struct srv *s, struct srv_message **out)
{
	struct srv_conn *c = &s->conn;
	int rc;

	do {
		rc = receive_step(s, c);
	} while (rc == 2 && !srv_conn_sending(c));
	if (rc != 1)
		return rc < 0 ? -1 : 0;
	*out = c->in;
	c->in = NULL;
	return 1;
}

uint8_t *srv_reply_room(struct srv_conn *c, size_t payload)
{
	size_t need = sizeof(struct vfio_user_header) + payload;

	if (need > c->reply_room) {
		uint8_t *bigger = realloc(c->reply, need);

		if (!bigger)
			return NULL;
		c->reply = bigger;
		c->reply_room = need;
	}
	return c->reply + sizeof(struct vfio_user_header);
}

static void send_some(struct srv_conn *c, const int *fds, unsigned fd_count)
{
	struct iovec iov = {.iov_base = c->reply + c->out_pos, .iov_len = c->out_len - c->out_pos};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = base_send_fds(c->fd, &msg, fds, fd_count, MSG_DONTWAIT);

	if (n >= 0)
		c->out_pos += (size_t)n;
	else if (fd_count || errno != EAGAIN)
		c->doomed = c->cut = true; /* fds cannot be sent later, without their first byte */
	if (c->cut)
		c->out_pos = c->out_len;
	if (!srv_conn_sending(c))
		c->out_len = c->out_pos = 0;
}

void srv_conn_flush(struct srv *s)
{
	if (srv_conn_sending(&s->conn))
		send_some(&s->conn, NULL, 0);
}

void srv_reply(struct srv *s, const struct vfio_user_header *request, size_t payload, int error,
	const int *fds, unsigned fd_count)
{
	struct srv_conn *c = &s->conn;
	struct vfio_user_header header;

	if (c->fd < 0 || c->cut || (request->flags & VFIO_USER_NO_REPLY))
		return;
	if (!srv_reply_room(c, error ? 0 : payload)) {
		c->doomed = true;
		return;
	}
	header = vfio_user_reply_header(request, payload, error);
	memcpy(c->reply, &header, sizeof(header));
	c->out_len = header.size;
	c->out_pos = 0;
	send_some(c, fds, error ? 0 : fd_count);
}
