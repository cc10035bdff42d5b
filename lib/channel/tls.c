/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.c - a TLS session on a connected socket: whole sends and receives with deadlines, the
 * goodbye. GnuTLS sees buffers; only these files touch the socket.
 */
#include "channel/tls_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD_ROOM (2 * TLS_RECORD) /* a record encrypted, with a key update before it */

/* The socket */

static int would_block(gnutls_session_t session, int os_errno)
{
	gnutls_transport_set_errno(session, os_errno);
	return -1;
}

ssize_t channel_tls_pull(gnutls_transport_ptr_t opaque, void *data, size_t len)
{
	struct swo_tls *tls = opaque;
	struct tls_buffer *in = &tls->in;

	if (in->start == in->end) {
		ssize_t n = recv(tls->fd, in->data, sizeof(in->data), MSG_DONTWAIT);

		if (n < 0)
			return would_block(tls->session, errno);
		if (!n)
			tls->eof = true;
		in->start = 0;
		in->end = (size_t)n;
		tls->moved += (uint64_t)n;
	}
	if (len > in->end - in->start)
		len = in->end - in->start;
	memcpy(data, in->data + in->start, len);
	in->start += len;
	return (ssize_t)len;
}

/* Never full: whoever makes GnuTLS write has looked for RECORD_ROOM before. */
ssize_t channel_tls_push(gnutls_transport_ptr_t opaque, const giovec_t *iov, int count)
{
	struct swo_tls *tls = opaque;
	struct tls_buffer *out = &tls->out;
	size_t total = 0;

	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > sizeof(out->data) - out->end)
			return would_block(tls->session, ENOBUFS);
		memcpy(out->data + out->end, iov[i].iov_base, iov[i].iov_len);
		out->end += iov[i].iov_len;
		total += iov[i].iov_len;
	}
	return (ssize_t)total;
}

int channel_tls_flush(struct swo_tls *tls)
{
	struct tls_buffer *out = &tls->out;

	while (out->start < out->end) {
		ssize_t n = send(tls->fd, out->data + out->start, out->end - out->start,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return errno;
		out->start += (size_t)n;
		tls->moved += (uint64_t)n;
	}
	if (out->start == out->end)
		out->start = out->end = 0;
	return 0;
}

bool channel_tls_wait_for(int fd, short events, swo_deadline deadline)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	int n;

	do
		n = poll(&pfd, 1, swo_deadline_poll_ms(deadline));
	while (n < 0 && errno == EINTR && !swo_deadline_passed(deadline));
	return n > 0;
}

int swo_tls_start(int fd, const struct swo_tls_creds *creds, const char *peer, const char *host,
	swo_deadline deadline, struct swo_tls **out, struct swo_error *err)
{
	struct swo_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a TLS session with '%s'", peer);
	pthread_mutex_init(&tls->lock, NULL);
	tls->fd = fd;
	tls->party = (struct tls_party){.creds = creds,
		.peer = peer,
		.host = creds->params.hostname[0] ? creds->params.hostname : host};
	if (!creds->server && creds->params.kind == SWO_TLS_X509 && !tls->party.host[0])
		swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' has no host name to look for in the target's certificate: say it "
			"with tls-hostname",
			peer);
	else if (!channel_tls_handshake(tls, deadline, err))
		tls->up = true;
	if (!tls->up) {
		swo_tls_free(tls);
		return -1;
	}
	*out = tls;
	return 0;
}

/* Transfers */

/* Up to a record's worth from the front: in place when it lies there in one piece. */
static const void *next_piece(
	struct swo_tls *tls, const struct iovec *iov, unsigned count, size_t *len)
{
	*len = 0;
	if (iov->iov_len >= TLS_RECORD || count == 1) {
		*len = iov->iov_len < TLS_RECORD ? iov->iov_len : TLS_RECORD;
		return iov->iov_base;
	}
	for (; count && *len < TLS_RECORD; iov++, count--) {
		size_t part = iov->iov_len < TLS_RECORD - *len ? iov->iov_len : TLS_RECORD - *len;

		if (part)
			memcpy(tls->stage + *len, iov->iov_base, part);
		*len += part;
	}
	return tls->stage;
}

