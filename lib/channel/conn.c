/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn.c - stream sockets with deadlines: UNIX and TCP behind one interface.
 */
#include "channel/conn.h"

#include "base/log.h"
#include "base/poll.h"
#include "channel/tune.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Descriptors to send with the next byte, and received ones. */
struct fd_bag {
	int out[CHANNEL_FDS_MAX]; /* borrowed; sent with the next byte */
	unsigned out_count;
	bool accept_fds; /* received descriptors are kept; otherwise the kernel drops them */
	int in[CHANNEL_FDS_MAX];
	unsigned in_count;
	bool cut; /* more were received than fit */
};

#define BACKLOG 64
/* The names that a host listens on are in a file, or at a name server of its own network. */
#define LISTEN_RESOLVE_MS 5000

struct channel_listener {
	int fds[BASE_ADDRESSES_MAX]; /* one for each address of the name */
	unsigned count;
	int stop_fd;
	struct base_file_id file; /* of a UNIX socket */
	const struct channel_security *security;
	struct base_log_rate strangers;
	struct base_uri uri;
	char name[300];
};

struct channel_conn {
	int fd;
	struct channel_tls *tls;	   /* NULL: plain */
	struct fd_bag *fds;		   /* NULL: no descriptors are sent or received */
	const struct channel_limit *limit; /* of sends; NULL: none */
	char peer[300];
};

/* Every address of a name must qualify: which of them connects cannot be chosen here. */
static int check_plain(const struct base_address *addresses, int count, const char *name,
	const struct channel_security *security, struct swo_error *err)
{
	char host[NI_MAXHOST] = "?";
	int i = 0;

	if (security && (security->tls || security->insecure))
		return 0;
	while (i < count && channel_address_is_local(&addresses[i].any))
		i++;
	if (i >= count)
		return 0;
	getnameinfo(
		&addresses[i].any, addresses[i].len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	return swo_error_set(err, SWO_E_INVALID, 0,
		"refusing to send the VM's memory to '%s' unencrypted (%s is not "
		"loopback): give both sides TLS credentials (tls-creds), or, on a trusted network, set "
		"insecure on both",
		name, host);
}

/* Counts the addresses of a URI, if it may be used with its protection; otherwise -1. */
static int resolve(const struct base_uri *uri, const char *name,
	const struct channel_security *security, bool passive, swo_deadline deadline,
	struct base_cancel *cancel, struct base_address out[BASE_ADDRESSES_MAX],
	struct swo_error *err)
{
	int count = base_resolve(uri, passive, deadline, cancel, out, err);

	if (count < 0)
		return swo_error_prefix(err, "'%s'", name);
	return check_plain(out, count, name, security, err) ? -1 : count;
}

static int listen_failed(const struct channel_listener *listener, int rc, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_IO, rc, "cannot listen on '%s'", listener->name);
}

static int listen_unix(struct channel_listener *listener, const struct base_address *address,
	struct swo_error *err)
{
	/* A socket without a listener is what a process that died has left. */
	if (base_unix_unlink_stale(listener->uri.path, err))
		return swo_error_prefix(err, "cannot listen on '%s'", listener->name);
	int rc = base_listen(address, BACKLOG, &listener->fds[0]);

	if (rc)
		return listen_failed(listener, rc, err);
	listener->count = 1;
	base_unix_file_id(listener->uri.path, &listener->file);
	return 0;
}

/* Port 0 is chosen once, for all addresses. */
static void take_port(const struct channel_listener *listener, struct base_address *address)
{
	struct base_address bound = {.len = sizeof(bound.in6)};
	in_port_t *port =
		address->any.sa_family == AF_INET ? &address->in.sin_port : &address->in6.sin6_port;

	if (*port || !listener->count || getsockname(listener->fds[0], &bound.any, &bound.len))
		return;
	*port = bound.any.sa_family == AF_INET ? bound.in.sin_port : bound.in6.sin6_port;
}

static int listen_tcp(struct channel_listener *listener, struct base_address *addresses,
	unsigned count, struct swo_error *err)
{
	int rc = 0, absent = 0;

	for (unsigned i = 0; !rc && i < count; i++) {
		take_port(listener, &addresses[i]);
		rc = base_listen_beside(
			&addresses[i], BACKLOG, count > 1, &listener->fds[listener->count]);
		/* A name may have addresses that this host does not, such as ::1 without IPv6. */
		if (rc == EADDRNOTAVAIL || rc == EAFNOSUPPORT) {
			absent = rc;
			rc = 0;
		} else if (!rc) {
			listener->count++;
		}
	}
	if (!rc && listener->count)
		return 0;
	return listen_failed(listener, rc ? rc : absent, err);
}

