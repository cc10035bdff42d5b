/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_creds.c - reads a directory of TLS credentials, and reports before any connection what is
 * wrong with them: a missing file, a key that others can read, an expired certificate.
 */
#include "base/memory.h"
#include "channel/tls_internal.h"

#include "base/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* "ca-cert.pem" and so on in the directory of the credentials. */
#define TLS_PATH_ROOM (SWO_TLS_PATH_MAX + 32)

#define FILE_MAX  (1 << 20)
#define KEY_MIN	  16 /* bytes of a pre-shared key: 128 bits */
#define CHAIN_MAX 16

/* Files */

static void channel_tls_path(
	const struct swo_tls_params *params, const char *file, char out[TLS_PATH_ROOM])
{
	snprintf(out, TLS_PATH_ROOM, "%s/%s", params->creds, file);
}

/* A dangling link exists, too. */
static int exists(
	const struct channel_tls_creds *creds, const char *file, bool *out, struct swo_error *err)
{
	struct stat st;

	*out = !fstatat(creds->dir_fd, file, &st, AT_SYMLINK_NOFOLLOW);
	if (*out || errno == ENOENT)
		return 0;
	return swo_error_set(err, SWO_E_INVALID, errno, "TLS credentials: cannot examine '%s/%s'",
		creds->params.creds, file);
}

/* A user that can write to the directory decides which peers are trusted. */
static int check_owner(const char *path, const struct stat *st, struct swo_error *err)
{
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"TLS credentials: '%s' belongs to user %u, expected user %u or root", path,
			(unsigned)st->st_uid, (unsigned)geteuid());
	if (st->st_mode & 022) {
		char quoted[130];

		return swo_error_set(err, SWO_E_INVALID, 0,
			"TLS credentials: others may write to '%.130s' (mode %04o)%s%s", path,
			st->st_mode & 07777,
			base_shell_quote(path, quoted, sizeof(quoted)) ? "; run: chmod go-w -- "
								       : "",
			quoted);
	}
	return 0;
}

/* Opened once: its files are opened relative to the checked directory. */
static int open_dir(struct channel_tls_creds *creds, struct swo_error *err)
{
	struct stat st;

	creds->dir_fd = open(creds->params.creds, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (creds->dir_fd < 0 || fstat(creds->dir_fd, &st))
		return swo_error_set(err, SWO_E_INVALID, errno,
			"TLS credentials: cannot open the directory '%s'", creds->params.creds);
	return check_owner(creds->params.creds, &st, err);
}

/* A key that others can read is no secret. The owner's group may read it if root created it. */
static int check_secret(const char *path, const struct stat *st, struct swo_error *err)
{
	unsigned bad = st->st_mode & (st->st_uid == geteuid() ? 077 : 07);

	if (!bad)
		return 0;
	char quoted[130];

	return swo_error_set(err, SWO_E_INVALID, 0,
		"others can read the key file '%.130s' (mode %04o): create a new key if it may "
		"have leaked%s%s",
		path, st->st_mode & 07777,
		base_shell_quote(path, quoted, sizeof(quoted)) ? ", and run: chmod 600 -- " : "",
		quoted);
}

static void wipe(gnutls_datum_t *data)
{
	base_secret_free(data->data, FILE_MAX + 1);
	*data = (gnutls_datum_t){0};
}

static int read_all(int fd, const char *path, gnutls_datum_t *out, struct swo_error *err)
{
	size_t len = 0;

	out->data = base_secret_alloc(FILE_MAX + 1);
	if (!out->data)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "reading '%s'", path);
	for (;;) {
		ssize_t n = read(fd, out->data + len, FILE_MAX + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return swo_error_set(err, SWO_E_IO, errno, "cannot read '%s'", path);
		len += (size_t)n;
		if (!n)
			break;
		if (len > FILE_MAX)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"'%s' is larger than any file of credentials", path);
	}
	out->data[len] = 0;
	out->size = (unsigned)len;
	return 0;
}

/* NUL-terminated beyond its size; the caller wipes it. */
static int read_file(const struct channel_tls_creds *creds, const char *file, bool secret,
	gnutls_datum_t *out, struct swo_error *err)
{
	char path[TLS_PATH_ROOM];
	struct stat st;

	channel_tls_path(&creds->params, file, path);
	swo_autofd int fd =
		openat(creds->dir_fd, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st))
		return swo_error_set(
			err, SWO_E_INVALID, errno, "TLS credentials: cannot open '%s'", path);
	if (!S_ISREG(st.st_mode))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "TLS credentials: '%s' is not a file", path);
	if ((secret && check_secret(path, &st, err)) || check_owner(path, &st, err))
		return -1;
	if (read_all(fd, path, out, err)) {
		wipe(out);
		return -1;
	}
	return 0;
}

