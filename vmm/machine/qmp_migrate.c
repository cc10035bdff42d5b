/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_migrate.c - the commands that begin and end a migration, and the ways to write its address.
 */
#include "qmp.h"

#include <stdio.h>
#include <string.h>

#define URI_MAX 512

/* The address: a URI, or a list of one channel */

static const struct qmp_type main_only = QMP_ENUM_OF("main");
static const struct qmp_type socket_only = QMP_ENUM_OF("socket");
static const struct qmp_type socket_kinds = QMP_ENUM_OF("inet", "unix", "fd");
static const struct qmp_type inet =
	QMP_OBJECT_OF({"host", &qmp_string, false}, {"port", &qmp_string, false});
static const struct qmp_type unix_socket = QMP_OBJECT_OF({"path", &qmp_string, false});
static const struct qmp_type fd_socket = QMP_OBJECT_OF({"str", &qmp_string, false});
static const struct qmp_type address = {.kind = QMP_OBJECT,
	.members = QMP_MEMBERS({"transport", &socket_only, false}, {"type", &socket_kinds, false}),
	.tag = "type",
	.variants = (const struct qmp_type *const[]){&inet, &unix_socket, &fd_socket}};
static const struct qmp_type channel =
	QMP_OBJECT_OF({"channel-type", &main_only, false}, {"addr", &address, false});
static const struct qmp_type channels = QMP_LIST_OF(&channel);

static int format_address(const json_t *addr, char uri[URI_MAX], struct swo_error *err)
{
	const char *path = json_string_value(json_object_get(addr, "path"));
	const char *name = json_string_value(json_object_get(addr, "str"));
	const char *host = json_string_value(json_object_get(addr, "host"));
	const char *port = json_string_value(json_object_get(addr, "port"));
	const bool v6 = host && strchr(host, ':');
	int n;

	if (path || name)
		n = snprintf(uri, URI_MAX, "%s:%s", path ? "unix" : "fd", path ? path : name);
	else
		n = snprintf(
			uri, URI_MAX, "tcp:%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
	return n < URI_MAX ? 0 : swo_error_set(err, SWO_E_INVALID, 0, "the address is too long");
}

/* Exactly one of the two. */
static int take_uri(const json_t *args, char uri[URI_MAX], struct swo_error *err)
{
	const char *given = json_string_value(json_object_get(args, "uri"));
	const json_t *list = json_object_get(args, "channels");

	if (!given == !json_array_size(list))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "need either 'uri' or 'channels' argument");
	if (json_array_size(list) > 1)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "Channel list has more than one main entry");
	if (!given)
		return format_address(json_object_get(json_array_get(list, 0), "addr"), uri, err);
	if (snprintf(uri, URI_MAX, "%s", given) >= URI_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0, "the URI is too long");
	return 0;
}

/* Source */

const struct qmp_type qmp_migrate_args = QMP_OBJECT_OF({"uri", &qmp_string, true},
	{"channels", &channels, true}, {"detach", &qmp_bool, true}, {"resume", &qmp_bool, true},
	{"blk", &qmp_bool, true}, {"inc", &qmp_bool, true}, {"x-parameters", &qmp_parameters, true},
	{"x-capabilities", &qmp_capability_list, true});

/* Of QEMU's arguments: `detach` is without a meaning there, too. */
static int refuse_others(const json_t *args, struct swo_error *err)
{
	if (json_is_true(json_object_get(args, "resume")))
		return swo_error_set(
			err, SWO_E_STATE, 0, "Cannot resume if there is no paused migration");
	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "inc" : "blk";

		if (json_is_true(json_object_get(args, name)))
			return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
				"Parameter '%s' can only be false: there is no storage to migrate",
				name);
	}
	return 0;
}

int qmp_migrate(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct vmm_migration_setup once;
	char uri[URI_MAX], name[URI_MAX];

	(void)ret;
	if (take_uri(args, uri, err) || refuse_others(args, err) ||
		qmp_params_once(opaque, json_object_get(args, "x-parameters"),
			json_object_get(args, "x-capabilities"), &once, err))
		return -1;
	/* After the checks: it uses the descriptor up. */
	if (!strncmp(uri, "fd:", 3)) {
		strcpy(name, uri + 3);
		if (vmm_machine_fd_peer(opaque, name, uri, URI_MAX, err))
			return -1;
	}
	return vmm_machine_migrate(opaque, uri, &once, err);
}

const struct qmp_type qmp_continue_args = QMP_OBJECT_OF({"state", &qmp_migration_status, false});

/* The state is the one that the client expects, and there is only one to continue from. */
int qmp_continue(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	const char *state = json_string_value(json_object_get(args, "state"));

	(void)ret;
	if (strcmp(state, swo_migration_status_name(SWO_MIGRATION_PRE_SWITCHOVER)) != 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Parameter 'state' can only be pre-switchover, not %s", state);
	return vmm_machine_continue(opaque, err);
}

int qmp_cancel(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)ret;
	return vmm_machine_cancel(opaque, err);
}

const struct qmp_type qmp_resolve_args = QMP_OBJECT_OF({"run-here", &qmp_bool, false});

int qmp_resolve(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	return vmm_machine_resolve(opaque, json_is_true(json_object_get(args, "run-here")), err);
}

const struct qmp_type qmp_closefd_args = QMP_OBJECT_OF({"fdname", &qmp_string, false});

int qmp_closefd(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	return vmm_machine_close_fd(
		opaque, json_string_value(json_object_get(args, "fdname")), err);
}

/* Target */

const struct qmp_type qmp_incoming_args = QMP_OBJECT_OF({"uri", &qmp_string, true},
	{"channels", &channels, true}, {"exit-on-error", &qmp_bool, true});

int qmp_incoming(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	const json_t *exits = json_object_get(args, "exit-on-error");
	char uri[URI_MAX];

	(void)ret;
	if (take_uri(args, uri, err))
		return -1;
	if (!strncmp(uri, "fd:", 3))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"'%.60s': a target listens itself, for a migration has several connections; "
			"use unix:PATH or tcp:HOST:PORT",
			uri);
	return vmm_machine_incoming(
		opaque, uri, exits ? json_is_true(exits) : vmm_machine_exits_on_error(opaque), err);
}
