/* SPDX-License-Identifier: BSD-3-Clause */
/* URIs, connections with deadlines, frames that arrive completely or not at all. */
#include "base/net.h"
#include "channel/frame.h"
#include "channel/meter.h"
#include "channel/tune.h"
#include "tests/support/blocked.h"
#include "tests/support/cm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_MS 20000

static void good_uris_are_taken_apart(void **state)
{
	(void)state;
	struct base_uri uri;

	assert_int_equal(base_uri_parse("unix:/run/vm.sock", &uri, NULL), 0);
	assert_true(uri.is_unix);
	assert_string_equal(uri.path, "/run/vm.sock");
	assert_int_equal(base_uri_parse("tcp:host.example:4444", &uri, NULL), 0);
	assert_false(uri.is_unix);
	assert_string_equal(uri.host, "host.example");
	assert_string_equal(uri.port, "4444");
	assert_int_equal(base_uri_parse("tcp:[::1]:0", &uri, NULL), 0);
	assert_string_equal(uri.host, "::1");
	assert_int_equal(base_uri_parse("tcp::65535", &uri, NULL), 0);
	assert_string_equal(uri.host, "");
}

static void bad_uris_are_refused_with_the_reason(void **state)
{
	(void)state;
	static const struct {
		const char *uri, *words;
	} bad[] = {{"", "expected unix:PATH or tcp:HOST:PORT"}, {"unix:", "missing path"},
		{"exec:rm", "expected unix:PATH or tcp:HOST:PORT"}, {"tcp:host", "missing port"},
		{"tcp:host:", "missing port"}, {"tcp:host:65536", "invalid port"},
		{"tcp:host:-1", "invalid port"}, {"tcp:host:80x", "invalid port"},
		{"tcp:host: 80", "invalid port"}, {"tcp:::1:80", "brackets"},
		{"tcp:[::1:80", "']'"}};
	struct swo_error err;
	struct base_uri uri;
	char path[200] = "unix:";

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		assert_int_equal(base_uri_parse(bad[i].uri, &uri, &err), -1);
		assert_int_equal(err.code, SWO_E_INVALID);
		if (!strstr(err.text, bad[i].words))
			fail_msg("'%s': error '%s' without '%s'", bad[i].uri, err.text,
				bad[i].words);
	}
	memset(path + 5, 'x', 108);
	assert_int_equal(base_uri_parse(path, &uri, &err), -1);
	path[5 + 107] = 0;
	assert_int_equal(base_uri_parse(path, &uri, &err), 0);
}

#define HOUR_MS (UINT64_C(3600) * 1000)

static void pair(struct channel *a, struct channel *b, uint64_t stall_ms)
{
	struct channel_conn *conn;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(channel_conn_adopt(fds[0], "a", &conn, NULL), 0);
	channel_init(a, conn, stall_ms);
	assert_int_equal(channel_conn_adopt(fds[1], "b", &conn, NULL), 0);
	channel_init(b, conn, stall_ms);
}

static void unpair(struct channel *a, struct channel *b)
{
	channel_close(a);
	channel_close(b);
}

static void an_address_of_this_host_is_recognised(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool local;
	} cases[] = {{"127.0.0.1", true}, {"127.255.0.9", true}, {"128.0.0.1", false},
		{"10.0.0.127", false}, {"::1", true}, {"::ffff:127.0.0.1", true},
		{"::ffff:10.0.0.1", false}, {"2001:db8::1", false}, {"::", false}};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	assert_true(channel_address_is_local((struct sockaddr *)&un));
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		struct sockaddr_in in = {.sin_family = AF_INET};
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		bool is_in = inet_pton(AF_INET, cases[i].text, &in.sin_addr) == 1;

		assert_true(is_in || inet_pton(AF_INET6, cases[i].text, &in6.sin6_addr) == 1);
		if (channel_address_is_local(is_in ? (struct sockaddr *)&in
						   : (struct sockaddr *)&in6) != cases[i].local)
			fail_msg("%s", cases[i].text);
	}
}

/* As the kernel counts, which is twice the requested size, within its own limit. */
static int buffer_of(int fd, int option)
{
	int size = 0;
	socklen_t len = sizeof(size);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, option, &size, &len), 0);
	return size;
}

