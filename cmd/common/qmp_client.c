/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_client.c - sends commands, receives replies and events. Every command has an ID, so that
 * a late reply to a command that timed out is not taken for another's.
 */
#include "cmd/common/qmp_client.h"

#include <string.h>

static int take_greeting(struct qmp *qmp, swo_deadline deadline, struct swo_error *err)
{
	json_t *greeting = json_sock_recv(&qmp->sock, deadline, qmp->interrupt, err);

	if (!greeting)
		return swo_error_prefix(err, "no QMP greeting");
	bool good = json_is_object(json_object_get(greeting, "QMP"));
	json_decref(greeting);
	if (!good)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"%s does not greet as a QMP monitor does; is it one?", qmp->sock.peer);
	return 0;
}

int qmp_open(struct qmp *qmp, const char *uri, bool wait, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err)
{
	*qmp = (struct qmp){.sock = JSON_SOCK_INIT, .interrupt = interrupt, .next_id = 1};
	qmp->events = json_array();
	if (!qmp->events)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a QMP connection");
	if (json_sock_open(&qmp->sock, uri, wait, deadline, interrupt, err) ||
		take_greeting(qmp, deadline, err))
		return -1;
	json_t *answer = qmp_execute(qmp, "qmp_capabilities", NULL, deadline, err);
	if (!answer)
		return -1;
	json_decref(answer);
	return 0;
}

void qmp_close(struct qmp *qmp)
{
	json_sock_close(&qmp->sock);
	json_decref(qmp->events);
	qmp->events = NULL;
}

static int keep_event(struct qmp *qmp, json_t *event, struct swo_error *err)
{
	if (json_array_size(qmp->events) >= QMP_EVENTS_MAX)
		json_array_remove(qmp->events, 0);
	if (json_array_append(qmp->events, event))
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a QMP event");
	return 0;
}

static bool is_reply_to(const json_t *message, json_int_t id)
{
	const json_t *got = json_object_get(message, "id");

	return json_is_integer(got) && json_integer_value(got) == id;
}

/* The reply with that ID; other messages are events, or late replies. */
static json_t *wait_for_reply(
	struct qmp *qmp, json_int_t id, swo_deadline deadline, struct swo_error *err)
{
	for (;;) {
		json_t *message = json_sock_recv(&qmp->sock, deadline, qmp->interrupt, err);
		bool lost = false;

		if (!message)
			return NULL;
		if (json_object_get(message, "event"))
			lost = keep_event(qmp, message, err);
		else if (is_reply_to(message, id))
			return message;
		else if (!json_object_get(message, "id") && json_object_get(message, "error"))
			return message; /* it could not even read the command */
		json_decref(message);
		if (lost)
			return NULL;
	}
}

static int send_command(struct qmp *qmp, const char *command, json_t *arguments, json_int_t id,
	swo_deadline deadline, struct swo_error *err)
{
	json_t *message = json_pack("{s:s, s:I}", "execute", command, "id", id);
	int rc;

	if (!message || (arguments && json_object_set(message, "arguments", arguments)))
		rc = swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a QMP command");
	else
		rc = json_sock_send(&qmp->sock, message, deadline, err);
	json_decref(message);
	return rc;
}

json_t *qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, swo_deadline deadline,
	struct swo_error *err)
{
	json_int_t id = qmp->next_id++;
	int rc = send_command(qmp, command, arguments, id, deadline, err);

	json_decref(arguments);
	json_t *reply = rc ? NULL : wait_for_reply(qmp, id, deadline, err);
	if (!reply) {
		swo_error_prefix(err, "%s", command);
		return NULL;
	}
	json_t *value = json_incref(json_object_get(reply, "return"));
	if (!value) {
		const char *text = json_path_string(reply, "error.desc");

		swo_error_set(err, SWO_E_STATE, 0, "%s: %s", command,
			text[0] ? text : "the reply has neither a return value nor an error");
	}
	json_decref(reply);
	return value;
}

json_t *qmp_event(struct qmp *qmp, swo_deadline deadline, struct swo_error *err)
{
	for (;;) {
		if (json_array_size(qmp->events)) {
			json_t *oldest = json_incref(json_array_get(qmp->events, 0));

			json_array_remove(qmp->events, 0);
			return oldest;
		}
		json_t *message = json_sock_recv(&qmp->sock, deadline, qmp->interrupt, err);
		if (!message)
			return NULL;
		if (json_object_get(message, "event"))
			return message;
		json_decref(message);
	}
}

json_t *json_path(const json_t *root, const char *path)
{
	const json_t *at = root;

	while (at && *path) {
		size_t len = strcspn(path, ".");
		char key[64];

		if (len >= sizeof(key))
			return NULL;
		memcpy(key, path, len);
		key[len] = 0;
		at = json_object_get(at, key);
		path += len + (path[len] == '.');
	}
	return (json_t *)at;
}

double json_path_number(const json_t *root, const char *path)
{
	return json_number_value(json_path(root, path));
}

const char *json_path_string(const json_t *root, const char *path)
{
	const char *text = json_string_value(json_path(root, path));

	return text ? text : "";
}
