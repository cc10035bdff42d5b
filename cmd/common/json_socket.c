/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json_socket.c - one JSON value a line over a stream socket, every wait with a
 * deadline.
 */
#include "cmd/common/json_socket.h"

#include "base/net.h"
#include "base/poll.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define RETRY_NS 5000000ull
/* 0: ready; -1 with *err: deadline, interrupt or poll failed. */
static int wait_for(const struct json_sock *sock, short events, swo_deadline deadline,
	const volatile int *interrupt, const char *what, struct swo_error *err)
{
	int rc = base_wait_fd(sock->fd, events, deadline, interrupt);

	if (rc == ECANCELED)
		return swo_error_set(err, SWO_E_CANCELLED, 0, "%s: interrupted", sock->peer);
	if (rc == ETIMEDOUT)
		return swo_error_set(
			err, SWO_E_TIMEOUT, 0, "%s: timed out: it %s", sock->peer, what);
	return rc ? swo_error_set(err, SWO_E_IO, rc, "%s: poll", sock->peer) : 0;
}

/* No listener yet. */
static bool is_absent(int error)
{
	return error == ENOENT || error == ECONNREFUSED || error == EAGAIN;
}

int json_sock_open(struct json_sock *sock, const char *text, bool wait, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err)
{
	struct base_cancel cancel = BASE_CANCEL_INIT;
	struct base_address addresses[BASE_ADDRESSES_MAX];
	struct base_uri uri;
	int count, rc;

	*sock = (struct json_sock)JSON_SOCK_INIT;
	snprintf(sock->peer, sizeof(sock->peer), "%s", text);
	cancel.interrupt = interrupt;
	if (base_uri_parse(text, &uri, err))
		return -1;
	count = base_resolve(&uri, false, deadline, &cancel, addresses, err);
	if (count < 0)
		return swo_error_prefix(err, "%s", sock->peer);
	while ((rc = base_connect(addresses, (unsigned)count, deadline, &cancel, &sock->fd)) &&
		wait && is_absent(rc) && !swo_deadline_passed(deadline))
		swo_sleep_until(swo_now_ns() + RETRY_NS);
	if (rc == ECANCELED)
		return swo_error_set(err, SWO_E_CANCELLED, 0, "%s: interrupted", sock->peer);
	if (rc == ETIMEDOUT)
		return swo_error_set(err, SWO_E_TIMEOUT, 0, "%s: timed out connecting", sock->peer);
	return rc ? base_connect_error(err, SWO_E_IO, rc, "connect to %.200s", sock->peer) : 0;
}

void json_sock_close(struct json_sock *sock)
{
	swo_close_fd(&sock->fd);
	swo_buf_free(&sock->in);
	sock->used = sock->scanned = 0;
}

static int send_all(struct json_sock *sock, const char *data, size_t len, swo_deadline deadline,
	struct swo_error *err)
{
	while (len) {
		ssize_t sent = send(sock->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent >= 0) {
			data += sent;
			len -= (size_t)sent;
		} else if (errno == EAGAIN) {
			if (wait_for(
				    sock, POLLOUT, deadline, NULL, "did not take the command", err))
				return -1;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return swo_error_set(
				err, SWO_E_PEER_LOST, 0, "%s closed the connection", sock->peer);
		} else if (errno != EINTR) {
			return swo_error_set(err, SWO_E_IO, errno, "send to %s", sock->peer);
		}
	}
	return 0;
}

int json_sock_send(
	struct json_sock *sock, const json_t *value, swo_deadline deadline, struct swo_error *err)
{
	swo_autofree char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	if (!text)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a command");
	/* Sent in one piece: a monitor executes quit at the last brace, and may close the socket before
	   a later newline. It replaces the terminating 0, which is not sent. */
	const size_t len = strlen(text);

	text[len] = '\n';
	return send_all(sock, text, len + 1, deadline, err);
}

/* The received data up to the next newline; NULL, without an error: incomplete. */
static json_t *take_line(struct json_sock *sock, bool *have_line, struct swo_error *err)
{
	char *data = (char *)sock->in.data, *start = data + sock->used;
	size_t left = sock->in.len - sock->scanned;
	char *end = left ? memchr(data + sock->scanned, '\n', left) : NULL;
	json_error_t why;

	*have_line = end != NULL;
	sock->scanned = end ? (size_t)(end - data) + 1 : sock->in.len;
	if (!end)
		return NULL;
	sock->used = sock->scanned;
	json_t *value = json_loadb(
		start, (size_t)(end - start), JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
	if (!value)
		swo_error_set(
			err, SWO_E_PROTOCOL, 0, "%s sent invalid JSON: %s", sock->peer, why.text);
	return value;
}

static int receive_more(struct json_sock *sock, struct swo_error *err)
{
	char chunk[16384];
	ssize_t got = recv(sock->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got == 0 || (got < 0 && errno == ECONNRESET))
		return swo_error_set(
			err, SWO_E_PEER_LOST, 0, "%s closed the connection", sock->peer);
	if (got < 0)
		return swo_error_set(err, SWO_E_IO, errno, "receive from %s", sock->peer);
	/* Consumed data is removed first, so that the limit applies to one line. */
	if (sock->used) {
		memmove(sock->in.data, sock->in.data + sock->used, sock->in.len - sock->used);
		sock->in.len -= sock->used;
		sock->scanned -= sock->used;
		sock->used = 0;
	}
	if (swo_buf_append(&sock->in, chunk, (size_t)got, NULL))
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "%s sent a line of more than %u MiB",
			sock->peer, JSON_SOCK_LINE_MAX >> 20);
	return 0;
}

json_t *json_sock_recv(struct json_sock *sock, swo_deadline deadline, const volatile int *interrupt,
	struct swo_error *err)
{
	for (;;) {
		bool have_line;
		json_t *value = take_line(sock, &have_line, err);

		if (have_line)
			return value;
		if (wait_for(sock, POLLIN, deadline, interrupt, "did not answer", err) ||
			receive_more(sock, err))
			return NULL;
	}
}
