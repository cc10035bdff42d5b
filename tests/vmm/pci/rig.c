/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rig.c - the bus of rig.h.
 */
#include "rig.h"

#include "tests/support/cm.h"

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

static int map(
	void *opaque, unsigned slot, uint64_t gpa, uint64_t size, void *host, struct swo_error *err)
{
	struct rig *rig = opaque;

	assert_true(slot < RIG_DEVICES);
	assert_int_equal(!host, !size);
	if (size && rig->map_refuses)
		return swo_error_set(err, SWO_E_IO, 0, "no slot");
	for (unsigned i = 0; size && i < RIG_DEVICES; i++)
		if (rig->map[i].size && rig->map[i].gpa < gpa + size &&
			gpa < rig->map[i].gpa + rig->map[i].size)
			rig->map_clashes++;
	rig->map[slot] = (struct rig_map){gpa, size};
	return 0;
}

void rig_begin(struct rig *rig)
{
	struct vmm_msi_ops msi = {msi_add, msi_set, msi_del, rig};
	struct vmm_map_ops maps = {map, rig};
	struct swo_error err;

	memset(rig, 0, sizeof(*rig));
	rig->ram = swo_ram_new();
	assert_non_null(rig->ram);
	assert_int_equal(swo_ram_add(rig->ram, "ram", 0, 1 << 20, -1, &err), 0);
	assert_int_equal(vmm_pci_create(rig->ram, &msi, &maps, &rig->pci, &err), 0);
}

void rig_add(struct rig *rig, const char *name, const char *bus)
{
	unsigned i = rig->count++;
	struct vmm_pci_device_desc desc = {
		.id = name, .ops = fake_pci_ops(), .self = &rig->fake[i], .bus = bus, .slot = -1};
	struct swo_error err;

	assert_int_equal(vmm_pci_add_device(rig->pci, &desc, &rig->fn[i], &err), 0);
}

void rig_end(struct rig *rig)
{
	struct swo_error err;

	assert_int_equal(vmm_pci_realize(rig->pci, &err), 0);
}

void rig_up(struct rig *rig, unsigned devices, unsigned behind)
{
	static const char *const names[RIG_DEVICES] = {"vf0", "vf1", "vf2", "vf3"};
	struct swo_error err;

	rig_begin(rig);
	if (behind)
		assert_int_equal(vmm_pci_add_root_port(rig->pci, "rp0", &err), 0);
	for (unsigned i = 0; i < devices; i++) {
		fake_pci_init(&rig->fake[i], names[i]);
		rig_add(rig, names[i], i + behind >= devices ? "rp0" : NULL);
	}
	rig_end(rig);
}

void rig_down(struct rig *rig)
{
	vmm_pci_free(rig->pci);
	for (unsigned i = 0; i < rig->msi_count; i++)
		assert_false(rig->msi[i].used);
	for (unsigned i = 0; i < RIG_DEVICES; i++)
		assert_int_equal(rig->map[i].size, 0);
	for (unsigned i = 0; i < rig->count; i++)
		fake_pci_fini(&rig->fake[i]);
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
