/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * native_port.c - access to guest memory and the machine's buses for the guest's work in the
 * native accelerator.
 */
#include "native.h"

GUEST_WRITER void *guest_ram(struct guest_env *env, uint64_t gpa, uint64_t len)
{
	struct swo_ram *ram = env->native->accel.ram;
	void *host = gpa % 8 ? NULL : swo_ram_host(ram, gpa, len);

	if (host)
		return host;

	struct guest_status *status = swo_ram_host(ram, GUEST_STATUS_GPA, sizeof(*status));
	uint32_t none = GUEST_OK;

	if (status && __atomic_compare_exchange_n(&status->error, &none, GUEST_E_RAM, false,
			      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		GUEST_SET(status->address, gpa);
	return env->scratch;
}

bool guest_may_work(struct guest_env *env, unsigned vcpu)
{
	(void)vcpu;
	return swo_now_ns() < env->work_until_ns;
}

static const struct vmm_bus *bus_of(struct guest_env *env)
{
	return &env->native->accel.config.bus;
}

uint32_t guest_pio_read(struct guest_env *env, uint16_t port)
{
	uint32_t value = UINT32_MAX;

	bus_of(env)->pio_read(bus_of(env)->opaque, port, &value, sizeof(value));
	return value;
}

void guest_pio_write(struct guest_env *env, uint16_t port, uint32_t value)
{
	bus_of(env)->pio_write(bus_of(env)->opaque, port, &value, sizeof(value));
}

uint32_t guest_mmio_read(struct guest_env *env, uint64_t gpa)
{
	uint32_t value = UINT32_MAX;

	bus_of(env)->mmio_read(bus_of(env)->opaque, gpa, &value, sizeof(value));
	return value;
}

void guest_mmio_write(struct guest_env *env, uint64_t gpa, uint32_t value)
{
	bus_of(env)->mmio_write(bus_of(env)->opaque, gpa, &value, sizeof(value));
}

void guest_mmio_write64(struct guest_env *env, uint64_t gpa, uint64_t value)
{
	bus_of(env)->mmio_write(bus_of(env)->opaque, gpa, &value, sizeof(value));
}
