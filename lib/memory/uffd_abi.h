/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uffd_abi.h - the part of the kernel's userfaultfd and pagemap interface that headers before
 * Linux 6.7 lack. Numbers: the kernel's uapi linux/fs.h (PAGEMAP_SCAN) and linux/userfaultfd.h,
 * as of Linux 6.7; they are ABI.
 */
#ifndef MEMORY_UFFD_ABI_H
#define MEMORY_UFFD_ABI_H

#include <assert.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <stddef.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12) /* 5.19 */
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13) /* 6.4 */
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15) /* 6.7 */
#endif

#ifndef PAGEMAP_SCAN
struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end; /* out: where the scan ended */
	__u64 vec;	/* struct page_region[] */
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN	    _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WPALLOWED   (1 << 0)
#define PAGE_IS_WRITTEN	    (1 << 1)
#define PAGE_IS_FILE	    (1 << 2)
#define PAGE_IS_PRESENT	    (1 << 3)
#define PAGE_IS_SWAPPED	    (1 << 4)
#define PM_SCAN_WP_MATCHING (1 << 0)
#endif

static_assert(sizeof(struct page_region) == 24, "uapi linux/fs.h");
static_assert(sizeof(struct pm_scan_arg) == 96, "uapi linux/fs.h");
static_assert(offsetof(struct pm_scan_arg, walk_end) == 32, "uapi linux/fs.h");
static_assert(offsetof(struct pm_scan_arg, return_mask) == 88, "uapi linux/fs.h");
static_assert(PAGEMAP_SCAN == 0xc0606610, "uapi linux/fs.h");
static_assert(
	PAGE_IS_WRITTEN == 2 && PAGE_IS_PRESENT == 8 && PAGE_IS_SWAPPED == 16, "uapi linux/fs.h");
static_assert(UFFD_FEATURE_WP_HUGETLBFS_SHMEM == 0x1000, "uapi linux/userfaultfd.h");
static_assert(UFFD_FEATURE_WP_ASYNC == 0x8000, "uapi linux/userfaultfd.h");
static_assert(sizeof(struct uffd_msg) == 32, "uapi linux/userfaultfd.h");
static_assert(sizeof(struct uffdio_writeprotect) == 24, "uapi linux/userfaultfd.h");

#endif
