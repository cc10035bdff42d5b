/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net.c - connect(2), bind(2), accept(2) and the receipt of SCM_RIGHTS; no other file calls these.
 */
#include "base/net.h"

#include "base/poll.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* No event reports that a UNIX listener's backlog has space again. */
#define BACKLOG_NAP_NS 1000000

/* Addresses */

int base_unix_address(const char *path, struct base_address *out, struct swo_error *err)
{
	const size_t len = strlen(path);

	*out = (struct base_address){
		.un.sun_family = AF_UNIX, .len = (socklen_t)sizeof(struct sockaddr_un)};
	if (!len || len >= sizeof(out->un.sun_path))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"socket path '%s' is empty or longer than %zu bytes", path,
			sizeof(out->un.sun_path) - 1);
	memcpy(out->un.sun_path, path, len + 1);
	return 0;
}

void base_address_uri(const struct base_address *address, char *out, size_t size)
{
	char host[NI_MAXHOST] = "?", port[8] = "?";

	if (address->any.sa_family == AF_UNIX) {
		snprintf(out, size, "unix:%.*s", (int)sizeof(address->un.sun_path),
			address->un.sun_path);
		return;
	}
	getnameinfo(&address->any, address->len, host, sizeof(host), port, sizeof(port),
		NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(out, size, strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

/* Connect */

void base_cancel_fire(struct base_cancel *cancel)
{
	pthread_mutex_lock(&cancel->lock);
	cancel->fired = true;
	/* Wakes poll(2) both during the connect and during the handshake. */
	if (cancel->fd >= 0)
		shutdown(cancel->fd, SHUT_RDWR);
	pthread_mutex_unlock(&cancel->lock);
}

static bool cancel_set(struct base_cancel *cancel, int fd)
{
	if (!cancel)
		return true;
	pthread_mutex_lock(&cancel->lock);
	cancel->fd = fd;

	const bool goes_on = !cancel->fired;

	pthread_mutex_unlock(&cancel->lock);
	return goes_on;
}

bool base_cancel_arm(struct base_cancel *cancel, int fd)
{
	return cancel_set(cancel, fd);
}

bool base_cancel_disarm(struct base_cancel *cancel)
{
	return cancel_set(cancel, -1);
}

/* Returns the result of a connect(2) in progress. */
static int finish(int fd, swo_deadline deadline, const volatile int *interrupt)
{
	int error = base_wait_fd(fd, POLLOUT, deadline, interrupt);
	socklen_t size = sizeof(error);

	if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
		error = errno;
	return error;
}

static int connect_one(const struct base_address *address, swo_deadline deadline,
	struct base_cancel *cancel, int *out)
{
	const volatile int *interrupt = cancel ? cancel->interrupt : NULL;
	swo_autofd int fd =
		socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return errno;
	int error = base_cancel_arm(cancel, fd) ? 0 : ECANCELED;

	if (!error && connect(fd, &address->any, address->len))
		error = errno == EINPROGRESS || errno == EINTR ? finish(fd, deadline, interrupt)
							       : errno;
	if (!base_cancel_disarm(cancel) || (interrupt && *interrupt))
		error = ECANCELED;
	if (!error && address->any.sa_family == AF_UNIX && !base_peer_is_ours(fd))
		error = EOWNERDEAD;
	if (error)
		return error;
	*out = fd;
	fd = -1;
	return 0;
}

int base_connect(const struct base_address *addresses, unsigned count, swo_deadline deadline,
	struct base_cancel *cancel, int *out)
{
	int error = EHOSTUNREACH;

	for (unsigned i = 0; i < count && error && error != ECANCELED;) {
		error = connect_one(&addresses[i], deadline, cancel, out);
		if (error != EAGAIN || swo_deadline_passed(deadline))
			i++;
		else
			swo_sleep_until(swo_now_ns() + BACKLOG_NAP_NS);
	}
	return error;
}

int base_connect_error(
	struct swo_error *err, enum swo_error_code code, int rc, const char *fmt, ...)
{
	char what[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (rc != EOWNERDEAD)
		return swo_error_set(err, code, rc, "%s", what);
	return swo_error_set(err, SWO_E_INVALID, 0,
		"%s: another user's process listens there; if this is intended, allow its user with "
		"--peer-uid",
		what);
}

/* Listen */

int base_listen(const struct base_address *address, int backlog, int *out)
{
	return base_listen_beside(address, backlog, false, out);
}

int base_listen_beside(const struct base_address *address, int backlog, bool beside_v4, int *out)
{
	const bool is_unix = address->any.sa_family == AF_UNIX;
	swo_autofd int fd =
		socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd < 0)
		return errno;
	/*
	 * A socket file inherits the mode of its descriptor: no other user can connect before a
	 * chmod.
	 */
	if ((is_unix ? fchmod(fd, 0600)
		     : setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))) ||
		(beside_v4 && address->any.sa_family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))) ||
		bind(fd, &address->any, address->len))
		return errno;
	if (listen(fd, backlog)) {
		int saved = errno;

		if (is_unix)
			unlink(address->un.sun_path);
		return saved;
	}
	*out = fd;
	fd = -1;
	return 0;
}

