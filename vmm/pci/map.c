/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * map.c - BARs that the guest accesses without the VMM: the mappable part of a BAR is mapped
 * here, and given to the accelerator while the BAR is decoded there and not covered.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* Leaves out the pages of [at, at + len): the larger remaining side is kept. */
static void leave_out(struct pci_bar *bar, uint64_t at, uint64_t len)
{
	uint64_t from = at & ~(uint64_t)(SWO_PAGE_SIZE - 1);
	uint64_t to = (at + len + SWO_PAGE_SIZE - 1) & ~(uint64_t)(SWO_PAGE_SIZE - 1);
	uint64_t end = bar->host_from + bar->host_size;

	if (from >= end || to <= bar->host_from)
		return;
	uint64_t before = from > bar->host_from ? from - bar->host_from : 0;
	uint64_t after = end > to ? end - to : 0;

	if (before < after)
		bar->host_from = to;
	bar->host_size = before < after ? after : before;
}

static void map_here(struct vmm_pci_function *fn, unsigned index)
{
	struct pci_bar *bar = &fn->bar[index];
	void *host;

	bar->host_from = bar->fd_from;
	bar->host_size = bar->fd_size;
	/* Emulated by the VMM: an access to them must be trapped. */
	if (fn->msix.count && fn->msix.table_bar == index)
		leave_out(bar, fn->msix.table_at, (uint64_t)fn->msix.count * PCI_MSIX_ENTRY);
	if (fn->msix.count && fn->msix.pba_bar == index)
		leave_out(bar, fn->msix.pba_at, (fn->msix.count + 63) / 64 * UINT64_C(8));
	if (!bar->host_size)
		return;
	host = mmap(NULL, bar->host_size, PROT_READ | PROT_WRITE, MAP_SHARED, bar->fd,
		(off_t)(bar->fd_offset + bar->host_from - bar->fd_from));
	if (host == MAP_FAILED) {
		swo_log(SWO_LOG_WARN, "device %s: BAR %u cannot be mapped (%s): it is trapped",
			fn->id, index, strerror(errno));
		return;
	}
	bar->host = host;
	bar->map_slot = fn->pci->map_slots++;
}

void pci_map_init(struct vmm_pci_function *fn)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (fn->bar[i].fd >= 0)
			map_here(fn, i);
}

/* The accelerator */

static void take(struct vmm_pci *pci, struct pci_bar *bar)
{
	struct swo_error err;

	if (bar->given == BAR_NOWHERE)
		return;
	if (pci->map.map(
		    pci->map.opaque, bar->map_slot, bar->given + bar->host_from, 0, NULL, &err))
		swo_log(SWO_LOG_ERROR, "PCI: %s", err.text);
	bar->given = BAR_NOWHERE;
}

static void give(struct vmm_pci_function *fn, unsigned index, uint64_t address)
{
	struct pci_bar *bar = &fn->bar[index];
	const struct vmm_map_ops *map = &fn->pci->map;
	struct swo_error err;

	if (!map->map(map->opaque, bar->map_slot, address + bar->host_from, bar->host_size,
		    bar->host, &err))
		bar->given = address;
	else if (!bar->map_complained)
		swo_log(SWO_LOG_WARN, "device %s: BAR %u is trapped: %s", fn->id, index, err.text);
	bar->map_complained |= bar->given == BAR_NOWHERE;
}

static uint64_t wanted(const struct vmm_pci_function *fn, unsigned index)
{
	const struct pci_bar *bar = &fn->bar[index];

	return bar->host && bar->answers && !atomic_load(&fn->released) ? bar->decoded
									: BAR_NOWHERE;
}

void pci_map_update(struct vmm_pci *pci)
{
	struct vmm_pci_function *fn;

	if (!pci->map.map)
		return;
	/* Two BARs may swap addresses: first remove all. */
	for (fn = pci_next_device(pci->first); fn; fn = pci_next_device(fn->next))
		for (unsigned i = 0; i < PCI_BARS; i++)
			if (wanted(fn, i) != fn->bar[i].given)
				take(pci, &fn->bar[i]);
	for (fn = pci_next_device(pci->first); fn; fn = pci_next_device(fn->next))
		for (unsigned i = 0; i < PCI_BARS; i++) {
			uint64_t address = wanted(fn, i);

			if (address != fn->bar[i].given)
				give(fn, i, address);
		}
}

void pci_map_free(struct vmm_pci_function *fn)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bar[i];

		if (!bar->host)
			continue;
		take(fn->pci, bar);
		munmap(bar->host, bar->host_size);
		bar->host = NULL;
	}
}

void pci_map_release(struct vmm_pci_function *fn)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &fn->bar[i];

		if (!bar->host)
			continue;
		take(fn->pci, bar);
		/* In one step: a vCPU must not find a hole. */
		if (mmap(bar->host, bar->host_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			    0) == MAP_FAILED)
			swo_log(SWO_LOG_ERROR, "device %s: BAR %u stays mapped: %s", fn->id, i,
				strerror(errno));
	}
}

/* Accesses that are trapped all the same */

static uint8_t *mapped_at(const struct pci_bar *bar, uint64_t at, unsigned len)
{
	if (!bar->host || at < bar->host_from || at - bar->host_from > bar->host_size - len)
		return NULL;
	return bar->host + (at - bar->host_from);
}

/* Another process may access them at the same time: each is one access, as on a bus. */
bool pci_map_read(const struct pci_bar *bar, uint64_t at, void *data, unsigned len)
{
	const uint8_t *from = mapped_at(bar, at, len);

	if (!from)
		return false;
	if (len == 4 && !(at % 4)) {
		uint32_t word = __atomic_load_n((const uint32_t *)from, __ATOMIC_ACQUIRE);

		memcpy(data, &word, sizeof(word));
	} else if (len == 8 && !(at % 8)) {
		uint64_t word = __atomic_load_n((const uint64_t *)from, __ATOMIC_ACQUIRE);

		memcpy(data, &word, sizeof(word));
	} else {
		for (unsigned i = 0; i < len; i++)
			((uint8_t *)data)[i] = __atomic_load_n(from + i, __ATOMIC_ACQUIRE);
	}
	return true;
}

bool pci_map_write(const struct pci_bar *bar, uint64_t at, const void *data, unsigned len)
{
	uint8_t *to = mapped_at(bar, at, len);
	uint64_t word = 0;

	if (!to)
		return false;
	memcpy(&word, data, len <= sizeof(word) ? len : sizeof(word));
	if (len == 4 && !(at % 4))
		__atomic_store_n((uint32_t *)to, (uint32_t)word, __ATOMIC_RELEASE);
	else if (len == 8 && !(at % 8))
		__atomic_store_n((uint64_t *)to, word, __ATOMIC_RELEASE);
	else
		for (unsigned i = 0; i < len; i++)
			__atomic_store_n(to + i, ((const uint8_t *)data)[i], __ATOMIC_RELEASE);
	return true;
}
