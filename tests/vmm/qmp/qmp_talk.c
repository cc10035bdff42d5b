/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_talk.c - the client of qmp_talk.h.
 */
#include "qmp_talk.h"

#include "tests/support/cm.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void talk_open(struct talk *talk, const char *path, bool negotiate)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	json_t *greeting, *caps;

	talk->len = 0;
	talk->events = json_array();
	talk->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(strlen(path) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, path);
	assert_int_equal(connect(talk->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	greeting = talk_next(talk);
	assert_non_null(greeting);
	caps = json_object_get(json_object_get(greeting, "QMP"), "capabilities");
	assert_true(json_is_array(caps));
	json_decref(greeting);
	if (negotiate)
		json_decref(talk_do(talk, "{\"execute\": \"qmp_capabilities\"}"));
}

void talk_close(struct talk *talk)
{
	close(talk->fd);
	json_decref(talk->events);
}

void talk_send(struct talk *talk, const char *text, size_t len)
{
	while (len) {
		ssize_t sent = send(talk->fd, text, len, MSG_NOSIGNAL);

		assert_true(sent > 0);
		text += sent;
		len -= (size_t)sent;
	}
}

json_t *talk_next(struct talk *talk)
{
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	for (;;) {
		char *end = memchr(talk->line, '\n', talk->len);
		struct pollfd pfd = {.fd = talk->fd, .events = POLLIN};
		json_error_t error;

		if (end) {
			size_t used = (size_t)(end - talk->line) + 1;
			json_t *message = json_loadb(talk->line, used, 0, &error);

			assert_non_null(message);
			memmove(talk->line, talk->line + used, talk->len - used);
			talk->len -= used;
			return message;
		}
		assert_true(talk->len < sizeof(talk->line));
		assert_int_equal(poll(&pfd, 1, swo_deadline_poll_ms(deadline)), 1);

		ssize_t got =
			recv(talk->fd, talk->line + talk->len, sizeof(talk->line) - talk->len, 0);

		if (got <= 0)
			return NULL;
		talk->len += (size_t)got;
	}
}

json_t *talk_reply(struct talk *talk)
{
	for (;;) {
		json_t *message = talk_next(talk);

		if (!message || !json_object_get(message, "event"))
			return message;
		json_array_append_new(talk->events, message);
	}
}

json_t *talk_ask(struct talk *talk, const char *text)
{
	talk_send(talk, text, strlen(text));
	return talk_reply(talk);
}

json_t *talk_do(struct talk *talk, const char *text)
{
	json_t *reply = talk_ask(talk, text), *ret = json_object_get(reply, "return");

	if (!ret) {
		char *what = reply ? json_dumps(reply, 0) : NULL;

		print_error("%s -> %s\n", text, what ? what : "closed");
		free(what);
	}
	assert_non_null(ret);
	json_incref(ret);
	json_decref(reply);
	return ret;
}

void talk_refused(struct talk *talk, const char *text, const char *class, const char *part)
{
	json_t *reply = talk_ask(talk, text), *error = json_object_get(reply, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));

	assert_non_null(desc);
	assert_string_equal(json_string_value(json_object_get(error, "class")), class);
	if (!strstr(desc, part))
		print_error("'%s' is not in '%s'\n", part, desc);
	assert_non_null(strstr(desc, part));
	json_decref(reply);
}

json_t *talk_event(struct talk *talk, const char *name)
{
	for (;;) {
		size_t i;
		json_t *event, *message;

		json_array_foreach (talk->events, i, event) {
			if (strcmp(json_string_value(json_object_get(event, "event")), name) != 0)
				continue;
			json_incref(event);
			json_array_remove(talk->events, i);
			return event;
		}
		message = talk_next(talk);
		assert_non_null(message);
		assert_non_null(json_object_get(message, "event"));
		json_array_append_new(talk->events, message);
	}
}
