/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * msi.c - the MSI capability (PCI Local Bus 3.0, 6.8.1) of a device that has no MSI-X: its address,
 * data and mask become entries of the table in msix.c, one for each vector.
 */
#include "internal.h"

#include <linux/vfio.h>
#include <string.h>

static unsigned flags(const struct vmm_pci_function *fn)
{
	return pci_get(fn->shadow, fn->msix.cap + PCI_MSI_FLAGS, 2);
}

/* Data, mask or pending bits. */
static unsigned field(const struct vmm_pci_function *fn, unsigned offset)
{
	return fn->msix.cap + offset + (flags(fn) & PCI_MSI_64 ? 4 : 0);
}

static unsigned cap_length(unsigned msi_flags)
{
	unsigned len = msi_flags & PCI_MSI_MASKABLE ? PCI_MSI_PENDING + 4 : PCI_MSI_DATA + 2;

	return msi_flags & PCI_MSI_64 ? len + 4 : len;
}

int pci_msi_probe(struct vmm_pci_function *fn, uint8_t cap, struct swo_error *err)
{
	unsigned given = pci_get(fn->shadow, cap + PCI_MSI_FLAGS, 2);
	unsigned count = 1u << (given & PCI_MSI_CAPABLE) / 2, len = cap_length(given);
	struct swo_irq_info irq;

	if (fn->ops->irq_info(fn->self, VFIO_PCI_MSI_IRQ_INDEX, &irq, err))
		return -1;
	if (count > PCI_MSI_VECTORS || irq.count < count || cap + len > PCI_CONFIG_SIZE)
		return swo_error_set(err, SWO_E_DEVICE, 0,
			"device %s: its MSI capability at 0x%x (%u vectors, %u bytes) does not fit its "
			"configuration space and its %u interrupts",
			fn->id, cap, count, len, irq.count);
	fn->msix.is_msi = true;
	fn->msix.cap = cap;
	fn->msix.count = count;
	memset(fn->ours + cap, 0xff, len);
	memset(fn->shadow + cap + PCI_MSI_FLAGS, 0, len - PCI_MSI_FLAGS);
	pci_put(fn->shadow, cap + PCI_MSI_FLAGS,
		given & (PCI_MSI_CAPABLE | PCI_MSI_64 | PCI_MSI_MASKABLE), 2);
	pci_put(fn->wmask, cap + PCI_MSI_FLAGS, PCI_MSI_ENABLE | PCI_MSI_ALLOWED, 2);
	pci_put(fn->wmask, cap + PCI_MSI_ADDRESS, 0xfffffffc, 4);
	if (given & PCI_MSI_64)
		pci_put(fn->wmask, cap + PCI_MSI_ADDRESS + 4, 0xffffffff, 4);
	pci_put(fn->wmask, field(fn, PCI_MSI_DATA), 0xffff, 2);
	if (given & PCI_MSI_MASKABLE)
		pci_put(fn->wmask, field(fn, PCI_MSI_MASK), (uint32_t)((UINT64_C(1) << count) - 1),
			4);
	return 0;
}

unsigned pci_msi_enabled(const struct vmm_pci_function *fn)
{
	unsigned allowed = 1u << (flags(fn) & PCI_MSI_ALLOWED) / 16;

	if (!(flags(fn) & PCI_MSI_ENABLE))
		return 0;
	return allowed < fn->msix.count ? allowed : fn->msix.count;
}

/* A device changes the lowest bits of the data to the number of the vector. */
static void fill_table(struct vmm_pci_function *fn)
{
	const bool wide = flags(fn) & PCI_MSI_64;
	unsigned allowed = 1u << (flags(fn) & PCI_MSI_ALLOWED) / 16;
	uint32_t data = pci_get(fn->shadow, field(fn, PCI_MSI_DATA), 2);
	uint32_t masks =
		flags(fn) & PCI_MSI_MASKABLE ? pci_get(fn->shadow, field(fn, PCI_MSI_MASK), 4) : 0;

	for (unsigned v = 0; v < fn->msix.count; v++) {
		uint32_t *entry = &fn->msix.table[4 * v];

		entry[PCI_MSIX_LOW] = pci_get(fn->shadow, fn->msix.cap + PCI_MSI_ADDRESS, 4);
		entry[PCI_MSIX_HIGH] =
			wide ? pci_get(fn->shadow, fn->msix.cap + PCI_MSI_ADDRESS + 4, 4) : 0;
		entry[PCI_MSIX_DATA] = v && v < allowed ? (data & ~(allowed - 1)) | v : data;
		entry[PCI_MSIX_CONTROL] = masks >> v & 1;
	}
}

bool pci_msi_has(const struct vmm_pci_function *fn, unsigned at, unsigned len)
{
	return fn->msix.is_msi && at < fn->msix.cap + cap_length(flags(fn)) &&
	       fn->msix.cap < at + len;
}

void pci_msi_written(struct vmm_pci_function *fn, unsigned at, unsigned len)
{
	if (!pci_msi_has(fn, at, len))
		return;
	fill_table(fn);
	pci_msix_update(fn);
}

void pci_msi_before_read(struct vmm_pci_function *fn, unsigned at, unsigned len)
{
	uint64_t bits;

	if (!pci_msi_has(fn, at, len) || !(flags(fn) & PCI_MSI_MASKABLE))
		return;
	pci_msix_pending(fn, &bits);
	pci_put(fn->shadow, field(fn, PCI_MSI_PENDING), (uint32_t)bits, 4);
}

void pci_msi_loaded(struct vmm_pci_function *fn)
{
	const uint32_t *first = fn->msix.table;
	uint32_t masks = 0;

	for (unsigned v = 0; v < fn->msix.count; v++)
		masks |= (uint32_t)pci_msix_is_masked(fn, v) << v;
	pci_put(fn->shadow, fn->msix.cap + PCI_MSI_ADDRESS, first[PCI_MSIX_LOW], 4);
	if (flags(fn) & PCI_MSI_64)
		pci_put(fn->shadow, fn->msix.cap + PCI_MSI_ADDRESS + 4, first[PCI_MSIX_HIGH], 4);
	pci_put(fn->shadow, field(fn, PCI_MSI_DATA), first[PCI_MSIX_DATA], 2);
	if (flags(fn) & PCI_MSI_MASKABLE)
		pci_put(fn->shadow, field(fn, PCI_MSI_MASK), masks, 4);
	fill_table(fn);
}
