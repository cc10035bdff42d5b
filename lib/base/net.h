/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net.h - stream sockets: addresses, connect and listen with deadlines, descriptors that travel
 * along. Every socket made here is non-blocking and closed on exec.
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

/* No name has more addresses that are worth an attempt. */
#define BASE_ADDRESSES_MAX 16

int base_unix_address(const char *path, struct base_address *out, struct swo_error *err);
/* The URI that names it, with its numbers. */
void base_address_uri(const struct base_address *address, char *out, size_t size);
/* How many addresses a URI has, at least 1, or -1. passive: to listen there. */
int base_resolve(const struct base_uri *uri, bool passive,
	struct base_address out[BASE_ADDRESSES_MAX], struct swo_error *err);

/* Connect */

/*
 * What ends an attempt to connect before its deadline: base_cancel_fire() on another thread, or a
 * flag that a signal handler sets. A cancel must not wait for a peer that does not answer.
 */
struct base_cancel {
	pthread_mutex_t lock;
	int fd; /* the socket that connects or shakes hands; -1: none */
	bool fired;
	const volatile int *interrupt; /* NULL: none */
};
#define BASE_CANCEL_INIT                                                                           \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1                                        \
	}

/* Any thread, any time: what it was armed for fails at once, now and later. */
void base_cancel_fire(struct base_cancel *cancel);
/* From now on it shuts `fd` down. NULL is allowed, as in what follows. False: it was fired. */
bool base_cancel_arm(struct base_cancel *cancel, int fd);
/* Before the socket is closed or handed on. False: it was fired meanwhile. */
bool base_cancel_disarm(struct base_cancel *cancel);

/*
 * Tries the addresses in turn, and one whose backlog is full until the deadline. 0 and *out, or an
 * errno: ETIMEDOUT, ECANCELED, what connect(2) or the last attempt reported.
 */
int base_connect(const struct base_address *addresses, unsigned count, swo_deadline deadline,
	struct base_cancel *cancel, int *out);

/* Listen */

/* 0 and *out, or an errno. A UNIX socket's file is its owner's alone (0600). */
int base_listen(const struct base_address *address, int backlog, int *out);
/* Removes a UNIX socket at which nobody listens; what else is there is an error (in use). */
int base_unix_unlink_stale(const char *path, struct swo_error *err);
/* A connection, or -1 with errno. */
int base_accept(int listen_fd);
/*
 * The process at the other end of a UNIX socket is this user's, or root's. A socket's mode keeps
 * others out already, unless somebody changes it, or hands a connection on.
 */
bool base_peer_is_ours(int fd);

/* Descriptors that travel along (SCM_RIGHTS) */

/* As many as one message carries at most, either way. */
#define BASE_FDS_MAX 64

/* sendmsg(2) without SIGPIPE, with `count` fds: they are gone with the first byte. */
ssize_t base_send_fds(int sock, struct msghdr *msg, const int *fds, unsigned count, int flags);
/*
 * recvmsg(2) that appends what comes along to fds[*count], up to `room` in all. True in *cut: more
 * came, and is closed. Neither does *cut become false here, nor are fds closed that came before.
 */
ssize_t base_recv_fds(int sock, struct msghdr *msg, int *fds, unsigned room, unsigned *count,
	bool *cut, int flags);

/* Parts of messages */

/* Drops `done` bytes from the front of a vector, and empty pieces; returns what is left of it. */
unsigned base_iov_advance(struct iovec **iov, unsigned count, size_t done);

#endif
