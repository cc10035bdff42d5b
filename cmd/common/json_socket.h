/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json_socket.h - a stream socket that carries one JSON value a line: QMP, and the
 * control socket of a simulated device. The peer is not trusted.
 *
 * Threads: one at a time.
 */
#ifndef CMD_COMMON_JSON_SOCKET_H
#define CMD_COMMON_JSON_SOCKET_H

#include "switchover/base.h"

#include <jansson.h>

#define JSON_SOCK_LINE_MAX (64u << 20)

struct json_sock {
	int fd;
	struct swo_buf in; /* received; up to `used` already handed out */
	size_t used;
	size_t scanned; /* no newline before this */
	char peer[160]; /* for errors: the URI */
};
#define JSON_SOCK_INIT                                                                             \
	{                                                                                          \
		.fd = -1, .in = SWO_BUF_INIT(JSON_SOCK_LINE_MAX)                                   \
	}

/*
 * Connects to "unix:PATH" or "tcp:HOST:PORT". wait: waits until the deadline for a peer
 * that does not listen yet. *interrupt (may be NULL), when it becomes non-zero, ends any wait with
 * SWO_E_CANCELLED.
 */
int json_sock_open(struct json_sock *sock, const char *uri, bool wait, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err);
void json_sock_close(struct json_sock *sock);

/* Sends one value and a newline. */
int json_sock_send(
	struct json_sock *sock, const json_t *value, swo_deadline deadline, struct swo_error *err);
/*
 * The next value, a new reference. NULL: SWO_E_TIMEOUT (nothing is lost, call again),
 * SWO_E_PEER_LOST, SWO_E_PROTOCOL (not JSON, or a line beyond the limit), SWO_E_CANCELLED.
 */
json_t *json_sock_recv(struct json_sock *sock, swo_deadline deadline, const volatile int *interrupt,
	struct swo_error *err);

#endif
