/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.h - TLS under a connection: credentials, the handshake, and a transfer with the interface
 * of the socket's. Only this, tls_creds.c and tls_text.c use GnuTLS.
 *
 * Threads: credentials may be shared by any number of sessions. A session may be used by one
 * sender and one receiver concurrently, and by any thread that sends close_notify: each step
 * holds its lock, and no step waits. (GnuTLS allows a concurrent sender and receiver only as
 * long as no key is updated, which it does on its own after 2^24 records; see docs/channel.md.)
 */
#ifndef CHANNEL_TLS_H
#define CHANNEL_TLS_H

#include "channel/limit.h"
#include "switchover/tls.h"

#include <sys/uio.h>

struct channel_tls_creds;
struct channel_tls;

/*
 * Reads and checks the directory for one end: the target is the server, the source its client.
 * SWO_E_INVALID names the file and the reason.
 */
int channel_tls_creds_load(const struct swo_tls_params *params, bool server,
	struct channel_tls_creds **out, struct swo_error *err);
void channel_tls_creds_free(struct channel_tls_creds *creds);

/*
 * TLS handshake on a connected, non-blocking socket, which the caller owns. When it returns 0,
 * both ends have accepted each other. host: the peer that a client expects, unless the
 * credentials name another. peer: for messages. Both must outlive the session.
 */
int channel_tls_start(int fd, const struct channel_tls_creds *creds, const char *peer,
	const char *host, swo_deadline deadline, struct channel_tls **out, struct swo_error *err);
/* As channel_conn_send and channel_conn_recv. */
int channel_tls_transfer(struct channel_tls *tls, struct iovec *iov, unsigned count,
	uint64_t stall_ms, bool sending, const struct channel_limit *limit, struct swo_error *err);
/* True if encrypted data waits for space in the socket. */
bool channel_tls_owes_data(struct channel_tls *tls);
/* True if decrypted data is buffered. poll(2) on the socket does not report it. */
bool channel_tls_holds_data(struct channel_tls *tls);
/* Sends close_notify, as far as possible without waiting. Any thread. */
void channel_tls_close_notify(struct channel_tls *tls);
void channel_tls_free(struct channel_tls *tls);

#endif
