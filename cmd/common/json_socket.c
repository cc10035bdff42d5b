/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json_socket.c - one JSON value a line over a stream socket, every wait with a
 * deadline.
 */
#include "cmd/common/json_socket.h"

#include "channel/uri.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_NS 5000000ull
/* How long a wait may last before the interrupt flag is looked at again. */
#define SLICE_MS 50

static bool interrupted(const volatile int *interrupt)
{
	return interrupt && *interrupt;
}

/* 0: ready; -1 with *err: deadline, interrupt or poll failed. */
static int wait_for(const struct json_sock *sock, short events, swo_deadline deadline,
	const volatile int *interrupt, const char *what, struct swo_error *err)
{
	for (;;) {
		struct pollfd pfd = {.fd = sock->fd, .events = events};
		int left = swo_deadline_poll_ms(deadline);

		if (interrupted(interrupt))
			return swo_error_set(
				err, SWO_E_CANCELLED, 0, "%s: interrupted", sock->peer);
		int rc = poll(&pfd, 1, interrupt && left > SLICE_MS ? SLICE_MS : left);
		if (rc > 0)
			return 0;
		if (rc < 0 && errno != EINTR)
			return swo_error_set(err, SWO_E_IO, errno, "%s: poll", sock->peer);
		if (swo_deadline_passed(deadline))
			return swo_error_set(
				err, SWO_E_TIMEOUT, 0, "%s: %s in time", sock->peer, what);
	}
}

static int finish_connect(struct json_sock *sock, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (wait_for(sock, POLLOUT, deadline, interrupt, "did not accept the connection", err))
		return -1;
	if (getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error)
		return swo_error_set(err, SWO_E_IO, error, "connect to %s", sock->peer);
	return 0;
}

static int connect_to(struct json_sock *sock, const struct sockaddr *addr, socklen_t len,
	swo_deadline deadline, const volatile int *interrupt, struct swo_error *err)
{
	sock->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock->fd < 0)
		return swo_error_set(err, SWO_E_IO, errno, "socket for %s", sock->peer);
	if (!connect(sock->fd, addr, len))
		return 0;
	if (errno == EINPROGRESS)
		return finish_connect(sock, deadline, interrupt, err);
	/* A UNIX socket whose backlog is full says EAGAIN. */
	return swo_error_set(err, SWO_E_IO, errno, "connect to %s", sock->peer);
}

static int connect_unix(struct json_sock *sock, const struct swo_uri *uri, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, uri->path, sizeof(addr.sun_path));
	return connect_to(sock, (struct sockaddr *)&addr, sizeof(addr), deadline, interrupt, err);
}

static int connect_tcp(struct json_sock *sock, const struct swo_uri *uri, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int rc = getaddrinfo(uri->host[0] ? uri->host : NULL, uri->port, &hints, &found);

	if (rc)
		return swo_error_set(
			err, SWO_E_IO, 0, "look up %s: %s", sock->peer, gai_strerror(rc));
	rc = -1;
	for (const struct addrinfo *one = found; rc && one; one = one->ai_next) {
		swo_close_fd(&sock->fd);
		rc = connect_to(sock, one->ai_addr, one->ai_addrlen, deadline, interrupt, err);
	}
	freeaddrinfo(found);
	return rc;
}

int json_sock_open(struct json_sock *sock, const char *text, bool wait, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err)
{
	struct swo_uri uri;

	*sock = (struct json_sock)JSON_SOCK_INIT;
	snprintf(sock->peer, sizeof(sock->peer), "%s", text);
	if (swo_uri_parse(text, &uri, err))
		return -1;
	for (;;) {
		struct swo_error why = {0};
		int rc = uri.is_unix ? connect_unix(sock, &uri, deadline, interrupt, &why)
				     : connect_tcp(sock, &uri, deadline, interrupt, &why);

		if (!rc)
			return 0;
		swo_close_fd(&sock->fd);
		bool not_yet = why.os_errno == ENOENT || why.os_errno == ECONNREFUSED ||
			       why.os_errno == EAGAIN;
		if (!wait || !not_yet || swo_deadline_passed(deadline) || interrupted(interrupt))
			return swo_error_set(err, why.code, 0, "%s", why.text);
		swo_sleep_until(swo_now_ns() + RETRY_NS);
	}
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
	/* In one piece: a monitor that is told to quit takes the last brace for it, and may be gone
	   before a newline that comes later. Instead of the terminating 0, which is not sent. */
	const size_t len = strlen(text);

	text[len] = '\n';
	return send_all(sock, text, len + 1, deadline, err);
}

/* Hands out what has been received up to the next newline; NULL, without an error: not whole. */
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
		swo_error_set(err, SWO_E_PROTOCOL, 0, "%s sent what is not JSON: %s", sock->peer,
			why.text);
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
	/* What was handed out makes room first, so that the limit is one of a line. */
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
