/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ram.h - private to this folder: the table of regions behind struct swo_ram, and the
 * arithmetic of its bitmaps.
 */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include "switchover/memory.h"

#include <stdatomic.h>

struct swo_ram {
	struct swo_ram_region region[SWO_RAM_REGIONS_MAX];
	unsigned count;
	atomic_uint references; /* of its creator, and of migrations with a job in progress */
	atomic_bool foreign;	/* read-only here: not yet taken over, or handed over */
	atomic_bool gone;	/* released */
	bool no_dump;		/* core dumps do not have it */
};

static inline uint64_t region_pages(const struct swo_ram_region *region)
{
	return region->size >> SWO_PAGE_SHIFT;
}

/* The number of words of a bitmap of so many bits. */
static inline size_t bitmap_words(uint64_t bits)
{
	return (size_t)((bits + 63) / 64);
}

/* `count` (1..64) set bits from bit `first` on; bits beyond 63 are dropped. */
static inline uint64_t bit_run(unsigned first, uint64_t count)
{
	uint64_t ones = count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;

	return ones << first;
}

/*
 * Sealed against shrinking: the fd is passed to device processes, and one that truncates it
 * would kill this process with SIGBUS.
 */
int memory_new_memfd(const char *name, uint64_t size, struct swo_error *err);
/* One more owner; each calls swo_ram_free(), and the last one frees it. */
void memory_ram_hold(struct swo_ram *ram);
/* How many pages have been marked so far, each one as often as it was. */
uint64_t memory_ram_marked(const struct swo_ram *ram);

/* Marks pages [page, page + pages) of one region, which must contain them. */
void memory_region_mark(struct swo_ram_region *region, uint64_t page, uint64_t pages);
/* The address of the first dirty page; false: there is none. It stays dirty. */
bool memory_first_dirty(const struct swo_ram *ram, uint64_t *gpa);
/* ORs a bitmap of the complete region (bit 0 = its first page). */
void memory_region_mark_bitmap(struct swo_ram_region *region, const uint64_t *bitmap);

/*
 * The end, at most `end`, of a run of pages from `page` (below `end`) on of which all or none are
 * in a hole; more of the same may follow. A hole can be filled at any moment by a write, which
 * marks the page: a caller that skips one must have taken its mark before this call.
 */
uint64_t memory_region_extent(
	const struct swo_ram_region *region, uint64_t page, uint64_t end, bool *hole);
/* Makes these pages zero. Holes remain. */
void memory_region_clear(struct swo_ram_region *region, uint64_t page, uint64_t pages);

/*
 * True if all 4096 bytes are zero. As fast as memory: written so that the compiler vectorises
 * it.
 */
bool memory_page_is_zero(const void *page);

#endif
