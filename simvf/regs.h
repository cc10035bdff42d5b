/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * regs.h - the simulated VF as a guest driver sees it: PCI identity and registers.
 * Shared by the device model, the guest and the reference VMM's native workload.
 * Freestanding: needs only <stdint.h>-like types, defines only numbers.
 */
#ifndef SIMVF_REGS_H
#define SIMVF_REGS_H

#define SIMVF_PCI_VENDOR 0x1234 /* not assigned to any vendor */
#define SIMVF_PCI_DEVICE 0x5356 /* "SV" */
#define SIMVF_PCI_CLASS	 0xff0000

/*
 * BAR 0: registers and doorbells; trapped, never mapped. 32-bit little-endian unless
 * marked u64 (which may be accessed as one 8-byte or two 4-byte accesses, low half
 * first; the write takes effect with the high half).
 */
#define SIMVF_BAR_REGS	    0
#define SIMVF_BAR_REGS_SIZE 0x10000

#define SIMVF_REG_ID	  0x000	      /* ro: SIMVF_ID */
#define SIMVF_ID	  0x46564953u /* "SIVF" */
#define SIMVF_REG_VERSION 0x004	      /* ro: 1 */
#define SIMVF_REG_CONTROL 0x008
#define SIMVF_CONTROL_DMA 0x1u /* the DMA engine writes guest RAM */
#define SIMVF_CONTROL_P2P 0x2u /* the P2P engine writes a sibling's inbox */
#define SIMVF_CONTROL_IRQ 0x4u /* MSI-X interrupts are sent */
#define SIMVF_REG_IRQ_EVERY                                                                        \
	0x00c /* an interrupt on vector V at every Nth doorbell of vCPU V; 0: never */
#define SIMVF_REG_DMA_ADDR  0x010 /* u64: guest physical address of a ring of pages */
#define SIMVF_REG_DMA_PAGES 0x018 /* pages in that ring */
#define SIMVF_REG_DMA_RATE  0x01c /* pages a second */
#define SIMVF_REG_P2P_ADDR  0x020 /* u64: guest physical address of the sibling's inbox slot */
#define SIMVF_REG_P2P_RATE  0x028 /* writes a second */
#define SIMVF_REG_DOORBELLS 0x040 /* ro u64: doorbells received */
#define SIMVF_REG_LOST	    0x048 /* ro u64: sequence numbers that were skipped */
#define SIMVF_REG_REPEATED  0x050 /* ro u64: sequence numbers that were repeated */
#define SIMVF_REG_IRQS	    0x058 /* ro u64: interrupts sent */
#define SIMVF_REG_DMA_SEQ   0x060 /* ro u64: pages written by the DMA engine */
#define SIMVF_REG_P2P_SEQ   0x068 /* ro u64: writes done by the P2P engine */

/* One doorbell per vCPU: a u64 sequence number, 1, 2, 3, ... (0 is never rung). */
#define SIMVF_DOORBELL(vcpu) (0x1000 + 8 * (vcpu))
#define SIMVF_DOORBELLS	     64

/*
 * A page written by the DMA engine: 512 u64 words. Page number N (0, 1, 2, ... since the device
 * was created) is written to ring page N % DMA_PAGES and has SIMVF_DMA_WORD(seed, N, i) in word
 * i. Word 0 is N + 1, word 1 is the device's seed, the rest follow from both.
 */
#define SIMVF_DMA_WORD(seed, n, i)                                                                 \
	((((unsigned long long)(seed)) ^ ((unsigned long long)(n)*0x9e3779b97f4a7c15ull)) +        \
		(unsigned long long)(i)*0xbf58476d1ce4e5b9ull)

/* BAR 2: the inbox, one u64 sequence number per sender; mappable, also by siblings. */
#define SIMVF_BAR_INBOX	     2
#define SIMVF_BAR_INBOX_SIZE 0x1000
#define SIMVF_INBOX_SLOT(i)  (64 * (i)) /* one cache line per slot */
#define SIMVF_INBOX_SLOTS    64

/* BAR 4: MSI-X table and pending bits; trapped. */
#define SIMVF_BAR_MSIX	    4
#define SIMVF_BAR_MSIX_SIZE 0x1000
#define SIMVF_MSIX_TABLE    0x000
#define SIMVF_MSIX_PBA	    0x800
#define SIMVF_MSIX_VECTORS  16

#endif
