/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.h - who may talk to whom: the TLS credentials of a migration's connections.
 *
 * Both ends prove who they are, always (mutual TLS 1.3). The files are named as QEMU's
 * tls-creds-x509 and tls-creds-psk name theirs, so that one directory serves both.
 */
#ifndef SWITCHOVER_TLS_H
#define SWITCHOVER_TLS_H

#include "switchover/base.h"

enum swo_tls_kind {
	SWO_TLS_AUTO, /* by what lies in the directory */
	SWO_TLS_X509, /* ca-cert.pem, [ca-crl.pem], {server,client}-{cert,key}.pem */
	SWO_TLS_PSK,  /* keys.psk: lines of "username:hexkey" */
};

#define SWO_TLS_PATH_MAX 1024
#define SWO_TLS_NAME_MAX 256

/* Zeroed: no TLS. Keys are read when a migration begins and kept in memory until its end. */
struct swo_tls_params {
	enum swo_tls_kind kind;
	char creds[SWO_TLS_PATH_MAX]; /* the directory; "": no TLS */
	/* Source, X.509: the name that the target's certificate must carry; "": the URI's host. */
	char hostname[SWO_TLS_NAME_MAX];
	/*
	 * Target: the only source that is let in, by its certificate's distinguished name (as in
	 * RFC 4514) or its PSK user name; "": any that the CA or keys.psk vouches for.
	 */
	char authz[SWO_TLS_NAME_MAX];
	/* Source, PSK: which line of keys.psk; "": the only one. */
	char username[SWO_TLS_NAME_MAX];
};

#endif
