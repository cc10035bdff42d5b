/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp.c - the table of commands, and the commands that change something.
 */
#include "qmp.h"

#include <string.h>

static int run_stop(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)ret;
	return vmm_machine_stop(opaque, err);
}

static int run_cont(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)ret;
	return vmm_machine_cont(opaque, err);
}

static int run_quit(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	return vmm_machine_quit(opaque, json_is_true(json_object_get(args, "force")), err);
}

static int run_incoming(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	const json_t *exits = json_object_get(args, "exit-on-error");
	const struct vmm_machine *machine = opaque;

	return vmm_machine_incoming(opaque, json_string_value(json_object_get(args, "uri")),
		exits ? json_is_true(exits) : vmm_machine_exits_on_error(machine), err);
}

static int run_cancel(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)ret;
	return vmm_machine_cancel(opaque, err);
}

static int run_resolve(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	return vmm_machine_resolve(opaque, json_is_true(json_object_get(args, "run-here")), err);
}

static const struct qmp_arg incoming_args[] = {
	{"uri", QMP_STRING, false}, {"exit-on-error", QMP_BOOL, true}, {NULL, QMP_ANY, false}};
static const struct qmp_arg migrate_args[] = {{"uri", QMP_STRING, false},
	{"x-parameters", QMP_OBJECT, true}, {"x-capabilities", QMP_ARRAY, true},
	{NULL, QMP_ANY, false}};
static const struct qmp_arg quit_args[] = {{"force", QMP_BOOL, true}, {NULL, QMP_ANY, false}};
static const struct qmp_arg resolve_args[] = {
	{"run-here", QMP_BOOL, false}, {NULL, QMP_ANY, false}};
static const struct qmp_arg timeline_args[] = {{"format", QMP_STRING, true},
	{"columns", QMP_INT, true}, {"utf8", QMP_BOOL, true}, {NULL, QMP_ANY, false}};
static const struct qmp_arg caps_args[] = {
	{"capabilities", QMP_ARRAY, false}, {NULL, QMP_ANY, false}};

static const struct qmp_command commands[] = {
	{.name = "query-status", .run = qmp_query_status},
	{.name = "stop", .slow = true, .run = run_stop},
	{.name = "cont", .slow = true, .run = run_cont},
	{.name = "quit", .args = quit_args, .run = run_quit},
	{.name = "migrate", .args = migrate_args, .slow = true, .run = qmp_migrate},
	{.name = "migrate-incoming", .args = incoming_args, .slow = true, .run = run_incoming},
	{.name = "migrate_cancel", .run = run_cancel},
	{.name = "migrate-set-parameters",
		.any_args = true,
		.slow = true,
		.run = qmp_set_parameters},
	{.name = "query-migrate-parameters", .run = qmp_query_parameters},
	{.name = "migrate-set-capabilities",
		.args = caps_args,
		.slow = true,
		.run = qmp_set_capabilities},
	{.name = "query-migrate-capabilities", .run = qmp_query_capabilities},
	{.name = "query-migrate", .run = qmp_query_migrate},
	{.name = "x-migrate-resolve", .args = resolve_args, .slow = true, .run = run_resolve},
	{.name = "x-query-guest", .run = qmp_query_guest},
	{.name = "x-check-ram", .slow = true, .run = qmp_check_ram},
	{.name = "x-ram-hash", .slow = true, .run = qmp_ram_hash},
	{.name = "x-query-timeline",
		.args = timeline_args,
		.slow = true,
		.run = qmp_query_timeline},
	{.name = "x-query-devices", .run = qmp_query_devices},
};

int qmp_machine_serve(struct vmm_machine *machine, const char *path, struct qmp_server **out,
	struct swo_error *err)
{
	struct qmp_config config = {.path = path,
		.commands = commands,
		.command_count = SWO_ARRAY_SIZE(commands),
		.opaque = machine,
		.worker = vmm_machine_worker(machine)};

	return qmp_server_start(&config, out, err);
}
