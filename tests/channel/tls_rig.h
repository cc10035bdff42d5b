/* SPDX-License-Identifier: BSD-3-Clause */
/* tls_rig.h - two directories of credentials, and the two ends that connect with them. */
#ifndef TESTS_CHANNEL_TLS_RIG_H
#define TESTS_CHANNEL_TLS_RIG_H

#include "channel/conn.h"
#include "testbed/pki.h"
#include "tests/support/cm.h"

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RIG_MS 20000 /* only guards against a hang */

struct rig {
	char dir[64], server_dir[96], client_dir[96], uri[96];
	struct pki *pki;
	struct swo_tls_params server, client;
	/* of the last connection */
	struct channel_conn *server_conn, *client_conn;
	struct swo_error server_error, client_error;
	struct channel_security server_security, client_security;
};

/* Valid certificates for "target.example" and "source.example" in both directories. */
void rig_open_x509(struct rig *rig);
/* One key, of "qemu", in both. */
void rig_open_psk(struct rig *rig);
void rig_close(struct rig *rig);

/* Both ends load their credentials and connect over a UNIX socket; an end without is plain. */
void rig_meet(struct rig *rig);
void rig_part(struct rig *rig);
/* Connects, and both ends succeed. */
void rig_meet_well(struct rig *rig);
/* Connects, and both fail with errors that contain these texts. NULL: any text. */
void rig_meet_badly(struct rig *rig, const char *server_words, const char *client_words);
/* Loading the credentials fails. */
void rig_load_badly(const struct swo_tls_params *params, bool server, const char *words);

void rig_write(const char *dir, const char *file, const char *text, unsigned mode);
void expect_words(const struct swo_error *err, const char *words);

/*
 * A client that is not this library: GnuTLS with the client's certificate (unchecked here), or
 * none. Its session is blocking; the caller does the handshake.
 */
struct raw {
	int fd;
	gnutls_session_t session;
	gnutls_certificate_credentials_t creds;
};
void raw_open(struct raw *raw, const struct rig *rig, bool with_certificate);
void raw_close(struct raw *raw);
/* A listener's accept and handshake on its own thread, for a raw client. */
struct serving {
	struct rig *rig;
	struct channel_listener *listener;
	pthread_t thread;
};
void serve_begin(struct serving *serving, struct rig *rig);
void serve_end(struct serving *serving);

#endif
