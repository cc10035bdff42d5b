/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pki.c - throw-away certificates and pre-shared keys.
 */
#include "testbed/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DAY_S	 86400
#define PSK_SIZE 32

struct pki {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
};

static int failed(int rc, const char *what, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_IO, 0, "making %s: %s", what, gnutls_strerror(rc));
}

static int write_file(const char *dir, const char *name, const void *data, size_t len, mode_t mode,
	struct swo_error *err)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	swo_autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || fchmod(fd, mode) || write(fd, data, len) != (ssize_t)len)
		return swo_error_set(err, SWO_E_IO, errno, "write '%s'", path);
	return 0;
}

static int write_datum(
	const char *dir, const char *name, gnutls_datum_t *data, mode_t mode, struct swo_error *err)
{
	int rc = write_file(dir, name, data->data, data->size, mode, err);

	gnutls_free(data->data);
	return rc;
}

static int new_key(gnutls_x509_privkey_t *key)
{
	int rc = gnutls_x509_privkey_init(key);

	if (rc)
		return rc;
	rc = gnutls_x509_privkey_generate(
		*key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (rc) {
		gnutls_x509_privkey_deinit(*key);
		*key = NULL;
	}
	return rc;
}

/* What all certificates have. GnuTLS returns negative codes: the first one counts. */
static int describe(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *name,
	unsigned char serial, time_t from, time_t to)
{
	int rc = gnutls_x509_crt_set_version(crt, 3);

	if (!rc)
		rc = gnutls_x509_crt_set_key(crt, key);
	if (!rc)
		rc = gnutls_x509_crt_set_serial(crt, &serial, 1);
	if (!rc)
		rc = gnutls_x509_crt_set_activation_time(crt, from);
	if (!rc)
		rc = gnutls_x509_crt_set_expiration_time(crt, to);
	if (!rc)
		rc = gnutls_x509_crt_set_dn_by_oid(
			crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name));
	if (!rc)
		rc = gnutls_x509_crt_set_dn_by_oid(
			crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, "throw-away", 10);
	return rc;
}

static int make_ca(struct pki *pki)
{
	const time_t now = time(NULL);
	char name[32];
	uint32_t which = 0;
	int rc = new_key(&pki->key);

	/* A name of its own: a chain is followed by names. */
	if (!rc)
		rc = gnutls_rnd(GNUTLS_RND_NONCE, &which, sizeof(which));
	snprintf(name, sizeof(name), "CA %08x", which);
	if (!rc)
		rc = gnutls_x509_crt_init(&pki->crt);
	if (!rc)
		rc = describe(pki->crt, pki->key, name, 1, now - DAY_S, now + DAY_S);
	if (!rc)
		rc = gnutls_x509_crt_set_basic_constraints(pki->crt, 1, -1);
	if (!rc)
		rc = gnutls_x509_crt_set_key_usage(
			pki->crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
	if (!rc)
		rc = gnutls_x509_crt_sign2(pki->crt, pki->crt, pki->key, GNUTLS_DIG_SHA256, 0);
	return rc;
}

int pki_create(struct pki **out, struct swo_error *err)
{
	struct pki *pki = calloc(1, sizeof(*pki));
	int rc = pki ? make_ca(pki) : GNUTLS_E_MEMORY_ERROR;

	if (rc) {
		pki_free(pki);
		return failed(rc, "a certificate authority", err);
	}
	*out = pki;
	return 0;
}

void pki_free(struct pki *pki)
{
	if (!pki)
		return;
	if (pki->crt)
		gnutls_x509_crt_deinit(pki->crt);
	if (pki->key)
		gnutls_x509_privkey_deinit(pki->key);
	free(pki);
}

int pki_write_ca(const struct pki *pki, const char *dir, struct swo_error *err)
{
	gnutls_datum_t pem;
	int rc = gnutls_x509_crt_export2(pki->crt, GNUTLS_X509_FMT_PEM, &pem);

	return rc ? failed(rc, "ca-cert.pem", err)
		  : write_datum(dir, "ca-cert.pem", &pem, 0644, err);
}

static int set_owner(gnutls_x509_crt_t crt, const struct pki_cert *cert)
{
	unsigned char address[4];

	if (!cert->for_server)
		return gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0);
	int rc = inet_pton(AF_INET, cert->name, address) == 1
			 ? gnutls_x509_crt_set_subject_alt_name(
				   crt, GNUTLS_SAN_IPADDRESS, address, 4, GNUTLS_FSAN_SET)
			 : gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, cert->name,
				   (unsigned)strlen(cert->name), GNUTLS_FSAN_SET);
	return rc ? rc : gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
}

