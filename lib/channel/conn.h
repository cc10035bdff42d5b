/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn.h - stream sockets: listen, connect, whole sends and whole receives,
 * each with a deadline.
 *
 * Threads: one sender at a time (see frame.h for the lock), one receiver at a time,
 * both at once. swo_conn_shutdown may be called from any thread at any time and
 * makes whoever is blocked return SWO_E_PEER_LOST.
 */
#ifndef CHANNEL_CONN_H
#define CHANNEL_CONN_H

#include "base/net.h"
#include "channel/tls.h"

/* How many descriptors may travel along at once: as many as one RAM has regions, and one more. */
#define SWO_FDS_MAX 17

struct swo_listener;
struct swo_conn;

/*
 * How connections are protected. Without TLS, tcp goes to this host only, unless `insecure` says
 * that the network is trusted. NULL in place of one: neither. It must outlive what it was given to.
 */
struct swo_security {
	struct swo_tls_creds *tls; /* NULL: none */
	bool insecure;
};

/* Listens on a URI; a UNIX socket is made owner-only and is removed again at close. */
int swo_listener_open(const char *uri, const struct swo_security *security,
	struct swo_listener **out, struct swo_error *err);
/* SWO_E_TIMEOUT when nobody came by the deadline; SWO_E_CANCELLED after a stop. */
int swo_listener_accept(struct swo_listener *listener, swo_deadline deadline, struct swo_conn **out,
	struct swo_error *err);
/* What remains to be done with an accepted connection: the TLS handshake, where there is to be one.
 */
int swo_listener_handshake(struct swo_listener *listener, struct swo_conn *conn,
	swo_deadline deadline, struct swo_error *err);
/* Any thread: this and every later accept returns SWO_E_CANCELLED. */
void swo_listener_stop(struct swo_listener *listener);
void swo_listener_close(struct swo_listener *listener);

/* With TLS, the handshake is over and each end has accepted the other. */
int swo_conn_open(const char *uri, const struct swo_security *security, swo_deadline deadline,
	struct swo_conn **out, struct swo_error *err);
/* The same, which base_cancel_fire() on another thread turns into SWO_E_CANCELLED at once (but for
   the resolver, which has deadlines of its own). */
int swo_conn_attempt(const char *uri, const struct swo_security *security, swo_deadline deadline,
	struct base_cancel *attempt, struct swo_conn **out, struct swo_error *err);
/* Takes over a connected stream socket. */
int swo_conn_adopt(int fd, const char *peer, struct swo_conn **out, struct swo_error *err);
void swo_conn_shutdown(struct swo_conn *conn);
void swo_conn_close(struct swo_conn *conn);
const char *swo_conn_peer(const struct swo_conn *conn);
bool swo_conn_has_tls(const struct swo_conn *conn);
/* The socket, which stays the connection's: for tests, and for options that only a socket has. */
int swo_conn_fd(const struct swo_conn *conn);

/* Waits until there is something to receive (or an end of it): true; false at the deadline. */
bool swo_conn_readable(struct swo_conn *conn, swo_deadline deadline);

/*
 * Sends or receives everything, or fails: SWO_E_TIMEOUT when for stall_ms nothing moved,
 * SWO_E_PEER_LOST when the other end is gone. `iov` is used up. The whole has no other
 * limit: a slow link is not an error, a stalled one is.
 */
int swo_conn_send(struct swo_conn *conn, struct iovec *iov, unsigned count, uint64_t stall_ms,
	struct swo_error *err);
int swo_conn_recv(struct swo_conn *conn, struct iovec *iov, unsigned count, uint64_t stall_ms,
	struct swo_error *err);

/*
 * Descriptors that travel along. Both need a UNIX socket without TLS (SWO_E_UNSUPPORTED elsewhere).
 * attach: they go along with the next byte that is sent, to a process of this user (or root's) only,
 * and stay the caller's. welcome: what comes along from now on is kept; at first, and after false,
 * the kernel closes it.
 */
int swo_conn_attach_fds(
	struct swo_conn *conn, const int *fds, unsigned count, struct swo_error *err);
int swo_conn_accept_fds(struct swo_conn *conn, bool welcome, struct swo_error *err);
/* Exactly so many have come: they are the caller's now. Else all are closed, and it is an error. */
int swo_conn_take_fds(struct swo_conn *conn, int *fds, unsigned count, struct swo_error *err);
/* Closes what came and nobody took; closing the connection does so, too. */
void swo_conn_drop_fds(struct swo_conn *conn);

#endif
