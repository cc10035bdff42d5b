/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dispatch.c - one request: checks its form, whether it is allowed now, the command and its
 * arguments; then runs the command, here or on the worker. Formats and error classes: QEMU's
 * docs/interop/qmp-spec.
 */
#include "internal.h"

#include "switchover/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *version(void)
{
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", SWO_VERSION_MAJOR, "minor",
		SWO_VERSION_MINOR, "micro", SWO_VERSION_MICRO, "package",
		"switchover " SWO_VERSION);
}

json_t *qmp_greeting(void)
{
	return json_pack("{s:{s:o, s:[]}}", "QMP", "version", version(), "capabilities");
}

json_t *qmp_error(const char *class, const char *fmt, ...)
{
	char raw[512], text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	/* Text from outside may not be UTF-8, and then would be no JSON string. */
	swo_escape(raw, text, sizeof(text));
	return json_pack("{s:s, s:s}", "class", class, "desc", text);
}

json_t *qmp_reply(json_t *ret, json_t *error, json_t *id)
{
	json_t *reply = json_object();

	if (error)
		json_object_set_new(reply, "error", error);
	else
		json_object_set_new(reply, "return", ret ? ret : json_object());
	if (id)
		json_object_set(reply, "id", id);
	return reply;
}

/* The form of the request */

static json_t *check_members(json_t *message)
{
	const char *key;
	json_t *value, *name = json_object_get(message, "execute"),
		       *args = json_object_get(message, "arguments");

	json_object_foreach (message, key, value)
		if (strcmp(key, "execute") != 0 && strcmp(key, "arguments") != 0 &&
			strcmp(key, "id") != 0)
			return qmp_error(
				"GenericError", "QMP input member '%s' is unexpected", key);
	if (!name)
		return qmp_error("GenericError", "QMP input lacks member 'execute'");
	if (!json_is_string(name))
		return qmp_error("GenericError", "QMP input member 'execute' must be a string");
	if (args && !json_is_object(args))
		return qmp_error("GenericError", "QMP input member 'arguments' must be an object");
	return NULL;
}

/* The arguments */

static bool has_type(const json_t *value, enum qmp_type type)
{
	switch (type) {
	case QMP_STRING:
		return json_is_string(value);
	case QMP_INT:
		return json_is_integer(value);
	case QMP_NUMBER:
		return json_is_number(value);
	case QMP_BOOL:
		return json_is_boolean(value);
	case QMP_ARRAY:
		return json_is_array(value);
	case QMP_OBJECT:
		return json_is_object(value);
	case QMP_ANY:
		return true;
	}
	return false;
}

static const char *type_name(enum qmp_type type)
{
	static const char *const names[] = {
		"string", "integer", "number", "boolean", "array", "object", "any"};

	return names[type];
}

static json_t *check_args(const struct qmp_command *command, json_t *args)
{
	static const struct qmp_arg none[] = {{NULL, QMP_ANY, false}};
	const struct qmp_arg *list = command->args ? command->args : none, *arg;
	const char *key;
	json_t *value;

	if (command->any_args)
		return NULL;
	for (arg = list; arg->name; arg++) {
		value = json_object_get(args, arg->name);
		if (!value && !arg->optional)
			return qmp_error("GenericError", "Parameter '%s' is missing", arg->name);
		if (value && !has_type(value, arg->type))
			return qmp_error("GenericError",
				"Invalid parameter type for '%s', expected: %s", arg->name,
				type_name(arg->type));
	}
	json_object_foreach (args, key, value) {
		for (arg = list; arg->name && strcmp(arg->name, key) != 0; arg++)
			;
		if (!arg->name)
			return qmp_error("GenericError", "Parameter '%s' is unexpected", key);
	}
	return NULL;
}

/* The server's own commands */

static const char *const own[] = {"qmp_capabilities", "query-commands", "query-version"};

static json_t *list_commands(const struct qmp_server *server)
{
	json_t *list = json_array();

	for (size_t i = 0; i < SWO_ARRAY_SIZE(own); i++)
		json_array_append_new(list, json_pack("{s:s}", "name", own[i]));
	for (size_t i = 0; i < server->config.command_count; i++)
		json_array_append_new(
			list, json_pack("{s:s}", "name", server->config.commands[i].name));
	return list;
}

