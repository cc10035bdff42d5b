/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * config.c - PCI configuration space: an endpoint with three BARs and MSI-X. The VMM saves and
 * restores it; restoring PCI_COMMAND takes the time set in the profile.
 */
#include "internal.h"

/* linux/pci_regs.h */
#define PCI_COMMAND	0x04
#define PCI_STATUS	0x06
#define PCI_CLASS_REV	0x08
#define PCI_BAR(n)	(0x10 + 4 * (n))
#define PCI_SUBSYSTEM	0x2c
#define PCI_CAPS	0x34
#define PCI_MSIX	0x40
#define PCI_MSIX_FLAGS	(PCI_MSIX + 2)
#define COMMAND_BITS	0x0547 /* IO, memory, master, parity, SERR#, INTx off */
#define STATUS_CAPS	0x0010
#define MSIX_FLAGS_BITS 0xc000 /* enable, mask all */

static void put(struct svf *dev, unsigned at, uint32_t value, unsigned len)
{
	svf_copy(dev->pci + at, &value, len);
}

static uint32_t bar_size(unsigned bar)
{
	return bar < 6 ? (uint32_t)svf_region_size(bar) : 0;
}

uint64_t svf_region_size(unsigned region)
{
	switch (region) {
	case SIMVF_BAR_REGS:
		return SIMVF_BAR_REGS_SIZE;
	case SIMVF_BAR_INBOX:
		return SIMVF_BAR_INBOX_SIZE;
	case SIMVF_BAR_MSIX:
		return SIMVF_BAR_MSIX_SIZE;
	case SVF_REGION_CONFIG:
		return SVF_CONFIG_SIZE;
	default:
		return 0;
	}
}

void svf_pci_reset(struct svf *dev)
{
	svf_zero(dev->pci, sizeof(dev->pci));
	svf_zero(dev->msix, sizeof(dev->msix));
	for (unsigned vector = 0; vector < SIMVF_MSIX_VECTORS; vector++)
		dev->msix[SIMVF_MSIX_TABLE / 4 + vector * 4 + 3] = 1; /* masked */
	put(dev, 0, SIMVF_PCI_VENDOR | SIMVF_PCI_DEVICE << 16, 4);
	put(dev, PCI_STATUS, STATUS_CAPS, 2);
	put(dev, PCI_CLASS_REV, (uint32_t)SIMVF_PCI_CLASS << 8 | 1, 4);
	put(dev, PCI_SUBSYSTEM, SIMVF_PCI_VENDOR | SIMVF_PCI_DEVICE << 16, 4);
	put(dev, PCI_CAPS, PCI_MSIX, 1);
	put(dev, PCI_MSIX, 0x11, 1);
	put(dev, PCI_MSIX_FLAGS, SIMVF_MSIX_VECTORS - 1, 2);
	put(dev, PCI_MSIX + 4, SIMVF_MSIX_TABLE | SIMVF_BAR_MSIX, 4);
	put(dev, PCI_MSIX + 8, SIMVF_MSIX_PBA | SIMVF_BAR_MSIX, 4);
	dev->restoring = false;
	dev->command_seen = false;
}

/* The bits of a byte that a write changes. */
static uint8_t writable(unsigned at)
{
	if (at >= PCI_COMMAND && at < PCI_COMMAND + 2)
		return (uint8_t)(COMMAND_BITS >> 8 * (at - PCI_COMMAND));
	if (at >= PCI_BAR(0) && at < PCI_BAR(6)) {
		unsigned bar = (at - PCI_BAR(0)) / 4;
		uint32_t bits = bar_size(bar) ? ~(bar_size(bar) - 1) : 0;

		return (uint8_t)(bits >> 8 * (at % 4));
	}
	if (at >= PCI_MSIX_FLAGS && at < PCI_MSIX_FLAGS + 2)
		return (uint8_t)(MSIX_FLAGS_BITS >> 8 * (at - PCI_MSIX_FLAGS));
	if (at == 0x0c || at == 0x0d || at == 0x3c) /* cache line, latency, interrupt line */
		return 0xff;
	return 0;
}

uint64_t svf_pci_write(
	struct svf *dev, uint64_t offset, const uint8_t *data, size_t len, uint64_t now)
{
	uint16_t command;

	for (size_t i = 0; i < len; i++) {
		uint8_t bits = writable((unsigned)(offset + i));
		uint8_t *byte = &dev->pci[offset + i];

		*byte = (uint8_t)((*byte & ~bits) | (data[i] & bits));
	}
	if (!dev->restoring || offset >= PCI_COMMAND + 2 || offset + len <= PCI_COMMAND)
		return now;
	svf_copy(&command, dev->pci + PCI_COMMAND, 2);
	if (dev->command_seen && command == dev->command_restored)
		return now;
	dev->command_seen = true;
	dev->command_restored = command;
	return now + dev->config.profile.config_load_ns;
}
