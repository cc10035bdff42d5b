/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma.c - what devices may access by DMA: all RAM, and their siblings' mappable BARs at their
 * guest addresses.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define DMA_READ_WRITE 3

static int map_ram(struct vmm_pci_function *fn, struct swo_error *err)
{
	struct swo_ram *ram = fn->pci->ram;

	for (unsigned i = 0; i < swo_ram_count(ram); i++) {
		const struct swo_ram_region *region = swo_ram_region(ram, i);

		if (fn->ops->dma_map(fn->self, region->gpa, region->size, region->fd, 0,
			    region->host, DMA_READ_WRITE, err))
			return -1;
	}
	return 0;
}

static int unmap_ram(struct vmm_pci_function *fn, struct swo_error *err)
{
	struct swo_ram *ram = fn->pci->ram;
	struct swo_error later;
	int rc = 0;

	for (unsigned i = 0; i < swo_ram_count(ram); i++) {
		const struct swo_ram_region *region = swo_ram_region(ram, i);

		if (fn->ops->dma_unmap(fn->self, region->gpa, region->size, rc ? &later : err))
			rc = -1;
	}
	return rc;
}

int vmm_pci_reach_ram(struct vmm_pci_function *fn, bool reach, struct swo_error *err)
{
	if (!fn->ops->dma_map)
		return 0;
	if (!fn->ops->dma_unmap)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: the backend cannot unmap RAM", fn->id);
	return (reach ? map_ram : unmap_ram)(fn, err);
}

/* A device without DMA works as well; one that cannot access a sibling only lacks P2P. */
static void complain(struct vmm_pci_function *fn, const struct vmm_pci_function *sibling,
	const struct swo_error *err)
{
	if (!fn->map_complained)
		swo_log(SWO_LOG_WARN, "device %s cannot reach its sibling %s: %s", fn->id,
			sibling->id, err->text);
	fn->map_complained = true;
}

/* MAP_ONE: only for devices that cannot take many maps at once. */
enum how { UNMAP, MAP, MAP_ONE };

static void for_siblings(
	struct vmm_pci_function *owner, struct pci_bar *bar, uint64_t at, enum how how)
{
	struct swo_error err;

	for (struct vmm_pci_function *fn = pci_next_device(owner->pci->first); fn;
		fn = pci_next_device(fn->next)) {
		int rc = 0;

		if (fn == owner || !fn->ops->dma_map || !fn->ops->dma_unmap ||
			(how == MAP_ONE && fn->ops->dma_map_many))
			continue;
		if (how != UNMAP)
			rc = fn->ops->dma_map(fn->self, at + bar->fd_from, bar->fd_size, bar->fd,
				bar->fd_offset, NULL, DMA_READ_WRITE, &err);
		else
			rc = fn->ops->dma_unmap(fn->self, at + bar->fd_from, bar->fd_size, &err);
		if (rc)
			complain(fn, owner, &err);
	}
}

static void unmap(struct vmm_pci_function *owner, struct pci_bar *bar)
{
	for_siblings(owner, bar, bar->mapped, UNMAP);
	bar->mapped = BAR_NOWHERE;
}

void pci_dma_release(struct vmm_pci_function *fn)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (fn->bar[i].mapped != BAR_NOWHERE)
			unmap(fn, &fn->bar[i]);
		fn->bar[i].fd = -1;
	}
}

/* Removes the map of every other BAR that overlaps one at `at`. */
static void make_room(struct vmm_pci *pci, const struct pci_bar *moving, uint64_t at)
{
	uint64_t from = at + moving->fd_from, to = from + moving->fd_size;

	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next))
		for (unsigned i = 0; i < PCI_BARS; i++) {
			struct pci_bar *bar = &fn->bar[i];

			if (bar->mapped != BAR_NOWHERE && bar->mapped + bar->fd_from < to &&
				from < bar->mapped + bar->fd_from + bar->fd_size)
				unmap(fn, bar);
		}
}

/*
 * A BAR stays mapped where it was while the guest disables or sizes it: that costs nothing, and
 * most often the BAR returns to that address.
 */
void pci_dma_update(struct vmm_pci *pci)
{
	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next))
		for (unsigned i = 0; i < PCI_BARS; i++) {
			struct pci_bar *bar = &fn->bar[i];

			if (bar->fd < 0 || bar->decoded == BAR_NOWHERE ||
				bar->decoded == bar->mapped)
				continue;
			if (bar->mapped != BAR_NOWHERE)
				unmap(fn, bar);
			make_room(pci, bar, bar->decoded);
			bar->mapped = bar->decoded;
			for_siblings(fn, bar, bar->mapped, MAP);
		}
}

/*
 * With the bus lock held: every BAR at its present address. Returns the number of siblings'
 * BARs.
 */
static size_t place_bars(struct vmm_pci *pci)
{
	size_t count = 0;

	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next))
		for (unsigned i = 0; i < PCI_BARS; i++)
			if (fn->bar[i].fd >= 0) {
				fn->bar[i].mapped = pci_bar_address(fn, i);
				count++;
			}
	return count;
}

/* All siblings' BARs for one device; `maps` is large enough. */
static void map_all_to(struct vmm_pci_function *fn, struct swo_dma_map *maps)
{
	struct vmm_pci_function *sibling = pci_next_device(fn->pci->first);
	struct swo_error err;
	size_t count = 0;

	for (; sibling; sibling = pci_next_device(sibling->next))
		for (unsigned i = 0; i < PCI_BARS && sibling != fn; i++) {
			const struct pci_bar *bar = &sibling->bar[i];

			if (bar->fd >= 0)
				maps[count++] = (struct swo_dma_map){bar->mapped + bar->fd_from,
					bar->fd_size, bar->fd, bar->fd_offset, DMA_READ_WRITE};
		}
	if (count && fn->ops->dma_map_many(fn->self, maps, count, &err)) {
		if (!fn->map_complained)
			swo_log(SWO_LOG_WARN, "device %s cannot reach its siblings: %s", fn->id,
				err.text);
		fn->map_complained = true;
	}
}

/* With the bus lock held: n devices have n * (n - 1) maps, which are requested in parallel. */
static int map_siblings(struct vmm_pci *pci, struct swo_error *err)
{
	size_t count = place_bars(pci);
	struct swo_dma_map *maps = calloc(count + 1, sizeof(*maps));
	struct vmm_pci_function *fn;

	if (!maps)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "DMA maps of %zu BARs", count);
	for (fn = pci_next_device(pci->first); fn; fn = pci_next_device(fn->next))
		if (fn->ops->dma_map_many)
			map_all_to(fn, maps);
	free(maps);
	/* One at a time, for devices that cannot take many. */
	for (fn = pci_next_device(pci->first); fn; fn = pci_next_device(fn->next))
		for (unsigned i = 0; i < PCI_BARS; i++)
			if (fn->bar[i].fd >= 0)
				for_siblings(fn, &fn->bar[i], fn->bar[i].mapped, MAP_ONE);
	return 0;
}

int pci_dma_init(struct vmm_pci *pci, struct swo_error *err)
{
	struct vmm_pci_function *fn;

	for (fn = pci_next_device(pci->first); fn; fn = pci_next_device(fn->next))
		if (fn->ops->dma_map && map_ram(fn, err))
			return -1;
	pthread_mutex_lock(&pci->lock);
	int rc = map_siblings(pci, err);

	pthread_mutex_unlock(&pci->lock);
	return rc;
}
