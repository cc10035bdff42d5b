/* SPDX-License-Identifier: BSD-3-Clause */
/* tls_rig.c - two ends that connect with credentials from two directories. */
#include "tls_rig.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

void expect_words(const struct swo_error *err, const char *words)
{
	if (!strstr(err->text, words))
		fail_msg("error '%s' without '%s'", err->text, words);
}

void rig_write(const char *dir, const char *file, const char *text, unsigned mode)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void open_dirs(struct rig *rig)
{
	*rig = (struct rig){.dir = "/tmp/swo-tls-XXXXXX"};
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->server_dir, sizeof(rig->server_dir), "%s/target", rig->dir);
	snprintf(rig->client_dir, sizeof(rig->client_dir), "%s/source", rig->dir);
	snprintf(rig->uri, sizeof(rig->uri), "unix:%s/socket", rig->dir);
	assert_int_equal(mkdir(rig->server_dir, 0700), 0);
	assert_int_equal(mkdir(rig->client_dir, 0700), 0);
	strcpy(rig->server.creds, rig->server_dir);
	strcpy(rig->client.creds, rig->client_dir);
}

void rig_open_x509(struct rig *rig)
{
	const struct pki_cert server = {.server = true,
		.for_server = true,
		.name = "target.example",
		.from_s = -3600,
		.to_s = 3600,
		.serial = 2};
	const struct pki_cert client = {
		.name = "source.example", .from_s = -3600, .to_s = 3600, .serial = 3};
	struct swo_error err;

	open_dirs(rig);
	strcpy(rig->client.hostname, "target.example");
	assert_int_equal(pki_create(&rig->pki, &err), 0);
	assert_int_equal(pki_write_ca(rig->pki, rig->server_dir, &err), 0);
	assert_int_equal(pki_write_ca(rig->pki, rig->client_dir, &err), 0);
	assert_int_equal(pki_issue(rig->pki, rig->server_dir, &server, &err), 0);
	assert_int_equal(pki_issue(rig->pki, rig->client_dir, &client, &err), 0);
}

void rig_open_psk(struct rig *rig)
{
	const char *line = "qemu:000102030405060708090a0b0c0d0e0f10111213\n";

	open_dirs(rig);
	rig_write(rig->server_dir, "keys.psk", line, 0600);
	rig_write(rig->client_dir, "keys.psk", line, 0600);
}

void rig_close(struct rig *rig)
{
	static const char *const files[] = {"ca-cert.pem", "ca-crl.pem", "server-cert.pem",
		"server-key.pem", "client-cert.pem", "client-key.pem", "keys.psk", "dh-params.pem"};
	char path[256];

	pki_free(rig->pki);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", rig->server_dir, files[i]);
		unlink(path);
		snprintf(path, sizeof(path), "%s/%s", rig->client_dir, files[i]);
		unlink(path);
	}
	rmdir(rig->server_dir);
	rmdir(rig->client_dir);
	assert_int_equal(rmdir(rig->dir), 0);
}

static void load(const struct swo_tls_params *params, bool server, struct channel_tls_creds **out)
{
	struct swo_error err = {0};

	if (params->creds[0] && channel_tls_creds_load(params, server, out, &err))
		fail_msg("%s", err.text);
}

static void *serve(void *opaque)
{
	struct serving *serving = opaque;
	struct rig *rig = serving->rig;

	if (channel_listener_accept(serving->listener, swo_deadline_ms(RIG_MS), &rig->server_conn,
		    &rig->server_error))
		return NULL;
	if (channel_listener_handshake(serving->listener, rig->server_conn, swo_deadline_ms(RIG_MS),
		    &rig->server_error)) {
		channel_conn_close(rig->server_conn);
		rig->server_conn = NULL;
	}
	return NULL;
}

void serve_begin(struct serving *serving, struct rig *rig)
{
	struct swo_error err = {0};

	rig->server_conn = NULL;
	rig->server_error = (struct swo_error){0};
	rig->server_security = (struct channel_security){0};
	load(&rig->server, true, &rig->server_security.tls);
	serving->rig = rig;
	if (channel_listener_open(rig->uri, &rig->server_security, NULL, &serving->listener, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pthread_create(&serving->thread, NULL, serve, serving), 0);
}

void serve_end(struct serving *serving)
{
	pthread_join(serving->thread, NULL);
	channel_listener_close(serving->listener);
}

void rig_meet(struct rig *rig)
{
	struct serving serving;

	rig->client_conn = NULL;
	rig->client_error = (struct swo_error){0};
	rig->client_security = (struct channel_security){0};
	load(&rig->client, false, &rig->client_security.tls);
	serve_begin(&serving, rig);
	if (channel_conn_open(rig->uri, &rig->client_security, swo_deadline_ms(RIG_MS),
		    &rig->client_conn, &rig->client_error))
		rig->client_conn = NULL;
	serve_end(&serving);
}

void rig_part(struct rig *rig)
{
	channel_conn_close(rig->client_conn);
	channel_conn_close(rig->server_conn);
	rig->client_conn = rig->server_conn = NULL;
	channel_tls_creds_free(rig->client_security.tls);
	channel_tls_creds_free(rig->server_security.tls);
	rig->client_security.tls = rig->server_security.tls = NULL;
}

void rig_meet_well(struct rig *rig)
{
	rig_meet(rig);
	if (!rig->server_conn || !rig->client_conn)
		fail_msg("target: '%s'; source: '%s'", rig->server_error.text,
			rig->client_error.text);
}

void rig_meet_badly(struct rig *rig, const char *server_words, const char *client_words)
{
	rig_meet(rig);
	assert_null(rig->server_conn);
	assert_null(rig->client_conn);
	if (server_words)
		expect_words(&rig->server_error, server_words);
	if (client_words)
		expect_words(&rig->client_error, client_words);
	rig_part(rig);
}

void rig_load_badly(const struct swo_tls_params *params, bool server, const char *words)
{
	struct channel_tls_creds *creds = NULL;
	struct swo_error err = {0};

	assert_int_equal(channel_tls_creds_load(params, server, &creds, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	expect_words(&err, words);
}

/* Clients that are not this library */

void raw_open(struct raw *raw, const struct rig *rig, bool with_certificate)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char ca[128], cert[128], key[128];

	snprintf(ca, sizeof(ca), "%s/ca-cert.pem", rig->client_dir);
	snprintf(cert, sizeof(cert), "%s/client-cert.pem", rig->client_dir);
	snprintf(key, sizeof(key), "%s/client-key.pem", rig->client_dir);
	strcpy(address.sun_path, rig->uri + 5);
	raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(raw->fd >= 0);
	assert_int_equal(connect(raw->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(gnutls_certificate_allocate_credentials(&raw->creds), 0);
	assert_true(
		gnutls_certificate_set_x509_trust_file(raw->creds, ca, GNUTLS_X509_FMT_PEM) > 0);
	if (with_certificate)
		assert_int_equal(gnutls_certificate_set_x509_key_file(
					 raw->creds, cert, key, GNUTLS_X509_FMT_PEM),
			0);
	assert_int_equal(gnutls_init(&raw->session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
	assert_int_equal(gnutls_set_default_priority(raw->session), 0);
	assert_int_equal(
		gnutls_credentials_set(raw->session, GNUTLS_CRD_CERTIFICATE, raw->creds), 0);
	gnutls_transport_set_int(raw->session, raw->fd);
}

void raw_close(struct raw *raw)
{
	gnutls_deinit(raw->session);
	gnutls_certificate_free_credentials(raw->creds);
	close(raw->fd);
}
