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
qmp_run qmp_set_parameters, qmp_query_parameters, qmp_set_capabilities, qmp_query_capabilities,
	qmp_migrate;
/* qmp_query.c */
qmp_run qmp_query_status, qmp_query_migrate, qmp_query_guest, qmp_check_ram, qmp_ram_hash,
	qmp_query_timeline, qmp_query_devices;

#endif
