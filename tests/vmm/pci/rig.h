/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rig.h - a bus with fake devices, and the accesses of a guest.
 */
#ifndef TESTS_VMM_PCI_RIG_H
#define TESTS_VMM_PCI_RIG_H

#include "tests/vmm/fake_pci.h"
#include "vmm/pci/pci.h"

#define RIG_DEVICES 4

struct rig_msi {
	int eventfd;
	uint64_t addr;
	uint32_t data;
	bool masked, used;
	unsigned sets;
};

struct rig_map {
	uint64_t gpa, size; /* size 0: not mapped */
};

struct rig {
	struct swo_ram *ram;
	struct vmm_pci *pci;
	struct fake_pci fake[RIG_DEVICES];
	struct vmm_pci_function *fn[RIG_DEVICES];
	unsigned count;
	struct rig_msi msi[RIG_DEVICES * FAKE_VECTORS];
	unsigned msi_count;
	struct rig_map map[RIG_DEVICES];
	unsigned map_clashes; /* two maps at one address at once */
	bool map_refuses;
};

/* `behind`: so many of the devices, the last ones, are behind root port "rp0". */
void rig_up(struct rig *rig, unsigned devices, unsigned behind);
/* The same in steps: the bus, a device that fake_pci_init() has made, and then the rest. */
void rig_begin(struct rig *rig);
void rig_add(struct rig *rig, const char *name, const char *bus);
void rig_end(struct rig *rig);
void rig_down(struct rig *rig);

uint32_t rig_config_read(struct rig *rig, unsigned bdf, unsigned at, unsigned len);
void rig_config_write(struct rig *rig, unsigned bdf, unsigned at, uint32_t value, unsigned len);
uint64_t rig_mmio_read(struct rig *rig, uint64_t gpa, unsigned len);
void rig_mmio_write(struct rig *rig, uint64_t gpa, uint64_t value, unsigned len);
/* Bus, slot and function from the address that the bus reports for the device. */
unsigned rig_bdf(struct rig *rig, unsigned device);
uint32_t rig_bar(struct rig *rig, unsigned device, unsigned bar);
/* Sets PCI_COMMAND to memory and bus mastering. */
void rig_enable(struct rig *rig, unsigned device);

#endif
