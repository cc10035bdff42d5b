/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.c - one connection: input to requests, replies and events to output. Never blocks, and
 * bounds its memory.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct qmp_client *qmp_client_new(int fd)
{
	struct qmp_client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->fd = fd;
	client->received_fd = -1;
	client->output = (struct swo_buf)SWO_BUF_INIT(QMP_OUTPUT_MAX);
	qmp_parser_init(&client->parser);
	qmp_client_send(client, qmp_greeting());
	return client;
}

void qmp_client_free(struct qmp_client *client)
{
	close(client->fd);
	swo_close_fd(&client->received_fd);
	qmp_parser_free(&client->parser);
	swo_buf_free(&client->output);
	free(client);
}

void qmp_client_append(struct qmp_client *client, const void *text, size_t len)
{
	struct swo_error err;

	if (client->mute)
		return;
	if (client->output_at == client->output.len)
		client->output.len = client->output_at = 0;
	if (!swo_buf_append(&client->output, text, len, &err))
		return;
	swo_log(SWO_LOG_WARN,
		"QMP: closing the connection of a client that does not read its replies");
	client->mute = client->last = true;
}

void qmp_client_send(struct qmp_client *client, json_t *message)
{
	char *text = message ? json_dumps(message, QMP_DUMP) : NULL;

	json_decref(message);
	if (!text) {
		swo_log(SWO_LOG_ERROR, "QMP: out of memory for a reply; closing the connection");
		client->mute = client->last = true;
		return;
	}
	qmp_client_append(client, text, strlen(text));
	qmp_client_append(client, "\r\n", 2);
	free(text);
}

/* As in QEMU: the first descriptor of the latest message that had any. */
static void take_fds(struct qmp_client *client, int *fds, unsigned count)
{
	if (!count)
		return;
	swo_close_fd(&client->received_fd);
	client->received_fd = fds[0];
	while (count > 1)
		swo_close_fd(&fds[--count]);
}

void qmp_client_read(struct qmp_client *client)
{
	struct iovec piece = {.iov_base = client->input, .iov_len = sizeof(client->input)};
	struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};
	int fds[BASE_FDS_MAX];
	unsigned count = 0;
	bool cut = false;
	ssize_t got;

	if (client->input_at < client->input_len)
		return;
	got = base_recv_fds(client->fd, &msg, fds, BASE_FDS_MAX, &count, &cut, MSG_DONTWAIT);
	take_fds(client, fds, count);
	if (got > 0) {
		client->input_at = 0;
		client->input_len = (size_t)got;
	} else if (!got || (errno != EAGAIN && errno != EINTR)) {
		client->eof = true;
	}
}

void qmp_client_write(struct qmp_client *client)
{
	while (!client->mute && client->output_at < client->output.len) {
		ssize_t sent = send(client->fd, client->output.data + client->output_at,
			client->output.len - client->output_at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0)
			client->mute = true;
		else
			client->output_at += (size_t)sent;
	}
}

void qmp_client_work(struct qmp_server *server, struct qmp_client *client)
{
	while (!client->job && !client->last && client->input_at < client->input_len) {
		json_t *message, *reply = NULL;
		char why[256];
		size_t used;
		enum qmp_parsed parsed =
			qmp_parser_feed(&client->parser, client->input + client->input_at,
				client->input_len - client->input_at, &used, &message, why);

		client->input_at += used;
		if (parsed == QMP_PARSED_MORE)
			continue;
		if (parsed == QMP_PARSED_MESSAGE)
			reply = qmp_dispatch(server, client, message);
		else
			reply = qmp_reply(NULL, qmp_error("GenericError", "%s", why), NULL);
		json_decref(message);
		client->last = parsed == QMP_PARSED_FATAL;
		if (reply)
			qmp_client_send(client, reply);
	}
}

bool qmp_client_finished(const struct qmp_client *client)
{
	bool said = client->mute || client->output_at == client->output.len;
	bool heard = client->last || (client->eof && client->input_at == client->input_len);

	return !client->job && said && heard;
}
