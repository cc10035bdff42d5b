/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bar.c - the addresses of BARs: those assigned before the guest runs, and the effect of a BAR
 * that the guest moves.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PORT_WINDOW (UINT64_C(1) << 20)	 /* granularity of a bridge's memory window */
#define LOW_MAX	    (UINT64_C(16) << 20) /* a larger 64-bit BAR is placed above RAM */

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

/* The next free addresses, below 4 GiB and above RAM. */
struct room {
	uint64_t low, high;
};

/* 0: there is no room. */
static uint64_t place(struct room *room, uint64_t size, bool wide)
{
	uint64_t at = align_up(room->low, size);
	bool fits = at <= VMM_MMIO_END && size <= VMM_MMIO_END - at;

	if (fits && !(wide && size > LOW_MAX)) {
		room->low = at + size;
		return at;
	}
	at = align_up(room->high, size);
	if (!wide)
		return 0;
	room->high = at + size;
	return at;
}

/* The BARs of all devices on one bus. */
static int assign_bus(struct vmm_pci *pci, const struct vmm_pci_function *port, struct wish *wishes,
	struct room *room, struct swo_error *err)
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
		const struct pci_bar *bar = &fn->bar[wishes[i].bar];
		uint64_t at = place(room, bar->size, bar->wide);

		if (!at)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"PCI: no room below 0x%" PRIx64 " for BAR %u of device %s (%" PRIu64
				" bytes, 32-bit)",
				VMM_MMIO_END, wishes[i].bar, fn->id, bar->size);
		pci_bar_set_address(fn, wishes[i].bar, at);
	}
	return 0;
}

/* A base above the limit means an empty window. */
static void assign_port(struct vmm_pci_function *port, unsigned number, const struct room *from,
	const struct room *to)
{
	uint64_t last = to->high - 1;

	port->bus_number = number;
	port->shadow[PCI_BUS_SECONDARY] = port->shadow[PCI_BUS_SUBORDINATE] = (uint8_t)number;
	pci_put(port->shadow, PCI_MEMORY_BASE, (uint32_t)(from->low >> 16) & 0xfff0, 2);
	pci_put(port->shadow, PCI_MEMORY_LIMIT, (uint32_t)((to->low - 1) >> 16) & 0xfff0, 2);
	pci_put(port->shadow, PCI_PREFETCH_BASE,
		((uint32_t)(from->high >> 16) & 0xfff0) | PCI_PREFETCH_64, 2);
	pci_put(port->shadow, PCI_PREFETCH_BASE_HIGH, (uint32_t)(from->high >> 32), 4);
	pci_put(port->shadow, PCI_PREFETCH_LIMIT,
		((uint32_t)(last >> 16) & 0xfff0) | PCI_PREFETCH_64, 2);
	pci_put(port->shadow, PCI_PREFETCH_LIMIT_HIGH, (uint32_t)(last >> 32), 4);
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
	struct room room = {.low = VMM_MMIO_BASE, .high = VMM_RAM_HIGH};
	unsigned devices = 0, number = 0;
	swo_autofree struct wish *wishes = NULL;

	for (struct vmm_pci_function *fn = pci->first; fn; fn = fn->next)
		devices++;
	wishes = calloc(devices, PCI_BARS * sizeof(*wishes));
	if (!wishes)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "PCI: assigning BARs");
	for (unsigned i = 0; i < swo_ram_count(pci->ram); i++) {
		const struct swo_ram_region *ram = swo_ram_region(pci->ram, i);

		if (ram->gpa + ram->size > room.high)
			room.high = ram->gpa + ram->size;
	}
	if (assign_bus(pci, NULL, wishes, &room, err))
		return -1;
	for (struct vmm_pci_function *port = pci->first; port; port = port->next) {
		if (port->kind != PCI_KIND_PORT)
			continue;
		room.low = align_up(room.low, PORT_WINDOW);
		room.high = align_up(room.high, PORT_WINDOW);

		const struct room from = room;

		if (assign_bus(pci, port, wishes, &room, err))
			return -1;
		room.low = align_up(room.low, PORT_WINDOW);
		room.high = align_up(room.high, PORT_WINDOW);
		assign_port(port, ++number, &from, &room);
	}
	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next))
		if (push_bars(fn, err))
			return -1;
	return 0;
}
