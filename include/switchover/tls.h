/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.h - TLS credentials of a migration's connections.
 *
 * Both ends always authenticate (mutual TLS 1.3). The files have the names of QEMU's
 * tls-creds-x509 and tls-creds-psk, so that one directory serves both.
 */
#ifndef SWITCHOVER_TLS_H
#define SWITCHOVER_TLS_H

#include "switchover/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum swo_tls_kind {
	SWO_TLS_AUTO, /* by the files in the directory */
	SWO_TLS_X509, /* ca-cert.pem, [ca-crl.pem], {server,client}-{cert,key}.pem */
	SWO_TLS_PSK,  /* keys.psk: lines of "username:hexkey" */
};

#define SWO_TLS_PATH_MAX 1024
#define SWO_TLS_NAME_MAX 256

/* Zeroed: no TLS. Keys are read when a migration starts and kept in memory until its end. */
struct swo_tls_params {
	enum swo_tls_kind kind;
	char creds[SWO_TLS_PATH_MAX]; /* the directory; "": no TLS */
	/* Source, X.509: the name that the target's certificate must have; "": the URI's host. */
	char hostname[SWO_TLS_NAME_MAX];
	/*
	 * Target: the only source that is accepted, by its certificate's distinguished name (as
	 * in RFC 4514) or its PSK user name; "": any that the CA or keys.psk authenticates.
	 */
	char authz[SWO_TLS_NAME_MAX];
	/* Source, PSK: the line of keys.psk; "": the only one. */
	char username[SWO_TLS_NAME_MAX];
};

#ifdef __cplusplus
}
#endif

#endif
