/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci.h - the machine's PCI: a host bridge, root ports, and passthrough devices whose
 * configuration space, BARs and MSI-X the VMM emulates.
 *
 * Life: create, add ports and devices, realize once, then use the bus. The machine adds and
 * realizes, on one thread. Afterwards mmio, pio, save and load may be called from any thread
 * concurrently; mmio takes no lock. Nothing is removed before free.
 */
#ifndef VMM_PCI_PCI_H
#define VMM_PCI_PCI_H

#include "switchover/base.h"
#include "switchover/device.h"
#include "switchover/memory.h"

/* BARs are assigned from here up to the I/O APIC's page; RAM below must end at or before it. */
#define VMM_MMIO_BASE	UINT64_C(0xe0000000)
#define VMM_MMIO_END	UINT64_C(0xfec00000)
#define VMM_RAM_LOW_MAX (UINT64_C(3) << 30)
#define VMM_RAM_HIGH	(UINT64_C(4) << 30)

struct vmm_pci;
struct vmm_pci_function;

/* Connects an eventfd to an interrupt: see vmm_accel_msi_*. Called one at a time. */
struct vmm_msi_ops {
	int (*add)(void *opaque, int eventfd, unsigned *handle, struct swo_error *err);
	int (*set)(void *opaque, unsigned handle, uint64_t addr, uint32_t data, bool masked,
		struct swo_error *err);
	void (*del)(void *opaque, unsigned handle);
	void *opaque;
};

/*
 * Maps `host` at a guest address without the VMM: see vmm_accel_map. Called one at a time;
 * without a `map` every access is trapped.
 */
struct vmm_map_ops {
	int (*map)(void *opaque, unsigned slot, uint64_t gpa, uint64_t size, void *host,
		struct swo_error *err);
	void *opaque;
};

/* `ram` must outlive the bus and have all of its regions already. */
int vmm_pci_create(struct swo_ram *ram, const struct vmm_msi_ops *msi,
	const struct vmm_map_ops *map, struct vmm_pci **out, struct swo_error *err);
/* Only while no vCPU runs. The caller owns the devices, which must still exist. */
void vmm_pci_free(struct vmm_pci *pci);

/* A type-1 bridge on bus 0, with a bus behind it. */
int vmm_pci_add_root_port(struct vmm_pci *pci, const char *id, struct swo_error *err);

struct vmm_pci_device_desc {
	const char *id;
	const struct swo_device_ops *ops;
	void *self;	 /* of ops */
	const char *bus; /* a root port's id; NULL: bus 0 */
	int slot;	 /* -1: the next free one */
	int function;	 /* with a slot; else 0 */
};
/* Reads the device's configuration, regions and interrupts. */
int vmm_pci_add_device(struct vmm_pci *pci, const struct vmm_pci_device_desc *desc,
	struct vmm_pci_function **out, struct swo_error *err);

/*
 * Assigns bus numbers and BAR addresses, sets each device's eventfds, and maps RAM and every
 * sibling's mappable BARs for every device. The same ports and devices in the same order get
 * the same addresses.
 */
int vmm_pci_realize(struct vmm_pci *pci, struct swo_error *err);

/* Unmaps RAM from the device, or maps it (with its present regions) again. Slow. */
int vmm_pci_reach_ram(struct vmm_pci_function *fn, bool reach, struct swo_error *err);

/*
 * The host is to have the device back: nothing maps its BARs any more, and the guest's accesses of them
 * read all ones and write nothing. For ever. Any thread.
 */
void vmm_pci_release(struct vmm_pci_function *fn);

/* 1 on bus 0, 2 behind a root port. */
int vmm_pci_depth(const struct vmm_pci_function *fn);
/* "00:02.0" by the numbers assigned at realize. */
void vmm_pci_address(const struct vmm_pci_function *fn, char out[8]);
/* One line about what the guest sees of it, equal on both sides of a migration. */
int vmm_pci_describe(const struct vmm_pci_function *fn, struct swo_buf *out, struct swo_error *err);

/* struct vmm_bus; opaque is the struct vmm_pci. */
void vmm_pci_mmio_read(void *opaque, uint64_t gpa, void *data, unsigned len);
void vmm_pci_mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned len);
void vmm_pci_pio_read(void *opaque, uint16_t port, void *data, unsigned len);
void vmm_pci_pio_write(void *opaque, uint16_t port, const void *data, unsigned len);

/*
 * The VMM's state of a device. Saving accesses no device. Loading checks everything before it
 * changes anything (SWO_E_CORRUPT, SWO_E_INVALID), then writes it to the device, PCI_COMMAND
 * last; what this session has loaded already is not written again. Different devices may load
 * concurrently.
 */
int vmm_pci_save(struct vmm_pci_function *fn, struct swo_buf *out, struct swo_error *err);
int vmm_pci_load(struct vmm_pci_function *fn, const void *data, size_t len, struct swo_error *err);
/*
 * Writes what the device may have lost, as the guest has it, and sets its interrupts again: after its
 * own state was loaded, or (with its BARs) after a reset. Different devices concurrently.
 */
int vmm_pci_renew(struct vmm_pci_function *fn, bool bars, struct swo_error *err);
/* Starts a session: the devices are about to enter RESUMING, which discards what was loaded. */
void vmm_pci_begin_load(struct vmm_pci *pci);

/* The rest of the board: the address latch and the bridges. Only while no vCPU runs. */
int vmm_pci_board_save(struct vmm_pci *pci, struct swo_buf *out, struct swo_error *err);
int vmm_pci_board_load(struct vmm_pci *pci, const void *data, size_t len, struct swo_error *err);

#endif
