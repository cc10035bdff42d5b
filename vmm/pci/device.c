/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.c - reads a passthrough device's header, BARs, capabilities and regions once, checks
 * them, and sets up the emulated fields.
 */
#include "internal.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

/* Of a 32-bit BAR, and of a 64-bit one: several must fit into a guest's 46 bits beside its RAM. */
#define BAR_SIZE_MAX	  (UINT64_C(1) << 31)
#define WIDE_BAR_SIZE_MAX (UINT64_C(1) << 40)

/*
 * Cached, so that the guest reads it without a device access; the status is read from the
 * device.
 */
static int read_config(struct vmm_pci_function *fn, struct swo_error *err)
{
	struct swo_region_info info;

	if (fn->ops->region_info(fn->self, VFIO_PCI_CONFIG_REGION_INDEX, &info, err))
		return -1;
	if (info.size < PCI_HEADER_SIZE)
		return swo_error_set(err, SWO_E_DEVICE, 0,
			"device %s: configuration space of %llu bytes; not a PCI device", fn->id,
			(unsigned long long)info.size);
	const uint32_t size = info.size < PCI_CONFIG_SIZE ? (uint32_t)info.size : PCI_CONFIG_SIZE;

	if (fn->ops->region_read(fn->self, VFIO_PCI_CONFIG_REGION_INDEX, 0, fn->shadow, size, err))
		return -1;
	/* The kernel's mtty has 255 bytes: the last double word is not read from the device again. */
	memset(fn->ours + (size & ~3u), 0xff, PCI_CONFIG_SIZE - (size & ~3u));
	if (fn->shadow[PCI_HEADER_TYPE] & ~PCI_HEADER_MULTI)
		return swo_error_set(err, SWO_E_DEVICE, 0,
			"device %s: header type %u, expected 0: only endpoints can be "
			"passed through",
			fn->id, fn->shadow[PCI_HEADER_TYPE] & ~PCI_HEADER_MULTI & 0xff);
	return 0;
}

static uint64_t guest_size(uint64_t region_size)
{
	uint64_t size = SWO_PAGE_SIZE;

	while (size < region_size)
		size <<= 1;
	return size;
}

static void find_mappable(struct vmm_pci_function *fn, unsigned index, uint32_t flags)
{
	struct pci_bar *bar = &fn->bar[index];
	uint64_t offset, from, size;
	struct swo_error err;
	int fd;

	if (!(flags & VFIO_REGION_INFO_FLAG_MMAP) || !fn->ops->region_fd)
		return;
	if (fn->ops->region_fd(fn->self, index, &fd, &offset, &from, &size, &err)) {
		if (err.code != SWO_E_UNSUPPORTED)
			swo_log(SWO_LOG_WARN, "device %s: siblings cannot reach BAR %u: %s", fn->id,
				index, err.text);
		return;
	}
	if (fd < 0 || !size || from % SWO_PAGE_SIZE || size % SWO_PAGE_SIZE || from > bar->size ||
		size > bar->size - from) {
		swo_log(SWO_LOG_WARN, "device %s: BAR %u: ignoring its invalid mappable part",
			fn->id, index);
		return;
	}
	bar->fd = fd;
	bar->fd_offset = offset;
	bar->fd_from = from;
	bar->fd_size = size;
}

