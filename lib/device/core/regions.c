/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regions.c - parses and checks descriptions of regions, and returns the parsed values.
 */
#include "device/core/regions.h"

#include "device/core/vfio_abi.h"

#include <string.h>

#define CAPS_MAX 64

int device_region_bad(
	const struct device_regions *all, uint32_t index, const char *why, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"device %s: its %s: malformed description of region %u: %s", all->device, all->from,
		index, why);
}

static int parse_sparse(struct device_regions *all, uint32_t index, const uint8_t *info, size_t len,
	size_t at, struct swo_error *err)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct device_region *region = &all->region[index];

	if (len - at < sizeof(sparse))
		return device_region_bad(all, index, "truncated sparse mmap capability", err);
	memcpy(&sparse, info + at, sizeof(sparse));
	at += sizeof(sparse);
	if (sparse.nr_areas > (len - at) / sizeof(struct vfio_region_sparse_mmap_area))
		return device_region_bad(all, index, "truncated list of sparse areas", err);
	region->area_offset = region->area_size = 0;
	for (uint32_t i = 0; i < sparse.nr_areas; i++) {
		struct vfio_region_sparse_mmap_area area;

		memcpy(&area, info + at + i * sizeof(area), sizeof(area));
		if (area.offset > region->info.size || area.size > region->info.size - area.offset)
			return device_region_bad(all, index, "a sparse area is outside of it", err);
		if (area.size > region->area_size) {
			region->area_offset = area.offset;
			region->area_size = area.size;
		}
	}
	return 0;
}

static int parse_caps(struct device_regions *all, uint32_t index, const uint8_t *info, size_t len,
	uint32_t offset, struct swo_error *err)
{
	for (unsigned n = 0; offset; n++) {
		struct vfio_info_cap_header cap;

		/* The chain may be cyclic. */
		if (n == CAPS_MAX)
			return device_region_bad(all, index, "cyclic list of capabilities", err);
		if (offset < sizeof(struct vfio_region_info) || offset > len ||
			len - offset < sizeof(cap))
			return device_region_bad(all, index, "a capability is out of bounds", err);
		memcpy(&cap, info + offset, sizeof(cap));
		if (cap.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && cap.version == 1 &&
			parse_sparse(all, index, info, len, offset, err))
			return -1;
		offset = cap.next;
	}
	return 0;
}

int device_region_parse(struct device_regions *all, uint32_t index, const void *data, size_t len,
	struct swo_error *err)
{
	const uint32_t known = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
			       VFIO_REGION_INFO_FLAG_MMAP;
	struct device_region *region = &all->region[index];
	struct vfio_region_info info;

	if (len < sizeof(info))
		return device_region_bad(all, index, "truncated", err);
	memcpy(&info, data, sizeof(info));
	if (info.index != index)
		return device_region_bad(all, index, "index of another region", err);
	/* Offsets into a region and into files are signed. */
	if (info.size > INT64_MAX || info.offset > INT64_MAX - info.size)
		return device_region_bad(all, index, "size or offset out of range", err);
	*region = (struct device_region){.info = {.size = info.size, .flags = info.flags & known},
		.fd = -1,
		.fd_offset = info.offset,
		.area_size = info.size};
	if ((info.flags & VFIO_REGION_INFO_FLAG_CAPS) &&
		parse_caps(all, index, data, len, info.cap_offset, err))
		return -1;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP))
		region->area_size = 0;
	if (!region->area_size)
		region->info.flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_MMAP;
	return 0;
}

int device_irq_describe(struct device_regions *all, uint32_t index, uint32_t flags, uint32_t count,
	struct swo_error *err)
{
	if (count > DEVICE_VECTORS_MAX)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its %s reports interrupt %u with %u vectors, at most %d supported",
			all->device, all->from, index, count, DEVICE_VECTORS_MAX);
	all->irq[index] = (struct swo_irq_info){.flags = flags, .count = count};
	return 0;
}

int device_region_info(const struct device_regions *all, uint32_t index,
	struct swo_region_info *info, struct swo_error *err)
{
	if (index >= all->count)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "device %s: no region %u", all->device, index);
	*info = all->region[index].info;
	return 0;
}

int device_region_fd(const struct device_regions *all, uint32_t index, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err)
{
	struct swo_region_info info = {0};

	if (device_region_info(all, index, &info, err))
		return -1;

	const struct device_region *region = &all->region[index];

	if (region->fd < 0 || !region->area_size)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: region %u cannot be mapped", all->device, index);
	*fd = region->fd;
	*fd_offset = region->fd_offset + region->area_offset;
	*region_offset = region->area_offset;
	*size = region->area_size;
	return 0;
}

int device_irq_info(const struct device_regions *all, uint32_t index, struct swo_irq_info *info,
	struct swo_error *err)
{
	if (index >= all->irq_count)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "device %s: no interrupt %u", all->device, index);
	*info = all->irq[index];
	return 0;
}

int device_region_check(const struct device_regions *all, uint32_t index, uint64_t offset,
	uint32_t len, bool is_read, struct swo_error *err)
{
	const uint32_t flag = is_read ? VFIO_REGION_INFO_FLAG_READ : VFIO_REGION_INFO_FLAG_WRITE;
	struct swo_region_info info = {0};

	if (device_region_info(all, index, &info, err))
		return -1;
	if (offset > info.size || len > info.size - offset || !(info.flags & flag))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: region %u does not allow %s of %u bytes at 0x%llx", all->device,
			index, is_read ? "a read" : "a write", len, (unsigned long long)offset);
	return 0;
}

int device_irq_check(const struct device_regions *all, uint32_t index, uint32_t start,
	uint32_t count, struct swo_error *err)
{
	struct swo_irq_info info = {0};

	if (device_irq_info(all, index, &info, err))
		return -1;
	if (start > info.count || count > info.count - start)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: interrupt %u has %u vectors; %u from %u on are out of range",
			all->device, index, info.count, count, start);
	return 0;
}
