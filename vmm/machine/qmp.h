/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp.h - the QMP commands on a machine. docs/qmp.md describes them.
 */
#ifndef VMM_MACHINE_QMP_H
#define VMM_MACHINE_QMP_H

#include "machine.h"
#include "vmm/qmp/qmp.h"

/* Serves `machine` at `path`. Stop the server before the machine is freed. */
int qmp_machine_serve(struct vmm_machine *machine, const char *path, struct qmp_server **out,
	struct swo_error *err);

/* Shared by the QMP files */

typedef int qmp_run(void *opaque, json_t *args, json_t **ret, struct swo_error *err);

/* qmp_params.c */
extern const struct qmp_type qmp_parameters, qmp_capability_list;
/* Completes qmp_parameters. Before anything uses it. */
void qmp_params_init(void);
/* The machine's setup with these changes; either may be NULL. */
int qmp_params_once(struct vmm_machine *machine, const json_t *parameters,
	const json_t *capability_list, struct vmm_migration_setup *out, struct swo_error *err);
qmp_run qmp_set_parameters, qmp_query_parameters, qmp_set_capabilities, qmp_query_capabilities;
/* qmp_migrate.c */
extern const struct qmp_type qmp_migrate_args, qmp_continue_args, qmp_incoming_args,
	qmp_resolve_args, qmp_closefd_args;
qmp_run qmp_closefd, qmp_migrate, qmp_continue, qmp_cancel, qmp_incoming, qmp_resolve;
/* metrics.c */
extern const struct qmp_type qmp_metrics_info;
qmp_run qmp_query_metrics;
/* qmp_query.c */
extern const struct qmp_type qmp_migrate_info, qmp_migration_status, qmp_guest_info, qmp_ram_check,
	qmp_ram_hash_value, qmp_timeline_args, qmp_device_list;
qmp_run qmp_query_migrate, qmp_query_guest, qmp_check_ram, qmp_ram_hash, qmp_query_timeline,
	qmp_query_devices;
/* qmp_vm.c */
extern const struct qmp_type qmp_status_info, qmp_name_info, qmp_uuid_info, qmp_kvm_info,
	qmp_cpu_list, qmp_target_info;
qmp_run qmp_query_status, qmp_query_name, qmp_query_uuid, qmp_query_kvm, qmp_query_cpus,
	qmp_query_target;

#endif