static int bad_file(const struct swo_tls_params *params, const char *file, const char *why,
	struct swo_error *err)
{
	return swo_error_set(
		err, SWO_E_INVALID, 0, "TLS credentials: '%s/%s': %s", params->creds, file, why);
}

/* X.509 */

/* GnuTLS accepts any list whatever its signature and date: they are checked here. */
static int check_crl(struct channel_tls_creds *creds, const gnutls_datum_t *ca,
	const gnutls_datum_t *pem, struct swo_error *err)
{
	static const char file[] = "ca-crl.pem";
	gnutls_x509_crt_t *issuers = NULL;
	gnutls_x509_crl_t *lists = NULL;
	unsigned issuer_count = 0, count = 0, status = 0;
	const char *why = NULL;
	int rc = gnutls_x509_crt_list_import2(&issuers, &issuer_count, ca, GNUTLS_X509_FMT_PEM, 0);

	if (rc >= 0)
		rc = gnutls_x509_crl_list_import2(&lists, &count, pem, GNUTLS_X509_FMT_PEM, 0);
	if (rc >= 0 && !count)
		why = "no list in it";
	for (unsigned i = 0; rc >= 0 && !why && i < count; i++) {
		const time_t now = time(NULL), next = gnutls_x509_crl_get_next_update(lists[i]);

		rc = gnutls_x509_crl_verify(lists[i], issuers, issuer_count, 0, &status);
		/* The date first: an outdated list is the usual case. */
		if (next != (time_t)-1 && next < now)
			why = "it has expired (nextUpdate): fetch the current list";
		else if (gnutls_x509_crl_get_this_update(lists[i]) > now)
			why = "it is not valid yet (thisUpdate): check the clock";
		else if (rc >= 0 && status)
			why = "ca-cert.pem has not signed it";
	}
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crl_deinit(lists[i]);
	for (unsigned i = 0; i < issuer_count; i++)
		gnutls_x509_crt_deinit(issuers[i]);
	gnutls_free(lists);
	gnutls_free(issuers);
	if (!why && rc < 0)
		why = gnutls_strerror(rc);
	return why ? bad_file(&creds->params, file, why, err) : 0;
}

static int take_crl(
	struct channel_tls_creds *creds, const gnutls_datum_t *ca, struct swo_error *err)
{
	gnutls_datum_t pem = {0};
	bool there;

	if (exists(creds, "ca-crl.pem", &there, err))
		return -1;
	if (!there)
		return 0;
	if (read_file(creds, "ca-crl.pem", false, &pem, err))
		return -1;
	int rc = check_crl(creds, ca, &pem, err);

	if (!rc && (rc = gnutls_certificate_set_x509_crl_mem(
			    creds->x509, &pem, GNUTLS_X509_FMT_PEM)) < 0)
		bad_file(&creds->params, "ca-crl.pem", gnutls_strerror(rc), err);
	wipe(&pem);
	return rc < 0 ? -1 : 0;
}

static int take_ca(struct channel_tls_creds *creds, struct swo_error *err)
{
	gnutls_datum_t pem = {0};

	if (read_file(creds, "ca-cert.pem", false, &pem, err))
		return -1;
	int rc = gnutls_certificate_set_x509_trust_mem(creds->x509, &pem, GNUTLS_X509_FMT_PEM);

	if (rc <= 0)
		bad_file(&creds->params, "ca-cert.pem",
			rc ? gnutls_strerror(rc) : "no certificate in it", err);
	else
		rc = take_crl(creds, &pem, err) ? -1 : 1;
	wipe(&pem);
	return rc > 0 ? 0 : -1;
}

/* A certificate that the peer would refuse is refused here, with its file's name. */
static int check_own(struct channel_tls_creds *creds, const char *file, const gnutls_datum_t *pem,
	struct swo_error *err)
{
	gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)(creds->server ? GNUTLS_KP_TLS_WWW_SERVER
							: GNUTLS_KP_TLS_WWW_CLIENT)};
	gnutls_x509_trust_list_t trust;
	gnutls_x509_crt_t chain[CHAIN_MAX];
	unsigned count = CHAIN_MAX, status = 0;
	int rc = gnutls_x509_crt_list_import(chain, &count, pem, GNUTLS_X509_FMT_PEM, 0);

	if (rc < 0)
		return bad_file(&creds->params, file, gnutls_strerror(rc), err);
	gnutls_certificate_get_trust_list(creds->x509, &trust);
	rc = gnutls_x509_trust_list_verify_crt2(trust, chain, count, &purpose, 1, 0, &status, NULL);
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crt_deinit(chain[i]);
	if (rc < 0)
		return bad_file(&creds->params, file, gnutls_strerror(rc), err);
	if (status)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"TLS credentials: the peer would refuse '%s/%s': %s", creds->params.creds,
			file, channel_tls_status_text(status));
	return 0;
}