static int probe_bar(struct vmm_pci_function *fn, unsigned index, struct swo_error *err)
{
	struct pci_bar *bar = &fn->bar[index];
	uint32_t flags = pci_get(fn->shadow, PCI_BAR(index), 4);
	struct swo_region_info info;

	pci_put(fn->shadow, PCI_BAR(index), 0, 4);
	if (fn->ops->region_info(fn->self, index, &info, err))
		return -1;
	if (!info.size)
		return 0;
	if (flags & PCI_BAR_IO) {
		swo_log(SWO_LOG_WARN, "device %s: BAR %u is I/O space: hidden from the guest",
			fn->id, index);
		return 0;
	}
	bool wide = (flags & PCI_BAR_TYPE) == PCI_BAR_64;
	uint64_t most = wide ? WIDE_BAR_SIZE_MAX : BAR_SIZE_MAX;

	if (info.size > most)
		return swo_error_set(err, SWO_E_DEVICE, 0,
			"device %s: BAR %u of %llu bytes, at most %llu supported", fn->id, index,
			(unsigned long long)info.size, (unsigned long long)most);
	if (wide) {
		if (index + 1 == PCI_BARS)
			return swo_error_set(err, SWO_E_DEVICE, 0,
				"device %s: BAR %u is 64-bit, without a BAR for its high half",
				fn->id, index);
		bar->wide = true;
	}
	bar->region_size = info.size;
	bar->size = guest_size(info.size);
	pci_put(fn->shadow, PCI_BAR(index), flags & PCI_BAR_FLAGS, 4);
	pci_put(fn->wmask, PCI_BAR(index), (uint32_t) ~(bar->size - 1), 4);
	if (bar->wide)
		pci_put(fn->wmask, PCI_BAR(index + 1), (uint32_t)(~(bar->size - 1) >> 32), 4);
	find_mappable(fn, index, info.flags);
	return 0;
}

static int probe_msix(struct vmm_pci_function *fn, uint8_t cap, struct swo_error *err)
{
	struct pci_msix *msix = &fn->msix;
	uint32_t table = pci_get(fn->shadow, cap + PCI_MSIX_TABLE, 4);
	uint32_t pba = pci_get(fn->shadow, cap + PCI_MSIX_PBA, 4);
	unsigned count = (pci_get(fn->shadow, cap + PCI_MSIX_FLAGS, 2) & PCI_MSIX_COUNT) + 1;
	struct swo_irq_info irq;

	if (fn->ops->irq_info(fn->self, VFIO_PCI_MSIX_IRQ_INDEX, &irq, err))
		return -1;
	msix->table_bar = table & PCI_MSIX_BIR;
	msix->pba_bar = pba & PCI_MSIX_BIR;
	msix->table_at = table & ~(uint32_t)PCI_MSIX_BIR;
	msix->pba_at = pba & ~(uint32_t)PCI_MSIX_BIR;
	if (msix->table_bar >= PCI_BARS || msix->pba_bar >= PCI_BARS || irq.count < count ||
		msix->table_at + (uint64_t)count * PCI_MSIX_ENTRY >
			fn->bar[msix->table_bar].region_size ||
		msix->pba_at + (count + 63) / 64 * UINT64_C(8) > fn->bar[msix->pba_bar].region_size)
		return swo_error_set(err, SWO_E_DEVICE, 0,
			"device %s: its MSI-X capability (%u vectors, table in BAR %u at 0x%x) "
			"does "
			"not fit its BARs and its %u interrupts",
			fn->id, count, msix->table_bar, msix->table_at, irq.count);
	msix->cap = cap;
	msix->count = count;
	memset(fn->ours + cap, 0xff, PCI_MSIX_CAP_LEN);
	pci_put(fn->shadow, cap + PCI_MSIX_FLAGS, count - 1, 2);
	pci_put(fn->wmask, cap + PCI_MSIX_FLAGS, PCI_MSIX_ENABLE | PCI_MSIX_MASKALL, 2);
	return 0;
}

/* MSI-X, where there is both. */
static int interrupt_cap(struct vmm_pci_function *fn, uint8_t *out, struct swo_error *err)
{
	struct swo_irq_info msix, msi;

	if (fn->ops->irq_info(fn->self, VFIO_PCI_MSIX_IRQ_INDEX, &msix, err) ||
		fn->ops->irq_info(fn->self, VFIO_PCI_MSI_IRQ_INDEX, &msi, err))
		return -1;
	*out = !msix.count && msi.count ? PCI_CAP_ID_MSI : PCI_CAP_ID_MSIX;
	return 0;
}

