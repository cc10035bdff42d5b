/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio_abi.h - the kernel's VFIO and iommufd interface: linux/vfio.h, and what the headers of
 * an older system (Debian 12: 6.1) lack of it, each guarded.
 *
 * Source: uapi linux/vfio.h and linux/iommufd.h of Linux 6.12 and 7.2. Where a later kernel has
 * extended a structure, the older size is passed: every kernel accepts it.
 */
#ifndef DEVICE_CORE_VFIO_ABI_H
#define DEVICE_CORE_VFIO_ABI_H

#include <assert.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <stddef.h>

#include "switchover/device.h"

#define VFIO_ABI_SIZE(type, size)   static_assert(sizeof(struct type) == (size), #type)
#define VFIO_ABI_AT(type, field, o) static_assert(offsetof(struct type, field) == (o), #type)

/* Migration */

#ifndef VFIO_MIGRATION_PRE_COPY /* 6.2 */
#define VFIO_MIGRATION_PRE_COPY (1 << 2)
#endif

#ifndef VFIO_MIG_GET_PRECOPY_INFO /* 6.2; on the data fd */
struct vfio_precopy_info {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 initial_bytes;
	__aligned_u64 dirty_bytes;
};
#define VFIO_MIG_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)
#endif

#ifndef VFIO_PRECOPY_INFO_REINIT /* 7.2; only after the opt-in below */
#define VFIO_PRECOPY_INFO_REINIT (1 << 0)
#endif

#ifndef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE /* 6.2 */
struct vfio_device_feature_mig_data_size {
	__aligned_u64 stop_copy_length;
};
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
#endif

#ifndef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 /* 7.2 */
#define VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 12
#endif

#ifndef VFIO_DEVICE_FEATURE_DMA_BUF /* 6.19 */
#define VFIO_DEVICE_FEATURE_DMA_BUF 11
#endif
/* Its structure, with one range. */
struct vfio_abi_dma_buf {
	__u32 region_index;
	__u32 open_flags;
	__u32 flags;
	__u32 nr_ranges;
	__aligned_u64 offset;
	__aligned_u64 length;
};

static_assert(SWO_MIG_STOP_COPY == VFIO_MIGRATION_STOP_COPY, "STOP_COPY");
static_assert(SWO_MIG_P2P == VFIO_MIGRATION_P2P, "P2P");
static_assert(SWO_MIG_PRE_COPY == VFIO_MIGRATION_PRE_COPY, "PRE_COPY");
static_assert((int)SWO_DEVICE_ERROR == (int)VFIO_DEVICE_STATE_ERROR, "ERROR");
static_assert((int)SWO_DEVICE_STOP == (int)VFIO_DEVICE_STATE_STOP, "STOP");
static_assert((int)SWO_DEVICE_RUNNING == (int)VFIO_DEVICE_STATE_RUNNING, "RUNNING");
static_assert((int)SWO_DEVICE_STOP_COPY == (int)VFIO_DEVICE_STATE_STOP_COPY, "STOP_COPY");
static_assert((int)SWO_DEVICE_RESUMING == (int)VFIO_DEVICE_STATE_RESUMING, "RESUMING");
static_assert((int)SWO_DEVICE_RUNNING_P2P == (int)VFIO_DEVICE_STATE_RUNNING_P2P, "RUNNING_P2P");

VFIO_ABI_SIZE(vfio_device_feature, 8);
VFIO_ABI_SIZE(vfio_device_feature_migration, 8);
VFIO_ABI_SIZE(vfio_device_feature_mig_state, 8);
VFIO_ABI_AT(vfio_device_feature_mig_state, data_fd, 4);
VFIO_ABI_SIZE(vfio_device_feature_dma_logging_control, 24);
VFIO_ABI_AT(vfio_device_feature_dma_logging_control, ranges, 16);
VFIO_ABI_SIZE(vfio_device_feature_dma_logging_range, 16);
VFIO_ABI_SIZE(vfio_device_feature_dma_logging_report, 32);
VFIO_ABI_AT(vfio_device_feature_dma_logging_report, bitmap, 24);
VFIO_ABI_SIZE(vfio_device_feature_mig_data_size, 8);
VFIO_ABI_SIZE(vfio_precopy_info, 24);
VFIO_ABI_AT(vfio_precopy_info, initial_bytes, 8);
VFIO_ABI_AT(vfio_precopy_info, dirty_bytes, 16);
static_assert(VFIO_DEVICE_FEATURE == 0x3b75, "';', 117");
static_assert(VFIO_MIG_GET_PRECOPY_INFO == 0x3b79, "';', 121");

/* A device by cdev */

#ifndef VFIO_DEVICE_BIND_IOMMUFD /* 6.6 */
struct vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif
#define VFIO_BIND_ARGSZ 16

#ifndef VFIO_DEVICE_BIND_FLAG_TOKEN /* 6.17 */
#define VFIO_DEVICE_BIND_FLAG_TOKEN (1 << 0)
#endif
/* The structure as of 6.17; headers before have its first 16 bytes. */
struct vfio_abi_bind_token {
	struct vfio_device_bind_iommufd head __attribute__((aligned(8)));
	__aligned_u64 token_uuid_ptr;
};

#ifndef VFIO_DEVICE_ATTACH_IOMMUFD_PT /* 6.6 */
struct vfio_device_attach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pt_id;
};
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#endif
#define VFIO_ATTACH_ARGSZ 12

VFIO_ABI_AT(vfio_device_bind_iommufd, out_devid, 12);
VFIO_ABI_AT(vfio_device_attach_iommufd_pt, pt_id, 8);
static_assert(VFIO_DEVICE_BIND_IOMMUFD == 0x3b76, "';', 118");
static_assert(VFIO_DEVICE_ATTACH_IOMMUFD_PT == 0x3b77, "';', 119");