static int take_own(struct channel_tls_creds *creds, struct swo_error *err)
{
	const char *cert_file = creds->server ? "server-cert.pem" : "client-cert.pem";
	const char *key_file = creds->server ? "server-key.pem" : "client-key.pem";
	gnutls_datum_t cert = {0}, key = {0};
	int rc = -1;

	if (!read_file(creds, cert_file, false, &cert, err) &&
		!read_file(creds, key_file, true, &key, err) &&
		!check_own(creds, cert_file, &cert, err)) {
		rc = gnutls_certificate_set_x509_key_mem2(
			creds->x509, &cert, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
		if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
			rc = swo_error_set(err, SWO_E_INVALID, 0,
				"TLS credentials: '%s/%s' is not the key of %s",
				creds->params.creds, key_file, cert_file);
		else if (rc < 0)
			rc = bad_file(&creds->params, key_file, gnutls_strerror(rc), err);
		else
			rc = 0;
	}
	wipe(&cert);
	wipe(&key);
	return rc;
}

static int load_x509(struct channel_tls_creds *creds, struct swo_error *err)
{
	if (gnutls_certificate_allocate_credentials(&creds->x509))
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "TLS credentials");
	return take_ca(creds, err) || take_own(creds, err) ? -1 : 0;
}

/* Pre-shared keys */

static int bad_line(const struct channel_tls_creds *creds, unsigned line, const char *why,
	struct swo_error *err)
{
	return swo_error_set(err, SWO_E_INVALID, 0,
		"TLS credentials: '%s/keys.psk', line %u: %s (psktool makes such a file)",
		creds->params.creds, line, why);
}

static int take_line(
	struct channel_tls_creds *creds, char *text, unsigned line, struct swo_error *err)
{
	char *colon = strchr(text, ':');

	if (!colon || colon == text)
		return bad_line(creds, line, "expected \"username:hexkey\"", err);
	if (colon - text >= SWO_TLS_NAME_MAX)
		return bad_line(creds, line, "the user name is too long", err);
	*colon = 0;

	gnutls_datum_t hex = {(unsigned char *)colon + 1, (unsigned)strlen(colon + 1)};
	/* All keys of a file are shorter than the file. */
	gnutls_datum_t key = {.data = creds->secrets + creds->secret_len};
	size_t size = FILE_MAX - creds->secret_len;

	if (gnutls_hex_decode(&hex, key.data, &size) < 0)
		return bad_line(creds, line, "the key is not hexadecimal", err);
	key.size = (unsigned)size;
	void *more = key.size < KEY_MIN ? NULL
					: reallocarray(creds->keys, creds->key_count + 1,
						  sizeof(*creds->keys));
	char *username = more ? strdup(text) : NULL;

	if (more)
		creds->keys = more;
	if (!username) {
		int rc = key.size < KEY_MIN
				 ? bad_line(creds, line, "the key is shorter than 128 bits", err)
				 : swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "TLS credentials");

		return rc;
	}
	creds->secret_len += key.size;
	creds->keys[creds->key_count++] = (struct tls_psk_key){.username = username, .key = key};
	return 0;
}

static int take_keys(struct channel_tls_creds *creds, struct swo_error *err)
{
	gnutls_datum_t file = {0};
	int rc = 0;

	creds->secrets = base_secret_alloc(FILE_MAX);
	if (!creds->secrets)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "TLS credentials");
	if (read_file(creds, "keys.psk", true, &file, err))
		return -1;
	if (memchr(file.data, 0, file.size))
		rc = bad_file(&creds->params, "keys.psk", "it is not a text file", err);
	char *rest = (char *)file.data;

	for (unsigned line = 1; !rc && rest; line++) {
		char *text = strsep(&rest, "\n");

		text[strcspn(text, "\r")] = 0;
		if (text[0] && text[0] != '#')
			rc = take_line(creds, text, line, err);
	}
	wipe(&file);
	if (!rc && !creds->key_count)
		rc = bad_file(&creds->params, "keys.psk", "no key in it", err);
	return rc;
}