int base_unix_unlink_stale(const char *path, struct swo_error *err)
{
	struct base_address address;
	struct stat st;

	if (base_unix_address(path, &address, err))
		return -1;
	if (lstat(path, &st))
		return 0;

	swo_autofd int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (!S_ISSOCK(st.st_mode) || probe < 0 || !connect(probe, &address.any, address.len) ||
		errno != ECONNREFUSED)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' is in use; choose another path, or stop the process that listens on it",
			path);
	unlink(path);
	return 0;
}

int base_accept(int listen_fd)
{
	int fd;

	do
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd;
}

static bool any_allowed;
static uid_t allowed_uid;

void swo_peer_uid_allow(uid_t uid)
{
	allowed_uid = uid;
	any_allowed = true;
}

bool base_unix_file_id(const char *path, struct base_file_id *out)
{
	struct stat st;

	*out = (struct base_file_id){0};
	if (lstat(path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	out->device = st.st_dev;
	out->inode = st.st_ino;
	return true;
}

void base_unix_unlink_own(const char *path, const struct base_file_id *own)
{
	struct base_file_id now;

	if (base_unix_file_id(path, &now) && now.device == own->device && now.inode == own->inode)
		unlink(path);
}

bool base_peer_is_ours(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	/* The credentials at the time of connect (unix(7)). */
	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && len == sizeof(peer) &&
	       (peer.uid == geteuid() || peer.uid == 0 || (any_allowed && peer.uid == allowed_uid));
}

/* Passed descriptors */

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(BASE_FDS_MAX * sizeof(int))];
};

ssize_t base_send_fds(int sock, struct msghdr *msg, const int *fds, unsigned count, int flags)
{
	union control control = {0};
	ssize_t n;

	if (count > BASE_FDS_MAX) {
		errno = EINVAL;
		return -1;
	}
	msg->msg_control = count ? control.bytes : NULL;
	msg->msg_controllen = count ? CMSG_SPACE(count * sizeof(int)) : 0;
	if (count) {
		struct cmsghdr *head = CMSG_FIRSTHDR(msg);

		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, count * sizeof(int));
	}
	do
		n = sendmsg(sock, msg, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	msg->msg_control = NULL;
	msg->msg_controllen = 0;
	return n;
}

ssize_t base_recv_fds(int sock, struct msghdr *msg, int *fds, unsigned room, unsigned *count,
	bool *cut, int flags)
{
	union control control;
	ssize_t n;

	do {
		msg->msg_control = control.bytes;
		msg->msg_controllen = sizeof(control.bytes);
		n = recvmsg(sock, msg, flags | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n >= 0 && msg->msg_flags & MSG_CTRUNC)
		*cut = true;
	for (struct cmsghdr *head = n < 0 ? NULL : CMSG_FIRSTHDR(msg); head;
		head = CMSG_NXTHDR(msg, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= head->cmsg_len;
			at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(head) + at, sizeof(fd));
			if (*count < room) {
				fds[(*count)++] = fd;
			} else {
				close(fd);
				*cut = true;
			}
		}
	}
	msg->msg_control = NULL;
	msg->msg_controllen = 0;
	return n;
}

/* Partial messages */

unsigned base_iov_advance(struct iovec **iov, unsigned count, size_t done)
{
	while (count && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		count--;
	}
	if (count) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
	return count;
}
