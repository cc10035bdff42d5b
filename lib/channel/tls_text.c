/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_text.c - errors of TLS as text that names the peer, the file, and what to do.
 */
#include "channel/tls_internal.h"

#include <stdio.h>
#include <string.h>

static const struct {
	unsigned bit;
	gnutls_alert_description_t alert;
	const char *text;
} statuses[] = {
	{GNUTLS_CERT_REVOKED, GNUTLS_A_CERTIFICATE_REVOKED, "it has been revoked (ca-crl.pem)"},
	{GNUTLS_CERT_SIGNER_NOT_FOUND, GNUTLS_A_UNKNOWN_CA,
		"it is not signed by a CA of ca-cert.pem"},
	{GNUTLS_CERT_SIGNATURE_FAILURE, GNUTLS_A_UNKNOWN_CA,
		"its signature is not that of a CA of ca-cert.pem (which may have the same name)"},
	{GNUTLS_CERT_SIGNER_NOT_CA, GNUTLS_A_UNKNOWN_CA, "its issuer is not a CA"},
	{GNUTLS_CERT_EXPIRED, GNUTLS_A_CERTIFICATE_EXPIRED,
		"it has expired: renew it (or set the clock)"},
	{GNUTLS_CERT_NOT_ACTIVATED, GNUTLS_A_CERTIFICATE_EXPIRED,
		"it is not valid yet (is the clock right?)"},
	{GNUTLS_CERT_UNEXPECTED_OWNER, GNUTLS_A_BAD_CERTIFICATE, "it is for another host name"},
	{GNUTLS_CERT_PURPOSE_MISMATCH, GNUTLS_A_UNSUPPORTED_CERTIFICATE,
		"it is not for this end (a source needs the purpose 'TLS client', a target "
		"'TLS "
		"server')"},
	{GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED, GNUTLS_A_CERTIFICATE_UNKNOWN,
		"the revocation list ca-crl.pem is out of date"},
	{GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE, GNUTLS_A_CERTIFICATE_UNKNOWN,
		"the revocation list ca-crl.pem is not valid yet"},
	{GNUTLS_CERT_INSECURE_ALGORITHM, GNUTLS_A_INSUFFICIENT_SECURITY,
		"its signature algorithm or key is too weak"},
};

gnutls_alert_description_t channel_tls_alert_of(unsigned status)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(statuses); i++)
		if (status & statuses[i].bit)
			return statuses[i].alert;
	return GNUTLS_A_BAD_CERTIFICATE;
}

const char *channel_tls_status_text(unsigned status)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(statuses); i++)
		if (status & statuses[i].bit)
			return statuses[i].text;
	return "it is not valid";
}

/* This side refused the peer */

static int we_refused(const struct tls_party *party, struct swo_error *err)
{
	const struct swo_tls_params *params = &party->creds->params;
	const struct tls_refusal *refusal = &party->refusal;

	if (refusal->alert == GNUTLS_A_ACCESS_DENIED)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"refusing the source '%s': it is \"%s\", tls-authz allows only \"%s\"",
			party->peer, refusal->identity, params->authz);
	if (refusal->alert == GNUTLS_A_UNKNOWN_PSK_IDENTITY)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"refusing the source '%s': \"%s\" is not in %s/keys.psk", party->peer,
			refusal->identity, params->creds);
	if (refusal->status & GNUTLS_CERT_UNEXPECTED_OWNER)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"the certificate of '%s' is not for the host \"%s\": use a name in it, "
			"or set tls-hostname",
			party->peer, party->host);
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"refusing the certificate of %s '%s': %s (credentials in %s)",
		party->creds->server ? "the source" : "the target", party->peer,
		channel_tls_status_text(refusal->status), params->creds);
}

/* The peer refused this side */

static const struct {
	gnutls_alert_description_t alert;
	const char *text;
} alerts[] = {
	{GNUTLS_A_CERTIFICATE_EXPIRED, "it has expired or is not valid yet there"},
	{GNUTLS_A_CERTIFICATE_REVOKED, "it has been revoked"},
	{GNUTLS_A_UNKNOWN_CA, "it is not signed by a CA that the peer has"},
	{GNUTLS_A_UNSUPPORTED_CERTIFICATE, "it is not for this end"},
	{GNUTLS_A_INSUFFICIENT_SECURITY, "its algorithm or key is too weak"},
	{GNUTLS_A_CERTIFICATE_UNKNOWN, "the revocation list there is out of date"},
	{GNUTLS_A_BAD_CERTIFICATE, "it is not valid there, or is for another host name"},
};

