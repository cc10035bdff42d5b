/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_vm.c - what clients of QEMU query of a VM besides its migration: run state, name, UUID, vCPUs.
 */
#include "qmp.h"

#include <stdio.h>
#include <string.h>

static const struct qmp_type run_states = QMP_ENUM_OF("prelaunch", "inmigrate", "running", "paused",
	"finish-migrate", "postmigrate", "internal-error", "shutdown");
const struct qmp_type qmp_status_info =
	QMP_OBJECT_OF({"running", &qmp_bool, false}, {"status", &run_states, false});

int qmp_query_status(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	enum swo_run_state state = vmm_machine_state(opaque);

	(void)args;
	(void)err;
	*ret = json_pack("{s:b, s:s}", "running", state == SWO_RUN_STATE_RUNNING, "status",
		swo_run_state_name(state));
	return 0;
}

const struct qmp_type qmp_name_info = QMP_OBJECT_OF({"name", &qmp_string, true});

int qmp_query_name(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)err;
	*ret = json_pack("{s:s}", "name", vmm_machine_name(opaque));
	return 0;
}

const struct qmp_type qmp_uuid_info = QMP_OBJECT_OF({"UUID", &qmp_string, false});

/* As QEMU: all 0 if the VM has none. */
int qmp_query_uuid(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	const char *uuid = vmm_machine_uuid(opaque);

	(void)args;
	(void)err;
	*ret = json_pack(
		"{s:s}", "UUID", uuid && *uuid ? uuid : "00000000-0000-0000-0000-000000000000");
	return 0;
}

const struct qmp_type qmp_kvm_info =
	QMP_OBJECT_OF({"enabled", &qmp_bool, false}, {"present", &qmp_bool, false});

/* Present: this program can use it, whether or not this host has it; as in QEMU. */
int qmp_query_kvm(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)err;
	*ret = json_pack(
		"{s:b, s:b}", "enabled", !strcmp(vmm_machine_accel(opaque), "kvm"), "present", 1);
	return 0;
}

static const struct qmp_type targets = QMP_ENUM_OF("x86_64");
static const struct qmp_type cpu_props = QMP_OBJECT_OF(
	{"socket-id", &qmp_int, true}, {"core-id", &qmp_int, true}, {"thread-id", &qmp_int, true});
static const struct qmp_type cpu_info = QMP_OBJECT_OF({"cpu-index", &qmp_int, false},
	{"qom-type", &qmp_string, false}, {"qom-path", &qmp_string, false},
	{"thread-id", &qmp_int, false}, {"props", &cpu_props, true}, {"target", &targets, false});
const struct qmp_type qmp_cpu_list = QMP_LIST_OF(&cpu_info);

int qmp_query_cpus(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)err;
	*ret = json_array();
	for (unsigned i = 0; i < vmm_machine_vcpus(opaque); i++) {
		char path[48];

		snprintf(path, sizeof(path), "/machine/vcpu[%u]", i);
		json_array_append_new(
			*ret, json_pack("{s:i, s:s+, s:s, s:i, s:{s:i, s:i, s:i}, s:s}",
				      "cpu-index", (int)i, "qom-type", vmm_machine_accel(opaque),
				      "-x86_64-cpu", "qom-path", path, "thread-id",
				      vmm_machine_vcpu_thread(opaque, i), "props", "socket-id",
				      (int)i, "core-id", 0, "thread-id", 0, "target", "x86_64"));
	}
	return 0;
}

const struct qmp_type qmp_target_info = QMP_OBJECT_OF({"arch", &targets, false});

int qmp_query_target(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)opaque;
	(void)args;
	(void)err;
	*ret = json_pack("{s:s}", "arch", "x86_64");
	return 0;
}
