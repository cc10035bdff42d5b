/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci_rig.c - the bus of pci_rig.h.
 */
#include "pci_rig.h"

#include "cm.h"

#include <stdio.h>
#include <string.h>

static int msi_add(void *opaque, int eventfd, unsigned *handle, struct swo_error *err)
{
	struct rig *rig = opaque;

	(void)err;
	assert_true(rig->msi_count < SWO_ARRAY_SIZE(rig->msi));
	*handle = rig->msi_count++;
	rig->msi[*handle] = (struct rig_msi){.eventfd = eventfd, .masked = true, .used = true};
	return 0;
}

static int msi_set(void *opaque, unsigned handle, uint64_t addr, uint32_t data, bool masked,
	struct swo_error *err)
{
	struct rig *rig = opaque;
	struct rig_msi *msi = &rig->msi[handle];

	(void)err;
	assert_true(handle < rig->msi_count);
	msi->addr = addr;
	msi->data = data;
	msi->masked = masked;
	msi->sets++;
	return 0;
}

static void msi_del(void *opaque, unsigned handle)
{
	((struct rig *)opaque)->msi[handle].used = false;
}

void rig_up(struct rig *rig, unsigned devices, unsigned behind)
{
	static const char *const names[RIG_DEVICES] = {"vf0", "vf1", "vf2", "vf3"};
	struct vmm_msi_ops msi = {msi_add, msi_set, msi_del, rig};
	struct swo_error err;

	memset(rig, 0, sizeof(*rig));
	rig->ram = swo_ram_new();
	assert_non_null(rig->ram);
	assert_int_equal(swo_ram_add(rig->ram, "ram", 0, 1 << 20, -1, &err), 0);
	assert_int_equal(vmm_pci_create(rig->ram, &msi, &rig->pci, &err), 0);
	if (behind)
		assert_int_equal(vmm_pci_add_root_port(rig->pci, "rp0", &err), 0);
	rig->count = devices;
	for (unsigned i = 0; i < devices; i++) {
		struct vmm_pci_device_desc desc = {.id = names[i],
			.ops = &fake_ops,
			.self = &rig->fake[i],
			.bus = i + behind >= devices ? "rp0" : NULL,
			.slot = -1};

		fake_init(&rig->fake[i], names[i]);
		assert_int_equal(vmm_pci_add_device(rig->pci, &desc, &rig->fn[i], &err), 0);
	}
	assert_int_equal(vmm_pci_realize(rig->pci, &err), 0);
}

void rig_down(struct rig *rig)
{
	vmm_pci_free(rig->pci);
	for (unsigned i = 0; i < rig->msi_count; i++)
		assert_false(rig->msi[i].used);
	for (unsigned i = 0; i < rig->count; i++)
		fake_fini(&rig->fake[i]);
	swo_ram_free(rig->ram);
}

static void latch(struct rig *rig, unsigned bdf, unsigned at)
{
	uint32_t address = 0x80000000u | bdf << 8 | (at & 0xfc);

	vmm_pci_pio_write(rig->pci, 0xcf8, &address, 4);
}

uint32_t rig_config_read(struct rig *rig, unsigned bdf, unsigned at, unsigned len)
{
	uint32_t value = 0;

	latch(rig, bdf, at);
	vmm_pci_pio_read(rig->pci, (uint16_t)(0xcfc + at % 4), &value, len);
	return value;
}

void rig_config_write(struct rig *rig, unsigned bdf, unsigned at, uint32_t value, unsigned len)
{
	latch(rig, bdf, at);
	vmm_pci_pio_write(rig->pci, (uint16_t)(0xcfc + at % 4), &value, len);
}

uint64_t rig_mmio_read(struct rig *rig, uint64_t gpa, unsigned len)
{
	uint64_t value = 0;

	vmm_pci_mmio_read(rig->pci, gpa, &value, len);
	return value;
}

void rig_mmio_write(struct rig *rig, uint64_t gpa, uint64_t value, unsigned len)
{
	vmm_pci_mmio_write(rig->pci, gpa, &value, len);
}

unsigned rig_bdf(struct rig *rig, unsigned device)
{
	unsigned bus, slot, function;
	char address[8];

	vmm_pci_address(rig->fn[device], address);
	assert_int_equal(sscanf(address, "%x:%x.%x", &bus, &slot, &function), 3);
	return bus << 8 | slot << 3 | function;
}

uint32_t rig_bar(struct rig *rig, unsigned device, unsigned bar)
{
	return rig_config_read(rig, rig_bdf(rig, device), 0x10 + 4 * bar, 4) & ~0xfu;
}

void rig_enable(struct rig *rig, unsigned device)
{
	rig_config_write(rig, rig_bdf(rig, device), 4, 6, 2);
}
