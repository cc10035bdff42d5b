/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bar.c - the addresses of BARs: those assigned before the guest runs, and the effect of a BAR
 * that the guest moves.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PORT_WINDOW (UINT64_C(1) << 20) /* granularity of a bridge's memory window */

void pci_bar_set_address(struct vmm_pci_function *fn, unsigned bar, uint64_t address)
{
	uint32_t flags = pci_get(fn->shadow, PCI_BAR(bar), 4) & PCI_BAR_FLAGS;

	pci_put(fn->shadow, PCI_BAR(bar), (uint32_t)address | flags, 4);
	if (fn->bar[bar].wide)
		pci_put(fn->shadow, PCI_BAR(bar + 1), (uint32_t)(address >> 32), 4);
}

/* Not decoded over RAM, nor where a guest's sizing writes it temporarily. */
static bool is_usable(const struct vmm_pci_function *fn, uint64_t address, uint64_t size)
{
	if (!address || address > UINT64_MAX - size)
		return false;
	if (address < VMM_RAM_HIGH && address + size > VMM_MMIO_END)
		return false;
	for (unsigned i = 0; i < swo_ram_count(fn->pci->ram); i++) {
		const struct swo_ram_region *ram = swo_ram_region(fn->pci->ram, i);

		if (address < ram->gpa + ram->size && ram->gpa < address + size)
			return false;
	}
	return true;
}

void pci_bars_changed(struct vmm_pci_function *fn)
{
	bool on = pci_get(fn->shadow, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY;
	bool changed = false;

	pthread_mutex_lock(&fn->pci->lock);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bar[i];
		uint64_t address = bar->size ? pci_bar_address(fn, i) : BAR_NOWHERE;

		if (!on || !bar->size || !is_usable(fn, address, bar->size))
			address = BAR_NOWHERE;
		changed |= address != bar->decoded;
		bar->decoded = address;
	}
	if (changed) {
		pci_windows_update(fn->pci);
		pci_map_update(fn->pci);
		pci_dma_update(fn->pci);
	}
	pthread_mutex_unlock(&fn->pci->lock);
}

/* At boot */

struct wish {
	struct vmm_pci_function *fn;
	unsigned bar;
	unsigned order;
};

/* Largest first, so that alignment wastes no space. */
static int compare_wishes(const void *a, const void *b)
{
	const struct wish *x = a, *y = b;
	uint64_t size_x = x->fn->bar[x->bar].size, size_y = y->fn->bar[y->bar].size;

	if (size_x != size_y)
		return size_x < size_y ? 1 : -1;
	return x->order < y->order ? -1 : 1;
}

static uint64_t align_up(uint64_t at, uint64_t size)
{
	return (at + size - 1) & ~(size - 1);
}

/* The BARs of all devices on one bus, from *at on. */
static int assign_bus(struct vmm_pci *pci, const struct vmm_pci_function *port, struct wish *wishes,
	uint64_t *at, struct swo_error *err)
{
	unsigned count = 0;

	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next))
		for (unsigned bar = 0; fn->port == port && bar < PCI_BARS; bar++)
			if (fn->bar[bar].size) {
				wishes[count] = (struct wish){fn, bar, count};
				count++;
			}
	qsort(wishes, count, sizeof(*wishes), compare_wishes);
	for (unsigned i = 0; i < count; i++) {
		struct vmm_pci_function *fn = wishes[i].fn;
		uint64_t size = fn->bar[wishes[i].bar].size;

		*at = align_up(*at, size);
		if (*at > VMM_MMIO_END || size > VMM_MMIO_END - *at)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"PCI: no room below 0x%" PRIx64 " for BAR %u of device %s (%" PRIu64
				" bytes)",
				VMM_MMIO_END, wishes[i].bar, fn->id, size);
		pci_bar_set_address(fn, wishes[i].bar, *at);
		*at += size;
	}
	return 0;
}

static void assign_port(struct vmm_pci_function *port, unsigned number, uint64_t from, uint64_t to)
{
	port->bus_number = number;
	port->shadow[PCI_BUS_SECONDARY] = port->shadow[PCI_BUS_SUBORDINATE] = (uint8_t)number;
	/* A base above the limit means an empty window. */
	pci_put(port->shadow, PCI_MEMORY_BASE, (uint32_t)(from >> 16) & 0xfff0, 2);
	pci_put(port->shadow, PCI_MEMORY_LIMIT, (uint32_t)((to - 1) >> 16) & 0xfff0, 2);
	pci_put(port->shadow, PCI_COMMAND, PCI_COMMAND_MEMORY | 0x4, 2);
}

static int push_bars(struct vmm_pci_function *fn, struct swo_error *err)
{
	for (unsigned bar = 0; bar < PCI_BARS; bar++)
		if (fn->bar[bar].size &&
			pci_config_push(fn, PCI_BAR(bar), fn->bar[bar].wide ? 8 : 4, err))
			return -1;
	return 0;
}

int pci_bars_assign(struct vmm_pci *pci, struct swo_error *err)
{
	uint64_t at = VMM_MMIO_BASE;
	unsigned devices = 0, number = 0;
	swo_autofree struct wish *wishes = NULL;

	for (struct vmm_pci_function *fn = pci->first; fn; fn = fn->next)
		devices++;
	wishes = calloc(devices, PCI_BARS * sizeof(*wishes));
	if (!wishes)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "PCI: assigning BARs");
	if (assign_bus(pci, NULL, wishes, &at, err))
		return -1;
	for (struct vmm_pci_function *port = pci->first; port; port = port->next) {
		uint64_t from = align_up(at, PORT_WINDOW);

		if (port->kind != PCI_KIND_PORT)
			continue;
		at = from;
		if (assign_bus(pci, port, wishes, &at, err))
			return -1;
		at = align_up(at, PORT_WINDOW);
		assign_port(port, ++number, from, at);
	}
	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next))
		if (push_bars(fn, err))
			return -1;
	return 0;
}
