/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.c - BARs of sibling devices in the address space of a device. A type1 container takes an
 * address where the BAR is mapped; iommufd a dma-buf that the BAR's device exports, which is
 * revoked while that device does not decode its memory. A function that is no VF can be mapped
 * by neither until it does.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define COMMAND_AT     4
#define COMMAND_MEMORY 2

void kernel_peer_find(struct swo_vfio_context *context, struct kernel_map *map)
{
	for (struct vfio_kernel *vk = context->devices; vk; vk = vk->next)
		for (uint32_t i = 0; vk->fd == map->fd && i < vk->regions.count; i++) {
			const struct device_region *region = &vk->regions.region[i];

			if (region->fd < 0 || map->offset < region->fd_offset ||
				map->offset - region->fd_offset >= region->info.size)
				continue;
			map->owner = vk;
			map->region = i;
			map->region_at = map->offset - region->fd_offset;
		}
}

static bool decodes(const struct vfio_kernel *vk)
{
	const struct device_region *config = &vk->regions.region[VFIO_PCI_CONFIG_REGION_INDEX];
	uint8_t command = 0;

	return vk->sys->read(vk->fd, &command, 1, (off_t)(config->fd_offset + COMMAND_AT)) == 1 &&
	       command & COMMAND_MEMORY;
}

static int map_dmabuf(const struct vfio_kernel *vk, const struct kernel_map *map)
{
	struct vfio_abi_dma_buf slice = {.region_index = map->region,
		.open_flags = O_RDWR | O_CLOEXEC,
		.nr_ranges = 1,
		.offset = map->region_at,
		.length = map->size};
	int fd = kernel_feature(map->owner, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF,
		&slice, sizeof(slice));

	if (fd < 0)
		return fd;
	struct iommu_ioas_map_file request = {.size = sizeof(request),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = vk->space->ioas,
		.fd = fd,
		.length = map->size,
		.iova = map->iova};

	request.flags |= map->prot & 1 ? IOMMU_IOAS_MAP_READABLE : 0u;
	request.flags |= map->prot & 2 ? IOMMU_IOAS_MAP_WRITEABLE : 0u;
	int rc = kernel_ioctl(vk, vk->space->fd, IOMMU_IOAS_MAP_FILE, &request);

	vk->sys->close(fd); /* the map keeps the buffer */
	return rc;
}

static int map_address(const struct vfio_kernel *vk, struct kernel_map *map)
{
	void *address = vk->sys->mmap(
		(size_t)map->size, PROT_READ | PROT_WRITE, map->fd, (off_t)map->offset);

	if (address == MAP_FAILED)
		return -errno;
	map->host = address;
	int rc = kernel_map_host(vk, map);

	map->host = NULL;
	if (rc < 0)
		vk->sys->munmap(address, (size_t)map->size);
	else
		map->ours = address;
	return rc;
}

static int map_now(const struct vfio_kernel *vk, struct kernel_map *map)
{
	if (vk->space->kind == VK_IOAS && map->owner && !map_dmabuf(vk, map)) {
		map->as_dmabuf = true;
		return 0;
	}
	return map_address(vk, map);
}

int kernel_peer_map(const struct vfio_kernel *vk, struct kernel_map *map)
{
	kernel_peer_find(vk->context, map);
	int rc = map_now(vk, map);

	if (rc >= 0 || !map->owner || decodes(map->owner))
		return rc;
	map->absent = true;
	return 0;
}

void kernel_peer_forget(struct swo_vfio_context *context, const struct vfio_kernel *owner)
{
	for (int i = 0; i < VK_SPACES; i++)
		for (struct kernel_map *map = context->spaces[i].maps; map; map = map->next)
			if (map->owner == owner)
				map->owner = NULL;
}

/* Of a space that some device is attached to. */
static const struct vfio_kernel *user_of(
	const struct swo_vfio_context *context, const struct kernel_space *space)
{
	const struct vfio_kernel *vk = context->devices;

	while (vk && vk->space != space)
		vk = vk->next;
	return vk;
}

void kernel_peer_redo(struct vfio_kernel *owner)
{
	struct swo_vfio_context *context = owner->context;

	pthread_mutex_lock(&context->lock);
	for (int i = 0; i < VK_SPACES && decodes(owner); i++) {
		const struct vfio_kernel *vk = user_of(context, &context->spaces[i]);
		struct kernel_map *map = context->spaces[i].maps;

		for (; vk && map; map = map->next) {
			if (map->owner != owner || (!map->absent && !map->as_dmabuf))
				continue;
			/* Of a revoked buffer it may be gone already. */
			kernel_unmap_any(vk, map);
			int rc = map_now(vk, map);

			map->absent = rc < 0;
			if (rc < 0)
				swo_log(SWO_LOG_WARN,
					"device %s: its siblings cannot reach its BAR %u: %s",
					owner->name, map->region, strerror(-rc));
		}
	}
	pthread_mutex_unlock(&context->lock);
}

void kernel_peer_config_written(
	struct vfio_kernel *owner, uint64_t offset, const uint8_t *data, uint32_t len)
{
	if (offset > COMMAND_AT || offset + len <= COMMAND_AT)
		return;
	bool on = data[COMMAND_AT - offset] & COMMAND_MEMORY;

	if (!__atomic_exchange_n(&owner->decodes, on, __ATOMIC_ACQ_REL) && on)
		kernel_peer_redo(owner);
}
