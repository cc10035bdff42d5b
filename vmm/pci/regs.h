/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regs.h - offsets and bits of PCI configuration space, of MSI-X, and the
 * indices by which VFIO numbers a PCI device's regions and interrupts.
 *
 * Sources: PCI Local Bus 3.0, PCI-to-PCI Bridge 1.2, linux/pci_regs.h, linux/vfio.h.
 */
#ifndef VMM_PCI_REGS_H
#define VMM_PCI_REGS_H

#define PCI_CONFIG_SIZE	   256
#define PCI_HEADER_SIZE	   0x40
#define PCI_BARS	   6
#define PCI_SLOTS	   32
#define PCI_FUNCTIONS	   8
#define PCI_BUSES	   256
#define PCI_MSIX_VECTORS   2048 /* the maximum in the capability */
#define PCI_CONFIG_ADDRESS 0xcf8
#define PCI_CONFIG_DATA	   0xcfc

#define PCI_VENDOR_ID	    0x00
#define PCI_DEVICE_ID	    0x02
#define PCI_COMMAND	    0x04
#define PCI_COMMAND_MEMORY  0x0002
#define PCI_COMMAND_BITS    0x0547 /* I/O, memory, master, parity, SERR#, INTx off */
#define PCI_STATUS	    0x06
#define PCI_STATUS_CAP_LIST 0x0010
#define PCI_REVISION	    0x08
#define PCI_CLASS	    0x0a /* base class in the high byte */
#define PCI_CACHE_LINE	    0x0c
#define PCI_LATENCY	    0x0d
#define PCI_HEADER_TYPE	    0x0e
#define PCI_HEADER_BRIDGE   0x01
#define PCI_HEADER_MULTI    0x80
#define PCI_BAR(n)	    (0x10 + 4 * (n))
#define PCI_BAR_IO	    0x1
#define PCI_BAR_TYPE	    0x6
#define PCI_BAR_64	    0x4
#define PCI_BAR_FLAGS	    0xf /* of a memory BAR */
#define PCI_SUBSYSTEM	    0x2c
#define PCI_ROM		    0x30
#define PCI_CAP_POINTER	    0x34
#define PCI_INT_LINE	    0x3c
#define PCI_INT_PIN	    0x3d

/* Header type 1. */
#define PCI_BUS_PRIMARY		0x18
#define PCI_BUS_SECONDARY	0x19
#define PCI_BUS_SUBORDINATE	0x1a
#define PCI_MEMORY_BASE		0x20
#define PCI_MEMORY_LIMIT	0x22
#define PCI_PREFETCH_BASE	0x24
#define PCI_PREFETCH_LIMIT	0x26
#define PCI_PREFETCH_64		0x1 /* it has the high halves */
#define PCI_PREFETCH_BASE_HIGH	0x28
#define PCI_PREFETCH_LIMIT_HIGH 0x2c
#define PCI_BRIDGE_CONTROL	0x3e

#define PCI_CAP_ID_MSI	0x05
#define PCI_CAP_ID_MSIX 0x11
/* MSI: its data and mask are 4 bytes further on with a 64-bit address. */
#define PCI_MSI_FLAGS	 2
#define PCI_MSI_ENABLE	 0x0001
#define PCI_MSI_CAPABLE	 0x000e /* log2 of the vectors it has */
#define PCI_MSI_ALLOWED	 0x0070 /* log2 of those that it may use */
#define PCI_MSI_64	 0x0080
#define PCI_MSI_MASKABLE 0x0100
#define PCI_MSI_ADDRESS	 4
#define PCI_MSI_DATA	 8
#define PCI_MSI_MASK	 12
#define PCI_MSI_PENDING	 16
#define PCI_MSI_VECTORS	 32
#define PCI_MSIX_FLAGS	 2
#define PCI_MSIX_COUNT	 0x07ff
#define PCI_MSIX_MASKALL 0x4000
#define PCI_MSIX_ENABLE	 0x8000
#define PCI_MSIX_TABLE	 4
#define PCI_MSIX_PBA	 8
#define PCI_MSIX_BIR	 0x7
#define PCI_MSIX_CAP_LEN 12
#define PCI_MSIX_ENTRY	 16 /* bytes, of four double words: */
#define PCI_MSIX_LOW	 0
#define PCI_MSIX_HIGH	 1
#define PCI_MSIX_DATA	 2
#define PCI_MSIX_CONTROL 3
#define PCI_MSIX_MASKED	 0x1

#endif