/* An alert about this side's certificate or key, or NULL. */
static const char *about_us(gnutls_alert_description_t alert)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(alerts); i++)
		if (alerts[i].alert == alert)
			return alerts[i].text;
	return NULL;
}

static int they_refused(
	gnutls_session_t session, const struct tls_party *party, struct swo_error *err)
{
	const struct swo_tls_params *params = &party->creds->params;
	const char *own = party->creds->server ? "server-cert.pem" : "client-cert.pem";
	gnutls_alert_description_t alert = gnutls_alert_get(session);
	const char *why = about_us(alert);

	if (params->kind == SWO_TLS_PSK && alert != GNUTLS_A_ACCESS_DENIED && !party->creds->server)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"'%s' does not have the key of \"%s\" in %s/keys.psk: the line must be the "
			"same on both sides (%s)",
			party->peer, params->username, params->creds, gnutls_alert_get_name(alert));
	if (why)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"'%s' refused this side's certificate %s/%s: %s", party->peer,
			params->creds, own, why);
	if (alert == GNUTLS_A_ACCESS_DENIED)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"'%s' refused (by its tls-authz) the owner of the "
			"credentials in %s",
			party->peer, params->creds);
	if (alert == GNUTLS_A_CERTIFICATE_REQUIRED)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"'%s' requires a certificate, and there is no suitable one in %s",
			party->peer, params->creds);
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"'%s' aborted the TLS handshake (%s): are the credentials in %s of the same kind "
		"as the peer's?",
		party->peer, gnutls_alert_get_name(alert), params->creds);
}

int channel_tls_handshake_error(
	gnutls_session_t session, const struct tls_party *party, int rc, struct swo_error *err)
{
	const struct swo_tls_params *params = &party->creds->params;
	const bool psk = params->kind == SWO_TLS_PSK, server = party->creds->server;

	if (party->refusal.set)
		return we_refused(party, err);
	switch (rc) {
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		return they_refused(session, party, err);
	case GNUTLS_E_PREMATURE_TERMINATION:
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
		return swo_error_set(err, SWO_E_PEER_LOST, 0,
			"'%s' closed the connection during the TLS handshake: %s", party->peer,
			server ? "the source's log has the reason"
			       : "it does not use TLS (give it TLS credentials too, or none to "
				 "this "
				 "side), or its log has the reason");
	case GNUTLS_E_UNEXPECTED_PACKET_LENGTH:
	case GNUTLS_E_UNEXPECTED_PACKET:
	case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
	case GNUTLS_E_RECORD_OVERFLOW:
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"'%s' did not send TLS 1.3: give the other side TLS credentials "
			"too, or "
			"none to this side",
			party->peer);
	case GNUTLS_E_NO_CERTIFICATE_FOUND:
	case GNUTLS_E_CERTIFICATE_REQUIRED:
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"the source '%s' has sent no certificate: it needs client-cert.pem and "
			"client-key.pem",
			party->peer);
	default:
		break;
	}
	if (psk && server)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"the source '%s' does not have the key that is in %s/keys.psk (%s)",
			party->peer, params->creds, gnutls_strerror(rc));
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"the TLS handshake with '%s' failed: %s (credentials in %s)", party->peer,
		gnutls_strerror(rc), params->creds);
}

int channel_tls_transfer_error(
	gnutls_session_t session, const struct tls_party *party, int rc, struct swo_error *err)
{
	switch (rc) {
	case 0:
		return swo_error_set(err, SWO_E_PEER_LOST, 0,
			"the connection '%s' was closed by the other side", party->peer);
	case GNUTLS_E_PREMATURE_TERMINATION:
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
		return swo_error_set(err, SWO_E_PEER_LOST, 0,
			"the connection '%s' was lost: it ended without close_notify", party->peer);
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		return swo_error_set(err, SWO_E_PEER_LOST, 0, "the peer on '%s' aborted TLS: %s",
			party->peer, gnutls_alert_get_name(gnutls_alert_get(session)));
	case GNUTLS_E_DECRYPTION_FAILED:
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"data from '%s' was changed in transit: TLS rejects it", party->peer);
	default:
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "TLS on '%s': %s", party->peer,
			gnutls_strerror(rc));
	}
}
