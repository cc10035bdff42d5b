/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tracker.c - a device's DMA writes as the host records them, without the device's help: dirty bits
 * of the IOMMU's page table (iommufd, by cdev), or VFIO type1's dirty pages (by group).
 *
 * Type1 records what the kernel itself writes for emulated devices, and the pages that they have
 * pinned. Behind an IOMMU it records nothing: START succeeds all the same, and every report then
 * has every page, which the uAPI does not name. So a first report that has every page is none.
 */
#include "base/memory.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

/* Iommufd */

static int attach_to(struct vfio_kernel *vk, uint32_t id)
{
	struct vfio_device_attach_iommufd_pt attach = {.argsz = VFIO_ATTACH_ARGSZ, .pt_id = id};

	return kernel_ioctl(vk, vk->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

bool kernel_attach_hwpt(struct vfio_kernel *vk, struct kernel_space *space, uint32_t dev_id)
{
	struct iommu_hwpt_alloc alloc = {.size = IOMMU_HWPT_ALLOC_SIZE,
		.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
		.dev_id = dev_id,
		.pt_id = space->ioas};

	/* One of a sibling on the same IOMMU: fewer tables to read. EINVAL: it is on another. */
	for (struct kernel_hwpt *hwpt = space->hwpts; hwpt; hwpt = hwpt->next)
		if (attach_to(vk, hwpt->id) >= 0) {
			vk->hwpt = hwpt;
			return true;
		}
	struct kernel_hwpt *hwpt = calloc(1, sizeof(*hwpt));

	/* EOPNOTSUPP: no dirty bits. ENOENT: an emulated device, which has no IOMMU. */
	if (!hwpt || kernel_ioctl(vk, space->fd, IOMMU_HWPT_ALLOC, &alloc) < 0) {
		free(hwpt);
		return false;
	}
	hwpt->id = alloc.out_hwpt_id;
	hwpt->next = space->hwpts;
	space->hwpts = hwpt;
	if (attach_to(vk, hwpt->id) < 0)
		return false;
	vk->hwpt = hwpt;
	return true;
}

void kernel_free_hwpts(struct kernel_space *space)
{
	while (space->hwpts) {
		struct kernel_hwpt *hwpt = space->hwpts;

		space->hwpts = hwpt->next;
		free(hwpt);
	}
}

static int hwpt_track(struct vfio_kernel *vk, bool on)
{
	struct iommu_hwpt_set_dirty_tracking set = {.size = sizeof(set),
		.flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = vk->hwpt->id};

	return kernel_ioctl(vk, vk->space->fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set);
}

static int hwpt_report(
	struct vfio_kernel *vk, uint64_t iova, uint64_t length, uint64_t page, uint64_t *bitmap)
{
	struct iommu_hwpt_get_dirty_bitmap get = {.size = sizeof(get),
		.hwpt_id = vk->hwpt->id,
		.iova = iova,
		.length = length,
		.page_size = page,
		.data = (uintptr_t)bitmap};

	return kernel_ioctl(vk, vk->space->fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get);
}

/* Type1 */

static int type1_track(struct vfio_kernel *vk, bool on)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {.argsz = sizeof(dirty),
		.flags = on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP};

	return kernel_ioctl(vk, vk->space->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty);
}

static size_t words_of(uint64_t length, uint64_t page)
{
	return (size_t)((length / page + 63) / 64);
}

/* The kernel overwrites the bits of what is mapped, so it gets a bitmap of its own. */
static int type1_report(
	struct vfio_kernel *vk, uint64_t iova, uint64_t length, uint64_t page, uint64_t *bitmap)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap head;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} request = {
		.head = {.argsz = sizeof(request), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP},
		.get = {.iova = iova, .size = length, .bitmap = {.pgsize = page}}};
	const size_t words = words_of(length, page);

	if (words > vk->bits_words) {
		free(vk->bits);
		vk->bits_words = 0;
		vk->bits = base_calloc_prefaulted(words * sizeof(*vk->bits));
		if (!vk->bits)
			return -ENOMEM;
		vk->bits_words = words;
	}
	request.get.bitmap.size = words * sizeof(*vk->bits);
	request.get.bitmap.data = (void *)vk->bits;
	const int rc = kernel_ioctl(vk, vk->space->fd, VFIO_IOMMU_DIRTY_PAGES, &request);

	for (size_t w = 0; w < words; w++)
		if (vk->bits[w]) {
			bitmap[w] |= vk->bits[w];
			vk->bits[w] = 0;
		}
	return rc;
}

