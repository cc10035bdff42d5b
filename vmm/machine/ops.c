/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ops.c - the machine's callbacks for the migration engine (struct swo_vm_ops), and the format
 * of the machine's own state: vCPUs and board.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* Layout */

/* A device with other states is another kind of device, although the engine could migrate it. */
static int layout_device(
	const struct machine_device *device, struct swo_buf *out, struct swo_error *err)
{
	char text[64];
	int n = snprintf(text, sizeof(text), ", states 0x%llx\n",
		(unsigned long long)swo_device_mig_flags(device->dev));

	if (vmm_pci_describe(device->fn, out, err))
		return -1;
	return swo_buf_append(out, text, (size_t)n, err);
}

static int layout(void *vm, struct swo_buf *out, struct swo_error *err)
{
	struct vmm_machine *m = vm;
	char text[256];
	int n = snprintf(text, sizeof(text),
		"machine switchover-1, accelerator %s\n%u vCPUs, %llu bytes of RAM, %u root "
		"ports\n",
		vmm_accel_name(m->accel), m->config.vcpus, (unsigned long long)m->config.ram_size,
		m->config.root_port_count);

	if (swo_buf_append(out, text, (size_t)n, err))
		return -1;
	for (unsigned i = 0; i < m->device_count; i++)
		if (layout_device(&m->devices[i], out, err))
			return -1;
	return 0;
}

/* What the guest has seen of its CPU must exist on the target as well */

static int agree(void *vm, struct swo_agreement *out, struct swo_error *err)
{
	const size_t size = sizeof(struct swo_agreement_entry);
	struct vmm_accel_cpu cpu;

	if (vmm_accel_cpu(((struct vmm_machine *)vm)->accel, &cpu, err))
		return -1;
	if (!cpu.vendor[0])
		return 0;
	const struct swo_agreement_entry entries[] = {
		{size, "CPU vendor", SWO_AGREE_EQUAL, 0, cpu.vendor, 0},
		{size, "CPU features", SWO_AGREE_SUBSET, 0, cpu.features, 0},
		{size, "XSAVE area in bytes", SWO_AGREE_AT_LEAST, 0, NULL, cpu.xsave_bytes},
		{size, "TSC frequency in kHz", SWO_AGREE_WITHIN,
			cpu.tsc_any ? SWO_AGREE_ANY : cpu.tsc_ppm, NULL, cpu.tsc_khz},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(entries); i++)
		if (swo_agreement_add(out, &entries[i], err))
			return -1;
	return 0;
}

/* Stop and start */

