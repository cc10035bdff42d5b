/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fds.c - descriptors that travel along with a connection's bytes: what unix(7) calls
 * SCM_RIGHTS, with a bound on how many come and none that is left open.
 */
#include "channel/fds.h"

#include "channel/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(SWO_FDS_MAX * sizeof(int))];
};

static ssize_t send_along(struct swo_fds *bag, int fd, struct msghdr *msg)
{
	union control control = {0};
	size_t len = bag->out_count * sizeof(int);

	msg->msg_control = control.bytes;
	msg->msg_controllen = CMSG_SPACE(len);

	struct cmsghdr *head = CMSG_FIRSTHDR(msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(head), bag->out, len);

	ssize_t n = sendmsg(fd, msg, MSG_NOSIGNAL);

	/* They belong to the first byte: with any part of the message they are gone. */
	if (n > 0)
		bag->out_count = 0;
	return n;
}

static void keep(struct swo_fds *bag, int fd)
{
	if (bag->in_count == SWO_FDS_MAX) {
		bag->cut = true;
		close(fd);
		return;
	}
	bag->in[bag->in_count++] = fd;
}

static ssize_t receive_along(struct swo_fds *bag, int fd, struct msghdr *msg)
{
	union control control;

	msg->msg_control = control.bytes;
	msg->msg_controllen = sizeof(control.bytes);

	ssize_t n = recvmsg(fd, msg, MSG_CMSG_CLOEXEC);

	if (n < 0)
		return n;
	bag->cut = bag->cut || (msg->msg_flags & MSG_CTRUNC);
	for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= head->cmsg_len;
			at += sizeof(int)) {
			int one;

			memcpy(&one, CMSG_DATA(head) + at, sizeof(one));
			keep(bag, one);
		}
	}
	return n;
}

ssize_t swo_fds_transfer(struct swo_fds *bag, int fd, struct msghdr *msg, bool sending)
{
	if (sending)
		return bag->out_count ? send_along(bag, fd, msg) : sendmsg(fd, msg, MSG_NOSIGNAL);
	return bag->welcome ? receive_along(bag, fd, msg) : recvmsg(fd, msg, 0);
}

void swo_fds_drop(struct swo_fds *bag)
{
	while (bag->in_count)
		close(bag->in[--bag->in_count]);
	bag->cut = false;
}

/* For whoever holds a connection */

static bool is_unix(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX;
}

static struct swo_fds *bag_of(struct swo_conn *conn, struct swo_error *err)
{
	struct swo_fds **bag = swo_conn_fds(conn);

	if (!is_unix(swo_conn_fd(conn)) || swo_conn_has_tls(conn)) {
		swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"'%s' carries no descriptors: only a unix: connection without TLS does",
			swo_conn_peer(conn));
		return NULL;
	}
	if (!*bag)
		*bag = calloc(1, sizeof(**bag));
	if (!*bag)
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "connection '%s'", swo_conn_peer(conn));
	return *bag;
}

int swo_conn_attach_fds(
	struct swo_conn *conn, const int *fds, unsigned count, struct swo_error *err)
{
	struct swo_fds *bag = bag_of(conn, err);

	if (!bag)
		return -1;
	if (!swo_peer_is_ours(swo_conn_fd(conn)))
		return swo_error_set(err, SWO_E_PEER_LOST, 0,
			"another user's process listens on '%s': it gets no descriptors",
			swo_conn_peer(conn));
	if (count > SWO_FDS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%u descriptors are more than the %d that can go at once", count,
			SWO_FDS_MAX);
	if (count)
		memcpy(bag->out, fds, count * sizeof(*fds));
	bag->out_count = count;
	return 0;
}

int swo_conn_accept_fds(struct swo_conn *conn, bool welcome, struct swo_error *err)
{
	struct swo_fds *bag = bag_of(conn, err);

	if (!bag)
		return -1;
	bag->welcome = welcome;
	return 0;
}

int swo_conn_take_fds(struct swo_conn *conn, int *fds, unsigned count, struct swo_error *err)
{
	struct swo_fds *bag = *swo_conn_fds(conn);

	if (!bag || bag->cut || bag->in_count != count) {
		swo_error_set(err, SWO_E_PROTOCOL, 0,
			"%u descriptors came over '%s', %u were to come (is something in between "
			"that does not pass them on?)",
			bag ? bag->in_count : 0, swo_conn_peer(conn), count);
		swo_conn_drop_fds(conn);
		return -1;
	}
	if (count)
		memcpy(fds, bag->in, count * sizeof(*fds));
	bag->in_count = 0;
	return 0;
}

void swo_conn_drop_fds(struct swo_conn *conn)
{
	struct swo_fds *bag = *swo_conn_fds(conn);

	if (bag)
		swo_fds_drop(bag);
}
