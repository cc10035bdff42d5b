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

/* The server's own commands */

/* Their `opaque`. */
struct own_call {
	struct qmp_server *server;
	struct qmp_client *client;
};

static int run_capabilities(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct own_call *call = opaque;

	(void)ret;
	if (json_array_size(json_object_get(args, "enable")))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "No capability can be enabled: none is offered");
	call->client->negotiated = true;
	return 0;
}

static int run_version(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)opaque;
	(void)args;
	(void)err;
	*ret = version();
	return 0;
}

static int run_getfd(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct own_call *call = opaque;
	const struct qmp_config *config = &call->server->config;
	const char *name = json_string_value(json_object_get(args, "fdname"));
	const int fd = call->client->received_fd;

	(void)ret;
	if (fd < 0)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "No file descriptor supplied via SCM_RIGHTS");
	call->client->received_fd = -1;
	return config->keep_fd(config->opaque, name, fd, err);
}

static int run_commands(void *opaque, json_t *args, json_t **ret, struct swo_error *err);
static int run_schema(void *opaque, json_t *args, json_t **ret, struct swo_error *err);

static const struct qmp_type enable = QMP_OBJECT_OF({"enable", &qmp_strings, true});
static const struct qmp_type triple = QMP_OBJECT_OF(
	{"major", &qmp_int, false}, {"minor", &qmp_int, false}, {"micro", &qmp_int, false});
static const struct qmp_type version_type =
	QMP_OBJECT_OF({"qemu", &triple, false}, {"package", &qmp_string, false});
static const struct qmp_type command_info = QMP_OBJECT_OF({"name", &qmp_string, false});
static const struct qmp_type command_list = QMP_LIST_OF(&command_info);

static const struct qmp_type getfd_args = QMP_OBJECT_OF({"fdname", &qmp_string, false});

static const struct qmp_command own[] = {
	{.name = "qmp_capabilities", .args = &enable, .run = run_capabilities},
	{.name = "query-version", .ret = &version_type, .run = run_version},
	{.name = "query-commands", .ret = &command_list, .run = run_commands},
	{.name = "query-qmp-schema", .ret = &qmp_schema_type, .run = run_schema},
	/* Last: it needs a keep_fd. */
	{.name = "getfd", .args = &getfd_args, .run = run_getfd},
};

static size_t own_count(const struct qmp_server *server)
{
	return SWO_ARRAY_SIZE(own) - !server->config.keep_fd;
}

static void list_commands(json_t *list, const struct qmp_command *commands, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s}", "name", commands[i].name));
}

static int run_commands(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	const struct qmp_server *server = ((struct own_call *)opaque)->server;
	const struct qmp_config *config = &server->config;

	(void)args;
	(void)err;
	*ret = json_array();
	list_commands(*ret, own, own_count(server));
	list_commands(*ret, config->commands, config->command_count);
	return 0;
}

static int run_schema(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	const struct qmp_server *server = ((struct own_call *)opaque)->server;

	(void)args;
	(void)err;
	*ret = qmp_schema(&server->config, own, own_count(server));
	return 0;
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

static const struct qmp_command *find(
	const struct qmp_command *commands, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* Whether the client may use the command now. */
static json_t *check_negotiation(const struct qmp_client *client, const char *name)
{
	const bool capabilities = !strcmp(name, "qmp_capabilities");

	if (!client->negotiated && !capabilities)
		return qmp_error("CommandNotFound",
			"Expecting capabilities negotiation with 'qmp_capabilities'");
	if (client->negotiated && capabilities)
		return qmp_error("CommandNotFound",
			"Capabilities negotiation is already complete, command ignored");
	return NULL;
}

static json_t *execute(struct qmp_server *server, struct qmp_client *client, const char *name,
	json_t *args, json_t *id)
{
	const struct qmp_config *config = &server->config;
	const struct qmp_command *ours = find(own, own_count(server), name);
	const struct qmp_command *command =
		ours ? ours : find(config->commands, config->command_count, name);
	json_t *error = check_negotiation(client, name);
	struct own_call call = {server, client};

	if (!error)
		error = command ? qmp_type_check_members(command->args, args)
				: qmp_error("CommandNotFound",
					  "The command %.80s has not been found", name);
	if (error || !command)
		return qmp_reply(NULL, error, id);
	if (command->slow)
		return begin_job(server, client, command, args, id);
	return run(command, ours ? &call : config->opaque, args, id);
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