static int sign(const struct pki *pki, const struct pki_cert *cert, gnutls_x509_privkey_t key,
	gnutls_datum_t *pem)
{
	const time_t now = time(NULL);
	gnutls_x509_crt_t crt;
	int rc = gnutls_x509_crt_init(&crt);

	if (rc)
		return rc;
	rc = describe(crt, key, cert->name, cert->serial, now + cert->from_s, now + cert->to_s);
	if (!rc)
		rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (!rc)
		rc = set_owner(crt, cert);
	if (!rc)
		rc = gnutls_x509_crt_sign2(crt, pki->crt, pki->key, GNUTLS_DIG_SHA256, 0);
	if (!rc)
		rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, pem);
	gnutls_x509_crt_deinit(crt);
	return rc;
}

int pki_issue(
	const struct pki *pki, const char *dir, const struct pki_cert *cert, struct swo_error *err)
{
	gnutls_datum_t key_pem = {0}, crt_pem = {0};
	gnutls_x509_privkey_t key;
	int rc = new_key(&key);

	if (rc)
		return failed(rc, "a key", err);
	rc = sign(pki, cert, key, &crt_pem);
	if (!rc)
		rc = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &key_pem);
	gnutls_x509_privkey_deinit(key);
	if (rc) {
		gnutls_free(crt_pem.data);
		return failed(rc, "a certificate", err);
	}
	rc = write_datum(
		dir, cert->server ? "server-cert.pem" : "client-cert.pem", &crt_pem, 0644, err);
	return write_datum(dir, cert->server ? "server-key.pem" : "client-key.pem", &key_pem, 0600,
		       err) || rc
		       ? -1
		       : 0;
}

int pki_revoke(const struct pki *pki, const char *dir, unsigned char serial, struct swo_error *err)
{
	return pki_revoke_between(pki, dir, serial, -60, DAY_S, err);
}

int pki_revoke_between(const struct pki *pki, const char *dir, unsigned char serial, int from_s,
	int to_s, struct swo_error *err)
{
	const time_t now = time(NULL);
	gnutls_datum_t pem = {0};
	gnutls_x509_crl_t crl;
	int rc = gnutls_x509_crl_init(&crl);

	if (rc)
		return failed(rc, "ca-crl.pem", err);
	rc = gnutls_x509_crl_set_version(crl, 2);
	if (!rc)
		rc = gnutls_x509_crl_set_this_update(crl, now + from_s);
	if (!rc)
		rc = gnutls_x509_crl_set_next_update(crl, now + to_s);
	if (!rc)
		rc = gnutls_x509_crl_set_number(crl, "\1", 1);
	if (!rc)
		rc = gnutls_x509_crl_set_crt_serial(crl, &serial, 1, now - 60);
	if (!rc)
		rc = gnutls_x509_crl_sign2(crl, pki->crt, pki->key, GNUTLS_DIG_SHA256, 0);
	if (!rc)
		rc = gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem);
	gnutls_x509_crl_deinit(crl);
	return rc ? failed(rc, "ca-crl.pem", err) : write_datum(dir, "ca-crl.pem", &pem, 0644, err);
}

int pki_write_x509(const char *dir, const char *host, const char *client, struct swo_error *err)
{
	struct pki_cert server = {.server = true,
		.for_server = true,
		.name = host,
		.from_s = -60,
		.to_s = DAY_S / 2,
		.serial = 2};
	struct pki_cert caller = {.name = client, .from_s = -60, .to_s = DAY_S / 2, .serial = 3};
	struct pki *pki = NULL;

	if (pki_create(&pki, err))
		return -1;
	int rc = pki_write_ca(pki, dir, err) || pki_issue(pki, dir, &server, err) ||
		 pki_issue(pki, dir, &caller, err);
	pki_free(pki);
	return rc ? -1 : 0;
}

int pki_write_psk(const char *dir, const char *username, struct swo_error *err)
{
	unsigned char key[PSK_SIZE];
	char line[SWO_ARRAY_SIZE(key) * 2 + 128];

	if (gnutls_rnd(GNUTLS_RND_KEY, key, sizeof(key)))
		return swo_error_set(err, SWO_E_IO, 0, "no random bytes for a key");
	int len = snprintf(line, 100, "%s:", username);

	for (size_t i = 0; i < sizeof(key); i++)
		len += snprintf(line + len, 3, "%02x", key[i]);
	line[len++] = '\n';
	return write_file(dir, "keys.psk", line, (size_t)len, 0600, err);
}