static void sockets_within_a_host_have_small_buffers_and_no_pacing(void **state)
{
	(void)state;
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
	channel_tune(fd);

	char algorithm[16] = "";
	len = sizeof(algorithm);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, &len), 0);
	assert_string_equal(algorithm, "reno");
	assert_in_range(buffer_of(fd, SO_SNDBUF), 1, 1 << 20);
	assert_in_range(buffer_of(fd, SO_RCVBUF), 1, 1 << 20);
	close(fd);
	close(listener);
}

struct sending {
	struct channel *channel;
	const uint8_t *bytes;
	size_t len;
};

static void *send_it(void *opaque)
{
	struct sending *sending = opaque;
	struct channel_frame_header header = {.type = 7, .device = 3, .offset = 99, .pass = 2};

	channel_send(sending->channel, &header, sending->bytes, sending->len, NULL);
	return NULL;
}

static void a_frame_of_any_size_arrives_complete_in_one_piece_or_two(void **state)
{
	(void)state;
	const size_t sizes[] = {0, 1, 4096, (1 << 20) + 3, CHANNEL_FRAME_PAYLOAD_MAX};
	uint8_t *out = malloc(CHANNEL_FRAME_PAYLOAD_MAX), *in = malloc(CHANNEL_FRAME_PAYLOAD_MAX);
	struct channel a, b;

	assert_non_null(out);
	assert_non_null(in);
	for (size_t i = 0; i < CHANNEL_FRAME_PAYLOAD_MAX; i++)
		out[i] = (uint8_t)(i * 7 + (i >> 9));
	pair(&a, &b, 20000);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(sizes); i++) {
		struct sending sending = {&a, out, sizes[i]};
		struct channel_frame_header header;
		size_t first = sizes[i] / 3;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, send_it, &sending), 0);
		assert_int_equal(
			channel_recv_header(&b, &header, CHANNEL_FRAME_PAYLOAD_MAX, 0, NULL), 0);
		assert_int_equal(header.type, 7);
		assert_int_equal(header.device, 3);
		assert_int_equal(header.offset, 99);
		assert_int_equal(header.length, sizes[i]);
		assert_int_equal(channel_recv_payload(&b, &header, in, first, in + first,
					 sizes[i] - first, NULL),
			0);
		pthread_join(thread, NULL);
		assert_memory_equal(in, out, sizes[i]);
	}
	assert_int_equal(a.frames_sent, b.frames_received);
	assert_int_equal(a.bytes_sent, b.bytes_received);
	unpair(&a, &b);
	free(in);
	free(out);
}

/* A frame that is not received, and the thread that sends it. */
struct stuck {
	struct channel *channel;
	blocked_tid tid;
	struct swo_error err;
	int rc;
};

static void *send_much(void *opaque)
{
	static const uint8_t zeros[4 << 20];
	struct stuck *stuck = opaque;
	struct channel_frame_header header = {.type = 7};

	atomic_store(&stuck->tid, (int)gettid());
	stuck->rc = channel_send(stuck->channel, &header, zeros, sizeof(zeros), &stuck->err);
	return NULL;
}

static void start_stuck(struct stuck *stuck, struct channel *channel, pthread_t *thread)
{
	*stuck = (struct stuck){.channel = channel};
	assert_int_equal(pthread_create(thread, NULL, send_much, stuck), 0);
	assert_true(blocked_await(&stuck->tid));
}

