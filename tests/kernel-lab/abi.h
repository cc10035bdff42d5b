/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * abi.h - the parts of the kernel's interface that linux-libc-dev 6.1 lacks, under private names.
 * Source: linux/vfio.h and linux/iommufd.h of 6.12.
 */
#ifndef TESTS_KERNEL_LAB_ABI_H
#define TESTS_KERNEL_LAB_ABI_H

#include <linux/vfio.h>
#include <stdint.h>

#define LAB_FEATURE_DATA_SIZE 9
#define LAB_PRECOPY_INFO      _IO(VFIO_TYPE, VFIO_BASE + 21)
#define LAB_BIND_IOMMUFD      _IO(VFIO_TYPE, VFIO_BASE + 18)
#define LAB_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct lab_precopy_info {
	uint32_t argsz, flags;
	uint64_t initial_bytes, dirty_bytes;
};
_Static_assert(sizeof(struct lab_precopy_info) == 24, "vfio_precopy_info");

struct lab_bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t devid;
};
_Static_assert(sizeof(struct lab_bind) == 16, "vfio_device_bind_iommufd");

struct lab_attach {
	uint32_t argsz, flags, pt_id;
};
_Static_assert(sizeof(struct lab_attach) == 12, "vfio_device_attach_iommufd_pt");

/* linux/iommufd.h: type ';', base 0x80 */
#define LAB_IOAS_ALLOC _IO(VFIO_TYPE, 0x81)
#define LAB_IOAS_MAP   _IO(VFIO_TYPE, 0x85)
#define LAB_IOAS_UNMAP _IO(VFIO_TYPE, 0x86)

struct lab_ioas_alloc {
	uint32_t size, flags, out_ioas_id;
};

struct lab_ioas_map {
	uint32_t size, flags, ioas_id, zero;
	uint64_t user_va, length, iova;
};
_Static_assert(sizeof(struct lab_ioas_map) == 40, "iommu_ioas_map");
#define LAB_IOAS_MAP_FIXED_RW 7u /* FIXED_IOVA, WRITEABLE, READABLE */

struct lab_ioas_unmap {
	uint32_t size, ioas_id;
	uint64_t iova, length;
};
_Static_assert(sizeof(struct lab_ioas_unmap) == 24, "iommu_ioas_unmap");

#endif
