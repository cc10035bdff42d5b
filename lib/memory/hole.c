/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hole.c - holes of guest memory: pages of a memfd that were never touched. They read as zeros, but
 * a read through a mapping allocates them: the file has to be examined first.
 */
#include "ram.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOOK_PAGES 512 /* with one mincore() */

/* The first page at or after `page`, at most `end`, that is not in a hole. */
static uint64_t hole_end(const struct swo_ram_region *region, uint64_t page, uint64_t end)
{
	const off_t data = lseek(region->fd, (off_t)(page << SWO_PAGE_SHIFT), SEEK_DATA);

	/* ENXIO: a hole up to the end of the file. Without support, a file is all data. */
	if (data < 0)
		return errno == ENXIO ? end : page;
	const uint64_t first = (uint64_t)data >> SWO_PAGE_SHIFT;

	return first < end ? first : end;
}

/*
 * SEEK_HOLE would walk all data up to the next hole, for each run again; mincore() looks at these
 * pages only. What it reports as not resident may be in swap: SEEK_DATA decides.
 */
uint64_t memory_region_extent(
	const struct swo_ram_region *region, uint64_t page, uint64_t end, bool *hole)
{
	unsigned char resident[LOOK_PAGES];
	const uint64_t count = end - page < LOOK_PAGES ? end - page : LOOK_PAGES;
	uint64_t data = 0;

	*hole = false;
	if (mincore(region->host + (page << SWO_PAGE_SHIFT), count << SWO_PAGE_SHIFT, resident))
		return page + count;
	while (data < count && resident[data] & 1)
		data++;
	if (data)
		return page + data;
	const uint64_t first = hole_end(region, page, end);

	*hole = first > page;
	return *hole ? first : page + 1;
}

void memory_region_clear(struct swo_ram_region *region, uint64_t page, uint64_t pages)
{
	const uint64_t end = page + pages;
	bool hole;

	while (page < end) {
		const uint64_t next = memory_region_extent(region, page, end, &hole);

		/*
		 * Written, and not punched out of the file: a device may have pinned the page, and
		 * would go on to use it beside the new one. Only what is not zero yet.
		 */
		for (; !hole && page < next; page++)
			if (!memory_page_is_zero(region->host + (page << SWO_PAGE_SHIFT)))
				memset(region->host + (page << SWO_PAGE_SHIFT), 0, SWO_PAGE_SIZE);
		page = next;
	}
}

bool swo_ram_is_hole(struct swo_ram *ram, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < ram->count; i++) {
		const struct swo_ram_region *region = &ram->region[i];
		bool hole;

		if (!len || gpa < region->gpa || gpa - region->gpa >= region->size ||
			len > region->size - (gpa - region->gpa))
			continue;
		const uint64_t page = (gpa - region->gpa) >> SWO_PAGE_SHIFT;
		const uint64_t end = ((gpa - region->gpa + len - 1) >> SWO_PAGE_SHIFT) + 1;

		return memory_region_extent(region, page, end, &hole) == end && hole;
	}
	return false;
}