/* Iommufd: only what we use */

#if defined(__has_include)
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif
#endif

#ifndef IOMMUFD_TYPE /* 6.2 */
#define IOMMUFD_TYPE (';')

struct iommu_ioas_alloc {
	__u32 size;
	__u32 flags;
	__u32 out_ioas_id;
};
#define IOMMU_IOAS_ALLOC _IO(IOMMUFD_TYPE, 0x81)

enum {
	IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0,
	IOMMU_IOAS_MAP_WRITEABLE = 1 << 1,
	IOMMU_IOAS_MAP_READABLE = 1 << 2,
};

struct iommu_ioas_map {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__u32 __reserved;
	__aligned_u64 user_va;
	__aligned_u64 length;
	__aligned_u64 iova;
};
#define IOMMU_IOAS_MAP _IO(IOMMUFD_TYPE, 0x85)

struct iommu_iova_range {
	__aligned_u64 start;
	__aligned_u64 last;
};

struct iommu_ioas_iova_ranges {
	__u32 size;
	__u32 ioas_id;
	__u32 num_iovas;
	__u32 __reserved;
	__aligned_u64 allowed_iovas;
	__aligned_u64 out_iova_alignment;
};
#define IOMMU_IOAS_IOVA_RANGES _IO(IOMMUFD_TYPE, 0x84)

struct iommu_ioas_unmap {
	__u32 size;
	__u32 ioas_id;
	__aligned_u64 iova;
	__aligned_u64 length;
};
#define IOMMU_IOAS_UNMAP _IO(IOMMUFD_TYPE, 0x86)
#endif

#ifndef IOMMU_IOAS_MAP_FILE /* 6.13; of a dma-buf 6.19 */
struct iommu_ioas_map_file {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__s32 fd;
	__aligned_u64 start;
	__aligned_u64 length;
	__aligned_u64 iova;
};
#define IOMMU_IOAS_MAP_FILE _IO(IOMMUFD_TYPE, 0x8f)
#endif

#ifndef IOMMU_HWPT_SET_DIRTY_TRACKING /* 6.7; before, IOMMU_HWPT_ALLOC had no flags */
#define IOMMU_HWPT_ALLOC_DIRTY_TRACKING	 (1 << 1)
#define IOMMU_HWPT_DIRTY_TRACKING_ENABLE 1

struct iommu_hwpt_alloc {
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 pt_id;
	__u32 out_hwpt_id;
	__u32 __reserved;
	__u32 data_type;
	__u32 data_len;
	__aligned_u64 data_uptr;
};
#define IOMMU_HWPT_ALLOC _IO(IOMMUFD_TYPE, 0x89)

struct iommu_hwpt_set_dirty_tracking {
	__u32 size;
	__u32 flags;
	__u32 hwpt_id;
	__u32 __reserved;
};
#define IOMMU_HWPT_SET_DIRTY_TRACKING _IO(IOMMUFD_TYPE, 0x8b)

struct iommu_hwpt_get_dirty_bitmap {
	__u32 size;
	__u32 hwpt_id;
	__u32 flags;
	__u32 __reserved;
	__aligned_u64 iova;
	__aligned_u64 length;
	__aligned_u64 page_size;
	__aligned_u64 data;
};
#define IOMMU_HWPT_GET_DIRTY_BITMAP _IO(IOMMUFD_TYPE, 0x8c)
#endif
#define IOMMU_HWPT_ALLOC_SIZE 40

VFIO_ABI_SIZE(iommu_ioas_alloc, 12);
VFIO_ABI_SIZE(iommu_ioas_map, 40);
VFIO_ABI_AT(iommu_ioas_map, user_va, 16);
VFIO_ABI_AT(iommu_ioas_map, iova, 32);
VFIO_ABI_SIZE(iommu_ioas_map_file, 40);
VFIO_ABI_AT(iommu_ioas_map_file, iova, 32);
VFIO_ABI_SIZE(iommu_ioas_unmap, 24);
VFIO_ABI_AT(iommu_ioas_unmap, iova, 8);
VFIO_ABI_AT(iommu_hwpt_alloc, out_hwpt_id, 16);
VFIO_ABI_AT(iommu_hwpt_alloc, data_uptr, 32);
VFIO_ABI_SIZE(iommu_hwpt_set_dirty_tracking, 16);
VFIO_ABI_SIZE(iommu_hwpt_get_dirty_bitmap, 48);
VFIO_ABI_AT(iommu_hwpt_get_dirty_bitmap, data, 40);
VFIO_ABI_SIZE(vfio_iommu_type1_dirty_bitmap, 8);
VFIO_ABI_SIZE(vfio_iommu_type1_dirty_bitmap_get, 40);
static_assert(VFIO_IOMMU_DIRTY_PAGES == 0x3b75, "';', 117");
static_assert(IOMMU_HWPT_ALLOC == 0x3b89, "';', 0x89");
static_assert(IOMMU_HWPT_SET_DIRTY_TRACKING == 0x3b8b, "';', 0x8b");
static_assert(IOMMU_HWPT_GET_DIRTY_BITMAP == 0x3b8c, "';', 0x8c");
static_assert(IOMMU_IOAS_ALLOC == 0x3b81, "';', 0x81");
static_assert(IOMMU_IOAS_MAP == 0x3b85, "';', 0x85");
static_assert(IOMMU_IOAS_UNMAP == 0x3b86, "';', 0x86");

#undef VFIO_ABI_SIZE
#undef VFIO_ABI_AT

#endif
