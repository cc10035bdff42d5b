/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sparse.c - the capability that lists the mappable areas of a region, anywhere in its description.
 *
 * Sources: lib/device/core/regions.c
 * Bound: descriptions of up to 128 bytes, 4 areas
 * Flags: --unwind 7 --conversion-check
 * Mutant: lib/device/core/regions.c s/sparse.nr_areas > (len - at)/sparse.nr_areas > len/
 * Mutant: lib/device/core/regions.c s/if (len - at < sizeof(sparse))/if (!len)/
 * Mutant: lib/device/core/regions.c s/area.size > region->info.size - area.offset/area.size > region->info.size/
 */
#include "device/core/regions.h"

#include "device/core/vfio_abi.h"
#include "prove.h"

#define SIZE 128

int LOCAL(regions, parse_sparse)(struct device_regions *all, uint32_t index, const uint8_t *info,
	size_t len, size_t at, struct swo_error *err);

void prove(void)
{
	static struct device_regions all;
	struct swo_error err;
	const uint32_t index = DEVICE_REGIONS_MAX - 1;
	const size_t len = any_up_to(SIZE), at = any_up_to(len);
	const uint8_t *info = any_bytes(len);
	struct device_region *region = &all.region[index];

	__CPROVER_assume(at >= sizeof(struct vfio_region_info));
	region->info.size = nondet_u64();
	if (LOCAL(regions, parse_sparse)(&all, index, info, len, at, &err))
		return;
	__CPROVER_assert(region->area_offset <= region->info.size &&
				 region->area_size <= region->info.size - region->area_offset,
		"the mappable part is within the region");
}
