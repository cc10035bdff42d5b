/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn.h - stream sockets: listen, connect, complete sends and complete receives, each with a
 * deadline.
 *
 * Threads: one sender at a time (see frame.h for the lock), one receiver at a time,
 * concurrently. channel_conn_shutdown may be called from any thread at any time and makes blocked
 * calls return SWO_E_PEER_LOST.
 */
#ifndef CHANNEL_CONN_H
#define CHANNEL_CONN_H

#include "base/net.h"
#include "channel/limit.h"
#include "channel/tls.h"

/* The most descriptors that can be passed at once: one per region of a RAM, and one more. */
#define CHANNEL_FDS_MAX 17

struct channel_listener;
struct channel_conn;

/*
 * The protection of connections. Without TLS, TCP is limited to this host, unless `insecure` is
 * set for a trusted network. NULL instead of the structure: neither. It must outlive its users.
 */
struct channel_security {
	struct channel_tls_creds *tls; /* NULL: none */
	bool insecure;
};

/*
 * Listens on a URI; a UNIX socket is accessible to its owner only and is removed at close. `attempt`
 * ends the wait for a name server (SWO_E_CANCELLED); NULL: nothing does.
 */
int channel_listener_open(const char *uri, const struct channel_security *security,
	struct base_cancel *attempt, struct channel_listener **out, struct swo_error *err);
/* SWO_E_TIMEOUT if there was no connection by the deadline; SWO_E_CANCELLED after a stop. */
int channel_listener_accept(struct channel_listener *listener, swo_deadline deadline,
	struct channel_conn **out, struct swo_error *err);
/* The TLS handshake on an accepted connection, if there is one. */
int channel_listener_handshake(struct channel_listener *listener, struct channel_conn *conn,
	swo_deadline deadline, struct swo_error *err);
/* Any thread: this and every later accept returns SWO_E_CANCELLED. */
void channel_listener_stop(struct channel_listener *listener);
void channel_listener_close(struct channel_listener *listener);

/* With TLS, the handshake is complete and each end has accepted the other. */
int channel_conn_open(const char *uri, const struct channel_security *security,
	swo_deadline deadline, struct channel_conn **out, struct swo_error *err);
/*
 * Likewise; base_cancel_fire() on another thread makes it fail with SWO_E_CANCELLED at once.
 */
int channel_conn_attempt(const char *uri, const struct channel_security *security,
	swo_deadline deadline, struct base_cancel *attempt, struct channel_conn **out,
	struct swo_error *err);
/* Takes ownership of a connected stream socket. */
int channel_conn_adopt(int fd, const char *peer, struct channel_conn **out, struct swo_error *err);
void channel_conn_shutdown(struct channel_conn *conn);
void channel_conn_close(struct channel_conn *conn);
const char *channel_conn_peer(const struct channel_conn *conn);
bool channel_conn_has_tls(const struct channel_conn *conn);
/*
 * The other end was authenticated: by TLS, or as a process of this user, of root or of --peer-uid
 * at a UNIX socket, which is checked at both ends.
 */
bool channel_conn_is_trusted(const struct channel_conn *conn);
/* The socket, which the connection owns: for tests, and for socket options. */
int channel_conn_fd(const struct channel_conn *conn);

/*
 * Limits the waits of every send from now on: set before other threads send. It must outlive the
 * connection. SWO_E_CANCELLED or SWO_E_TIMEOUT where it ends one.
 */
void channel_conn_set_limit(struct channel_conn *conn, const struct channel_limit *limit);
const struct channel_limit *channel_conn_limit(const struct channel_conn *conn);

/* True if a few bytes can be sent without a wait; also if sending fails at once. */
bool channel_conn_writable(struct channel_conn *conn);
/* Waits until there is data to receive (or EOF): true; false at the deadline. */
bool channel_conn_readable(struct channel_conn *conn, swo_deadline deadline);

/*
 * Sends or receives everything, or fails: SWO_E_TIMEOUT if there is no progress for stall_ms,
 * SWO_E_PEER_LOST if the other end has closed. `iov` is consumed. The complete transfer has no
 * other limit: a slow link is not an error, a stalled one is.
 */
int channel_conn_send(struct channel_conn *conn, struct iovec *iov, unsigned count,
	uint64_t stall_ms, struct swo_error *err);
int channel_conn_recv(struct channel_conn *conn, struct iovec *iov, unsigned count,
	uint64_t stall_ms, struct swo_error *err);

/*
 * Descriptor passing, over a UNIX socket without TLS (otherwise SWO_E_UNSUPPORTED). attach:
 * sends them with the next byte, only to a process of this user (or root's); the caller keeps
 * them. accept_fds: received descriptors are kept from now on; initially, and after false, the
 * kernel closes them.
 */
int channel_conn_attach_fds(
	struct channel_conn *conn, const int *fds, unsigned count, struct swo_error *err);
int channel_conn_accept_fds(struct channel_conn *conn, bool on, struct swo_error *err);
/*
 * The received descriptors, if there are exactly `count`: the caller owns them. Otherwise all
 * are closed, and it is an error.
 */
int channel_conn_take_fds(
	struct channel_conn *conn, int *fds, unsigned count, struct swo_error *err);
/* Closes received descriptors that were not taken; closing the connection does so too. */
void channel_conn_drop_fds(struct channel_conn *conn);

#endif
