/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.c - measures the cost of TLS on one channel: frames of RAM over TCP on loopback, plain and
 * encrypted, in turns in one run. Usage: build/testbed/yardstick/tls [SECONDS [ROUNDS]]
 */
#include "channel/frame.h"
#include "testbed/control.h"
#include "testbed/pki.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAME	   (256 << 10) /* as the source sends RAM */
#define ROUNDS_MAX 99
#define HOST	   "127.0.0.1"

static const char *const kinds[] = {"plain", "x509", "psk"};

struct receiver {
	struct channel_listener *listener;
	struct channel_conn *conn;
	struct swo_error err;
	uint64_t bytes;
};

static void *receive(void *opaque)
{
	struct receiver *r = opaque;
	struct channel_frame_header header;
	struct channel channel;
	uint8_t *payload = malloc(FRAME);

	if (!payload ||
		channel_listener_accept(r->listener, swo_deadline_ms(10000), &r->conn, &r->err))
		return payload;
	channel_init(&channel, r->conn, 10000);
	if (!channel_listener_handshake(r->listener, r->conn, swo_deadline_ms(10000), &r->err))
		while (!channel_recv_header(&channel, &header, FRAME, 0, NULL) &&
			!channel_recv_payload(
				&channel, &header, payload, header.length, NULL, 0, NULL))
			r->bytes += header.length;
	channel_close(&channel);
	return payload;
}

static int stream(
	struct channel_conn *conn, double seconds, const uint8_t *payload, struct swo_error *err)
{
	const uint64_t end = swo_now_ns() + (uint64_t)(seconds * 1e9);
	struct channel channel;
	int rc = 0;

	channel_init(&channel, conn, 10000);
	while (!rc && swo_now_ns() < end) {
		struct channel_frame_header header = {.type = 1};

		rc = channel_send(&channel, &header, payload, FRAME, err);
	}
	channel_close(&channel);
	return rc;
}

static int listen_somewhere(struct channel_security *security, struct channel_listener **out,
	char *uri, size_t size, struct swo_error *err)
{
	for (int port = 20000 + getpid() % 20000, last = port + 50;; port++) {
		snprintf(uri, size, "tcp:" HOST ":%d", port);
		if (!channel_listener_open(uri, security, NULL, out, err))
			return 0;
		if (port == last)
			return -1;
	}
}

/* MB/s of one kind, or -1. */
static double measure(const char *kind, const char *dir, double seconds, struct swo_error *err)
{
	static uint8_t payload[FRAME];
	struct channel_security server = {0}, client = {0};
	struct swo_tls_params params = {.kind = !strcmp(kind, "psk") ? SWO_TLS_PSK : SWO_TLS_X509};
	struct receiver r = {0};
	struct channel_conn *conn;
	pthread_t thread;
	char uri[64];

	snprintf(params.creds, sizeof(params.creds), "%s", dir);
	memset(payload, 0x5a, sizeof(payload));
	if (strcmp(kind, "plain") &&
		(channel_tls_creds_load(&params, true, &server.tls, err) ||
			channel_tls_creds_load(&params, false, &client.tls, err)))
		return -1;
	if (listen_somewhere(&server, &r.listener, uri, sizeof(uri), err) ||
		swo_thread_start(&thread, "receive", receive, &r, err))
		return -1;
	int rc = channel_conn_open(uri, &client, swo_deadline_ms(10000), &conn, err);
	const uint64_t start = swo_now_ns();
	if (!rc)
		rc = stream(conn, seconds, payload, err);
	void *buffer;
	pthread_join(thread, &buffer);
	const double took = (double)(swo_now_ns() - start) / 1e9;
	free(buffer);
	channel_listener_close(r.listener);
	channel_tls_creds_free(server.tls);
	channel_tls_creds_free(client.tls);
	return rc ? -1 : (double)r.bytes / 1e6 / took;
}

static int compare(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) -
	       (*(const double *)a < *(const double *)b);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1, rates[SWO_ARRAY_SIZE(kinds)][ROUNDS_MAX];
	int rounds = argc > 2 ? atoi(argv[2]) : 5, rc = 0;
	char dir[] = "/tmp/swo-bench-tls-XXXXXX";
	struct swo_error err = {0};

	if (!(seconds > 0) || rounds < 1 || rounds > ROUNDS_MAX || !mkdtemp(dir))
		return 2;
	rc = pki_write_x509(dir, HOST, "source", &err) || pki_write_psk(dir, "qemu", &err);
	for (int round = 0; round < rounds && !rc; round++)
		for (size_t k = 0; k < SWO_ARRAY_SIZE(kinds) && !rc; k++) {
			rates[k][round] = measure(kinds[k], dir, seconds, &err);
			rc = rates[k][round] < 0;
		}
	control_remove_dir(dir);
	if (rc) {
		fprintf(stderr, "tls: %s\n", err.text);
		return 1;
	}
	for (size_t k = 0; k < SWO_ARRAY_SIZE(kinds); k++) {
		qsort(rates[k], (size_t)rounds, sizeof(double), compare);
		printf("%-6s %6.0f MB/s (%.0f .. %.0f)\n", kinds[k], rates[k][rounds / 2],
			rates[k][0], rates[k][rounds - 1]);
	}
	return 0;
}
