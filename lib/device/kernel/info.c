/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.c - regions of a kernel device: described once, at open, then read
 * and written by any thread.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REGION_ROOM	4096u
#define REGION_ROOM_MAX 65536u
#define CAPS_MAX	64

/* Parsing */

static int bad_region(const char *name, uint32_t index, const char *why, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"device %s: its driver describes region %u wrongly: %s", name, index, why);
}

/* Takes the largest area: with more than one, the others stay trapped. */
static int parse_sparse(const char *name, uint32_t index, const uint8_t *info, size_t len,
	size_t at, struct kernel_region *region, struct swo_error *err)
{
	struct vfio_region_info_cap_sparse_mmap sparse;

	if (len - at < sizeof(sparse))
		return bad_region(name, index, "a sparse mmap capability is cut short", err);
	memcpy(&sparse, info + at, sizeof(sparse));
	at += sizeof(sparse);
	if (sparse.nr_areas > (len - at) / sizeof(struct vfio_region_sparse_mmap_area))
		return bad_region(name, index, "more sparse areas than bytes for them", err);
	region->area_offset = region->area_size = 0;
	for (uint32_t i = 0; i < sparse.nr_areas; i++) {
		struct vfio_region_sparse_mmap_area area;

		memcpy(&area, info + at + i * sizeof(area), sizeof(area));
		if (area.offset > region->info.size || area.size > region->info.size - area.offset)
			return bad_region(name, index, "a sparse area lies outside of it", err);
		if (area.size > region->area_size) {
			region->area_offset = area.offset;
			region->area_size = area.size;
		}
	}
	return 0;
}

static int parse_caps(const char *name, uint32_t index, const uint8_t *info, size_t len,
	uint32_t offset, struct kernel_region *region, struct swo_error *err)
{
	for (unsigned n = 0; offset; n++) {
		struct vfio_info_cap_header cap;

		if (n == CAPS_MAX)
			return bad_region(name, index, "its capabilities have no end", err);
		if (offset < sizeof(struct vfio_region_info) || offset > len ||
			len - offset < sizeof(cap))
			return bad_region(name, index, "a capability lies outside", err);
		memcpy(&cap, info + offset, sizeof(cap));
		if (cap.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && cap.version == 1 &&
			parse_sparse(name, index, info, len, offset, region, err))
			return -1;
		offset = cap.next;
	}
	return 0;
}

int kernel_parse_region(const char *name, uint32_t index, const void *data, size_t len,
	struct kernel_region *region, struct swo_error *err)
{
	struct vfio_region_info info;

	if (len < sizeof(info))
		return bad_region(name, index, "it is cut short", err);
	memcpy(&info, data, sizeof(info));
	if (info.size > INT64_MAX || info.offset > INT64_MAX - info.size)
		return bad_region(name, index, "its size or offset is absurd", err);
	*region = (struct kernel_region){
		.info = {.size = info.size,
			.flags = info.flags &
				 (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
					 VFIO_REGION_INFO_FLAG_MMAP)},
		.fd_offset = info.offset};
	if (info.flags & VFIO_REGION_INFO_FLAG_MMAP)
		region->area_size = info.size;
	if ((info.flags & VFIO_REGION_INFO_FLAG_CAPS) &&
		parse_caps(name, index, data, len, info.cap_offset, region, err))
		return -1;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP))
		region->area_size = 0;
	if (!region->area_size)
		region->info.flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_MMAP;
	return 0;
}

/* Asking */

static int ask_region(struct vfio_kernel *vk, uint32_t index, uint8_t *data, uint32_t room,
	uint32_t *need, struct swo_error *err)
{
	struct vfio_region_info info = {.argsz = room, .index = index};

	memset(data, 0, room);
	memcpy(data, &info, sizeof(info));
	int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_GET_REGION_INFO, data);

	memcpy(&info, data, sizeof(info));
	*need = info.argsz;
	if (rc >= 0)
		return 0;
	/* Some drivers count regions that they then know nothing of. */
	if (rc == -EINVAL || rc == -ENOTTY) {
		memset(data, 0, sizeof(info));
		*need = 0;
		return 0;
	}
	return swo_error_set(err, SWO_E_DEVICE, -rc,
		"device %s: VFIO_DEVICE_GET_REGION_INFO of region %u", vk->name, index);
}