static void an_abort_ends_the_sender_that_waits_and_the_one_behind_it(void **state)
{
	(void)state;
	atomic_bool abort = false;
	const struct channel_limit limit = {.abort = &abort};
	struct stuck first, second;
	pthread_t threads[2];
	struct channel a, b;

	pair(&a, &b, HOUR_MS);
	channel_conn_set_limit(a.conn, &limit);
	start_stuck(&first, &a, &threads[0]);
	start_stuck(&second, &a, &threads[1]);
	atomic_store(&abort, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(first.err.code, SWO_E_CANCELLED);
	/* In the meantime the connection is shut down. */
	assert_int_equal(second.rc, -1);
	unpair(&a, &b);
}

static void what_needs_no_wait_is_sent_after_an_abort(void **state)
{
	(void)state;
	atomic_bool abort = true;
	const struct channel_limit limit = {.abort = &abort};
	struct channel_frame_header header = {.type = 7};
	struct channel a, b;

	pair(&a, &b, HOUR_MS);
	channel_conn_set_limit(a.conn, &limit);
	assert_int_equal(channel_send(&a, &header, "no", 2, NULL), 0);
	assert_int_equal(channel_recv_header(&b, &header, 2, 0, NULL), 0);
	unpair(&a, &b);
}

static void a_limit_in_time_is_that_of_one_thread(void **state)
{
	(void)state;
	atomic_bool abort = false;
	struct channel_limit limit = {.abort = &abort, .thread = pthread_self()};
	struct stuck other, own = {0};
	pthread_t thread;
	struct channel a, b;

	pair(&a, &b, HOUR_MS);
	channel_conn_set_limit(a.conn, &limit);
	atomic_store(&limit.until, swo_now_ns());
	start_stuck(&other, &a, &thread);
	/* Behind the other one, which goes on waiting. */
	own.channel = &a;
	send_much(&own);
	assert_int_equal(own.err.code, SWO_E_TIMEOUT);
	assert_true(blocked_await(&other.tid));
	atomic_store(&abort, true);
	pthread_join(thread, NULL);
	assert_int_equal(other.err.code, SWO_E_CANCELLED);
	unpair(&a, &b);
	/* And where it waits for the peer itself. */
	atomic_store(&abort, false);
	pair(&a, &b, HOUR_MS);
	channel_conn_set_limit(a.conn, &limit);
	send_much(&own);
	assert_int_equal(own.err.code, SWO_E_TIMEOUT);
	unpair(&a, &b);
}

static void a_frame_that_must_not_wait_is_left_out(void **state)
{
	(void)state;
	struct channel_frame_header ping = {.type = 64};
	struct channel_frame_header header;
	static uint8_t bytes[4 << 20];
	struct stuck stuck;
	pthread_t thread;
	struct channel a, b;

	pair(&a, &b, HOUR_MS);
	start_stuck(&stuck, &a, &thread);
	/* Behind a sender. */
	assert_int_equal(channel_send_now(&a, &ping, NULL), 0);
	assert_int_equal(channel_recv_header(&b, &header, sizeof(bytes), 0, NULL), 0);
	assert_int_equal(channel_recv_payload(&b, &header, bytes, header.length, NULL, 0, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(stuck.rc, 0);
	assert_int_equal(channel_send_now(&a, &ping, NULL), 0);
	assert_int_equal(channel_recv_header(&b, &header, 0, 0, NULL), 0);
	assert_int_equal(header.type, 64);
	/* Without a sender, as far as there is space: the last one is there whole or not at all. */
	assert_int_equal(channel_recv_payload(&b, &header, NULL, 0, NULL, 0, NULL), 0);
	const uint64_t before = a.frames_sent;
	unsigned sent = 0, got = 0;

	for (uint64_t last = before - 1; last != a.frames_sent; sent++) {
		last = a.frames_sent;
		assert_int_equal(channel_send_now(&a, &ping, NULL), 0);
	}
	assert_true(sent > 10);
	while (got < a.frames_sent - before) {
		assert_int_equal(channel_recv_header(&b, &header, 0, 0, NULL), 0);
		assert_int_equal(channel_recv_payload(&b, &header, NULL, 0, NULL, 0, NULL), 0);
		got++;
	}
	unpair(&a, &b);
}

static void any_flipped_bit_of_header_or_payload_is_noticed(void **state)
{
	(void)state;
	const uint8_t payload[16] = "0123456789abcde";

	for (unsigned bit = 0; bit < 8 * (sizeof(struct channel_frame_header) + sizeof(payload));
		bit++) {
		uint8_t wire[sizeof(struct channel_frame_header) + sizeof(payload)], in[16];
		struct channel_frame_header header = {
			.magic = CHANNEL_FRAME_MAGIC, .type = 5, .length = sizeof(payload)};
		struct iovec iov = {wire, sizeof(wire)};
		struct channel a, b;
		struct swo_error err = {0};

		header.checksum = channel_frame_checksum(&header, payload);
		memcpy(wire, &header, sizeof(header));
		memcpy(wire + sizeof(header), payload, sizeof(payload));
		wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
		pair(&a, &b, 20000);
		assert_int_equal(channel_conn_send(a.conn, &iov, 1, 1000, NULL), 0);
		int rc = channel_recv_header(&b, &header, sizeof(in), 0, &err);
		if (!rc && header.length == sizeof(in))
			rc = channel_recv_payload(&b, &header, in, sizeof(in), NULL, 0, &err);
		else if (!rc)
			rc = -1; /* another length: the reader reads that many bytes, and fails
				  */
		assert_int_equal(rc, -1);
		unpair(&a, &b);
	}
}

static void a_stalled_peer_is_a_timeout_and_a_closed_one_is_lost(void **state)
{
	(void)state;
	uint8_t *bytes = calloc(1, 16 << 20);
	struct iovec iov = {bytes, 16 << 20};
	struct channel_frame_header header;
	struct swo_error err = {0};
	struct channel a, b;

	assert_non_null(bytes);
	pair(&a, &b, 50);
	assert_int_equal(channel_conn_send(a.conn, &iov, 1, 50, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	unpair(&a, &b);
	pair(&a, &b, 50);
	assert_int_equal(channel_recv_header(&b, &header, 0, 0, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	channel_shutdown(&a);
	assert_int_equal(channel_recv_header(&b, &header, 0, 0, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	header = (struct channel_frame_header){.type = 1};
	assert_int_equal(channel_send(&a, &header, NULL, 0, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	unpair(&a, &b);
	free(bytes);
}

static void a_frame_longer_than_negotiated_is_refused_before_it_is_read(void **state)
{
	(void)state;
	struct channel_frame_header header = {.type = 1};
	struct swo_error err = {0};
	struct channel a, b;
	char bytes[100] = {0};

	pair(&a, &b, 1000);
	assert_int_equal(channel_send(&a, &header, bytes, sizeof(bytes), NULL), 0);
	assert_int_equal(channel_recv_header(&b, &header, 99, 0, &err), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);
	unpair(&a, &b);
}

/* Connects as another user; the status is 0 if it was accepted and then closed. */
static pid_t connect_as_nobody(const char *path)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char byte;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	alarm(30);
	if (setresuid(65534, 65534, 65534))
		_exit(2);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		_exit(3);
	_exit(read(fd, &byte, 1) == 0 ? 0 : 4);
}

static void another_user_is_dropped_even_where_the_sockets_mode_lets_him_in(void **state)
{
	(void)state;
	char dir[] = "/tmp/switchover-peer.XXXXXX", path[64], uri[80];
	struct channel_listener *listener;
	struct channel_conn *conn = NULL;
	struct swo_error err = {0};
	int status;

	if (geteuid() != 0)
		skip(); /* only root can change its user */
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	snprintf(uri, sizeof(uri), "unix:%s", path);
	assert_int_equal(channel_listener_open(uri, NULL, NULL, &listener, NULL), 0);
	assert_int_equal(chmod(dir, 0755) || chmod(path, 0666), 0);
	pid_t pid = connect_as_nobody(path);
	assert_true(pid > 0);
	/* Its connection is closed before the deadline, whenever it arrives. */
	while (waitpid(pid, &status, WNOHANG) == 0)
		assert_int_equal(
			channel_listener_accept(listener, swo_deadline_ms(20), &conn, &err), -1);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	channel_listener_close(listener);
	assert_int_equal(rmdir(dir), 0);
}

static void a_unix_listener_is_its_owners_alone_and_cleans_up(void **state)
{
	(void)state;
	char dir[] = "/tmp/swo-test-XXXXXX", uri[64];
	struct channel_listener *listener, *second;
	struct swo_error err = {0};
	struct channel_conn *conn;
	struct stat st;

	assert_non_null(mkdtemp(dir));
	snprintf(uri, sizeof(uri), "unix:%s/s", dir);
	assert_int_equal(channel_conn_open(uri, NULL, swo_deadline_ms(1000), &conn, &err), -1);
	assert_int_equal(channel_listener_open(uri, NULL, NULL, &listener, NULL), 0);
	assert_int_equal(stat(uri + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(channel_listener_open(uri, NULL, NULL, &second, &err), -1);
	assert_non_null(strstr(err.text, "in use"));
	/* The second listener has checked for a live one, and has failed. */
	assert_int_equal(
		channel_listener_accept(listener, swo_deadline_ms(GUARD_MS), &conn, NULL), 0);
	channel_conn_close(conn);
	assert_int_equal(channel_listener_accept(listener, swo_deadline_ms(5), &conn, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	channel_listener_stop(listener);
	assert_int_equal(
		channel_listener_accept(listener, swo_deadline_ms(20000), &conn, &err), -1);
	assert_int_equal(err.code, SWO_E_CANCELLED);
	channel_listener_close(listener);
	assert_int_equal(stat(uri + 5, &st), -1);
	rmdir(dir);
}

static void a_socket_that_a_dead_process_left_is_taken_over_and_no_other(void **state)
{
	(void)state;
	char folder[] = "/tmp/switchover-listen.XXXXXX", path[64], uri[80];
	struct channel_listener *one, *two;
	struct swo_error err = {0};

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(uri, sizeof(uri), "unix:%s", path);
	/* Its process is gone, its file is not. */
	struct base_address address;
	int stale = -1;

	assert_int_equal(base_unix_address(path, &address, NULL), 0);
	assert_int_equal(base_listen(&address, 1, &stale), 0);
	close(stale);
	assert_int_equal(channel_listener_open(uri, NULL, NULL, &one, NULL), 0);
	/* One that listens is left alone. */
	assert_int_equal(channel_listener_open(uri, NULL, NULL, &two, &err), -1);
	assert_non_null(strstr(err.text, "in use"));
	assert_int_equal(access(path, F_OK), 0);
	/* What another process has put in its place stays when it closes. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(channel_listener_open(uri, NULL, NULL, &two, NULL), 0);
	channel_listener_close(one);
	assert_int_equal(access(path, F_OK), 0);
	channel_listener_close(two);
	assert_int_equal(access(path, F_OK), -1);
	/* A file is no socket. */
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(channel_listener_open(uri, NULL, NULL, &one, &err), -1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

/* A port that is free on both loopback addresses; false where there is no ::1. */
static bool free_port(unsigned *port)
{
	for (unsigned attempt = 0; attempt < 50; attempt++) {
		struct base_address four[BASE_ADDRESSES_MAX], six[BASE_ADDRESSES_MAX];
		struct base_uri uri;
		char text[40];
		int a = -1, b = -1, rc;

		assert_int_equal(base_uri_parse("tcp:127.0.0.1:0", &uri, NULL), 0);
		assert_int_equal(
			base_resolve(&uri, true, swo_deadline_ms(20000), NULL, four, NULL), 1);
		assert_int_equal(base_listen(&four[0], 1, &a), 0);
		four[0].len = sizeof(four[0].in6);
		assert_int_equal(getsockname(a, &four[0].any, &four[0].len), 0);
		*port = ntohs(four[0].in.sin_port);
		snprintf(text, sizeof(text), "tcp:[::1]:%u", *port);
		assert_int_equal(base_uri_parse(text, &uri, NULL), 0);
		rc = base_resolve(&uri, true, swo_deadline_ms(20000), NULL, six, NULL) == 1
			     ? base_listen(&six[0], 1, &b)
			     : EADDRNOTAVAIL;
		close(a);
		if (!rc) {
			close(b);
			return true;
		}
		if (rc != EADDRINUSE)
			return false;
	}
	return false;
}

static void a_name_is_listened_at_on_all_its_addresses(void **state)
{
	(void)state;
	static const char *const hosts[] = {"127.0.0.1", "[::1]"};
	struct channel_security trusted = {.insecure = true};
	struct channel_listener *listener;
	char uri[40];
	unsigned port;

	if (!free_port(&port))
		skip();
	/* Without a host it is every address of both families. */
	snprintf(uri, sizeof(uri), "tcp::%u", port);
	assert_int_equal(channel_listener_open(uri, &trusted, NULL, &listener, NULL), 0);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(hosts); i++) {
		struct channel_conn *ours, *theirs;

		snprintf(uri, sizeof(uri), "tcp:%s:%u", hosts[i], port);
		assert_int_equal(
			channel_conn_open(uri, NULL, swo_deadline_ms(GUARD_MS), &ours, NULL), 0);
		assert_int_equal(
			channel_listener_accept(listener, swo_deadline_ms(GUARD_MS), &theirs, NULL),
			0);
		channel_conn_close(ours);
		channel_conn_close(theirs);
	}
	channel_listener_close(listener);
}

static void plain_tcp_listens_on_loopback_only_unless_the_network_is_trusted(void **state)
{
	(void)state;
	static const char *const wide[] = {
		"tcp:0.0.0.0:0", "tcp::0", "tcp:[::]:0", "tcp:[::ffff:0.0.0.0]:0"};
	static const char *const narrow[] = {"tcp:127.0.0.1:0", "tcp:127.1.2.3:0"};
	const struct channel_security trusted = {.insecure = true};
	struct channel_listener *listener;
	struct swo_error err = {0};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(wide); i++) {
		assert_int_equal(channel_listener_open(wide[i], NULL, NULL, &listener, &err), -1);
		assert_int_equal(err.code, SWO_E_INVALID);
		assert_non_null(strstr(err.text, "tls-creds"));
		assert_non_null(strstr(err.text, "insecure"));
	}
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(narrow); i++) {
		assert_int_equal(channel_listener_open(narrow[i], NULL, NULL, &listener, &err), 0);
		channel_listener_close(listener);
	}
	assert_int_equal(
		channel_listener_open("tcp:0.0.0.0:0", &trusted, NULL, &listener, &err), 0);
	channel_listener_close(listener);
}

static void plain_tcp_connects_to_loopback_only_unless_the_network_is_trusted(void **state)
{
	(void)state;
	/* Of RFC 5737 and 3849: unused addresses, to which no packet is sent. */
	static const char *const far[] = {"tcp:192.0.2.1:9", "tcp:[2001:db8::1]:9",
		"tcp:[::ffff:192.0.2.1]:9", "tcp:255.255.255.255:9"};
	static const char *const near[] = {
		"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", ""};
	struct swo_error err = {0};
	struct channel_conn *conn;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(far); i++) {
		assert_int_equal(
			channel_conn_open(far[i], NULL, swo_deadline_ms(20000), &conn, &err), -1);
		assert_int_equal(err.code, SWO_E_INVALID);
		assert_non_null(strstr(err.text, "is not loopback"));
		assert_non_null(strstr(err.text, "insecure"));
	}
	/* These are tried, without a listener (or, of ::1, there is no such address here): the
	   port is taken all the while. */
	struct sockaddr_in taken = {.sin_family = AF_INET};
	socklen_t len = sizeof(taken);
	swo_autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&taken, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&taken, &len), 0);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(near); i++) {
		char uri[64];

		snprintf(uri, sizeof(uri), "tcp:%s:%u", near[i], ntohs(taken.sin_port));
		assert_int_equal(
			channel_conn_open(uri, NULL, swo_deadline_ms(20000), &conn, &err), -1);
		assert_null(strstr(err.text, "is not loopback"));
	}
}

static uint64_t measured_rate(
	const struct channel_meter *before, const struct channel_meter *after, uint64_t least)
{
	const struct channel_meter_sample sample = channel_meter_measure(before, after, 2, least);

	return sample.ns ? (uint64_t)((double)sample.bytes * 1e9 / (double)sample.ns) : 0;
}

static void the_rate_of_channels_is_that_of_their_slowest_part(void **state)
{
	(void)state;
	struct channel_meter before[2] = {{.bytes = 5, .busy_ns = 7}}, after[2];

	memcpy(after, before, sizeof(after));
	assert_int_equal(measured_rate(before, after, 1), 0);
	/* Not concurrent: two channels count no more than one. */
	after[0].bytes += 1000;
	after[0].busy_ns += 1000;
	assert_int_equal(measured_rate(before, after, 1), 1000000000);
	assert_int_equal(measured_rate(before, after, 1001), 0);
	after[1] = (struct channel_meter){.bytes = 1000, .busy_ns = 2000};
	assert_int_equal(measured_rate(before, after, 1), 1000000000);
	/* Bytes in a socket's buffer have not been sent. */
	after[0].tcp_rate = 100000000;
	assert_int_equal(measured_rate(before, after, 1), 200000000);
	after[0].tcp_rate = 100000000000;
	assert_int_equal(measured_rate(before, after, 1), 1000000000);
	/* What TCP has had acknowledged counts, if that took long enough for its clock. */
	after[0].tcp_acked = 5000000;
	after[0].tcp_busy_ns = 99000000;
	assert_int_equal(measured_rate(before, after, 1), 1000000000);
	after[1].tcp_acked = 5000000;
	after[1].tcp_busy_ns = 1000000000;
	assert_int_equal(measured_rate(before, after, 1), 10000000);
}

/* The peer reads nothing: all of it stays on this host. */
static void what_is_in_a_socket_is_its_backlog(void **state)
{
	(void)state;
	static uint8_t out[64 << 10];
	struct channel_frame_header header = {.type = 1};
	struct channel a, b;

	pair(&a, &b, 20000);
	assert_int_equal(channel_meter_backlog(&a), 0);
	assert_int_equal(channel_send(&a, &header, out, sizeof(out), NULL), 0);
	assert_true(channel_meter_backlog(&a) >= sizeof(out));
	unpair(&a, &b);
}

static void only_frames_that_are_large_enough_are_metered(void **state)
{
	(void)state;
	static uint8_t out[CHANNEL_METER_FRAME_MIN], in[CHANNEL_METER_FRAME_MIN];
	struct channel a, b;

	pair(&a, &b, 20000);
	for (unsigned small = 0; small < 2; small++) {
		struct sending sending = {&a, out, sizeof(out) - small};
		struct channel_frame_header header;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, send_it, &sending), 0);
		assert_int_equal(channel_recv_header(&b, &header, sizeof(in), 0, NULL), 0);
		assert_int_equal(
			channel_recv_payload(&b, &header, in, sizeof(out) - small, NULL, 0, NULL),
			0);
		pthread_join(thread, NULL);
		assert_int_equal(channel_meter_read(&a).bytes, sizeof(out));
	}
	assert_true(channel_meter_read(&a).busy_ns > 0);
	assert_int_equal(channel_meter_read(&a).tcp_rate, 0);
	unpair(&a, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_uris_are_taken_apart),
		cmocka_unit_test(bad_uris_are_refused_with_the_reason),
		cmocka_unit_test(an_address_of_this_host_is_recognised),
		cmocka_unit_test(sockets_within_a_host_have_small_buffers_and_no_pacing),
		cmocka_unit_test(a_frame_of_any_size_arrives_complete_in_one_piece_or_two),
		cmocka_unit_test(an_abort_ends_the_sender_that_waits_and_the_one_behind_it),
		cmocka_unit_test(what_needs_no_wait_is_sent_after_an_abort),
		cmocka_unit_test(a_limit_in_time_is_that_of_one_thread),
		cmocka_unit_test(a_frame_that_must_not_wait_is_left_out),
		cmocka_unit_test(any_flipped_bit_of_header_or_payload_is_noticed),
		cmocka_unit_test(a_stalled_peer_is_a_timeout_and_a_closed_one_is_lost),
		cmocka_unit_test(a_frame_longer_than_negotiated_is_refused_before_it_is_read),
		cmocka_unit_test(a_unix_listener_is_its_owners_alone_and_cleans_up),
		cmocka_unit_test(a_socket_that_a_dead_process_left_is_taken_over_and_no_other),
		cmocka_unit_test(a_name_is_listened_at_on_all_its_addresses),
		cmocka_unit_test(another_user_is_dropped_even_where_the_sockets_mode_lets_him_in),
		cmocka_unit_test(plain_tcp_listens_on_loopback_only_unless_the_network_is_trusted),
		cmocka_unit_test(plain_tcp_connects_to_loopback_only_unless_the_network_is_trusted),
		cmocka_unit_test(the_rate_of_channels_is_that_of_their_slowest_part),
		cmocka_unit_test(what_is_in_a_socket_is_its_backlog),
		cmocka_unit_test(only_frames_that_are_large_enough_are_metered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
