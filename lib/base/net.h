/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net.h - stream sockets: addresses, connect and listen with deadlines, descriptor passing.
 * Every socket created here is non-blocking and closed on exec.
 */
#ifndef BASE_NET_H
#define BASE_NET_H

#include "base/uri.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Addresses */

struct base_address {
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
};

/* More addresses of a name are not tried. */
#define BASE_ADDRESSES_MAX 16

int base_unix_address(const char *path, struct base_address *out, struct swo_error *err);
/* The URI of the address, in numeric form. */
void base_address_uri(const struct base_address *address, char *out, size_t size);
/* Connect */

/*
 * Aborts an attempt to connect before its deadline: base_cancel_fire() on another thread, or a
 * flag that a signal handler sets. A cancel must not wait for a peer that does not respond.
 */
struct base_cancel {
	pthread_mutex_t lock;
	int fd; /* the socket in connect or handshake; -1: none */
	bool fired;
	const volatile int *interrupt; /* NULL: none */
	bool (*asked)(void *opaque);   /* in a lookup, now and then: true ends it. NULL: none */
	void *opaque;
};
#define BASE_CANCEL_INIT                                                                           \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1                                        \
	}

/* Any thread, any time: the armed operation fails at once, and so do later ones. */
void base_cancel_fire(struct base_cancel *cancel);
/*
 * From now on base_cancel_fire() shuts `fd` down. NULL is allowed, as below. False: already
 * fired.
 */
bool base_cancel_arm(struct base_cancel *cancel, int fd);
/* Before the socket is closed or passed on. False: it was fired meanwhile. */
bool base_cancel_disarm(struct base_cancel *cancel);

/*
 * The number of addresses of a URI, at least 1, or -1. passive: for listening. A name server that
 * does not answer costs no more than the deadline (SWO_E_TIMEOUT) or a cancel (SWO_E_CANCELLED;
 * `cancel` may be NULL): the lookup is left behind and ends by itself.
 */
int base_resolve(const struct base_uri *uri, bool passive, swo_deadline deadline,
	struct base_cancel *cancel, struct base_address out[BASE_ADDRESSES_MAX],
	struct swo_error *err);

/*
 * Tries the addresses in turn, and retries one with a full backlog until the deadline. 0 and
 * *out, or an errno: ETIMEDOUT, ECANCELED, EOWNERDEAD if the process that listens at a UNIX socket
 * belongs to another user, or that of connect(2) in the last attempt.
 */
int base_connect(const struct base_address *addresses, unsigned count, swo_deadline deadline,
	struct base_cancel *cancel, int *out);

/* SWO_E_INVALID and the remedy for EOWNERDEAD, otherwise `code` and the text of rc; after `fmt`. */
int base_connect_error(struct swo_error *err, enum swo_error_code code, int rc, const char *fmt,
	...) SWO_PRINTF(4, 5);

/* Listen */

/* 0 and *out, or an errno. A UNIX socket's file is accessible to its owner only (0600). */
int base_listen(const struct base_address *address, int backlog, int *out);
/* The same; beside_v4: an IPv6 address leaves IPv4 to another socket. */
int base_listen_beside(const struct base_address *address, int backlog, bool beside_v4, int *out);
/* Which file a listening UNIX socket made; look right after base_listen(). */
struct base_file_id {
	dev_t device;
	ino_t inode;
};
bool base_unix_file_id(const char *path, struct base_file_id *out);
/* Removes the socket's file, unless another process has put its own there. */
void base_unix_unlink_own(const char *path, const struct base_file_id *own);
/* Removes a UNIX socket without a listener; any other file is an error (in use). */
int base_unix_unlink_stale(const char *path, struct swo_error *err);
/* A connection, or -1 with errno. */
int base_accept(int listen_fd);
/*
 * True if the process at the other end of a UNIX socket belongs to this user, to root, or to the
 * user that swo_peer_uid_allow() names. The path is no proof: any process may have bound it first.
 */
bool base_peer_is_ours(int fd);

/* Descriptor passing (SCM_RIGHTS) */

/* The most descriptors in one message, in either direction. */
#define BASE_FDS_MAX 64

/* sendmsg(2) without SIGPIPE, with `count` fds: they are sent with the first byte. */
ssize_t base_send_fds(int sock, struct msghdr *msg, const int *fds, unsigned count, int flags);
/*
 * recvmsg(2) that appends received descriptors to fds[*count], up to `room` in total. Sets *cut
 * if there were more, which are closed. It never clears *cut, nor closes earlier fds.
 */
ssize_t base_recv_fds(int sock, struct msghdr *msg, int *fds, unsigned room, unsigned *count,
	bool *cut, int flags);

/* Parts of messages */

/*
 * Drops `done` bytes from the front of a vector, and empty pieces; returns the remaining number
 * of pieces.
 */
unsigned base_iov_advance(struct iovec **iov, unsigned count, size_t done);

#endif