static int stop(void *vm, struct swo_error *err)
{
	struct vmm_machine *m = vm;
	int rc;

	pthread_mutex_lock(&m->run_lock);
	if (machine_is_running(m))
		rc = machine_halt(m, SWO_RUN_STATE_FINISH_MIGRATE, SWO_ON_ERROR_ROLLBACK, err);
	else
		rc = swo_error_set(err, SWO_E_STATE, 0, "the VM has been stopped (%s)",
			swo_run_state_name(swo_runstate_get(m->runstate)));
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

static int start(void *vm, struct swo_error *err)
{
	struct vmm_machine *m = vm;
	int rc = 0;

	pthread_mutex_lock(&m->run_lock);
	const enum swo_run_state state = swo_runstate_get(m->runstate);

	/* In any other state a user has stopped it. */
	if (atomic_load(&m->failing))
		rc = swo_error_set(err, SWO_E_STATE, 0, "%s", m->fail_text);
	else if (state == SWO_RUN_STATE_FINISH_MIGRATE ||
		 (state == SWO_RUN_STATE_INMIGRATE && !m->hold))
		rc = machine_start(m, SWO_ON_ERROR_CONTINUE, err);
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

static void set_state(void *vm, enum swo_run_state state)
{
	struct vmm_machine *m = vm;
	struct swo_error err;

	pthread_mutex_lock(&m->run_lock);
	/* A failed VM stays failed, whatever the outcome of its migration. */
	if (swo_runstate_get(m->runstate) != SWO_RUN_STATE_INTERNAL_ERROR &&
		swo_runstate_change(m->runstate, state, SWO_ON_ERROR_CONTINUE, &err))
		swo_log(SWO_LOG_ERROR, "%s: %s", m->name, err.text);
	pthread_mutex_unlock(&m->run_lock);
}

/* vCPUs and board */

#define MACHINE_MAGIC	0x434d5753u /* "SWMC" */
#define MACHINE_VERSION 2

/* Followed by the accelerator's bytes and the board's; each checks its own. */
struct machine_wire {
	uint32_t magic;
	uint32_t version;
	uint64_t accel_length;
	uint64_t board_length;
	uint64_t stop_generation, stop_pages; /* what stop_writes.c wrote */
};
_Static_assert(sizeof(struct machine_wire) == 40, "format of the machine's state");

static int machine_save(void *vm, struct swo_buf *out, struct swo_error *err)
{
	struct vmm_machine *m = vm;
	struct machine_wire wire = {.magic = MACHINE_MAGIC,
		.version = MACHINE_VERSION,
		.stop_generation = m->stop_writes.generation,
		.stop_pages = m->stop_writes.pages};
	size_t head = out->len;

	if (swo_buf_append(out, &wire, sizeof(wire), err) || vmm_accel_save(m->accel, out, err))
		return -1;
	wire.accel_length = out->len - head - sizeof(wire);
	if (vmm_pci_board_save(m->pci, out, err))
		return -1;
	wire.board_length = out->len - head - sizeof(wire) - wire.accel_length;
	memcpy(out->data + head, &wire, sizeof(wire));
	return 0;
}

static int machine_load(void *vm, const void *data, size_t len, struct swo_error *err)
{
	struct vmm_machine *m = vm;
	const uint8_t *bytes = data;
	struct machine_wire wire;

	if (len < sizeof(wire))
		return swo_error_set(err, SWO_E_CORRUPT, 0, "truncated machine state");
	memcpy(&wire, bytes, sizeof(wire));
	len -= sizeof(wire);
	if (wire.magic != MACHINE_MAGIC || wire.accel_length > len ||
		wire.board_length != len - wire.accel_length)
		return swo_error_set(
			err, SWO_E_CORRUPT, 0, "malformed machine state: the hash does not match");
	if (wire.version != MACHINE_VERSION)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"machine state: version %u, expected %d", wire.version, MACHINE_VERSION);
	if (wire.stop_pages > m->config.ram_size / SWO_PAGE_SIZE)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"malformed machine state: more pages were written than RAM has");
	bytes += sizeof(wire);
	if (vmm_accel_load(m->accel, bytes, wire.accel_length, err))
		return -1;
	if (vmm_pci_board_load(m->pci, bytes + wire.accel_length, wire.board_length, err))
		return -1;
	m->stop_writes.generation = wire.stop_generation;
	m->stop_writes.pages = wire.stop_pages;
	return 0;
}

/* Devices */

static int config_save(void *vm, unsigned index, struct swo_buf *out, struct swo_error *err)
{
	return vmm_pci_save(((struct vmm_machine *)vm)->devices[index].fn, out, err);
}

static int config_load(
	void *vm, unsigned index, const void *data, size_t len, struct swo_error *err)
{
	return vmm_pci_load(((struct vmm_machine *)vm)->devices[index].fn, data, len, err);
}

static int config_renew(void *vm, unsigned index, struct swo_error *err)
{
	return vmm_pci_renew(((struct vmm_machine *)vm)->devices[index].fn, false, err);
}

static bool finalise(void *opaque, unsigned index, enum swo_when *when)
{
	const struct machine_device *device = &((struct vmm_machine *)opaque)->devices[index];

	if (device->finalise_own)
		*when = device->finalise;
	return device->finalise_own;
}

static int ram_reach(void *vm, bool reach, struct swo_error *err)
{
	struct vmm_machine *m = vm;
	struct swo_error later;
	int rc = 0;

	/* A failure must not prevent the call for the others. */
	for (unsigned i = 0; i < m->device_count; i++) {
		struct machine_device *device = &m->devices[i];

		/* A hanging device would not reply, and this thread would wait for it. */
		if (swo_device_health(device->dev) == SWO_DEVICE_LOST) {
			rc = swo_error_set(rc ? &later : err, SWO_E_DEVICE, 0,
				"device %s is lost: not announcing the migration to it",
				swo_device_name(device->dev));
			continue;
		}
		if (vmm_pci_reach_ram(device->fn, reach, rc ? &later : err))
			rc = -1;
	}
	return rc;
}

static int throttle(void *vm, unsigned percent, struct swo_error *err)
{
	return vmm_accel_throttle(((struct vmm_machine *)vm)->accel, percent, err);
}

const struct swo_vm_ops machine_ops = {
	.layout = layout,
	.stop = stop,
	.start = start,
	.set_state = set_state,
	.machine_save = machine_save,
	.machine_load = machine_load,
	.config_save = config_save,
	.config_load = config_load,
	.config_renew = config_renew,
	.finalise = finalise,
	.ram_reach = ram_reach,
	.agree = agree,
	.throttle = throttle,
};
