/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * region.c - the description of a region, with its chain of capabilities, as a driver or a vfio-user
 * server wrote it: any bytes, any length. The same functions serve both backends. What is inside of
 * the sparse capability is proved by the harness `sparse`.
 *
 * All that one step of the chain keeps for the next is the offset, and the first one may be any: three
 * steps have all accesses that 64 have. That the chain ends is the second pass.
 *
 * Sources: lib/device/core/regions.c
 * Bound: descriptions of up to 128 bytes, cyclic chains too
 * Flags: --unwind 4 --conversion-check
 * Loops: --unwind 66
 * Replace: regions_c_parse_sparse:any_sparse
 * Mutant: lib/device/core/regions.c s/offset < sizeof(struct vfio_region_info) || offset > len ||/offset > len ||/
 * Mutant: lib/device/core/regions.c s/ || offset > len ||/ ||/
 * Mutant: lib/device/core/regions.c s/n == CAPS_MAX/n > 2 * CAPS_MAX/
 * Mutant: lib/device/core/regions.c s/info.offset > INT64_MAX - info.size/0/
 */
#include "device/core/regions.h"

#include "device/core/vfio_abi.h"
#include "prove.h"

#define SIZE 128

/* Instead of parse_sparse(): what `sparse` proves that it leaves. */
int any_sparse(struct device_regions *all, uint32_t index, const uint8_t *info, size_t len,
	size_t at, struct swo_error *err)
{
	struct device_region *region = &all->region[index];

	__CPROVER_assert(at >= sizeof(struct vfio_region_info) && at <= len,
		"a capability is after the description and within its bytes");
	region->area_offset = nondet_u64();
	region->area_size = nondet_u64();
	__CPROVER_assume(region->area_offset <= region->info.size &&
			 region->area_size <= region->info.size - region->area_offset);
	return nondet_bool() ? 0 : -1;
}

void prove(void)
{
	static struct device_regions all;
	struct swo_error err;
	const uint32_t index = DEVICE_REGIONS_MAX - 1;
	const size_t len = any_up_to(SIZE);
	const uint8_t *info = any_bytes(len);

	if (device_region_parse(&all, index, info, len, &err))
		return;
	const struct device_region *region = &all.region[index];

	/* What those who map it and access it rely on. */
	__CPROVER_assert(region->info.size <= INT64_MAX &&
				 region->fd_offset <= INT64_MAX - region->info.size,
		"its end is in a file");
	__CPROVER_assert(region->area_offset <= region->info.size &&
				 region->area_size <= region->info.size - region->area_offset,
		"the mappable part is within it");
}