static const struct tls_psk_key *find_key(
	const struct channel_tls_creds *creds, const char *username)
{
	for (unsigned i = 0; i < creds->key_count; i++)
		if (!strcmp(creds->keys[i].username, username))
			return &creds->keys[i];
	return NULL;
}

/* GnuTLS's callback for the key of a client. GnuTLS frees it. */
static int give_key(gnutls_session_t session, const char *username, gnutls_datum_t *out)
{
	struct tls_party *party = gnutls_session_get_ptr(session);
	const struct tls_psk_key *key = find_key(party->creds, username);
	const char *authz = party->creds->params.authz;

	if (!key || (authz[0] && strcmp(authz, username) != 0)) {
		party->refusal.set = true;
		party->refusal.alert = key ? GNUTLS_A_ACCESS_DENIED : GNUTLS_A_UNKNOWN_PSK_IDENTITY;
		snprintf(party->refusal.identity, sizeof(party->refusal.identity), "%s", username);
		return -1;
	}
	out->data = gnutls_malloc(key->key.size);
	if (!out->data)
		return -1;
	memcpy(out->data, key->key.data, key->key.size);
	out->size = key->key.size;
	return 0;
}

static int choose_identity(struct channel_tls_creds *creds, struct swo_error *err)
{
	const char *username = creds->params.username;

	if (!username[0] && creds->key_count > 1)
		return bad_file(&creds->params, "keys.psk",
			"it has several keys; select one with x-tls-username", err);
	const struct tls_psk_key *key = username[0] ? find_key(creds, username) : &creds->keys[0];

	if (!key)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"TLS credentials: no line for '%s' in '%s/keys.psk'", username,
			creds->params.creds);
	if (gnutls_psk_set_client_credentials(
		    creds->psk_client, key->username, &key->key, GNUTLS_PSK_KEY_RAW))
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "TLS credentials");
	snprintf(creds->params.username, sizeof(creds->params.username), "%s", key->username);
	return 0;
}

static int load_psk(struct channel_tls_creds *creds, struct swo_error *err)
{
	if (creds->server ? gnutls_psk_allocate_server_credentials(&creds->psk_server)
			  : gnutls_psk_allocate_client_credentials(&creds->psk_client))
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "TLS credentials");
	if (take_keys(creds, err))
		return -1;
	if (!creds->server)
		return choose_identity(creds, err);
	gnutls_psk_set_server_credentials_function(creds->psk_server, give_key);
	return 0;
}

/* X.509 or pre-shared keys */

static int choose_kind(struct channel_tls_creds *creds, struct swo_error *err)
{
	struct swo_tls_params *params = &creds->params;
	bool psk, x509;

	if (params->kind != SWO_TLS_AUTO)
		return 0;
	if (exists(creds, "keys.psk", &psk, err) || exists(creds, "ca-cert.pem", &x509, err))
		return -1;
	if (psk == x509)
		return swo_error_set(err, SWO_E_INVALID, 0, "TLS credentials: '%s' has %s; %s",
			params->creds,
			psk ? "both ca-cert.pem and keys.psk"
			    : "neither ca-cert.pem (X.509) nor keys.psk (pre-shared keys)",
			psk ? "select one with x-tls-kind (x509 or psk)"
			    : "is it the right directory?");
	params->kind = psk ? SWO_TLS_PSK : SWO_TLS_X509;
	return 0;
}

int channel_tls_creds_load(const struct swo_tls_params *params, bool server,
	struct channel_tls_creds **out, struct swo_error *err)
{
	struct channel_tls_creds *creds = calloc(1, sizeof(*creds));

	if (!creds)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "TLS credentials");
	creds->params = *params;
	creds->server = server;
	creds->dir_fd = -1;
	if (open_dir(creds, err) || choose_kind(creds, err) ||
		(creds->params.kind == SWO_TLS_X509 ? load_x509 : load_psk)(creds, err)) {
		channel_tls_creds_free(creds);
		return -1;
	}
	swo_close_fd(&creds->dir_fd);
	*out = creds;
	return 0;
}

void channel_tls_creds_free(struct channel_tls_creds *creds)
{
	if (!creds)
		return;
	swo_close_fd(&creds->dir_fd);
	if (creds->x509)
		gnutls_certificate_free_credentials(creds->x509);
	if (creds->psk_client)
		gnutls_psk_free_client_credentials(creds->psk_client);
	if (creds->psk_server)
		gnutls_psk_free_server_credentials(creds->psk_server);
	for (unsigned i = 0; i < creds->key_count; i++)
		free(creds->keys[i].username);
	free(creds->keys);
	base_secret_free(creds->secrets, FILE_MAX);
	free(creds);
}
