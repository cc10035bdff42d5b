/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.c - a TLS session on a connected socket: the handshake, complete sends and receives with
 * deadlines, close_notify. GnuTLS reads and writes buffers; only this file accesses the socket.
 */
#include "base/net.h"
#include "base/poll.h"
#include "channel/tls_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TLS_RECORD 16384 /* bytes of plain text in the largest record */
#define TLS_BUFFER                                                                                 \
	(8 * TLS_RECORD) /* of cipher text, in each direction: one system call for several records */
#define RECORD_ROOM (2 * TLS_RECORD) /* a record encrypted, with a key update before it */

#define DRAIN_MS 300 /* the time a refused peer gets to read the alert */

/* Both ends are this library: TLS 1.3 is the only version. */
#define PRIORITY_X509 "NORMAL:-VERS-ALL:+VERS-TLS1.3"
/* A shared key goes with SHA-256 suites: AES, which hosts have in hardware, before ChaCha20. */
#define PRIORITY_PSK                                                                               \
	PRIORITY_X509 ":-KX-ALL:+ECDHE-PSK:+DHE-PSK:-CHACHA20-POLY1305:+CHACHA20-POLY1305"

struct tls_buffer {
	uint8_t data[TLS_BUFFER];
	size_t start, end;
};

struct channel_tls {
	int fd;
	gnutls_session_t session;
	struct tls_party party;
	pthread_mutex_t lock;
	/* for the following */
	bool up; /* the handshake is complete, and no call has failed since */
	bool eof;
	uint64_t moved; /* bytes of cipher text, both directions */
	struct tls_buffer in, out;
	uint8_t stage[TLS_RECORD];
};

/* The socket */

static int would_block(gnutls_session_t session, int os_errno)
{
	gnutls_transport_set_errno(session, os_errno);
	return -1;
}

static ssize_t pull(gnutls_transport_ptr_t opaque, void *data, size_t len)
{
	struct channel_tls *tls = opaque;
	struct tls_buffer *in = &tls->in;

	if (in->start == in->end) {
		ssize_t n = recv(tls->fd, in->data, sizeof(in->data), MSG_DONTWAIT);

		if (n < 0)
			return would_block(tls->session, errno);
		if (!n)
			tls->eof = true;
		in->start = 0;
		in->end = (size_t)n;
		tls->moved += (uint64_t)n;
	}
	if (len > in->end - in->start)
		len = in->end - in->start;
	memcpy(data, in->data + in->start, len);
	in->start += len;
	return (ssize_t)len;
}

/* Never full: callers check for RECORD_ROOM before they make GnuTLS write. */
static ssize_t push(gnutls_transport_ptr_t opaque, const giovec_t *iov, int count)
{
	struct channel_tls *tls = opaque;
	struct tls_buffer *out = &tls->out;
	size_t total = 0;

	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > sizeof(out->data) - out->end)
			return would_block(tls->session, ENOBUFS);
		memcpy(out->data + out->end, iov[i].iov_base, iov[i].iov_len);
		out->end += iov[i].iov_len;
		total += iov[i].iov_len;
	}
	return (ssize_t)total;
}

static int flush(struct channel_tls *tls)
{
	struct tls_buffer *out = &tls->out;

	while (out->start < out->end) {
		ssize_t n = send(tls->fd, out->data + out->start, out->end - out->start,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return errno;
		out->start += (size_t)n;
		tls->moved += (uint64_t)n;
	}
	if (out->start == out->end)
		out->start = out->end = 0;
	return 0;
}

static bool wait_for(int fd, short events, swo_deadline deadline)
{
	return !base_wait_fd(fd, events, deadline, NULL);
}

/* The handshake */

/* The distinguished name of the peer's certificate, or "". */
static void peer_name(gnutls_session_t session, char out[SWO_TLS_NAME_MAX])
{
	unsigned count = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
	gnutls_datum_t name = {0};
	gnutls_x509_crt_t crt;

	out[0] = 0;
	if (!count || gnutls_x509_crt_init(&crt))
		return;
	if (!gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) &&
		!gnutls_x509_crt_get_dn2(crt, &name)) {
		/* A name that does not fit matches none. */
		if (name.size < SWO_TLS_NAME_MAX) {
			memcpy(out, name.data, name.size);
			out[name.size] = 0;
		}
		gnutls_free(name.data);
	}
	gnutls_x509_crt_deinit(crt);
}

