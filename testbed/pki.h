/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pki.h - a throw-away certificate authority and pre-shared keys, for the bench and the
 * tests: what an operator makes with certtool and psktool.
 */
#ifndef TESTBED_PKI_H
#define TESTBED_PKI_H

#include "switchover/base.h"

struct pki;

/* A new CA, valid for a day. */
int pki_create(struct pki **out, struct swo_error *err);
void pki_free(struct pki *pki);
/* DIR/ca-cert.pem */
int pki_write_ca(const struct pki *pki, const char *dir, struct swo_error *err);

struct pki_cert {
	bool server;	      /* writes server-*.pem, else client-*.pem */
	bool for_server;      /* the purpose that it is made for */
	const char *name;     /* CN, and for a server the DNS name or address it is for */
	int from_s, to_s;     /* valid between these, seconds from now */
	unsigned char serial; /* not 0 */
};
/* DIR/{server,client}-{cert,key}.pem, signed by the CA; keys are owner-only. */
int pki_issue(
	const struct pki *pki, const char *dir, const struct pki_cert *cert, struct swo_error *err);
/* DIR/ca-crl.pem, which revokes one serial. */
int pki_revoke(const struct pki *pki, const char *dir, unsigned char serial, struct swo_error *err);
/* The same, valid between these, seconds from now. */
int pki_revoke_between(const struct pki *pki, const char *dir, unsigned char serial, int from_s,
	int to_s, struct swo_error *err);

/* All that both ends on this host need: a CA, a server for `host`, a client of this name. */
int pki_write_x509(const char *dir, const char *host, const char *client, struct swo_error *err);
/* DIR/keys.psk with one random key. */
int pki_write_psk(const char *dir, const char *username, struct swo_error *err);

#endif