/* Both */

static int track(struct vfio_kernel *vk, bool on)
{
	unsigned *trackers = vk->hwpt ? &vk->hwpt->trackers : &vk->space->trackers;
	int rc = 0;

	/* Devices share it: the first starts it, the last stops it. */
	if (on ? !*trackers : *trackers == 1)
		rc = vk->hwpt ? hwpt_track(vk, on) : type1_track(vk, on);
	if (rc >= 0 || !on)
		*trackers += on ? 1 : -1u;
	return rc < 0 ? rc : 0;
}

int kernel_tracker_report(
	struct vfio_kernel *vk, uint64_t iova, uint64_t length, uint64_t page, uint64_t *bitmap)
{
	const int rc = vk->hwpt ? hwpt_report(vk, iova, length, page, bitmap)
				: type1_report(vk, iova, length, page, bitmap);

	return rc < 0 ? rc : 0;
}

/* *all: every page was set. */
static int look(struct vfio_kernel *vk, const struct vfio_device_feature_dma_logging_range *range,
	bool *all)
{
	const uint64_t pages = range->length / PAGE;
	uint64_t set = 0;
	uint64_t *bitmap = calloc(words_of(range->length, PAGE) + 1, sizeof(*bitmap));
	const int rc = bitmap ? kernel_tracker_report(vk, range->iova, range->length, PAGE, bitmap)
			      : -ENOMEM;

	for (size_t w = 0; !rc && w < words_of(range->length, PAGE); w++)
		set += (uint64_t)__builtin_popcountll(bitmap[w]);
	*all = *all && set >= pages;
	free(bitmap);
	return rc;
}

/* A report of everything, while another means can still be used. */
static int first_look(struct vfio_kernel *vk,
	const struct vfio_device_feature_dma_logging_range *ranges, size_t count,
	struct swo_error *err)
{
	bool all = true;
	int rc = 0;

	for (size_t i = 0; i < count && !rc; i++)
		rc = look(vk, &ranges[i], &all);
	if (rc)
		return swo_error_set(err, SWO_E_UNSUPPORTED, -rc,
			"its %s cannot report dirty pages", vk->hwpt ? "IOMMU" : "container");
	if (all && !vk->hwpt)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"VFIO type1 reports every page as dirty: a device of its container is "
			"behind an IOMMU");
	return 0;
}

int kernel_tracker_start(struct vfio_kernel *vk, uint64_t *page,
	const struct vfio_device_feature_dma_logging_range *ranges, size_t count,
	enum swo_dirty_tracking *kind, struct swo_error *err)
{
	int rc = 0;

	if (vk->space->kind == VK_IOAS && !vk->hwpt)
		return swo_error_set(
			err, SWO_E_UNSUPPORTED, 0, "it is behind no IOMMU with dirty bits");
	*page = PAGE;
	*kind = vk->hwpt ? SWO_DIRTY_TRACKING_IOMMU : SWO_DIRTY_TRACKING_TYPE1;
	pthread_mutex_lock(&vk->context->lock);
	const bool first = !(vk->hwpt ? vk->hwpt->trackers : vk->space->trackers);

	rc = track(vk, true);
	if (rc)
		swo_error_set(err, SWO_E_UNSUPPORTED, -rc, "%s",
			vk->hwpt ? "IOMMU_HWPT_SET_DIRTY_TRACKING"
				 : "VFIO_IOMMU_DIRTY_PAGES, flag START");
	else if (first && first_look(vk, ranges, count, err)) {
		track(vk, false);
		rc = -1;
	}
	pthread_mutex_unlock(&vk->context->lock);
	return rc ? -1 : 0;
}

int kernel_tracker_stop(struct vfio_kernel *vk)
{
	pthread_mutex_lock(&vk->context->lock);
	const int rc = track(vk, false);

	pthread_mutex_unlock(&vk->context->lock);
	return rc;
}