/* Called when GnuTLS has the peer's certificates: checks the peer's identity. */
static int verify(gnutls_session_t session)
{
	struct tls_party *party = gnutls_session_get_ptr(session);
	const bool server = party->creds->server;
	const char *authz = party->creds->params.authz;
	gnutls_typed_vdata_st data[2] = {
		{.type = GNUTLS_DT_KEY_PURPOSE_OID,
			.data = (unsigned char *)(server ? GNUTLS_KP_TLS_WWW_CLIENT
							 : GNUTLS_KP_TLS_WWW_SERVER)},
		{.type = GNUTLS_DT_DNS_HOSTNAME, .data = (unsigned char *)(uintptr_t)party->host}};
	struct tls_refusal *refusal = &party->refusal;
	char name[SWO_TLS_NAME_MAX];
	unsigned status = 0;
	int rc = gnutls_certificate_verify_peers(session, data, server ? 1 : 2, &status);

	if (rc < 0)
		return rc;
	if (status) {
		*refusal = (struct tls_refusal){
			.set = true, .status = status, .alert = channel_tls_alert_of(status)};
		return GNUTLS_E_CERTIFICATE_ERROR;
	}
	if (!server || !authz[0])
		return 0;
	peer_name(session, name);
	if (!strcmp(name, authz))
		return 0;
	*refusal = (struct tls_refusal){.set = true, .alert = GNUTLS_A_ACCESS_DENIED};
	memcpy(refusal->identity, name, sizeof(name));
	return GNUTLS_E_CERTIFICATE_ERROR;
}

static bool is_address(const char *host)
{
	return strchr(host, ':') || !host[strspn(host, "0123456789.")];
}

static int configure(struct channel_tls *tls)
{
	const struct channel_tls_creds *creds = tls->party.creds;
	const bool psk = creds->params.kind == SWO_TLS_PSK;
	gnutls_session_t session = tls->session;
	const char *host = tls->party.host;
	int rc = gnutls_priority_set_direct(session, psk ? PRIORITY_PSK : PRIORITY_X509, NULL);

	if (rc)
		return rc;
	gnutls_session_set_ptr(session, &tls->party);
	gnutls_transport_set_ptr(session, tls);
	gnutls_transport_set_pull_function(session, pull);
	gnutls_transport_set_vec_push_function(session, push);
	if (psk)
		return gnutls_credentials_set(session, GNUTLS_CRD_PSK,
			creds->server ? (void *)creds->psk_server : (void *)creds->psk_client);
	gnutls_session_set_verify_function(session, verify);
	if (creds->server)
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	else if (!is_address(host))
		gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, strlen(host));
	return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, creds->x509);
}

/* Bytes that poll(2) on the socket does not report: read already, decrypted or not. */
static bool holds_data(const struct channel_tls *tls)
{
	return tls->in.start < tls->in.end || gnutls_record_check_pending(tls->session) > 0;
}

/* Waits until GnuTLS can continue. false: the deadline has passed. */
static bool step_wait(struct channel_tls *tls, swo_deadline deadline)
{
	bool writing = tls->out.start < tls->out.end;

	/* A message without data (a session ticket) may precede the one that is waited for. */
	if (holds_data(tls))
		return !swo_deadline_passed(deadline);

	return wait_for(tls->fd, writing ? POLLIN | POLLOUT : POLLIN, deadline);
}

static bool again(int rc)
{
	return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

static int late(const struct channel_tls *tls, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"timed out in the TLS handshake with '%s' (does it use TLS?)", tls->party.peer);
}

/* The alert to a peer that is refused must arrive before the socket is closed. */
static void drain(struct channel_tls *tls)
{
	swo_deadline deadline = swo_deadline_ms(DRAIN_MS);
	size_t drained = 0;
	ssize_t n;

	if (flush(tls))
		return;
	shutdown(tls->fd, SHUT_WR);
	/* Closing a socket with unread bytes resets it, and the last bytes sent are lost. */
	while (drained < 4 * TLS_BUFFER && wait_for(tls->fd, POLLIN, deadline)) {
		n = recv(tls->fd, tls->in.data, sizeof(tls->in.data), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		drained += n > 0 ? (size_t)n : 0;
	}
}

static int refuse(struct channel_tls *tls, int rc, struct swo_error *err)
{
	channel_tls_handshake_error(tls->session, &tls->party, rc, err);
	if (tls->party.refusal.set)
		gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, tls->party.refusal.alert);
	else if (rc != GNUTLS_E_FATAL_ALERT_RECEIVED && rc != GNUTLS_E_PREMATURE_TERMINATION)
		gnutls_alert_send_appropriate(tls->session, rc);
	drain(tls);
	return -1;
}

