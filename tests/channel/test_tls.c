/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS on a connection: accepted and refused peers, the errors of both, and the transfer. */
#include "tests/support/blocked.h"
#include "tests/support/dumped.h"
#include "tls_rig.h"

#include "channel/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Transfers */

#define LOAD (5 << 20)

struct carrying {
	struct channel_conn *conn;
	uint8_t *bytes;
	int rc;
};

static void *send_load(void *opaque)
{
	struct carrying *carrying = opaque;
	/* In odd pieces, as frames are. */
	struct iovec iov[3] = {{carrying->bytes, 40}, {carrying->bytes + 40, 100001},
		{carrying->bytes + 100041, LOAD - 100041}};

	carrying->rc = channel_conn_send(carrying->conn, iov, 3, RIG_MS, NULL);
	return NULL;
}

static void *receive_load(void *opaque)
{
	struct carrying *carrying = opaque;
	struct iovec iov[2] = {{carrying->bytes, 77}, {carrying->bytes + 77, LOAD - 77}};

	carrying->rc = channel_conn_recv(carrying->conn, iov, 2, RIG_MS, NULL);
	return NULL;
}

/* Four threads: each end sends and receives at the same time. */
static void carry_both_ways(struct rig *rig)
{
	struct carrying c[4] = {{.conn = rig->client_conn}, {.conn = rig->server_conn},
		{.conn = rig->server_conn}, {.conn = rig->client_conn}};
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++) {
		assert_non_null(c[i].bytes = malloc(LOAD));
		for (size_t b = 0; b < LOAD; b++)
			c[i].bytes[b] = i % 2 ? 0 : (uint8_t)(b * 31 + (b >> 11) + i);
		assert_int_equal(
			pthread_create(&threads[i], NULL, i % 2 ? receive_load : send_load, &c[i]),
			0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(c[i].rc, 0);
	assert_memory_equal(c[0].bytes, c[1].bytes, LOAD);
	assert_memory_equal(c[2].bytes, c[3].bytes, LOAD);
	for (unsigned i = 0; i < 4; i++)
		free(c[i].bytes);
}

static void with_certificates_both_ways_at_once_all_arrives(void **state)
{
	(void)state;
	struct rig rig;

	rig_open_x509(&rig);
	rig_meet_well(&rig);
	assert_true(channel_conn_has_tls(rig.client_conn));
	carry_both_ways(&rig);
	rig_part(&rig);
	rig_close(&rig);
}

static void with_a_shared_key_both_ways_at_once_all_arrives(void **state)
{
	(void)state;
	struct rig rig;

	rig_open_psk(&rig);
	rig_meet_well(&rig);
	carry_both_ways(&rig);
	rig_part(&rig);
	rig_close(&rig);
}

static void frames_pass_and_what_is_left_in_a_buffer_counts_as_readable(void **state)
{
	(void)state;
	struct channel_frame_header header = {.type = 9};
	struct channel a, b;
	char text[6];
	struct rig rig;

	rig_open_psk(&rig);
	rig_meet_well(&rig);
	channel_init(&a, rig.client_conn, RIG_MS);
	channel_init(&b, rig.server_conn, RIG_MS);
	assert_false(channel_conn_readable(b.conn, swo_deadline_ms(0)));
	for (int i = 0; i < 2; i++)
		assert_int_equal(channel_send(&a, &header, "frames", 6, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_true(channel_conn_readable(b.conn, swo_deadline_ms(RIG_MS)));
		assert_int_equal(channel_recv_header(&b, &header, 6, 0, NULL), 0);
		assert_true(channel_conn_readable(b.conn, swo_deadline_ms(0)));
		assert_int_equal(channel_recv_payload(&b, &header, text, 6, NULL, 0, NULL), 0);
		assert_memory_equal(text, "frames", 6);
	}
	assert_false(channel_conn_readable(b.conn, swo_deadline_ms(0)));
	/* Frames without a payload: no data to wait for. */
	assert_int_equal(channel_send(&a, &header, NULL, 0, NULL), 0);
	assert_int_equal(channel_recv_header(&b, &header, 6, 0, NULL), 0);
	assert_int_equal(channel_recv_payload(&b, &header, text, 0, NULL, 0, NULL), 0);
	rig_part(&rig);
	rig_close(&rig);
}

static void no_plaintext_is_sent(void **state)
{
	(void)state;
	static const char secret[] = "a secret of this VM's memory";
	struct iovec iov = {(char *)(uintptr_t)secret, sizeof(secret)};
	uint8_t wire[4096];
	struct rig rig;

	rig_open_psk(&rig);
	rig_meet_well(&rig);
	int fd = channel_conn_fd(rig.server_conn);
	assert_int_equal(channel_conn_send(rig.client_conn, &iov, 1, RIG_MS, NULL), 0);
	ssize_t n = recv(fd, wire, sizeof(wire), MSG_PEEK);
	assert_true(n > (ssize_t)sizeof(secret));
	assert_null(memmem(wire, (size_t)n, secret, sizeof(secret) - 1));
	rig_part(&rig);
	rig_close(&rig);
}

static void a_peer_that_renews_its_keys_and_wants_ours_renewed_is_followed(void **state)
{
	(void)state;
	struct serving serving;
	struct raw raw;
	struct rig rig;
	char word[8];

	rig_open_x509(&rig);
	serve_begin(&serving, &rig);
	raw_open(&raw, &rig, true);
	assert_int_equal(gnutls_handshake(raw.session), 0);
	assert_int_equal(gnutls_record_recv(raw.session, word, 1), 1);
	serve_end(&serving);
	assert_non_null(rig.server_conn);
	for (int i = 0; i < 5; i++) {
		struct iovec in = {word, 4}, out = {(char[]){"pong"}, 4};

		assert_int_equal(gnutls_session_key_update(raw.session, GNUTLS_KU_PEER), 0);
		assert_int_equal(gnutls_record_send(raw.session, "ping", 4), 4);
		assert_int_equal(channel_conn_recv(rig.server_conn, &in, 1, RIG_MS, NULL), 0);
		assert_memory_equal(word, "ping", 4);
		assert_int_equal(channel_conn_send(rig.server_conn, &out, 1, RIG_MS, NULL), 0);
		ssize_t rc;
		while ((rc = gnutls_record_recv(raw.session, word, 4)) == GNUTLS_E_AGAIN)
			;
		assert_int_equal(rc, 4);
		assert_memory_equal(word, "pong", 4);
	}
	raw_close(&raw);
	rig_part(&rig);
	rig_close(&rig);
}

static void a_requested_key_update_waits_for_a_send_that_has_room_for_it(void **state)
{
	(void)state;
	struct serving serving;
	struct raw raw;
	struct rig rig;
	char word[8];
	struct iovec in = {word, 4};

	rig_open_x509(&rig);
	serve_begin(&serving, &rig);
	raw_open(&raw, &rig, true);
	assert_int_equal(gnutls_handshake(raw.session), 0);
	assert_int_equal(gnutls_record_recv(raw.session, word, 1), 1);
	serve_end(&serving);
	assert_non_null(rig.server_conn);
	assert_int_equal(gnutls_session_key_update(raw.session, GNUTLS_KU_PEER), 0);
	assert_int_equal(gnutls_record_send(raw.session, "ping", 4), 4);
	assert_int_equal(channel_conn_recv(rig.server_conn, &in, 1, RIG_MS, NULL), 0);
	/* Nothing may be written while there is no check for room. */
	assert_int_equal(recv(raw.fd, word, 1, MSG_PEEK | MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	channel_conn_shutdown(rig.server_conn);
	ssize_t rc;
	while ((rc = gnutls_record_recv(raw.session, word, 4)) == GNUTLS_E_AGAIN)
		;
	assert_int_equal(rc, 0);
	raw_close(&raw);
	rig_part(&rig);
	rig_close(&rig);
}

/*
 * A server that is not this library, and that sends what follows the client's last message of the
 * handshake in one piece: a message without data, then the byte that confirms the check.
 */

struct raw_server {
	int listener, fd;
	gnutls_session_t session;
	uint8_t out[65536];
	size_t len;
};

static ssize_t keep(gnutls_transport_ptr_t opaque, const void *data, size_t len)
{
	struct raw_server *server = opaque;

	assert_true(len <= sizeof(server->out) - server->len);
	memcpy(server->out + server->len, data, len);
	server->len += len;
	return (ssize_t)len;
}

static void send_kept(struct raw_server *server)
{
	assert_int_equal(send(server->fd, server->out, server->len, MSG_NOSIGNAL), server->len);
	server->len = 0;
}

static ssize_t fetch(gnutls_transport_ptr_t opaque, void *data, size_t len)
{
	struct raw_server *server = opaque;

	send_kept(server);
	return recv(server->fd, data, len, 0);
}

static void *serve_raw(void *opaque)
{
	struct raw_server *server = opaque;
	char byte;

	server->fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server->fd >= 0);
	assert_int_equal(gnutls_handshake(server->session), 0);
	assert_int_equal(gnutls_session_key_update(server->session, 0), 0);
	assert_int_equal(gnutls_record_send(server->session, "+", 1), 1);
	send_kept(server);
	/* Until the client has gone. */
	(void)!recv(server->fd, &byte, 1, 0);
	return NULL;
}

static void a_server_whose_byte_follows_another_message_is_heard(void **state)
{
	(void)state;
	static struct raw_server server;
	gnutls_certificate_credentials_t creds;
	struct base_address address;
	struct channel_security security = {0};
	struct channel_conn *conn = NULL;
	struct swo_error err = {0};
	char cert[128], key[128];
	pthread_t thread;
	struct rig rig;

	rig_open_x509(&rig);
	snprintf(cert, sizeof(cert), "%s/server-cert.pem", rig.server_dir);
	snprintf(key, sizeof(key), "%s/server-key.pem", rig.server_dir);
	assert_int_equal(gnutls_certificate_allocate_credentials(&creds), 0);
	assert_int_equal(
		gnutls_certificate_set_x509_key_file(creds, cert, key, GNUTLS_X509_FMT_PEM), 0);
	assert_int_equal(gnutls_init(&server.session, GNUTLS_SERVER | GNUTLS_NO_SIGNAL), 0);
	assert_int_equal(gnutls_set_default_priority(server.session), 0);
	assert_int_equal(gnutls_credentials_set(server.session, GNUTLS_CRD_CERTIFICATE, creds), 0);
	gnutls_transport_set_ptr(server.session, &server);
	gnutls_transport_set_push_function(server.session, keep);
	gnutls_transport_set_pull_function(server.session, fetch);
	gnutls_transport_set_pull_timeout_function(server.session, gnutls_system_recv_timeout);
	assert_int_equal(base_unix_address(rig.uri + 5, &address, NULL), 0);
	assert_int_equal(base_listen(&address, 1, &server.listener), 0);
	assert_int_equal(fcntl(server.listener, F_SETFL, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, serve_raw, &server), 0);
	assert_int_equal(channel_tls_creds_load(&rig.client, false, &security.tls, NULL), 0);
	if (channel_conn_open(rig.uri, &security, swo_deadline_ms(RIG_MS), &conn, &err))
		fail_msg("%s", err.text);
	channel_conn_close(conn);
	pthread_join(thread, NULL);
	gnutls_deinit(server.session);
	gnutls_certificate_free_credentials(creds);
	close(server.fd);
	close(server.listener);
	unlink(rig.uri + 5);
	channel_tls_creds_free(security.tls);
	rig_close(&rig);
}

/* The key of rig_open_psk(): 00, 01, 02, ... 10, 11, 12, 13. */
struct search {
	unsigned kept, dumped;
};

static bool search_key(void *opaque, uintptr_t from, uintptr_t to, const char *mode, bool dumped)
{
	struct search *search = opaque;

	if (strcmp(mode, "rw-p") != 0)
		return false;

	for (const uint8_t *at = (const uint8_t *)from; at + 20 <= (const uint8_t *)to; at++) {
		unsigned i = 0;

		while (i < 20 && at[i] == i)
			i++;
		if (i < 20)
			continue;
		search->kept += !dumped;
		search->dumped += dumped;
	}
	return false;
}

static void core_dumps_have_no_key_of_a_target(void **state)
{
	(void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	/* Not with a sanitizer: the search would read its memory, too. */
	struct channel_tls_creds *creds = NULL;
	struct search before = {0}, now = {0};
	struct rig rig;

	rig_open_psk(&rig);
	dumped_walk(search_key, &before);
	assert_int_equal(channel_tls_creds_load(&rig.server, true, &creds, NULL), 0);
	dumped_walk(search_key, &now);
	assert_int_equal(now.kept, before.kept + 1);
	assert_int_equal(now.dumped, before.dumped);
	channel_tls_creds_free(creds);
	rig_close(&rig);
#else
	(void)search_key;
#endif
}

/* The end of a session */

static int receive_one(struct channel_conn *conn, uint64_t stall_ms, struct swo_error *err)
{
	char byte;
	struct iovec iov = {&byte, 1};

	*err = (struct swo_error){0};
	return channel_conn_recv(conn, &iov, 1, stall_ms, err);
}

static void an_orderly_close_and_a_lost_connection_are_distinguished(void **state)
{
	(void)state;
	struct swo_error err;
	struct rig rig;

	rig_open_psk(&rig);
	rig_meet_well(&rig);
	channel_conn_shutdown(rig.client_conn);
	assert_int_equal(receive_one(rig.server_conn, RIG_MS, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	expect_words(&err, "closed by the other side");
	rig_part(&rig);

	rig_meet_well(&rig);
	shutdown(channel_conn_fd(rig.client_conn), SHUT_RDWR); /* as any host on the path can */
	assert_int_equal(receive_one(rig.server_conn, RIG_MS, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	expect_words(&err, "without close_notify");
	rig_part(&rig);
	rig_close(&rig);
}

static void a_byte_that_was_changed_in_transit_is_detected(void **state)
{
	(void)state;
	/* A well-formed record of bytes that are not encrypted. */
	static const uint8_t forged[] = {23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
		14, 15, 16, 17, 18, 19, 20};
	struct swo_error err;
	struct rig rig;

	rig_open_psk(&rig);
	rig_meet_well(&rig);
	assert_int_equal(
		send(channel_conn_fd(rig.client_conn), forged, sizeof(forged), 0), sizeof(forged));
	assert_int_equal(receive_one(rig.server_conn, RIG_MS, &err), -1);
	assert_int_equal(err.code, SWO_E_CORRUPT);
	rig_part(&rig);
	rig_close(&rig);
}

static void a_stalled_peer_is_a_timeout_in_either_direction(void **state)
{
	(void)state;
	uint8_t *bytes = calloc(1, 32 << 20);
	struct iovec iov = {bytes, 32 << 20};
	struct swo_error err;
	struct rig rig;

	assert_non_null(bytes);
	rig_open_psk(&rig);
	rig_meet_well(&rig);
	assert_int_equal(receive_one(rig.server_conn, 30, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_int_equal(channel_conn_send(rig.client_conn, &iov, 1, 30, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	rig_part(&rig);
	rig_close(&rig);
	free(bytes);
}

static void *shut_down(void *opaque)
{
	struct rig *rig = opaque;
	blocked_tid receiver = getpid(); /* the main thread */

	bool blocked = blocked_await(&receiver);

	channel_conn_shutdown(rig->client_conn);
	return blocked ? rig : NULL;
}

static void a_shutdown_wakes_blocked_threads(void **state)
{
	(void)state;
	struct swo_error err;
	pthread_t thread;
	struct rig rig;

	rig_open_psk(&rig);
	rig_meet_well(&rig);
	assert_int_equal(pthread_create(&thread, NULL, shut_down, &rig), 0);
	assert_int_equal(receive_one(rig.client_conn, RIG_MS, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	void *blocked;

	pthread_join(thread, &blocked);
	assert_non_null(blocked);
	rig_part(&rig);
	rig_close(&rig);
}

/* Refused peers */

static void reissue(struct rig *rig, bool server, bool for_server, int from_s, int to_s)
{
	const struct pki_cert cert = {.server = server,
		.for_server = for_server,
		.name = "target.example",
		.from_s = from_s,
		.to_s = to_s,
		.serial = 9};

	assert_int_equal(
		pki_issue(rig->pki, server ? rig->server_dir : rig->client_dir, &cert, NULL), 0);
}

static void a_certificate_of_another_ca_is_refused_by_either_end(void **state)
{
	(void)state;
	struct rig rig, other;
	char ours[4096] = "", path[128];

	rig_open_x509(&rig);
	rig_open_x509(&other);
	/* The source trusts only the other CA, which did not sign the target's certificate. */
	strcpy(rig.client.creds, other.client_dir);
	rig_meet_badly(&rig, "not signed by a CA that the peer has",
		"the certificate of the target 'unix:");
	/* The source trusts both, the target does not have the CA of the source's certificate. */
	snprintf(path, sizeof(path), "%s/ca-cert.pem", rig.client_dir);
	FILE *in = fopen(path, "r");
	assert_non_null(in);
	assert_true(fread(ours, 1, sizeof(ours) - 1, in) > 0);
	fclose(in);
	snprintf(path, sizeof(path), "%s/ca-cert.pem", other.client_dir);
	FILE *out = fopen(path, "a");
	assert_non_null(out);
	assert_true(fputs(ours, out) >= 0);
	fclose(out);
	rig_meet_badly(&rig, "CA of ca-cert.pem", "refused this side's certificate /tmp/");
	expect_words(&rig.client_error, "client-cert.pem: it is not signed by a CA");
	rig_close(&other);
	rig_close(&rig);
}

static void a_host_name_that_the_certificate_does_not_carry_is_refused(void **state)
{
	(void)state;
	struct rig rig;

	rig_open_x509(&rig);
	strcpy(rig.client.hostname, "elsewhere.example");
	rig_meet_badly(&rig, "another host name", "not for the host \"elsewhere.example\"");
	expect_words(&rig.client_error, "tls-hostname");
	rig.client.hostname[0] = 0;
	rig_meet_badly(&rig, NULL, "no host name to check");
	rig_close(&rig);
}

static void a_revoked_certificate_is_refused(void **state)
{
	(void)state;
	struct rig rig;

	rig_open_x509(&rig);
	assert_int_equal(pki_revoke(rig.pki, rig.server_dir, 4, NULL), 0);
	rig_meet_well(&rig);
	rig_part(&rig);
	assert_int_equal(pki_revoke(rig.pki, rig.server_dir, 3, NULL), 0);
	rig_meet_badly(&rig, "it has been revoked", "it has been revoked");
	rig_close(&rig);
}

static void a_revocation_list_that_proves_nothing_is_refused_where_it_lies(void **state)
{
	(void)state;
	struct rig rig;
	struct pki *other;
	char path[128];

	rig_open_x509(&rig);
	snprintf(path, sizeof(path), "%s/ca-crl.pem", rig.server_dir);
	/* Of another CA. */
	assert_int_equal(pki_create(&other, NULL), 0);
	assert_int_equal(pki_revoke(other, rig.server_dir, 3, NULL), 0);
	rig_load_badly(&rig.server, true, "ca-crl.pem': ca-cert.pem has not signed it");
	pki_free(other);
	/* Expired, and not valid yet. */
	assert_int_equal(pki_revoke_between(rig.pki, rig.server_dir, 3, -120, -60, NULL), 0);
	rig_load_badly(&rig.server, true, "it has expired (nextUpdate)");
	assert_int_equal(pki_revoke_between(rig.pki, rig.server_dir, 3, 3600, 7200, NULL), 0);
	rig_load_badly(&rig.server, true, "it is not valid yet (thisUpdate)");
	/* Changed by a bit, in its signature. */
	assert_int_equal(pki_revoke(rig.pki, rig.server_dir, 3, NULL), 0);
	FILE *file = fopen(path, "r+e");

	assert_non_null(file);
	assert_int_equal(fseek(file, -60, SEEK_END), 0);
	int c = fgetc(file);

	assert_int_equal(fseek(file, -60, SEEK_END), 0);
	fputc(c == 'A' ? 'B' : 'A', file);
	fclose(file);
	rig_load_badly(&rig.server, true, "ca-crl.pem");
	/* No list, a dangling link, a folder. */
	rig_write(rig.server_dir, "ca-crl.pem", "", 0644);
	rig_load_badly(&rig.server, true, "ca-crl.pem");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/nowhere/at-all", path), 0);
	rig_load_badly(&rig.server, true, "ca-crl.pem': No such file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	rig_load_badly(&rig.server, true, "is not a file");
	assert_int_equal(rmdir(path), 0);
	rig_meet_well(&rig);
	rig_part(&rig);
	rig_close(&rig);
}

static void credentials_that_others_may_write_are_refused(void **state)
{
	(void)state;
	static const char *const files[] = {"ca-cert.pem", "ca-crl.pem", "server-cert.pem"};
	struct rig rig;
	char path[128];

	rig_open_x509(&rig);
	assert_int_equal(pki_revoke(rig.pki, rig.server_dir, 4, NULL), 0);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", rig.server_dir, files[i]);
		assert_int_equal(chmod(path, 0664), 0);
		rig_load_badly(&rig.server, true, files[i]);
		rig_load_badly(&rig.server, true, "others may write to");
		assert_int_equal(chmod(path, 0644), 0);
		if (geteuid() == 0) {
			assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
			rig_load_badly(&rig.server, true, "belongs to user 12345");
			assert_int_equal(chown(path, 0, (gid_t)-1), 0);
		}
	}
	assert_int_equal(chmod(rig.server_dir, 0777), 0);
	rig_load_badly(&rig.server, true, "others may write to");
	assert_int_equal(chmod(rig.server_dir, 0755), 0);
	rig_meet_well(&rig);
	rig_part(&rig);
	rig_close(&rig);
}

static void only_the_one_that_authz_names_is_let_in(void **state)
{
	(void)state;
	struct rig rig;

	rig_open_x509(&rig);
	strcpy(rig.server.authz, "CN=other");
	rig_meet_badly(&rig, "tls-authz allows only \"CN=other\"", "(by its tls-authz)");
	/* The name is given as it has to be written. */
	const char *quoted = strstr(rig.server_error.text, "is \"");
	assert_non_null(quoted);
	sscanf(quoted, "is \"%255[^\"]", rig.server.authz);
	assert_string_equal(rig.server.authz, "CN=source.example,O=throw-away");
	rig_meet_well(&rig);
	rig_part(&rig);
	rig_close(&rig);
	rig_open_psk(&rig);
	strcpy(rig.server.authz, "other");
	rig_meet_badly(&rig, "is \"qemu\", tls-authz allows only \"other\"", NULL);
	strcpy(rig.server.authz, "qemu");
	rig_meet_well(&rig);
	rig_part(&rig);
	rig_close(&rig);
}

static void a_peer_with_no_certificate_or_an_expired_one_gets_an_alert(void **state)
{
	(void)state;
	struct serving serving;
	struct raw raw;
	struct rig rig;
	char word;

	rig_open_x509(&rig);
	reissue(&rig, false, false, -100, -50);
	for (int with = 0; with < 2; with++) {
		serve_begin(&serving, &rig);
		raw_open(&raw, &rig, with);
		assert_int_equal(gnutls_handshake(raw.session), 0);
		/* The target's reply, which the client waits for. */
		assert_int_equal(
			gnutls_record_recv(raw.session, &word, 1), GNUTLS_E_FATAL_ALERT_RECEIVED);
		assert_int_equal(gnutls_alert_get(raw.session),
			with ? GNUTLS_A_CERTIFICATE_EXPIRED : GNUTLS_A_CERTIFICATE_REQUIRED);
		serve_end(&serving);
		assert_null(rig.server_conn);
		expect_words(
			&rig.server_error, with ? "it has expired" : "has sent no certificate");
		raw_close(&raw);
		rig_part(&rig);
	}
	rig_close(&rig);
}

static void credentials_that_cannot_work_are_refused_by_their_file_before_any_connection(
	void **state)
{
	(void)state;
	struct rig rig, other;
	char path[128];

	rig_open_x509(&rig);
	reissue(&rig, true, true, -100, -50);
	rig_load_badly(&rig.server, true, "the peer would refuse");
	rig_load_badly(&rig.server, true, "expired");
	reissue(&rig, true, true, 1000, 2000);
	rig_load_badly(&rig.server, true, "not valid yet");
	reissue(&rig, true, false, -100, 1000);
	rig_load_badly(&rig.server, true, "not for this end");
	reissue(&rig, false, true, -100, 1000);
	rig_load_badly(&rig.client, false, "not for this end");
	rig_write(rig.client_dir, "client-cert.pem", "nonsense", 0644);
	rig_load_badly(&rig.client, false, "client-cert.pem");
	snprintf(path, sizeof(path), "%s/client-cert.pem", rig.client_dir);
	unlink(path);
	rig_load_badly(&rig.client, false, "client-cert.pem': No such file");
	rig_write(rig.client_dir, "ca-cert.pem", "nonsense", 0644);
	rig_load_badly(&rig.client, false, "ca-cert.pem");
	snprintf(path, sizeof(path), "%s/ca-cert.pem", rig.client_dir);
	unlink(path);
	rig_load_badly(&rig.client, false, "neither ca-cert.pem");
	rig_close(&rig);

	/* The key of another certificate. */
	rig_open_x509(&rig);
	rig_open_x509(&other);
	snprintf(path, sizeof(path), "%s/server-key.pem", rig.server_dir);
	char theirs[128];
	snprintf(theirs, sizeof(theirs), "%s/server-key.pem", other.server_dir);
	assert_int_equal(rename(theirs, path), 0);
	rig_load_badly(&rig.server, true, "server-key.pem' is not the key of server-cert.pem");
	rig_write(rig.server_dir, "keys.psk", "a:00", 0600);
	rig_load_badly(&rig.server, true, "both ca-cert.pem and keys.psk");
	rig_close(&other);
	rig_close(&rig);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
	(void)state;
	struct rig rig;
	char path[128];

	rig_open_x509(&rig);
	snprintf(path, sizeof(path), "%s/server-key.pem", rig.server_dir);
	for (unsigned mode = 0601; mode < 0700; mode++) {
		assert_int_equal(chmod(path, mode), 0);
		rig_load_badly(&rig.server, true, "chmod 600 -- ");
	}
	assert_int_equal(chmod(path, 0400), 0);
	rig_meet_well(&rig);
	rig_part(&rig);
	rig_close(&rig);
	rig_open_psk(&rig);
	snprintf(path, sizeof(path), "%s/keys.psk", rig.client_dir);
	assert_int_equal(chmod(path, 0644), 0);
	rig_load_badly(&rig.client, false, "keys.psk' (mode 0644)");
	rig_close(&rig);
}

static void a_shared_key_has_to_match(void **state)
{
	(void)state;
	struct rig rig;

	rig_open_psk(&rig);
	rig_write(rig.client_dir, "keys.psk", "qemu:ffffffffffffffffffffffffffffffff\n", 0600);
	rig_meet_badly(&rig, "does not have the key", "does not have the key of \"qemu\"");
	rig_write(
		rig.client_dir, "keys.psk", "bob:000102030405060708090a0b0c0d0e0f10111213\n", 0600);
	rig_meet_badly(&rig, "\"bob\" is not in", "the key of \"bob\"");
	/* Several keys at either end: the source has to select one. */
	rig_write(rig.client_dir, "keys.psk",
		"# two\n\nalice:ffffffffffffffffffffffffffffffff\n"
		"qemu:000102030405060708090a0b0c0d0e0f10111213\n",
		0600);
	rig_load_badly(&rig.client, false, "several keys");
	strcpy(rig.client.username, "carol");
	rig_load_badly(&rig.client, false, "no line for 'carol'");
	strcpy(rig.client.username, "qemu");
	rig_meet_well(&rig);
	rig_part(&rig);
	static const struct {
		const char *text, *words;
	} bad[] = {{"", "no key in it"}, {"# only\n", "no key in it"}, {"qemu", "line 1"},
		{":00112233445566778899aabbccddeeff", "line 1"}, {"\n\nqemu:zz", "line 3"},
		{"qemu:0011223344556677", "shorter than 128 bits"}};
	for (size_t i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		rig_write(rig.client_dir, "keys.psk", bad[i].text, 0600);
		rig_load_badly(&rig.client, false, bad[i].words);
	}
	rig_close(&rig);
}

static void certificates_on_one_end_and_a_shared_key_on_the_other_do_not_meet(void **state)
{
	(void)state;
	struct rig x509, psk;

	rig_open_x509(&x509);
	rig_open_psk(&psk);
	strcpy(x509.server.creds, psk.server_dir);
	rig_meet_badly(&x509, NULL, "of the same kind");
	rig_close(&psk);
	rig_close(&x509);
}

static void a_plain_peer_and_one_with_tls_both_report_the_mismatch(void **state)
{
	(void)state;
	struct channel_frame_header header = {.type = 1};
	struct serving serving;
	struct channel channel;
	struct channel_conn *conn;
	struct swo_error err = {0};
	struct rig rig;

	/* The source is plain. */
	rig_open_psk(&rig);
	serve_begin(&serving, &rig);
	assert_int_equal(channel_conn_open(rig.uri, NULL, swo_deadline_ms(RIG_MS), &conn, NULL), 0);
	channel_init(&channel, conn, RIG_MS);
	assert_int_equal(channel_send(&channel, &header, "hello", 5, NULL), 0);
	assert_int_equal(channel_recv_header(&channel, &header, 0, 0, &err), -1);
	expect_words(&err, "uses TLS and this side does not");
	channel_close(&channel);
	serve_end(&serving);
	assert_null(rig.server_conn);
	expect_words(&rig.server_error, "does not use TLS");
	rig_part(&rig);

	/* The target is plain: it reads a frame and finds a handshake. */
	rig.server.creds[0] = 0;
	struct channel_security security = {0};
	assert_int_equal(channel_tls_creds_load(&rig.client, false, &security.tls, NULL), 0);
	int fds[2];
	struct channel_tls *tls;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(channel_conn_adopt(fds[1], "plain", &conn, NULL), 0);
	channel_init(&channel, conn, RIG_MS);
	assert_int_equal(
		channel_tls_start(fds[0], security.tls, "tls", "", swo_deadline_ms(50), &tls, &err),
		-1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	expect_words(&err, "does it use TLS?");
	assert_int_equal(channel_recv_header(&channel, &header, 0, 0, &err), -1);
	expect_words(&err, "uses TLS and this side does not");
	channel_close(&channel);
	close(fds[0]);
	channel_tls_creds_free(security.tls);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_certificates_both_ways_at_once_all_arrives),
		cmocka_unit_test(with_a_shared_key_both_ways_at_once_all_arrives),
		cmocka_unit_test(frames_pass_and_what_is_left_in_a_buffer_counts_as_readable),
		cmocka_unit_test(no_plaintext_is_sent),
		cmocka_unit_test(a_peer_that_renews_its_keys_and_wants_ours_renewed_is_followed),
		cmocka_unit_test(core_dumps_have_no_key_of_a_target),
		cmocka_unit_test(a_requested_key_update_waits_for_a_send_that_has_room_for_it),
		cmocka_unit_test(a_server_whose_byte_follows_another_message_is_heard),
		cmocka_unit_test(an_orderly_close_and_a_lost_connection_are_distinguished),
		cmocka_unit_test(a_byte_that_was_changed_in_transit_is_detected),
		cmocka_unit_test(a_stalled_peer_is_a_timeout_in_either_direction),
		cmocka_unit_test(a_shutdown_wakes_blocked_threads),
		cmocka_unit_test(a_certificate_of_another_ca_is_refused_by_either_end),
		cmocka_unit_test(a_host_name_that_the_certificate_does_not_carry_is_refused),
		cmocka_unit_test(a_revoked_certificate_is_refused),
		cmocka_unit_test(a_revocation_list_that_proves_nothing_is_refused_where_it_lies),
		cmocka_unit_test(credentials_that_others_may_write_are_refused),
		cmocka_unit_test(only_the_one_that_authz_names_is_let_in),
		cmocka_unit_test(a_peer_with_no_certificate_or_an_expired_one_gets_an_alert),
		cmocka_unit_test(
			credentials_that_cannot_work_are_refused_by_their_file_before_any_connection),
		cmocka_unit_test(a_key_that_others_can_read_is_refused),
		cmocka_unit_test(a_shared_key_has_to_match),
		cmocka_unit_test(certificates_on_one_end_and_a_shared_key_on_the_other_do_not_meet),
		cmocka_unit_test(a_plain_peer_and_one_with_tls_both_report_the_mismatch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
