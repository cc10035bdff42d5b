/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * no_pki.c - replaces the throw-away PKI in a build without TLS.
 */
#include "testbed/pki.h"

int pki_write_x509(const char *dir, const char *host, const char *client, struct swo_error *err)
{
	(void)dir, (void)host, (void)client;
	return swo_error_set(err, SWO_E_UNSUPPORTED, 0, "this build has no TLS (-Dtls=false)");
}

int pki_write_psk(const char *dir, const char *username, struct swo_error *err)
{
	return pki_write_x509(dir, NULL, username, err);
}
