/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_pci.h - a fake device with a PCI front, shaped like the simulated VF, that records what
 * is done to it.
 */
#ifndef TESTS_VMM_FAKE_PCI_H
#define TESTS_VMM_FAKE_PCI_H

#include "testbed/fake_device.h"

#define FAKE_VECTORS 16
#define FAKE_WRITES  256

struct fake_write {
	uint32_t region;
	uint64_t offset;
	uint64_t value;
	uint32_t len;
	bool posted;
};

struct fake_pci {
	struct fake_device device; /* first: `self` is both */
	uint8_t config[256];
	uint32_t config_size; /* of its region */
	int inbox_fd;
	uint64_t inbox_size;
	int irqs[FAKE_VECTORS];
	unsigned irq_sets, irq_offs; /* calls with eventfds, and those that disable all */
	bool irqs_on;
	bool host_enables; /* MSI-X enable is set and cleared by these calls alone */
	struct fake_write writes[FAKE_WRITES]; /* to any region, in order */
	unsigned write_count;
	unsigned reads;
	uint64_t doorbells;
	unsigned config_delay_ms; /* of a write to PCI_COMMAND */
	bool msi_only;
	int host_irqs[2]; /* of ERR and REQ */
	bool released;	  /* atomic */
};

/* The device's functions, and those of regions and interrupts. */
const struct swo_device_ops *fake_pci_ops(void);

void fake_pci_init(struct fake_pci *fake, const char *name);
/* Before it is added: it has no MSI-X, and these MSI flags. */
void fake_pci_msi_only(struct fake_pci *fake, unsigned flags);
/* Also checks that no rule of the device was broken. */
void fake_pci_fini(struct fake_pci *fake);
/* The number of writes to one place, and the last value there. */
unsigned fake_pci_writes(struct fake_pci *fake, uint32_t region, uint64_t offset, uint64_t *last);
uint64_t fake_pci_doorbells(struct fake_pci *fake);

#endif