static int run_handshake(struct channel_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	for (;;) {
		int rc = gnutls_handshake(tls->session);
		int failed = flush(tls);

		if (rc < 0 && !again(rc) && gnutls_error_is_fatal(rc))
			return refuse(tls, rc, err);
		if (failed)
			return refuse(tls, GNUTLS_E_PREMATURE_TERMINATION, err);
		if (!rc && tls->out.start == tls->out.end)
			return 0;
		if (!step_wait(tls, deadline))
			return late(tls, err);
	}
}

/*
 * In TLS 1.3 a client has finished before the server has checked its certificate. One byte from
 * the server confirms the check, so that a refusal is an error of the handshake and not of a
 * later call.
 */
static int send_verified(struct channel_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	ssize_t rc = gnutls_record_send(tls->session, "+", 1);

	if (rc != 1)
		return refuse(tls, (int)rc, err);
	while (!flush(tls) && tls->out.end)
		if (!wait_for(tls->fd, POLLOUT, deadline))
			return late(tls, err);
	return 0;
}

static int await_verified(struct channel_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	char word = 0;

	for (;;) {
		ssize_t rc = gnutls_record_recv(tls->session, &word, 1);

		if (rc == 1)
			return 0;
		if (rc == 0)
			return refuse(tls, GNUTLS_E_PREMATURE_TERMINATION, err);
		if (gnutls_error_is_fatal((int)rc))
			return refuse(tls, (int)rc, err);
		if (!step_wait(tls, deadline))
			return late(tls, err);
	}
}

/* A peer that starts with anything but a TLS record gets an alert. */
static int check_first_byte(struct channel_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	static const uint8_t alert[] = {
		21, 3, 3, 0, 2, GNUTLS_AL_FATAL, GNUTLS_A_UNEXPECTED_MESSAGE};
	uint8_t first;

	if (!wait_for(tls->fd, POLLIN, deadline))
		return late(tls, err);
	if (recv(tls->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1 || first == 22)
		return 0; /* EOF is detected by the handshake */
	memcpy(tls->out.data, alert, sizeof(alert));
	tls->out.end = sizeof(alert);
	drain(tls);
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"the source '%s' does not use TLS, which is required here: give the source TLS "
		"credentials (tls-creds) too",
		tls->party.peer);
}

static int tls_handshake(struct channel_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	const bool server = tls->party.creds->server;
	const unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
	int rc;

	if (server && check_first_byte(tls, deadline, err))
		return -1;
	/* A client sends its certificate even if the server does not list its CA: the server can then
	   report the reason. */
	rc = gnutls_init(&tls->session,
		flags | (server ? GNUTLS_SERVER : GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT));
	if (!rc)
		rc = configure(tls);
	if (rc)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0,
			"cannot create a TLS session with '%s': %s", tls->party.peer,
			gnutls_strerror(rc));
	return run_handshake(tls, deadline, err) ||
	       (server ? send_verified : await_verified)(tls, deadline, err);
}

int channel_tls_start(int fd, const struct channel_tls_creds *creds, const char *peer,
	const char *host, swo_deadline deadline, struct channel_tls **out, struct swo_error *err)
{
	struct channel_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a TLS session with '%s'", peer);
	pthread_mutex_init(&tls->lock, NULL);
	tls->fd = fd;
	tls->party = (struct tls_party){.creds = creds,
		.peer = peer,
		.host = creds->params.hostname[0] ? creds->params.hostname : host};
	if (!creds->server && creds->params.kind == SWO_TLS_X509 && !tls->party.host[0])
		swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' has no host name to check the target's certificate for: set it "
			"with tls-hostname",
			peer);
	else if (!tls_handshake(tls, deadline, err))
		tls->up = true;
	if (!tls->up) {
		channel_tls_free(tls);
		return -1;
	}
	*out = tls;
	return 0;
}

/* Transfers */

/* Up to one record from the front: in place if it is in one piece. */
static const void *next_piece(
	struct channel_tls *tls, const struct iovec *iov, unsigned count, size_t *len)
{
	*len = 0;
	if (iov->iov_len >= TLS_RECORD || count == 1) {
		*len = iov->iov_len < TLS_RECORD ? iov->iov_len : TLS_RECORD;
		return iov->iov_base;
	}
	for (; count && *len < TLS_RECORD; iov++, count--) {
		size_t part = iov->iov_len < TLS_RECORD - *len ? iov->iov_len : TLS_RECORD - *len;

		if (part)
			memcpy(tls->stage + *len, iov->iov_base, part);
		*len += part;
	}
	return tls->stage;
}

