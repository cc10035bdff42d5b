/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma.c - the DMA maps of kernel devices. Devices that share a container share its maps: each
 * map is made once and counted.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PROT_BITS 3u

/* The kernel's calls */

int kernel_map_host(const struct vfio_kernel *vk, const struct kernel_map *map)
{
	if (vk->space->kind == VK_IOAS) {
		struct iommu_ioas_map request = {.size = sizeof(request),
			.flags = IOMMU_IOAS_MAP_FIXED_IOVA,
			.ioas_id = vk->space->ioas,
			.user_va = (uintptr_t)map->host,
			.length = map->size,
			.iova = map->iova};

		request.flags |= map->prot & 1 ? IOMMU_IOAS_MAP_READABLE : 0u;
		request.flags |= map->prot & 2 ? IOMMU_IOAS_MAP_WRITEABLE : 0u;
		return kernel_ioctl(vk, vk->space->fd, IOMMU_IOAS_MAP, &request);
	}
	struct vfio_iommu_type1_dma_map request = {.argsz = sizeof(request),
		.vaddr = (uintptr_t)map->host,
		.iova = map->iova,
		.size = map->size};

	request.flags = map->prot & 1 ? VFIO_DMA_MAP_FLAG_READ : 0u;
	request.flags |= map->prot & 2 ? VFIO_DMA_MAP_FLAG_WRITE : 0u;
	return kernel_ioctl(vk, vk->space->fd, VFIO_IOMMU_MAP_DMA, &request);
}

int kernel_unmap_any(const struct vfio_kernel *vk, const struct kernel_map *map)
{
	if (map->absent)
		return 0;
	if (vk->space->kind == VK_IOAS) {
		struct iommu_ioas_unmap request = {.size = sizeof(request),
			.ioas_id = vk->space->ioas,
			.iova = map->iova,
			.length = map->size};

		return kernel_ioctl(vk, vk->space->fd, IOMMU_IOAS_UNMAP, &request);
	}
	struct vfio_iommu_type1_dma_unmap request = {
		.argsz = sizeof(request), .iova = map->iova, .size = map->size};

	return kernel_ioctl(vk, vk->space->fd, VFIO_IOMMU_UNMAP_DMA, &request);
}

static const char *map_advice(const struct vfio_kernel *vk, const struct kernel_map *map, int why)
{
	if (!map->host && vk->space->kind == VK_IOAS)
		return "; iommufd maps a BAR of another device as a dma-buf only (Linux 6.19): siblings by "
		       "group can reach each other";
	switch (why) {
	case ENOMEM:
		return "; the limit on locked memory may be too low (ulimit -l)";
	case ENOSPC:
		return "; the container has too many maps (vfio_iommu_type1.dma_entry_limit)";
	case EFAULT:
		return "; this kernel cannot map this kind of memory";
	case EEXIST:
	case EADDRINUSE:
		return "; another map overlaps it";
	default:
		return "";
	}
}

/* Shared maps, with the context's lock held */

static int new_map(struct vfio_kernel *vk, const struct kernel_map *wanted, struct kernel_map **out,
	struct swo_error *err)
{
	struct kernel_map *map = malloc(sizeof(*map));

	if (!map)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: DMA map", vk->name);
	*map = *wanted;
	int rc = map->host ? kernel_map_host(vk, map) : kernel_peer_map(vk, map);

	if (rc >= 0) {
		map->users = 1;
		map->next = vk->space->maps;
		vk->space->maps = map;
		*out = map;
		return 0;
	}
	free(map);
	char reachable[160];

	kernel_iova_advice(vk, wanted->iova, wanted->size, reachable, sizeof(reachable));
	return swo_error_set(err, SWO_E_DEVICE, -rc, "device %s: DMA map 0x%llx+0x%llx refused%s",
		vk->name, (unsigned long long)wanted->iova, (unsigned long long)wanted->size,
		*reachable ? reachable : map_advice(vk, wanted, -rc));
}

static bool is_same(const struct kernel_map *a, const struct kernel_map *b)
{
	if (a->iova != b->iova || a->size != b->size || a->prot != b->prot)
		return false;
	return b->host ? a->host == b->host : !a->host && a->fd == b->fd && a->offset == b->offset;
}

