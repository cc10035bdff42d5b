/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_internal.h - what the files of TLS share: a set of credentials, the two ends of a handshake
 * (tls.c), and the sentences for what fails (tls_text.c).
 */
#ifndef CHANNEL_TLS_INTERNAL_H
#define CHANNEL_TLS_INTERNAL_H

#include "channel/tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

struct swo_tls_creds {
	struct swo_tls_params params; /* kind is never AUTO */
	bool server;
	int dir_fd; /* while they are loaded; -1 */
	gnutls_certificate_credentials_t x509;
	gnutls_psk_client_credentials_t psk_client;
	gnutls_psk_server_credentials_t psk_server;
	/* Server: the lines of keys.psk. */
	struct tls_psk_key {
		char *username;
		gnutls_datum_t key;
	} * keys;
	unsigned key_count;
};

/* Why a certificate is not taken; kept aside because GnuTLS's own code for it says less. */
struct tls_refusal {
	bool set;
	unsigned status;		 /* gnutls_certificate_status_t, or 0 */
	char identity[SWO_TLS_NAME_MAX]; /* whom authz does not let in; unknown PSK user */
	gnutls_alert_description_t alert;
};

/* One end of a handshake, for the sentences. */
struct tls_party {
	const struct swo_tls_creds *creds;
	const char *peer;
	const char *host;
	struct tls_refusal refusal;
};

/* "ca-cert.pem" and so on in the directory of the credentials. */
#define TLS_PATH_ROOM (SWO_TLS_PATH_MAX + 32)
void channel_tls_path(
	const struct swo_tls_params *params, const char *file, char out[TLS_PATH_ROOM]);

/* What the alert is for a certificate's status. */
gnutls_alert_description_t channel_tls_alert_of(unsigned status);
/* "it has expired", for a status that is not 0. */
const char *channel_tls_status_text(unsigned status);
/* Fills *err for a handshake that failed with rc, so far as GnuTLS knows why. Returns -1. */
int channel_tls_handshake_error(
	gnutls_session_t session, const struct tls_party *party, int rc, struct swo_error *err);
/* The same for a transfer. */
int channel_tls_transfer_error(
	gnutls_session_t session, const struct tls_party *party, int rc, struct swo_error *err);

#endif