/*
 * Keeps the list of capabilities except MSI, unless the device has no MSI-X. IDs and links
 * come from the VMM, the bytes after them from the device, except for MSI-X and MSI.
 */
static int probe_caps(struct vmm_pci_function *fn, struct swo_error *err)
{
	unsigned link = PCI_CAP_POINTER, at = fn->shadow[PCI_CAP_POINTER] & 0xfc;
	uint8_t seen[PCI_CONFIG_SIZE] = {0}, interrupts;

	if (interrupt_cap(fn, &interrupts, err))
		return -1;
	fn->shadow[PCI_CAP_POINTER] = 0;
	if (!(pci_get(fn->shadow, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return 0;
	while (at) {
		uint8_t id = fn->shadow[at];
		unsigned next = fn->shadow[at + 1] & 0xfc;

		if (at < PCI_HEADER_SIZE || seen[at] ||
			(id == interrupts &&
				(fn->msix.count || at > PCI_CONFIG_SIZE - PCI_MSIX_CAP_LEN)))
			return swo_error_set(err, SWO_E_DEVICE, 0,
				"device %s: malformed list of capabilities at 0x%x", fn->id, at);
		seen[at] = 1;
		if (id == PCI_CAP_ID_MSIX && probe_msix(fn, (uint8_t)at, err))
			return -1;
		if (id == PCI_CAP_ID_MSI && id == interrupts && pci_msi_probe(fn, (uint8_t)at, err))
			return -1;
		if (id != PCI_CAP_ID_MSI || id == interrupts) {
			fn->shadow[link] = (uint8_t)at;
			link = at + 1;
			fn->shadow[link] = 0;
			fn->ours[at] = fn->ours[link] = 0xff;
		}
		at = next;
	}
	return 0;
}

int pci_device_probe(struct vmm_pci_function *fn, struct swo_error *err)
{
	if (!fn->ops->region_info || !fn->ops->region_read || !fn->ops->region_write ||
		!fn->ops->irq_info || !fn->ops->set_irqs)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: backend '%s' has no regions or interrupts", fn->id,
			fn->ops->name);
	if (read_config(fn, err))
		return -1;
	memset(fn->ours, 0xff, PCI_HEADER_SIZE);
	pci_put(fn->ours, PCI_STATUS, 0, 2);
	pci_put(fn->shadow, PCI_COMMAND, 0, 2);
	pci_put(fn->wmask, PCI_COMMAND, PCI_COMMAND_BITS, 2);
	fn->shadow[PCI_HEADER_TYPE] = 0;
	fn->shadow[PCI_INT_PIN] = 0; /* there is no INTx */
	pci_put(fn->shadow, PCI_ROM, 0, 4);
	fn->wmask[PCI_CACHE_LINE] = fn->wmask[PCI_LATENCY] = fn->wmask[PCI_INT_LINE] = 0xff;
	for (unsigned bar = 0; bar < PCI_BARS; bar++) {
		if (probe_bar(fn, bar, err))
			return -1;
		if (fn->bar[bar].wide)
			pci_put(fn->shadow, PCI_BAR(++bar), 0, 4);
	}
	if (probe_caps(fn, err))
		return -1;
	pci_map_init(fn);
	return pci_msix_init(fn, err);
}

int pci_config_push(struct vmm_pci_function *fn, unsigned at, unsigned len, struct swo_error *err)
{
	return fn->ops->region_write(
		fn->self, VFIO_PCI_CONFIG_REGION_INDEX, at, fn->shadow + at, len, false, err);
}

void pci_complain(struct vmm_pci_function *fn, const struct swo_error *err)
{
	if (!atomic_exchange(&fn->complained, true))
		swo_log(SWO_LOG_WARN, "device %s: accesses of the guest fail: %s", fn->id,
			err->text);
}
