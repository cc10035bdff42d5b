/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.h - TLS under a connection: credentials, the handshake, and a transfer that looks
 * like the socket's own. The one place, with tls_creds.c and tls_text.c, that uses GnuTLS.
 *
 * Threads: credentials may be shared by any number of sessions. A session is one sender's
 * and one receiver's at the same time, and any thread's that sends close_notify: each step holds its
 * lock, and no step waits. (GnuTLS allows a sender beside a receiver only as long as no key is
 * updated, and it does that by itself after 2^24 records; see docs/channel.md.)
 */
#ifndef CHANNEL_TLS_H
#define CHANNEL_TLS_H

#include "switchover/tls.h"

#include <sys/uio.h>

struct swo_tls_creds;
struct swo_tls;

/*
 * Reads and checks the directory for one end: the target serves, the source is its client.
 * SWO_E_INVALID names the file and what is wrong with it.
 */
int swo_tls_creds_load(const struct swo_tls_params *params, bool server, struct swo_tls_creds **out,
	struct swo_error *err);
void swo_tls_creds_free(struct swo_tls_creds *creds);

/*
 * Shakes hands on a connected, non-blocking socket, which stays the caller's. When it returns
 * 0, both ends have accepted each other. host: who a client believes to talk to, unless the
 * credentials name another. peer: for messages. Both must outlive the session.
 */
int swo_tls_start(int fd, const struct swo_tls_creds *creds, const char *peer, const char *host,
	swo_deadline deadline, struct swo_tls **out, struct swo_error *err);
/* As swo_conn_send and swo_conn_recv. */
int swo_tls_transfer(struct swo_tls *tls, struct iovec *iov, unsigned count, uint64_t stall_ms,
	bool sending, struct swo_error *err);
/* Has something been received that was not asked for yet? The socket does not tell. */
bool swo_tls_holds_data(struct swo_tls *tls);
/* Tells the peer that this was all, as far as that goes without waiting. Any thread. */
void swo_tls_close_notify(struct swo_tls *tls);
void swo_tls_free(struct swo_tls *tls);

#endif