/* true if the name is a command of the server; then *ret or *error is set. */
static bool run_own(struct qmp_server *server, struct qmp_client *client, const char *name,
	json_t *args, json_t **ret, json_t **error)
{
	static const struct qmp_arg enable[] = {
		{"enable", QMP_ARRAY, true}, {NULL, QMP_ANY, false}};
	struct qmp_command takes = {.args = NULL};

	if (!strcmp(name, "qmp_capabilities"))
		takes.args = enable;
	else if (strcmp(name, "query-commands") != 0 && strcmp(name, "query-version") != 0)
		return false;
	*error = check_args(&takes, args);
	if (*error)
		return true;
	if (!strcmp(name, "query-commands"))
		*ret = list_commands(server);
	else if (!strcmp(name, "query-version"))
		*ret = version();
	else if (json_array_size(json_object_get(args, "enable")))
		*error = qmp_error("GenericError", "No capability can be enabled: none is offered");
	else
		client->negotiated = true;
	return true;
}

/* Running a command */

static json_t *run(const struct qmp_command *command, void *opaque, json_t *args, json_t *id)
{
	struct swo_error err = {0};
	json_t *ret = NULL;

	if (command->run(opaque, args, &ret, &err)) {
		json_decref(ret);
		return qmp_reply(NULL, qmp_error("GenericError", "%s", err.text), id);
	}
	return qmp_reply(ret, NULL, id);
}

void qmp_wake(struct qmp_server *server)
{
	const uint64_t one = 1;

	if (write(server->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		swo_log(SWO_LOG_ERROR, "QMP: cannot wake the server thread: %s", strerror(errno));
}

/* From the worker. */
static void job_done(struct qmp_job *job)
{
	struct qmp_server *server = job->server;
	struct qmp_job **at = &server->done;

	pthread_mutex_lock(&server->mutex);
	while (*at)
		at = &(*at)->next;
	*at = job;
	qmp_wake(server);
	pthread_mutex_unlock(&server->mutex);
}

static void run_job(void *opaque)
{
	struct qmp_job *job = opaque;

	job->reply = run(job->command, job->server->config.opaque, job->args, job->id);
	job_done(job);
}

static json_t *begin_job(struct qmp_server *server, struct qmp_client *client,
	const struct qmp_command *command, json_t *args, json_t *id)
{
	struct qmp_job *job = calloc(1, sizeof(*job));

	if (!job)
		return qmp_reply(NULL, qmp_error("GenericError", "out of memory"), id);
	*job = (struct qmp_job){.job = {.fn = run_job, .opaque = job},
		.server = server,
		.client = client,
		.command = command,
		.args = json_deep_copy(args),
		.id = json_deep_copy(id)};
	client->job = job;
	swo_worker_submit(server->config.worker, &job->job);
	return NULL;
}

static const struct qmp_command *find(const struct qmp_server *server, const char *name)
{
	for (size_t i = 0; i < server->config.command_count; i++)
		if (!strcmp(server->config.commands[i].name, name))
			return &server->config.commands[i];
	return NULL;
}

static json_t *execute(struct qmp_server *server, struct qmp_client *client, const char *name,
	json_t *args, json_t *id)
{
	const struct qmp_command *command = find(server, name);
	json_t *ret = NULL, *error = NULL;
	bool capabilities = !strcmp(name, "qmp_capabilities");

	if (!client->negotiated && !capabilities)
		error = qmp_error("CommandNotFound",
			"Expecting capabilities negotiation with 'qmp_capabilities'");
	else if (client->negotiated && capabilities)
		error = qmp_error("CommandNotFound",
			"Capabilities negotiation is already complete, command ignored");
	else if (run_own(server, client, name, args, &ret, &error))
		;
	else if (!command)
		error = qmp_error("CommandNotFound", "The command %.80s has not been found", name);
	else
		error = check_args(command, args);
	if (error || ret || !command)
		return qmp_reply(ret, error, id);
	if (command->slow)
		return begin_job(server, client, command, args, id);
	return run(command, server->config.opaque, args, id);
}

json_t *qmp_dispatch(struct qmp_server *server, struct qmp_client *client, json_t *message)
{
	json_t *reply, *error, *id, *args;

	if (!json_is_object(message))
		return qmp_reply(
			NULL, qmp_error("GenericError", "QMP input must be a JSON object"), NULL);
	id = json_object_get(message, "id");
	error = check_members(message);
	if (error)
		return qmp_reply(NULL, error, id);
	args = json_object_get(message, "arguments");
	args = args ? json_incref(args) : json_object();
	reply = execute(
		server, client, json_string_value(json_object_get(message, "execute")), args, id);
	json_decref(args);
	return reply;
}