/* Encrypts as much as fits and writes as much as the socket accepts. With the lock held. */
static int send_some(
	struct channel_tls *tls, struct iovec **iov, unsigned *count, struct swo_error *err)
{
	while (*count && sizeof(tls->out.data) - tls->out.end >= RECORD_ROOM) {
		size_t len;
		const void *piece = next_piece(tls, *iov, *count, &len);
		ssize_t rc = gnutls_record_send(tls->session, piece, len);

		/* Never GNUTLS_E_AGAIN: there is space. */
		if (rc <= 0) {
			tls->up = false;
			return channel_tls_transfer_error(tls->session, &tls->party, (int)rc, err);
		}
		*count = base_iov_advance(iov, *count, (size_t)rc);
	}
	int failed = flush(tls);

	if (!failed)
		return 0;
	tls->up = false;
	return swo_error_set(err, SWO_E_PEER_LOST, failed,
		"the connection '%s' was closed by the system", tls->party.peer);
}

static int recv_some(
	struct channel_tls *tls, struct iovec **iov, unsigned *count, struct swo_error *err)
{
	/* Writes nothing: a key update that the peer requests precedes the next record that is sent. */
	ssize_t rc = gnutls_record_recv(tls->session, (*iov)->iov_base, (*iov)->iov_len);

	if (rc > 0) {
		*count = base_iov_advance(iov, *count, (size_t)rc);
	} else if (!rc || gnutls_error_is_fatal((int)rc)) {
		tls->up = false;
		return channel_tls_transfer_error(tls->session, &tls->party, (int)rc, err);
	}
	return 0;
}

int channel_tls_transfer(struct channel_tls *tls, struct iovec *iov, unsigned count,
	uint64_t stall_ms, bool sending, const struct channel_limit *limit, struct swo_error *err)
{
	swo_deadline deadline = 0; /* read the clock only when we must wait */
	uint64_t seen = 0;

	count = base_iov_advance(&iov, count, 0);
	if (!count)
		return 0;
	for (;;) {
		unsigned before = count;
		size_t left = count ? iov->iov_len : 0;

		pthread_mutex_lock(&tls->lock);
		int rc = sending ? send_some(tls, &iov, &count, err)
				 : recv_some(tls, &iov, &count, err);
		bool owed = sending && tls->out.end;
		/* A record without data (a key update) may precede one with data. */
		bool more = !sending && tls->in.start < tls->in.end;
		uint64_t moved = tls->moved;
		pthread_mutex_unlock(&tls->lock);
		if (rc)
			return -1;
		if (!count && !owed)
			return 0;
		/* Continues at once after progress: waits only for a full socket. */
		if (!owed && (more || count != before || iov->iov_len != left))
			continue;
		if (!deadline || moved != seen)
			deadline = swo_deadline_ms(stall_ms);
		seen = moved;
		rc = channel_limit_wait(limit, tls->fd, sending ? POLLOUT : POLLIN, deadline);
		if (rc == ETIMEDOUT)
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"timed out on the connection '%s': no progress for %llu ms",
				tls->party.peer, (unsigned long long)stall_ms);
		if (rc)
			return channel_limit_error(err, rc, tls->party.peer);
	}
}

bool channel_tls_owes_data(struct channel_tls *tls)
{
	pthread_mutex_lock(&tls->lock);
	bool owes = tls->out.end;
	pthread_mutex_unlock(&tls->lock);
	return owes;
}

bool channel_tls_holds_data(struct channel_tls *tls)
{
	pthread_mutex_lock(&tls->lock);
	bool holds = holds_data(tls);
	pthread_mutex_unlock(&tls->lock);
	return holds;
}

void channel_tls_close_notify(struct channel_tls *tls)
{
	pthread_mutex_lock(&tls->lock);
	/* Not in the middle of a record; and no data can be sent after it. */
	if (tls->up && !tls->out.end) {
		gnutls_bye(tls->session, GNUTLS_SHUT_WR);
		flush(tls);
		tls->up = false;
	}
	pthread_mutex_unlock(&tls->lock);
}

void channel_tls_free(struct channel_tls *tls)
{
	if (!tls)
		return;
	if (tls->session)
		gnutls_deinit(tls->session);
	gnutls_memset(tls->stage, 0, sizeof(tls->stage));
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}