static int get_map(struct vfio_kernel *vk, const struct kernel_map *wanted, struct kernel_map **out,
	struct swo_error *err)
{
	for (struct kernel_map *map = vk->space->maps; map; map = map->next)
		if (is_same(map, wanted)) {
			map->users++;
			*out = map;
			return 0;
		}
	return new_map(vk, wanted, out, err);
}

static int put_map(struct vfio_kernel *vk, struct kernel_map *map, struct swo_error *err)
{
	struct kernel_map **at = &vk->space->maps;

	if (map->users > 1) {
		map->users--;
		return 0;
	}
	int rc = kernel_unmap_any(vk, map);

	if (rc < 0)
		return swo_error_set(err, SWO_E_DEVICE, -rc,
			"device %s: cannot remove DMA map 0x%llx+0x%llx", vk->name,
			(unsigned long long)map->iova, (unsigned long long)map->size);
	while (*at != map)
		at = &(*at)->next;
	*at = map->next;
	if (map->ours)
		vk->sys->munmap(map->ours, (size_t)map->size);
	free(map);
	return 0;
}

/* The ops */

static bool is_own(const struct vfio_kernel *vk, const struct kernel_map *wanted)
{
	for (const struct kernel_own_map *own = vk->maps; own; own = own->next)
		if (own->map->iova == wanted->iova)
			return true;
	return false;
}

static int add_own(struct vfio_kernel *vk, const struct kernel_map *wanted, struct swo_error *err)
{
	struct kernel_own_map *own;

	if (is_own(vk, wanted))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: duplicate DMA map at 0x%llx", vk->name,
			(unsigned long long)wanted->iova);
	own = calloc(1, sizeof(*own));
	if (!own)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: DMA map", vk->name);
	pthread_mutex_lock(&vk->context->lock);
	int rc = get_map(vk, wanted, &own->map, err);

	pthread_mutex_unlock(&vk->context->lock);
	if (rc) {
		free(own);
		return -1;
	}
	own->next = vk->maps;
	vk->maps = own;
	return 0;
}

int kernel_dma_map(void *self, uint64_t iova, uint64_t size, int fd, uint64_t offset, void *host,
	uint32_t prot, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct kernel_map wanted = {.iova = iova,
		.size = size,
		.prot = prot & PROT_BITS,
		.fd = fd,
		.offset = offset,
		.host = host};

	if (!size || size > INT64_MAX || size - 1 > UINT64_MAX - iova || !wanted.prot ||
		(!host && (fd < 0 || offset > INT64_MAX)))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: invalid DMA map 0x%llx+0x%llx", vk->name,
			(unsigned long long)iova, (unsigned long long)size);
	pthread_mutex_lock(&vk->dma_lock);
	int rc = add_own(vk, &wanted, err);

	pthread_mutex_unlock(&vk->dma_lock);
	return rc;
}

static int drop_own(struct vfio_kernel *vk, struct kernel_own_map **at, struct swo_error *err)
{
	struct kernel_own_map *own = *at;

	pthread_mutex_lock(&vk->context->lock);
	int rc = put_map(vk, own->map, err);

	pthread_mutex_unlock(&vk->context->lock);
	if (rc)
		return -1;
	*at = own->next;
	free(own);
	return 0;
}

int kernel_dma_unmap(void *self, uint64_t iova, uint64_t size, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct kernel_own_map **at = &vk->maps;
	int rc;

	pthread_mutex_lock(&vk->dma_lock);
	while (*at && ((*at)->map->iova != iova || (*at)->map->size != size))
		at = &(*at)->next;
	if (*at)
		rc = drop_own(vk, at, err);
	else
		rc = swo_error_set(err, SWO_E_INVALID, 0, "device %s: no DMA map 0x%llx+0x%llx",
			vk->name, (unsigned long long)iova, (unsigned long long)size);
	pthread_mutex_unlock(&vk->dma_lock);
	return rc;
}

void kernel_dma_free(struct vfio_kernel *vk)
{
	struct swo_error err;

	while (vk->maps)
		if (drop_own(vk, &vk->maps, &err)) {
			/* Closing the container removes it; the mapping must not be reused before. */
			swo_log(SWO_LOG_WARN, "%s", err.text);
			struct kernel_own_map *own = vk->maps;

			vk->maps = own->next;
			free(own);
		}
}