static int listen_at(
	struct channel_listener *listener, struct base_cancel *attempt, struct swo_error *err)
{
	struct base_address addresses[BASE_ADDRESSES_MAX];
	int count = resolve(&listener->uri, listener->name, listener->security, true,
		swo_deadline_ms(LISTEN_RESOLVE_MS), attempt, addresses, err);

	if (count < 0)
		return -1;
	return listener->uri.is_unix ? listen_unix(listener, addresses, err)
				     : listen_tcp(listener, addresses, (unsigned)count, err);
}

static void close_listening(struct channel_listener *listener)
{
	while (listener->count)
		swo_close_fd(&listener->fds[--listener->count]);
	swo_close_fd(&listener->stop_fd);
	base_log_rate_end(&listener->strangers);
	free(listener);
}

int channel_listener_open(const char *uri, const struct channel_security *security,
	struct base_cancel *attempt, struct channel_listener **out, struct swo_error *err)
{
	struct channel_listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "listener '%s'", uri);
	listener->stop_fd = -1;
	listener->strangers = (struct base_log_rate)BASE_LOG_RATE_INIT;
	listener->security = security;
	snprintf(listener->name, sizeof(listener->name), "%s", uri);
	if (base_uri_parse(uri, &listener->uri, err))
		goto fail;
	listener->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (listener->stop_fd < 0) {
		swo_error_set(err, SWO_E_NO_MEMORY, errno, "eventfd for '%s'", uri);
		goto fail;
	}
	if (listen_at(listener, attempt, err))
		goto fail;
	*out = listener;
	return 0;
fail:
	close_listening(listener);
	return -1;
}

/* The peer's name for messages: over TCP it includes the address. */
static void name_caller(const struct channel_listener *listener, int fd, char *out, size_t size)
{
	struct base_address address = {.len = sizeof(address.in6)};

	if (listener->uri.is_unix || getpeername(fd, &address.any, &address.len))
		snprintf(out, size, "%s", listener->name);
	else
		base_address_uri(&address, out, size);
}

/* Accepts a pending connection: a descriptor, or -1 with errno. */
static int accept_ours(struct channel_listener *listener, int listen_fd)
{
	int fd = base_accept(listen_fd);

	if (fd < 0 || !listener->uri.is_unix || base_peer_is_ours(fd))
		return fd;
	base_log_limited(&listener->strangers, "closed the connection of another user to '%s'",
		listener->name);
	close(fd);
	errno = EAGAIN;
	return -1;
}

int channel_listener_accept(struct channel_listener *listener, swo_deadline deadline,
	struct channel_conn **out, struct swo_error *err)
{
	char name[NI_MAXHOST + 16];

	for (;;) {
		struct pollfd fds[1 + BASE_ADDRESSES_MAX] = {
			{.fd = listener->stop_fd, .events = POLLIN}};

		for (unsigned i = 0; i < listener->count; i++)
			fds[1 + i] = (struct pollfd){.fd = listener->fds[i], .events = POLLIN};
		int n = base_poll(fds, 1 + listener->count, deadline);

		if (n < 0)
			return swo_error_set(err, SWO_E_IO, errno,
				"cannot wait for a connection on '%s'", listener->name);
		if (fds[0].revents)
			return swo_error_set(err, SWO_E_CANCELLED, 0,
				"the listener on '%s' was stopped", listener->name);
		if (!n)
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"timed out waiting for a connection on '%s'", listener->name);

		unsigned ready = 1;

		while (ready < listener->count && !fds[ready].revents)
			ready++;
		int fd = accept_ours(listener, listener->fds[ready - 1]);

		if (fd >= 0) {
			name_caller(listener, fd, name, sizeof(name));
			return channel_conn_adopt(fd, name, out, err);
		}
		if (errno != EAGAIN)
			return swo_error_set(err, SWO_E_IO, errno,
				"cannot accept a connection on '%s'", listener->name);
	}
}

int channel_listener_handshake(struct channel_listener *listener, struct channel_conn *conn,
	swo_deadline deadline, struct swo_error *err)
{
	if (!listener->security || !listener->security->tls)
		return 0;
	return channel_tls_start(
		conn->fd, listener->security->tls, conn->peer, "", deadline, &conn->tls, err);
}

void channel_listener_stop(struct channel_listener *listener)
{
	eventfd_write(listener->stop_fd, 1);
}

void channel_listener_close(struct channel_listener *listener)
{
	if (!listener)
		return;
	if (listener->uri.is_unix)
		base_unix_unlink_own(listener->uri.path, &listener->file);
	close_listening(listener);
}