static int read_region(struct vfio_kernel *vk, uint32_t index, uint8_t *data, struct swo_error *err)
{
	uint32_t room = REGION_ROOM, need;

	if (ask_region(vk, index, data, room, &need, err))
		return -1;
	if (need > room) {
		room = need <= REGION_ROOM_MAX ? need : REGION_ROOM_MAX;
		if (ask_region(vk, index, data, room, &need, err))
			return -1;
		if (need > room)
			return bad_region(
				vk->name, index, "it needs more than 64 KiB of description", err);
	}
	return kernel_parse_region(vk->name, index, data, room, &vk->regions[index], err);
}

int kernel_read_info(struct vfio_kernel *vk, struct swo_error *err)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_GET_INFO, &info);

	if (rc < 0)
		return swo_error_set(
			err, SWO_E_DEVICE, -rc, "device %s: VFIO_DEVICE_GET_INFO", vk->name);
	vk->device_flags = info.flags;
	vk->region_count = info.num_regions < VK_REGIONS_MAX ? info.num_regions : VK_REGIONS_MAX;
	vk->irq_count = info.num_irqs < VK_IRQS_MAX ? info.num_irqs : VK_IRQS_MAX;
	swo_autofree uint8_t *data = malloc(REGION_ROOM_MAX);

	if (!data)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", vk->name);
	for (uint32_t i = 0; i < vk->region_count; i++)
		if (read_region(vk, i, data, err))
			return -1;
	return kernel_read_irqs(vk, err);
}

/* The ops:
 */

int kernel_region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err)
{
	struct vfio_kernel *vk = self;

	if (region >= vk->region_count)
		return swo_error_set(err, SWO_E_INVALID, 0, "device %s: there is no region %u",
			vk->name, region);
	*info = vk->regions[region].info;
	return 0;
}

/* All of it: the driver may take less at once, as an access must not cross its units. */
static int transfer(struct vfio_kernel *vk, uint32_t region, uint64_t offset, uint8_t *data,
	uint32_t len, uint32_t flag, struct swo_error *err)
{
	bool is_read = flag == VFIO_REGION_INFO_FLAG_READ;
	struct swo_region_info info = {0};

	if (kernel_region_info(vk, region, &info, err))
		return -1;
	if (offset > info.size || len > info.size - offset || !(info.flags & flag))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: region %u does not allow %s of %u bytes at 0x%llx", vk->name,
			region, is_read ? "a read" : "a write", len, (unsigned long long)offset);
	off_t at = (off_t)(vk->regions[region].fd_offset + offset);

	while (len) {
		ssize_t n = is_read ? vk->sys->read(vk->fd, data, len, at)
				    : vk->sys->write(vk->fd, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || (size_t)n > len)
			return swo_error_set(err, SWO_E_DEVICE, n < 0 ? errno : EIO,
				"device %s: %s region %u at 0x%llx", vk->name,
				is_read ? "reading" : "writing", region,
				(unsigned long long)offset);
		at += n;
		data += n;
		len -= (uint32_t)n;
	}
	return 0;
}

int kernel_region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err)
{
	return transfer(self, region, offset, buf, len, VFIO_REGION_INFO_FLAG_READ, err);
}

int kernel_region_write(void *self, uint32_t region, uint64_t offset, const void *buf, uint32_t len,
	bool posted, struct swo_error *err)
{
	(void)posted; /* nobody's answer is waited for here */
	return transfer(
		self, region, offset, (uint8_t *)buf, len, VFIO_REGION_INFO_FLAG_WRITE, err);
}

int kernel_region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct swo_region_info info = {0};

	if (kernel_region_info(vk, region, &info, err))
		return -1;
	const struct kernel_region *r = &vk->regions[region];

	if (!r->area_size)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: region %u cannot be mapped", vk->name, region);
	*fd = vk->fd;
	*fd_offset = r->fd_offset + r->area_offset;
	*region_offset = r->area_offset;
	*size = r->area_size;
	return 0;
}
