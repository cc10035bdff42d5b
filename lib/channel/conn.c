/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn.c - stream sockets with deadlines: UNIX and TCP behind one face.
 */
#include "channel/conn.h"

#include "channel/fds.h"
#include "channel/peer.h"
#include "channel/tune.h"
#include "channel/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct swo_listener {
	int fd;
	int stop_fd;
	const struct swo_security *security;
	struct swo_uri uri;
	char name[300];
};

struct swo_conn {
	int fd;
	struct swo_tls *tls; /* NULL: plain */
	struct swo_fds *fds; /* NULL: no descriptors go or come */
	char peer[300];
};

static int resolve(const struct swo_uri *uri, const char *name, bool passive, struct addrinfo **out,
	struct swo_error *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
	int rc = getaddrinfo(uri->host[0] ? uri->host : NULL, uri->port, &hints, out);

	if (rc)
		return swo_error_set(err, SWO_E_INVALID, 0, "cannot resolve the host in '%s': %s",
			name, gai_strerror(rc));
	return 0;
}

/* Every address that a name has counts: which of them answers is not ours to choose. */
static int check_plain(const struct addrinfo *list, const char *name,
	const struct swo_security *security, struct swo_error *err)
{
	char host[NI_MAXHOST] = "?";

	if (security && (security->tls || security->insecure))
		return 0;
	while (list && swo_address_is_local(list->ai_addr))
		list = list->ai_next;
	if (!list)
		return 0;
	getnameinfo(list->ai_addr, list->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	return swo_error_set(err, SWO_E_INVALID, 0,
		"'%s' would carry the VM's memory over the network unencrypted (%s is not "
		"loopback): "
		"give both sides TLS credentials (tls-creds), or, on a network that you trust, say "
		"insecure to both",
		name, host);
}

static struct sockaddr_un unix_address(const struct swo_uri *uri)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, uri->path, sizeof(address.sun_path));
	return address;
}

static int listen_unix(struct swo_listener *listener, struct swo_error *err)
{
	struct sockaddr_un address = unix_address(&listener->uri);
	swo_autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return swo_error_set(err, SWO_E_IO, errno, "socket for '%s'", listener->name);
	/* The mode of the socket file: nobody else may even connect. */
	fchmod(fd, 0600);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return swo_error_set(err, SWO_E_IO, errno, "cannot listen on '%s'%s",
			listener->name,
			errno == EADDRINUSE ? " (remove a stale socket file first)" : "");
	if (chmod(listener->uri.path, 0600) || listen(fd, 64)) {
		int saved = errno;

		unlink(listener->uri.path);
		return swo_error_set(err, SWO_E_IO, saved, "cannot listen on '%s'", listener->name);
	}
	listener->fd = fd;
	fd = -1;
	return 0;
}

static int listen_tcp(struct swo_listener *listener, struct swo_error *err)
{
	struct addrinfo *list;
	int on = 1;

	if (resolve(&listener->uri, listener->name, true, &list, err))
		return -1;
	if (check_plain(list, listener->name, listener->security, err)) {
		freeaddrinfo(list);
		return -1;
	}
	int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int failed = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
		     bind(fd, list->ai_addr, list->ai_addrlen) || listen(fd, 64);
	int saved = errno;
	freeaddrinfo(list);
	if (failed) {
		swo_close_fd(&fd);
		return swo_error_set(err, SWO_E_IO, saved, "cannot listen on '%s'", listener->name);
	}
	listener->fd = fd;
	return 0;
}

int swo_listener_open(const char *uri, const struct swo_security *security,
	struct swo_listener **out, struct swo_error *err)
{
	struct swo_listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "listener '%s'", uri);
	listener->fd = listener->stop_fd = -1;
	listener->security = security;
	snprintf(listener->name, sizeof(listener->name), "%s", uri);
	if (swo_uri_parse(uri, &listener->uri, err))
		goto fail;
	listener->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (listener->stop_fd < 0) {
		swo_error_set(err, SWO_E_NO_MEMORY, errno, "eventfd for '%s'", uri);
		goto fail;
	}
	if (listener->uri.is_unix ? listen_unix(listener, err) : listen_tcp(listener, err))
		goto fail;
	*out = listener;
	return 0;
fail:
	swo_close_fd(&listener->stop_fd);
	free(listener);
	return -1;
}

