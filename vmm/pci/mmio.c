/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mmio.c - from a guest address to a device's BAR. vCPUs ring doorbells very often and BARs
 * rarely move: readers take no lock.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct found {
	struct vmm_pci_function *fn;
	unsigned bar;
	uint64_t at;
};

int pci_windows_init(struct vmm_pci *pci, struct swo_error *err)
{
	for (struct vmm_pci_function *fn = pci->first; fn; fn = fn->next)
		for (unsigned bar = 0; bar < PCI_BARS; bar++)
			pci->window_room += fn->bar[bar].size != 0;
	pci->windows = calloc(pci->window_room + 1, sizeof(*pci->windows));
	if (!pci->windows)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "PCI: MMIO windows");
	return 0;
}

struct range {
	uint64_t start, end;
	struct vmm_pci_function *fn;
	unsigned bar;
};

static int compare_ranges(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static unsigned collect(struct vmm_pci *pci, struct range *ranges)
{
	unsigned count = 0, kept = 0;

	for (struct vmm_pci_function *fn = pci->first; fn; fn = fn->next)
		for (unsigned i = 0; i < PCI_BARS; i++) {
			struct pci_bar *bar = &fn->bar[i];

			bar->answers = false;
			if (bar->size && bar->decoded != BAR_NOWHERE)
				ranges[count++] = (struct range){
					bar->decoded, bar->decoded + bar->size, fn, i};
		}
	qsort(ranges, count, sizeof(*ranges), compare_ranges);
	/* Where two BARs overlap, the lower one is accessed. */
	for (unsigned i = 0; i < count; i++)
		if (!kept || ranges[i].start >= ranges[kept - 1].end) {
			ranges[i].fn->bar[ranges[i].bar].answers = true;
			ranges[kept++] = ranges[i];
		}
	return kept;
}

/*
 * A sequence lock. The stores between the odd and the even number are releases, the readers'
 * loads acquires: a reader that reads any of the new values reads the odd number too.
 */
void pci_windows_update(struct vmm_pci *pci)
{
	struct range *ranges = calloc(pci->window_room + 1, sizeof(*ranges));
	unsigned seq = atomic_load_explicit(&pci->windows_seq, memory_order_relaxed);

	if (!ranges) {
		swo_log(SWO_LOG_ERROR, "PCI: out of memory to move a BAR; it stays where it was");
		return;
	}
	unsigned count = collect(pci, ranges);

	atomic_store_explicit(&pci->windows_seq, seq + 1, memory_order_relaxed);
	for (unsigned i = 0; i < count; i++) {
		struct pci_window *window = &pci->windows[i];

		atomic_store_explicit(&window->start, ranges[i].start, memory_order_release);
		atomic_store_explicit(&window->end, ranges[i].end, memory_order_release);
		atomic_store_explicit(&window->fn, ranges[i].fn, memory_order_release);
		atomic_store_explicit(&window->bar, ranges[i].bar, memory_order_release);
	}
	atomic_store_explicit(&pci->window_count, count, memory_order_release);
	atomic_store_explicit(&pci->windows_seq, seq + 2, memory_order_release);
	free(ranges);
}

static bool look(struct vmm_pci *pci, uint64_t gpa, struct found *found)
{
	unsigned low = 0;
	unsigned high = atomic_load_explicit(&pci->window_count, memory_order_acquire);

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		struct pci_window *window = &pci->windows[middle];
		uint64_t start = atomic_load_explicit(&window->start, memory_order_acquire);

		if (gpa < start) {
			high = middle;
		} else if (gpa >= atomic_load_explicit(&window->end, memory_order_acquire)) {
			low = middle + 1;
		} else {
			found->fn = atomic_load_explicit(&window->fn, memory_order_acquire);
			found->bar = atomic_load_explicit(&window->bar, memory_order_acquire);
			found->at = gpa - start;
			return true;
		}
	}
	return false;
}

static bool find(struct vmm_pci *pci, uint64_t gpa, unsigned len, struct found *found)
{
	for (;;) {
		unsigned seq = atomic_load_explicit(&pci->windows_seq, memory_order_acquire);
		bool hit = !(seq & 1) && look(pci, gpa, found);

		if (seq & 1 || atomic_load_explicit(&pci->windows_seq, memory_order_relaxed) != seq)
			continue;
		/* The BAR may be larger than the device's region. */
		return hit && found->at + len <= found->fn->bar[found->bar].region_size;
	}
}

void vmm_pci_mmio_read(void *opaque, uint64_t gpa, void *data, unsigned len)
{
	struct found f;
	struct swo_error err;

	memset(data, 0xff, len);
	if (!find(opaque, gpa, len, &f) || atomic_load(&f.fn->released) ||
		pci_msix_read(f.fn, f.bar, f.at, data, len) ||
		pci_map_read(&f.fn->bar[f.bar], f.at, data, len))
		return;
	if (f.fn->ops->region_read(f.fn->self, f.bar, f.at, data, len, &err)) {
		pci_complain(f.fn, &err);
		memset(data, 0xff, len);
	}
}

void vmm_pci_mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned len)
{
	struct found f;
	struct swo_error err;

	if (!find(opaque, gpa, len, &f) || atomic_load(&f.fn->released) ||
		pci_msix_write(f.fn, f.bar, f.at, data, len) ||
		pci_map_write(&f.fn->bar[f.bar], f.at, data, len))
		return;
	if (f.fn->ops->region_write(f.fn->self, f.bar, f.at, data, len, true, &err))
		pci_complain(f.fn, &err);
}
