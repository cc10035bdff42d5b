/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accel.c - selects an accelerator, and checks the order of calls for both kinds.
 */
#include "internal.h"

static int create(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err)
{
	struct swo_error why = {0};

	if (!config->vcpus || config->vcpus > GUEST_VCPUS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"invalid number of vCPUs: %u, expected 1 to %d", config->vcpus,
			GUEST_VCPUS_MAX);
	if (!swo_ram_host(config->ram, 0, GUEST_RAM_MIN))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"the guest needs one RAM region at address 0 of at least %u MiB",
			GUEST_RAM_MIN >> 20);
	if (config->kind == VMM_ACCEL_NATIVE)
		return accel_native_new(config, out, err);
	if (!accel_kvm_new(config, out, &why))
		return 0;
	if (config->kind == VMM_ACCEL_AUTO && why.code == SWO_E_UNSUPPORTED) {
		swo_log(SWO_LOG_INFO, "%s; using the native accelerator", why.text);
		return accel_native_new(config, out, err);
	}
	if (err)
		*err = why;
	return -1;
}

int vmm_accel_create(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err)
{
	if (create(config, out, err))
		return -1;
	accel_throttle_init(*out);
	return 0;
}

void vmm_accel_free(struct vmm_accel *accel)
{
	if (!accel)
		return;
	accel_throttle_end(accel);
	accel->ops->free(accel);
}

const char *vmm_accel_name(const struct vmm_accel *accel)
{
	return accel->ops->name;
}

int vmm_accel_thread(const struct vmm_accel *accel, unsigned vcpu)
{
	return atomic_load(&accel->tids[vcpu]);
}

int vmm_accel_cpu(struct vmm_accel *accel, struct vmm_accel_cpu *out, struct swo_error *err)
{
	if (accel->ops->cpu)
		return accel->ops->cpu(accel, out, err);
	*out = (struct vmm_accel_cpu){.vendor = ""};
	return 0;
}

int vmm_accel_boot(struct vmm_accel *accel, struct swo_error *err)
{
	if (!accel->paused || accel->entered)
		return swo_error_set(
			err, SWO_E_STATE, 0, "the guest has already been booted or loaded");
	if (accel_guest_load(accel, err) || accel->ops->boot(accel, err))
		return -1;
	accel->entered = true;
	return 0;
}

void vmm_accel_resume(struct vmm_accel *accel)
{
	if (!accel->entered) {
		swo_log(SWO_LOG_ERROR,
			"cannot resume the vCPUs: the guest has been neither booted nor loaded");
		return;
	}
	accel->paused = false;
	accel->ops->resume(accel);
}

int vmm_accel_pause(struct vmm_accel *accel, swo_deadline deadline, struct swo_error *err)
{
	if (accel->paused)
		return 0;
	if (accel->ops->pause(accel, deadline, err))
		return -1;
	accel->paused = true;
	return 0;
}

int vmm_accel_save(struct vmm_accel *accel, struct swo_buf *out, struct swo_error *err)
{
	if (!accel->paused)
		return swo_error_set(err, SWO_E_STATE, 0,
			"cannot save the vCPUs: they are running; pause them first");
	return accel->ops->save(accel, out, err);
}

int vmm_accel_load(struct vmm_accel *accel, const void *data, size_t len, struct swo_error *err)
{
	if (!accel->paused)
		return swo_error_set(err, SWO_E_STATE, 0,
			"cannot load the vCPUs: they are running; pause them first");
	if (accel->ops->load(accel, data, len, err))
		return -1;
	accel->entered = true;
	return 0;
}

int vmm_accel_dirty_source(
	struct vmm_accel *accel, struct swo_dirty_source *out, struct swo_error *err)
{
	return accel->ops->dirty_source(accel, out, err);
}

int vmm_accel_msi_add(struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err)
{
	return accel->ops->msi_add(accel, eventfd, handle, err);
}

int vmm_accel_msi_set(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data,
	bool masked, struct swo_error *err)
{
	return accel->ops->msi_set(accel, handle, addr, data, masked, err);
}

int vmm_accel_map(struct vmm_accel *accel, unsigned slot, uint64_t gpa, uint64_t size, void *host,
	struct swo_error *err)
{
	return accel->ops->map ? accel->ops->map(accel, slot, gpa, size, host, err) : 0;
}

void vmm_accel_msi_del(struct vmm_accel *accel, unsigned handle)
{
	accel->ops->msi_del(accel, handle);
}