/* Who calls, for messages: over tcp that says more than where. */
static void name_caller(const struct swo_listener *listener, int fd, char *out, size_t size)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	char host[NI_MAXHOST], port[8];

	if (listener->uri.is_unix || getpeername(fd, (struct sockaddr *)&address, &len) ||
		getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, size, "%s", listener->name);
	else
		snprintf(out, size, strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

int swo_listener_accept(struct swo_listener *listener, swo_deadline deadline, struct swo_conn **out,
	struct swo_error *err)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = listener->fd, .events = POLLIN},
			{.fd = listener->stop_fd, .events = POLLIN}};
		int n = poll(fds, 2, swo_deadline_poll_ms(deadline));

		if (n < 0 && errno != EINTR)
			return swo_error_set(
				err, SWO_E_IO, errno, "waiting on '%s'", listener->name);
		if (fds[1].revents)
			return swo_error_set(err, SWO_E_CANCELLED, 0,
				"'%s' does not listen any more", listener->name);
		if (n > 0) {
			int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

			if (fd >= 0 && listener->uri.is_unix && !swo_peer_is_ours(fd)) {
				swo_log(SWO_LOG_WARN,
					"another user's connection to '%s' was dropped",
					listener->name);
				close(fd);
				continue;
			}
			if (fd >= 0) {
				char name[NI_MAXHOST + 16];

				name_caller(listener, fd, name, sizeof(name));
				return swo_conn_adopt(fd, name, out, err);
			}
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				return swo_error_set(
					err, SWO_E_IO, errno, "accept on '%s'", listener->name);
		}
		if (swo_deadline_passed(deadline))
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"nobody connected to '%s' in time", listener->name);
	}
}

int swo_listener_handshake(struct swo_listener *listener, struct swo_conn *conn,
	swo_deadline deadline, struct swo_error *err)
{
	if (!listener->security || !listener->security->tls)
		return 0;
	return swo_tls_start(
		conn->fd, listener->security->tls, conn->peer, "", deadline, &conn->tls, err);
}

void swo_listener_stop(struct swo_listener *listener)
{
	eventfd_write(listener->stop_fd, 1);
}

void swo_listener_close(struct swo_listener *listener)
{
	if (!listener)
		return;
	swo_close_fd(&listener->fd);
	swo_close_fd(&listener->stop_fd);
	if (listener->uri.is_unix)
		unlink(listener->uri.path);
	free(listener);
}

int swo_conn_adopt(int fd, const char *peer, struct swo_conn **out, struct swo_error *err)
{
	struct swo_conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		swo_close_fd(&fd);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "connection '%s'", peer);
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	swo_socket_tune(fd);
	conn->fd = fd;
	snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
	*out = conn;
	return 0;
}

static int await_connection(int fd, swo_deadline deadline)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t size = sizeof(error);

	if (poll(&pfd, 1, swo_deadline_poll_ms(deadline)) <= 0)
		return ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error;
}

static int connect_one(const struct sockaddr *address, socklen_t len, swo_deadline deadline,
	struct swo_cancel *attempt, int *out)
{
	swo_autofd int fd =
		socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return errno;
	int error = swo_cancel_arm(attempt, fd) ? 0 : ECANCELED;

	/* EAGAIN: a UNIX listener whose backlog is full; the caller tries again. */
	if (!error && connect(fd, address, len))
		error = errno == EINPROGRESS ? await_connection(fd, deadline) : errno;
	if (!swo_cancel_disarm(attempt))
		error = ECANCELED;
	if (error)
		return error;
	*out = fd;
	fd = -1;
	return 0;
}

static int secure(struct swo_conn *conn, const struct swo_uri *uri,
	const struct swo_security *security, swo_deadline deadline, struct swo_cancel *attempt,
	struct swo_error *err)
{
	int rc = 0;

	if (!security || !security->tls)
		return 0;
	if (swo_cancel_arm(attempt, conn->fd))
		rc = swo_tls_start(
			conn->fd, security->tls, conn->peer, uri->host, deadline, &conn->tls, err);
	if (swo_cancel_disarm(attempt))
		return rc;
	return swo_error_set(
		err, SWO_E_CANCELLED, 0, "connecting to '%s' was cancelled", conn->peer);
}

int swo_conn_open(const char *uri, const struct swo_security *security, swo_deadline deadline,
	struct swo_conn **out, struct swo_error *err)
{
	return swo_conn_attempt(uri, security, deadline, NULL, out, err);
}

int swo_conn_attempt(const char *uri_text, const struct swo_security *security,
	swo_deadline deadline, struct swo_cancel *attempt, struct swo_conn **out,
	struct swo_error *err)
{
	struct swo_uri uri;
	int fd = -1, rc;