int channel_conn_adopt(int fd, const char *peer, struct channel_conn **out, struct swo_error *err)
{
	struct channel_conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		swo_close_fd(&fd);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "connection '%s'", peer);
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	channel_tune(fd);
	conn->fd = fd;
	snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
	*out = conn;
	return 0;
}

static int secure(struct channel_conn *conn, const struct base_uri *uri,
	const struct channel_security *security, swo_deadline deadline, struct base_cancel *attempt,
	struct swo_error *err)
{
	int rc = 0;

	if (!security || !security->tls)
		return 0;
	if (base_cancel_arm(attempt, conn->fd))
		rc = channel_tls_start(
			conn->fd, security->tls, conn->peer, uri->host, deadline, &conn->tls, err);
	if (base_cancel_disarm(attempt))
		return rc;
	return swo_error_set(
		err, SWO_E_CANCELLED, 0, "connecting to '%s' was cancelled", conn->peer);
}

int channel_conn_open(const char *uri, const struct channel_security *security,
	swo_deadline deadline, struct channel_conn **out, struct swo_error *err)
{
	return channel_conn_attempt(uri, security, deadline, NULL, out, err);
}

int channel_conn_attempt(const char *uri_text, const struct channel_security *security,
	swo_deadline deadline, struct base_cancel *attempt, struct channel_conn **out,
	struct swo_error *err)
{
	struct base_address addresses[BASE_ADDRESSES_MAX];
	struct base_uri uri;
	int fd = -1, count, rc;

	if (base_uri_parse(uri_text, &uri, err))
		return -1;
	count = resolve(&uri, uri_text, security, false, deadline, attempt, addresses, err);
	if (count < 0)
		return -1;
	rc = base_connect(addresses, (unsigned)count, deadline, attempt, &fd);
	if (rc == ECANCELED)
		return swo_error_set(
			err, SWO_E_CANCELLED, 0, "connecting to '%s' was cancelled", uri_text);
	if (rc)
		return base_connect_error(err, SWO_E_PEER_LOST, rc, "cannot connect to '%.200s'%s",
			uri_text, rc == EOWNERDEAD ? "" : " (is the target listening?)");
	if (channel_conn_adopt(fd, uri_text, out, err))
		return -1;
	if (!secure(*out, &uri, security, deadline, attempt, err))
		return 0;
	channel_conn_close(*out);
	*out = NULL;
	return -1;
}

void channel_conn_shutdown(struct channel_conn *conn)
{
	if (!conn)
		return;
	if (conn->tls)
		channel_tls_close_notify(conn->tls);
	shutdown(conn->fd, SHUT_RDWR);
}

/* Closes received descriptors that were not taken. */
static void bag_drop(struct fd_bag *bag)
{
	while (bag->in_count)
		close(bag->in[--bag->in_count]);
	bag->cut = false;
}

void channel_conn_close(struct channel_conn *conn)
{
	if (!conn)
		return;
	if (conn->tls)
		channel_tls_close_notify(conn->tls);
	channel_tls_free(conn->tls);
	swo_close_fd(&conn->fd);
	if (conn->fds)
		bag_drop(conn->fds);
	free(conn->fds);
	free(conn);
}

const char *channel_conn_peer(const struct channel_conn *conn)
{
	return conn->peer;
}

int channel_conn_fd(const struct channel_conn *conn)
{
	return conn->fd;
}

bool channel_conn_has_tls(const struct channel_conn *conn)
{
	return conn->tls;
}

void channel_conn_set_limit(struct channel_conn *conn, const struct channel_limit *limit)
{
	conn->limit = limit;
}

const struct channel_limit *channel_conn_limit(const struct channel_conn *conn)
{
	return conn->limit;
}

bool channel_conn_writable(struct channel_conn *conn)
{
	if (conn->tls && channel_tls_owes_data(conn->tls))
		return false;
	return !base_wait_fd(conn->fd, POLLOUT, 0, NULL);
}

bool channel_conn_readable(struct channel_conn *conn, swo_deadline deadline)
{
	if (conn->tls && channel_tls_holds_data(conn->tls))
		return true;

	return !base_wait_fd(conn->fd, POLLIN, deadline, NULL);
}

