/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * abi.h - the ABI between the guest and the VMM: the layout of the first RAM region, the boot
 * page (VMM to guest), and the status that the guest keeps in RAM, so that it migrates.
 * Freestanding. All numbers little-endian, all times microseconds.
 *
 * The guest sees the first 4 GiB, identity-mapped. RAM starts at 0 in one region of at least
 * GUEST_RAM_MIN bytes; BARs and bus numbers are assigned before it runs.
 */
#ifndef GUEST_ABI_H
#define GUEST_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_VCPUS_MAX	  64
#define GUEST_DEVICES_MAX 128
#define GUEST_PAGE	  4096u

#define GUEST_BOOT_GPA	  0x1000u  /* struct guest_boot */
#define GUEST_STATUS_GPA  0x2000u  /* struct guest_status */
#define GUEST_VCPU_GPA	  0x4000u  /* struct guest_vcpu [GUEST_VCPUS_MAX] */
#define GUEST_DEVICE_GPA  0x8000u  /* struct guest_device [GUEST_DEVICES_MAX] */
#define GUEST_TABLES_GPA  0x10000u /* page tables: PML4, PDPT, 4 page directories */
#define GUEST_IMAGE_GPA	  0x100000u
#define GUEST_IMAGE_MAX	  0x80000u
#define GUEST_STACKS_GPA  0x200000u /* one page per vCPU */
#define GUEST_HEAP_GPA	  0x400000u /* versions, working set, DMA rings: see guest_boot */
#define GUEST_RAM_MIN	  0x800000u
#define GUEST_ADDRESS_END 0x100000000ull

#define GUEST_BOOT_MAGIC  0x31544f4f42574f53ull /* "SOWBOOT1" */
#define GUEST_ABI_VERSION 2u

struct guest_boot {
	uint64_t magic;
	uint32_t version;
	uint32_t vcpus;
	uint32_t period_us; /* of the tick */
	uint32_t turns;	    /* ticks per round of doorbells: each rings a share */
	uint32_t spare;
	uint32_t dirty_pages_per_s; /* of each vCPU */
	uint32_t dma_pages;	    /* requested ring size of each device */
	uint32_t dma_rate;
	uint32_t p2p_rate;
	uint32_t irq_every;
	uint64_t versions_gpa; /* u64 [work_pages]: the version of each page */
	uint64_t work_gpa;
	uint64_t work_pages;
	uint64_t dma_gpa; /* divided among the devices */
	uint64_t dma_room_pages;
};

enum guest_error {
	GUEST_OK,
	GUEST_E_BOOT_PAGE,	  /* magic or version of the boot page */
	GUEST_E_EXCEPTION,	  /* detail: vector; address: rip */
	GUEST_E_TOO_MANY_DEVICES, /* detail: the maximum */
	GUEST_E_BAD_DEVICE,	  /* detail: bus/device/function; its registers are not a VF's */
	GUEST_E_NO_MSIX,	  /* detail: bus/device/function */
	GUEST_E_RAM,		  /* native: an address in the tables is not RAM; address: which */
};

struct guest_status {
	uint32_t configured; /* 1 once vCPU 0 has set up the devices */
	uint32_t devices;
	uint32_t error; /* enum guest_error: the first one */
	uint32_t detail;
	uint64_t address;
};

/*
 * Written by its vCPU only, except irqs by its interrupt handler; first to most by the VMM at
 * boot, so that the guest need not divide in each tick.
 */
struct guest_vcpu {
	uint64_t rounds; /* rounds started; also the sequence number written to each doorbell */
	uint64_t doorbells;
	uint64_t pages_dirtied;
	uint64_t ram_mismatches;
	uint64_t irqs;
	uint64_t pending;      /* ticks due */
	uint64_t cursor;       /* next page of its share to rewrite */
	uint64_t credit;       /* rewrite budget, in millionths of a page */
	uint64_t busy_page;    /* 1 + the page being rewritten now; 0: none */
	uint64_t busy_version; /* the version that page will have */
	uint64_t first;	       /* its share of the working set: pages [first, end) */
	uint64_t end;
	uint64_t earned;       /* credit per tick */
	uint64_t most;	       /* maximum credit */
	uint64_t inbox_cursor; /* the device whose inbox is checked next; vCPU 0 only */
	uint64_t inbox_looks;
	uint64_t inbox_setbacks; /* a number was lower than at the last check */
	uint64_t turn;		 /* in the round: the next devices are turn, turn + turns, ... */
	uint64_t spare[14];
};
#define GUEST_VCPU_IRQS	   32
#define GUEST_VCPU_PENDING 40

struct guest_device {
	uint64_t regs; /* guest physical addresses of its BARs */
	uint64_t inbox;
	uint64_t msix;
	uint32_t bdf;	   /* bus << 8 | device << 3 | function */
	uint32_t msix_cap; /* offset in config space */
	uint32_t vectors;  /* in its MSI-X table */
	uint32_t seen;	   /* the last number that its neighbour wrote into its inbox */
	uint32_t spare[6];
};

static_assert(sizeof(struct guest_boot) == 88, "guest ABI");
static_assert(sizeof(struct guest_status) == 24, "guest ABI");
static_assert(sizeof(struct guest_vcpu) == 256, "guest ABI");
static_assert(offsetof(struct guest_vcpu, irqs) == GUEST_VCPU_IRQS, "guest ABI");
static_assert(offsetof(struct guest_vcpu, pending) == GUEST_VCPU_PENDING, "guest ABI");
static_assert(sizeof(struct guest_device) == 64, "guest ABI");
static_assert(GUEST_VCPU_GPA + GUEST_VCPUS_MAX * sizeof(struct guest_vcpu) <= GUEST_DEVICE_GPA,
	"guest layout");
static_assert(
	GUEST_DEVICE_GPA + GUEST_DEVICES_MAX * sizeof(struct guest_device) <= GUEST_TABLES_GPA,
	"guest layout");
static_assert(GUEST_STACKS_GPA + GUEST_VCPUS_MAX * GUEST_PAGE <= GUEST_HEAP_GPA, "guest layout");

/* The credit that rewriting one page costs. */
#define GUEST_CREDIT_PAGE 1000000u

/*
 * A page of the working set with version v > 0: the first two words are the page number and the
 * version, one in the middle and the last one depend on both, the rest are never written. Only
 * four words, because some hosts emulate the guest's instructions one by one. Version 0: all
 * zeros.
 */
#define GUEST_WORD_MIDDLE 256
#define GUEST_WORD_LAST	  511

static inline uint64_t guest_page_word(uint64_t page, uint64_t version, unsigned word)
{
	if (!version)
		return 0;
	switch (word) {
	case 0:
		return page + 1;
	case 1:
		return version;
	case GUEST_WORD_MIDDLE:
		return (page + 1) * 0x9e3779b97f4a7c15ull ^ version * 0xbf58476d1ce4e5b9ull;
	case GUEST_WORD_LAST:
		return (page + 1) * 0x94d049bb133111ebull ^ ~version * 0xbf58476d1ce4e5b9ull;
	default:
		return 0;
	}
}

#endif