	if (swo_uri_parse(uri_text, &uri, err))
		return -1;
	if (uri.is_unix) {
		struct sockaddr_un address = unix_address(&uri);

		do {
			rc = connect_one((struct sockaddr *)&address, sizeof(address), deadline,
				attempt, &fd);
			if (rc == EAGAIN)
				swo_sleep_until(swo_now_ns() + 1000000);
		} while (rc == EAGAIN && !swo_deadline_passed(deadline));
	} else {
		struct addrinfo *list;

		if (resolve(&uri, uri_text, false, &list, err))
			return -1;
		if (check_plain(list, uri_text, security, err)) {
			freeaddrinfo(list);
			return -1;
		}
		rc = EHOSTUNREACH;
		for (struct addrinfo *ai = list; ai && rc; ai = ai->ai_next)
			rc = connect_one(ai->ai_addr, ai->ai_addrlen, deadline, attempt, &fd);
		freeaddrinfo(list);
	}
	if (rc == ECANCELED)
		return swo_error_set(
			err, SWO_E_CANCELLED, 0, "connecting to '%s' was cancelled", uri_text);
	if (rc)
		return swo_error_set(err, SWO_E_PEER_LOST, rc,
			"cannot connect to '%s' (is the target listening?)", uri_text);
	if (swo_conn_adopt(fd, uri_text, out, err))
		return -1;
	if (!secure(*out, &uri, security, deadline, attempt, err))
		return 0;
	swo_conn_close(*out);
	*out = NULL;
	return -1;
}

void swo_conn_shutdown(struct swo_conn *conn)
{
	if (!conn)
		return;
	if (conn->tls)
		swo_tls_close_notify(conn->tls);
	shutdown(conn->fd, SHUT_RDWR);
}

void swo_conn_close(struct swo_conn *conn)
{
	if (!conn)
		return;
	if (conn->tls)
		swo_tls_close_notify(conn->tls);
	swo_tls_free(conn->tls);
	swo_close_fd(&conn->fd);
	if (conn->fds)
		swo_fds_drop(conn->fds);
	free(conn->fds);
	free(conn);
}

const char *swo_conn_peer(const struct swo_conn *conn)
{
	return conn->peer;
}

int swo_conn_fd(const struct swo_conn *conn)
{
	return conn->fd;
}

struct swo_fds **swo_conn_fds(struct swo_conn *conn)
{
	return &conn->fds;
}

bool swo_conn_has_tls(const struct swo_conn *conn)
{
	return conn->tls;
}

bool swo_conn_readable(struct swo_conn *conn, swo_deadline deadline)
{
	if (conn->tls && swo_tls_holds_data(conn->tls))
		return true;

	struct pollfd pfd = {.fd = conn->fd, .events = POLLIN};
	int n;

	do
		n = poll(&pfd, 1, swo_deadline_poll_ms(deadline));
	while (n < 0 && errno == EINTR && !swo_deadline_passed(deadline));
	return n > 0;
}

/* Drops `done` bytes from the front of the vector; returns what is left of it. */
static unsigned advance(struct iovec **iov, unsigned count, size_t done)
{
	while (count && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		count--;
	}
	if (count) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
	return count;
}

static int lost(const struct swo_conn *conn, int os_errno, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PEER_LOST, os_errno,
		"the connection '%s' was closed by the %s", conn->peer,
		os_errno ? "system" : "other side");
}

static int transfer(struct swo_conn *conn, struct iovec *iov, unsigned count, uint64_t stall_ms,
	bool sending, struct swo_error *err)
{
	swo_deadline deadline = 0; /* read the clock only when we must wait */

	if (conn->tls)
		return swo_tls_transfer(conn->tls, iov, count, stall_ms, sending, err);
	count = advance(&iov, count, 0);
	while (count) {
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
		ssize_t n = conn->fds ? swo_fds_transfer(conn->fds, conn->fd, &msg, sending)
			    : sending ? sendmsg(conn->fd, &msg, MSG_NOSIGNAL)
				      : recvmsg(conn->fd, &msg, 0);

		if (n > 0) {
			count = advance(&iov, count, (size_t)n);
			deadline = 0;
			continue;
		}
		if (!n && !sending)
			return lost(conn, 0, err);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return lost(conn, errno, err);
		if (!deadline)
			deadline = swo_deadline_ms(stall_ms);

		struct pollfd pfd = {.fd = conn->fd, .events = sending ? POLLOUT : POLLIN};
		int ready = poll(&pfd, 1, swo_deadline_poll_ms(deadline));

		if (!ready)
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"nothing moved on the connection '%s' for %llu ms", conn->peer,
				(unsigned long long)stall_ms);
		if (ready < 0 && errno != EINTR)
			return swo_error_set(err, SWO_E_IO, errno, "poll on '%s'", conn->peer);
	}
	return 0;
}

int swo_conn_send(struct swo_conn *conn, struct iovec *iov, unsigned count, uint64_t stall_ms,
	struct swo_error *err)
{
	return transfer(conn, iov, count, stall_ms, true, err);
}

int swo_conn_recv(struct swo_conn *conn, struct iovec *iov, unsigned count, uint64_t stall_ms,
	struct swo_error *err)
{
	return transfer(conn, iov, count, stall_ms, false, err);
}
