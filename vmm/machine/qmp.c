/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp.c - the tables of commands and events, and the commands that start, stop or end the VM.
 */
#include "qmp.h"

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

static const struct qmp_type quit_args = QMP_OBJECT_OF({"force", &qmp_bool, true});
static const struct qmp_type caps_args =
	QMP_OBJECT_OF({"capabilities", &qmp_capability_list, false});

static const struct qmp_command commands[] = {
	{"query-status", NULL, &qmp_status_info, false, qmp_query_status},
	{"query-name", NULL, &qmp_name_info, false, qmp_query_name},
	{"query-uuid", NULL, &qmp_uuid_info, false, qmp_query_uuid},
	{"query-kvm", NULL, &qmp_kvm_info, false, qmp_query_kvm},
	{"query-cpus-fast", NULL, &qmp_cpu_list, false, qmp_query_cpus},
	{"query-target", NULL, &qmp_target_info, false, qmp_query_target},
	{"closefd", &qmp_closefd_args, NULL, false, qmp_closefd},
	{"stop", NULL, NULL, true, run_stop},
	{"cont", NULL, NULL, true, run_cont},
	{"quit", &quit_args, NULL, false, run_quit},
	{"migrate", &qmp_migrate_args, NULL, true, qmp_migrate},
	{"migrate-incoming", &qmp_incoming_args, NULL, true, qmp_incoming},
	{"migrate-continue", &qmp_continue_args, NULL, false, qmp_continue},
	{"migrate_cancel", NULL, NULL, false, qmp_cancel},
	{"migrate-set-parameters", &qmp_parameters, NULL, true, qmp_set_parameters},
	{"query-migrate-parameters", NULL, &qmp_parameters, false, qmp_query_parameters},
	{"migrate-set-capabilities", &caps_args, NULL, true, qmp_set_capabilities},
	{"query-migrate-capabilities", NULL, &qmp_capability_list, false, qmp_query_capabilities},
	{"query-migrate", NULL, &qmp_migrate_info, false, qmp_query_migrate},
	{"x-migrate-resolve", &qmp_resolve_args, NULL, true, qmp_resolve},
	{"x-query-guest", NULL, &qmp_guest_info, false, qmp_query_guest},
	{"x-check-ram", NULL, &qmp_ram_check, true, qmp_check_ram},
	{"x-ram-hash", NULL, &qmp_ram_hash_value, true, qmp_ram_hash},
	{"x-query-timeline", &qmp_timeline_args, &qmp_any, true, qmp_query_timeline},
	{"x-query-metrics", NULL, &qmp_metrics_info, false, qmp_query_metrics},
	{"x-query-devices", NULL, &qmp_device_list, false, qmp_query_devices},
};

static const struct qmp_type status_data = QMP_OBJECT_OF({"status", &qmp_migration_status, false});
static const struct qmp_type reasons = QMP_ENUM_OF("host-qmp-quit", "host-signal", "host-error");
static const struct qmp_type shutdown_data =
	QMP_OBJECT_OF({"guest", &qmp_bool, false}, {"reason", &reasons, false});
static const struct qmp_type pass_data = QMP_OBJECT_OF({"pass", &qmp_int, false});
static const struct qmp_type device_states = QMP_ENUM_OF(
	"stop", "running", "stop-copy", "resuming", "running-p2p", "pre-copy", "pre-copy-p2p");
static const struct qmp_type device_data = QMP_OBJECT_OF({"device-id", &qmp_string, false},
	{"qom-path", &qmp_string, false}, {"device-state", &device_states, false});

static const struct qmp_event events[] = {
	{"STOP", NULL},
	{"RESUME", NULL},
	{"SHUTDOWN", &shutdown_data},
	{"MIGRATION", &status_data},
	{"MIGRATION_PASS", &pass_data},
	{"VFIO_MIGRATION", &device_data},
};

static int keep_fd(void *opaque, const char *name, int fd, struct swo_error *err)
{
	return vmm_machine_keep_fd(opaque, name, fd, err);
}

int qmp_machine_serve(struct vmm_machine *machine, const char *path, struct qmp_server **out,
	struct swo_error *err)
{
	struct qmp_config config = {.path = path,
		.commands = commands,
		.command_count = SWO_ARRAY_SIZE(commands),
		.events = events,
		.event_count = SWO_ARRAY_SIZE(events),
		.opaque = machine,
		.keep_fd = keep_fd,
		.worker = vmm_machine_worker(machine)};

	qmp_params_init();
	return qmp_server_start(&config, out, err);
}