/* sendmsg or recvmsg of `msg`, with the descriptors to send or receive. */
static ssize_t transfer_with_fds(struct fd_bag *bag, int fd, struct msghdr *msg, bool sending)
{
	if (!sending)
		return bag->accept_fds ? base_recv_fds(fd, msg, bag->in, CHANNEL_FDS_MAX,
						 &bag->in_count, &bag->cut, 0)
				       : recvmsg(fd, msg, 0);

	ssize_t n = base_send_fds(fd, msg, bag->out, bag->out_count, 0);

	/* Sent with the first byte: any part of the message includes them. */
	if (n > 0)
		bag->out_count = 0;
	return n;
}

static int lost(const struct channel_conn *conn, int os_errno, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PEER_LOST, os_errno,
		"the connection '%s' was closed by the %s", conn->peer,
		os_errno ? "system" : "other side");
}

static int transfer(struct channel_conn *conn, struct iovec *iov, unsigned count, uint64_t stall_ms,
	bool sending, struct swo_error *err)
{
	const struct channel_limit *limit = sending ? conn->limit : NULL;
	swo_deadline deadline = 0; /* read the clock only when we must wait */

	if (conn->tls)
		return channel_tls_transfer(conn->tls, iov, count, stall_ms, sending, limit, err);
	count = base_iov_advance(&iov, count, 0);
	while (count) {
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
		ssize_t n = conn->fds ? transfer_with_fds(conn->fds, conn->fd, &msg, sending)
			    : sending ? sendmsg(conn->fd, &msg, MSG_NOSIGNAL)
				      : recvmsg(conn->fd, &msg, 0);

		if (n > 0) {
			count = base_iov_advance(&iov, count, (size_t)n);
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

		int rc = channel_limit_wait(limit, conn->fd, sending ? POLLOUT : POLLIN, deadline);

		if (rc == ETIMEDOUT)
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"timed out on the connection '%s': no progress for %llu ms",
				conn->peer, (unsigned long long)stall_ms);
		if (rc)
			return channel_limit_error(err, rc, conn->peer);
	}
	return 0;
}

int channel_conn_send(struct channel_conn *conn, struct iovec *iov, unsigned count,
	uint64_t stall_ms, struct swo_error *err)
{
	return transfer(conn, iov, count, stall_ms, true, err);
}

int channel_conn_recv(struct channel_conn *conn, struct iovec *iov, unsigned count,
	uint64_t stall_ms, struct swo_error *err)
{
	return transfer(conn, iov, count, stall_ms, false, err);
}

/* Passed descriptors */

static bool is_unix(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX;
}

bool channel_conn_is_trusted(const struct channel_conn *conn)
{
	return conn->tls || is_unix(conn->fd);
}

static struct fd_bag *bag_of(struct channel_conn *conn, struct swo_error *err)
{
	if (!is_unix(conn->fd) || conn->tls) {
		swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"cannot pass descriptors over '%s': only over a unix: connection without TLS",
			conn->peer);
		return NULL;
	}
	if (!conn->fds)
		conn->fds = calloc(1, sizeof(*conn->fds));
	if (!conn->fds)
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "connection '%s'", conn->peer);
	return conn->fds;
}

int channel_conn_attach_fds(
	struct channel_conn *conn, const int *fds, unsigned count, struct swo_error *err)
{
	struct fd_bag *bag = bag_of(conn, err);

	if (!bag)
		return -1;
	if (!base_peer_is_ours(conn->fd))
		return swo_error_set(err, SWO_E_PEER_LOST, 0,
			"refusing to pass descriptors over '%s': the listener is another user's process",
			conn->peer);
	if (count > CHANNEL_FDS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"too many descriptors: %u, at most %d per message", count, CHANNEL_FDS_MAX);
	if (count)
		memcpy(bag->out, fds, count * sizeof(*fds));
	bag->out_count = count;
	return 0;
}

int channel_conn_accept_fds(struct channel_conn *conn, bool on, struct swo_error *err)
{
	struct fd_bag *bag = bag_of(conn, err);

	if (!bag)
		return -1;
	bag->accept_fds = on;
	return 0;
}

int channel_conn_take_fds(
	struct channel_conn *conn, int *fds, unsigned count, struct swo_error *err)
{
	struct fd_bag *bag = conn->fds;

	if (!bag || bag->cut || bag->in_count != count) {
		swo_error_set(err, SWO_E_PROTOCOL, 0,
			"descriptors received over '%s': %u, expected %u (a proxy in between may not "
			"pass them on)",
			conn->peer, bag ? bag->in_count : 0, count);
		channel_conn_drop_fds(conn);
		return -1;
	}
	if (count)
		memcpy(fds, bag->in, count * sizeof(*fds));
	bag->in_count = 0;
	return 0;
}

void channel_conn_drop_fds(struct channel_conn *conn)
{
	if (conn->fds)
		bag_drop(conn->fds);
}
