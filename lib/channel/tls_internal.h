/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_internal.h - shared by the TLS files: a set of credentials, the two ends of a handshake
 * (tls.c), and the error texts (tls_text.c).
 */
#ifndef CHANNEL_TLS_INTERNAL_H
#define CHANNEL_TLS_INTERNAL_H

#include "channel/tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

struct channel_tls_creds {
	struct swo_tls_params params; /* kind is never AUTO */
	bool server;
	int dir_fd; /* open during loading; otherwise -1 */
	gnutls_certificate_credentials_t x509;
	gnutls_psk_client_credentials_t psk_client;
	gnutls_psk_server_credentials_t psk_server;
	/* Server: the lines of keys.psk. */
	struct tls_psk_key {
		char *username;
		gnutls_datum_t key;
	} * keys;
	unsigned key_count;
	unsigned char *secrets; /* their bytes; core dumps leave it out */
	size_t secret_len;
};

/* The reason for refusing a certificate; stored because GnuTLS's own code is less specific. */
struct tls_refusal {
	bool set;
	unsigned status;		 /* gnutls_certificate_status_t, or 0 */
	char identity[SWO_TLS_NAME_MAX]; /* the name that authz refused; unknown PSK user */
	gnutls_alert_description_t alert;
};

/* One end of a handshake, for the texts. */
struct tls_party {
	const struct channel_tls_creds *creds;
	const char *peer;
	const char *host;
	struct tls_refusal refusal;
};

/* The alert for a certificate's status. */
gnutls_alert_description_t channel_tls_alert_of(unsigned status);
/* "it has expired", for a status that is not 0. */
const char *channel_tls_status_text(unsigned status);
/*
 * Fills *err for a handshake that failed with rc, with the reason as far as GnuTLS has one.
 * Returns -1.
 */
int channel_tls_handshake_error(
	gnutls_session_t session, const struct tls_party *party, int rc, struct swo_error *err);
/* Likewise for a transfer. */
int channel_tls_transfer_error(
	gnutls_session_t session, const struct tls_party *party, int rc, struct swo_error *err);

#endif
