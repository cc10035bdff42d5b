/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_shake.c - the handshake: who is there, is it who it is to be, and a last word to one
 * who is refused.
 */
#include "channel/tls_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define DRAIN_MS 300 /* how long a refused caller may take to hear of it */

/* Both ends are ours: TLS 1.3 is what there is. */
#define PRIORITY_X509 "NORMAL:-VERS-ALL:+VERS-TLS1.3"
/* A shared key goes with SHA-256 suites: of these AES, which hosts have in hardware, before
 * ChaCha20. */
#define PRIORITY_PSK                                                                               \
	PRIORITY_X509 ":-KX-ALL:+ECDHE-PSK:+DHE-PSK:-CHACHA20-POLY1305:+CHACHA20-POLY1305"

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
		/* One that does not fit is nobody's. */
		if (name.size < SWO_TLS_NAME_MAX) {
			memcpy(out, name.data, name.size);
			out[name.size] = 0;
		}
		gnutls_free(name.data);
	}
	gnutls_x509_crt_deinit(crt);
}

/* GnuTLS has the peer's certificates: is it who it is to be? */
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

static int configure(struct swo_tls *tls)
{
	const struct swo_tls_creds *creds = tls->party.creds;
	const bool psk = creds->params.kind == SWO_TLS_PSK;
	gnutls_session_t session = tls->session;
	const char *host = tls->party.host;
	int rc = gnutls_priority_set_direct(session, psk ? PRIORITY_PSK : PRIORITY_X509, NULL);

	if (rc)
		return rc;
	gnutls_session_set_ptr(session, &tls->party);
	gnutls_transport_set_ptr(session, tls);
	gnutls_transport_set_pull_function(session, channel_tls_pull);
	gnutls_transport_set_vec_push_function(session, channel_tls_push);
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

/* Waits until GnuTLS can go on. false: the deadline has passed. */
static bool step_wait(struct swo_tls *tls, swo_deadline deadline)
{
	bool writing = tls->out.start < tls->out.end;

	return channel_tls_wait_for(tls->fd, writing ? POLLIN | POLLOUT : POLLIN, deadline);
}

static bool again(int rc)
{
	return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

static int late(const struct swo_tls *tls, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"the TLS handshake with '%s' did not come to an end in time (does it speak TLS?)",
		tls->party.peer);
}

/* The last words to one who is refused: they must arrive before the socket is closed. */
static void dismiss(struct swo_tls *tls)
{
	swo_deadline deadline = swo_deadline_ms(DRAIN_MS);
	size_t drained = 0;
	ssize_t n;

	if (channel_tls_flush(tls))
		return;
	shutdown(tls->fd, SHUT_WR);
	/* Closing a socket with bytes unread resets it, and what was said last is lost. */
	while (drained < 4 * TLS_BUFFER && channel_tls_wait_for(tls->fd, POLLIN, deadline)) {
		n = recv(tls->fd, tls->in.data, sizeof(tls->in.data), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		drained += n > 0 ? (size_t)n : 0;
	}
}

static int refuse(struct swo_tls *tls, int rc, struct swo_error *err)
{
	channel_tls_handshake_error(tls->session, &tls->party, rc, err);
	if (tls->party.refusal.set)
		gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, tls->party.refusal.alert);
	else if (rc != GNUTLS_E_FATAL_ALERT_RECEIVED && rc != GNUTLS_E_PREMATURE_TERMINATION)
		gnutls_alert_send_appropriate(tls->session, rc);
	dismiss(tls);
	return -1;
}

static int handshake(struct swo_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	for (;;) {
		int rc = gnutls_handshake(tls->session);
		int failed = channel_tls_flush(tls);

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
 * In TLS 1.3 a client is done before the server has looked at its certificate. One byte from the
 * server says that it has, so that a refusal is the handshake's error and not a later one's.
 */
static int say_welcome(struct swo_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	ssize_t rc = gnutls_record_send(tls->session, "+", 1);

	if (rc != 1)
		return refuse(tls, (int)rc, err);
	while (!channel_tls_flush(tls) && tls->out.end)
		if (!channel_tls_wait_for(tls->fd, POLLOUT, deadline))
			return late(tls, err);
	return 0;
}

static int hear_welcome(struct swo_tls *tls, swo_deadline deadline, struct swo_error *err)
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

/* Whoever begins with anything but a TLS record is told, in TLS's words, that this is not it. */
static int check_first_byte(struct swo_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	static const uint8_t alert[] = {
		21, 3, 3, 0, 2, GNUTLS_AL_FATAL, GNUTLS_A_UNEXPECTED_MESSAGE};
	uint8_t first;

	if (!channel_tls_wait_for(tls->fd, POLLIN, deadline))
		return late(tls, err);
	if (recv(tls->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1 || first == 22)
		return 0; /* an end of it is the handshake's to see */
	memcpy(tls->out.data, alert, sizeof(alert));
	tls->out.end = sizeof(alert);
	dismiss(tls);
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"the caller '%s' does not speak TLS, which is required here: give the source TLS "
		"credentials (tls-creds) too",
		tls->party.peer);
}

int channel_tls_handshake(struct swo_tls *tls, swo_deadline deadline, struct swo_error *err)
{
	const bool server = tls->party.creds->server;
	const unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
	int rc;

	if (server && check_first_byte(tls, deadline, err))
		return -1;
	/* A client whose CA the server does not list shows its certificate all the same: the server
	   can then say what is wrong with it. */
	rc = gnutls_init(&tls->session,
		flags | (server ? GNUTLS_SERVER : GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT));
	if (!rc)
		rc = configure(tls);
	if (rc)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "a TLS session with '%s': %s",
			tls->party.peer, gnutls_strerror(rc));
	return handshake(tls, deadline, err) ||
	       (server ? say_welcome : hear_welcome)(tls, deadline, err);
}