static void drop_front(struct iovec **iov, unsigned *count, size_t done)
{
	while (*count && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

/* Encrypts what there is room for and writes what the socket takes. With the lock held. */
static int send_some(
	struct swo_tls *tls, struct iovec **iov, unsigned *count, struct swo_error *err)
{
	while (*count && sizeof(tls->out.data) - tls->out.end >= RECORD_ROOM) {
		size_t len;
		const void *piece = next_piece(tls, *iov, *count, &len);
		ssize_t rc = gnutls_record_send(tls->session, piece, len);

		/* Never "again": there is room. */
		if (rc <= 0) {
			tls->up = false;
			return channel_tls_transfer_error(tls->session, &tls->party, (int)rc, err);
		}
		drop_front(iov, count, (size_t)rc);
	}
	int failed = channel_tls_flush(tls);

	if (!failed)
		return 0;
	tls->up = false;
	return swo_error_set(err, SWO_E_PEER_LOST, failed,
		"the connection '%s' was closed by the system", tls->party.peer);
}

static int recv_some(
	struct swo_tls *tls, struct iovec **iov, unsigned *count, struct swo_error *err)
{
	ssize_t rc = gnutls_record_recv(tls->session, (*iov)->iov_base, (*iov)->iov_len);

	if (rc > 0) {
		drop_front(iov, count, (size_t)rc);
	} else if (!rc || gnutls_error_is_fatal((int)rc)) {
		tls->up = false;
		return channel_tls_transfer_error(tls->session, &tls->party, (int)rc, err);
	}
	return 0;
}

int swo_tls_transfer(struct swo_tls *tls, struct iovec *iov, unsigned count, uint64_t stall_ms,
	bool sending, struct swo_error *err)
{
	swo_deadline deadline = 0; /* read the clock only when we must wait */
	uint64_t seen = 0;

	drop_front(&iov, &count, 0);
	if (!count)
		return 0;
	for (;;) {
		unsigned before = count;
		size_t left = count ? iov->iov_len : 0;

		pthread_mutex_lock(&tls->lock);
		int rc = sending ? send_some(tls, &iov, &count, err)
				 : recv_some(tls, &iov, &count, err);
		bool owed = sending && tls->out.end;
		/* A record that carried no data of ours (a key update) may lie before one that
		 * does. */
		bool more = !sending && tls->in.start < tls->in.end;
		uint64_t moved = tls->moved;
		pthread_mutex_unlock(&tls->lock);
		if (rc)
			return -1;
		if (!count && !owed)
			return 0;
		/* Goes on at once after progress: only a socket that has had enough is waited for.
		 */
		if (!owed && (more || count != before || iov->iov_len != left))
			continue;
		if (!deadline || moved != seen)
			deadline = swo_deadline_ms(stall_ms);
		seen = moved;
		if (!channel_tls_wait_for(tls->fd, sending ? POLLOUT : POLLIN, deadline))
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"nothing moved on the connection '%s' for %llu ms", tls->party.peer,
				(unsigned long long)stall_ms);
	}
}

bool swo_tls_holds_data(struct swo_tls *tls)
{
	pthread_mutex_lock(&tls->lock);
	bool holds = tls->in.start < tls->in.end || gnutls_record_check_pending(tls->session) > 0;
	pthread_mutex_unlock(&tls->lock);
	return holds;
}

void swo_tls_close_notify(struct swo_tls *tls)
{
	pthread_mutex_lock(&tls->lock);
	/* Not in the middle of a record; and nothing more can be sent after it. */
	if (tls->up && !tls->out.end) {
		gnutls_bye(tls->session, GNUTLS_SHUT_WR);
		channel_tls_flush(tls);
		tls->up = false;
	}
	pthread_mutex_unlock(&tls->lock);
}

void swo_tls_free(struct swo_tls *tls)
{
	if (!tls)
		return;
	if (tls->session)
		gnutls_deinit(tls->session);
	gnutls_memset(tls->stage, 0, sizeof(tls->stage));
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}
