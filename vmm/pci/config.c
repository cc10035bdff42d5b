/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.c - accesses to a function's configuration space: emulated fields come from the
 * shadow, the others from the device.
 */
#include "internal.h"

#include <linux/vfio.h>
#include <string.h>

static bool is_ours(const struct vmm_pci_function *fn, unsigned at, unsigned len)
{
	for (unsigned i = at; i < at + len; i++)
		if (!fn->ours[i])
			return false;
	return true;
}

static bool has_siblings(const struct vmm_pci_function *fn)
{
	const struct pci_bus *bus = fn->port ? &fn->port->behind : &fn->pci->root;

	for (unsigned function = 1; function < PCI_FUNCTIONS; function++)
		if (bus->at[fn->slot][function])
			return true;
	return false;
}

uint32_t pci_config_read(struct vmm_pci_function *fn, unsigned at, unsigned len)
{
	uint8_t bytes[4];
	struct swo_error err;

	memset(bytes, 0xff, sizeof(bytes));
	if (!is_ours(fn, at, len) && fn->ops->region_read(fn->self, VFIO_PCI_CONFIG_REGION_INDEX,
					     at, bytes, len, &err)) {
		pci_complain(fn, &err);
		memset(bytes, 0xff, sizeof(bytes));
	}
	pthread_mutex_lock(&fn->lock);
	pci_msi_before_read(fn, at, len);
	for (unsigned i = 0; i < len; i++)
		if (fn->ours[at + i])
			bytes[i] = fn->shadow[at + i];
	pthread_mutex_unlock(&fn->lock);
	if (at <= PCI_HEADER_TYPE && at + len > PCI_HEADER_TYPE && has_siblings(fn))
		bytes[PCI_HEADER_TYPE - at] |= PCI_HEADER_MULTI;
	return pci_get(bytes, 0, len);
}

/* Applies a write to the shadow; `bytes` is then what is written to the device. */
static bool take_over(
	struct vmm_pci_function *fn, unsigned at, uint8_t *bytes, unsigned len, bool *tell)
{
	bool changed = false;

	*tell = false;
	for (unsigned i = 0; i < len; i++) {
		unsigned byte = at + i;

		if (!fn->ours[byte] || fn->wmask[byte])
			*tell = true;
		if (!fn->ours[byte])
			continue;
		uint8_t now = (uint8_t)((fn->shadow[byte] & ~fn->wmask[byte]) |
					(bytes[i] & fn->wmask[byte]));

		changed |= now != fn->shadow[byte];
		fn->shadow[byte] = bytes[i] = now;
	}
	return changed;
}

static bool touches(unsigned at, unsigned len, unsigned what, unsigned size)
{
	return at < what + size && what < at + len;
}

void pci_config_write(struct vmm_pci_function *fn, unsigned at, uint32_t value, unsigned len)
{
	uint8_t bytes[4];
	struct swo_error err;
	bool tell;

	pci_put(bytes, 0, value, len);
	pthread_mutex_lock(&fn->lock);
	bool changed = take_over(fn, at, bytes, len, &tell);

	if (fn->kind == PCI_KIND_DEVICE) {
		if (tell && !pci_msi_has(fn, at, len) &&
			fn->ops->region_write(fn->self, VFIO_PCI_CONFIG_REGION_INDEX, at, bytes,
				len, false, &err))
			pci_complain(fn, &err);
		if (changed && (touches(at, len, PCI_COMMAND, 2) ||
				       touches(at, len, PCI_BAR(0), 4 * PCI_BARS)))
			pci_bars_changed(fn);
		if (changed && fn->msix.count && !fn->msix.is_msi &&
			touches(at, len, fn->msix.cap + PCI_MSIX_FLAGS, 2))
			pci_msix_update(fn);
		if (changed)
			pci_msi_written(fn, at, len);
	}
	pthread_mutex_unlock(&fn->lock);
}
