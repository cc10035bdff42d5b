/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty_scan.c - logs writes through this process's own mapping by asynchronous write
 * protection: the kernel removes a page's protection at the first write without a notification,
 * and PAGEMAP_SCAN lists these pages and protects them again. Linux 6.7.
 */
#include "dirty_native.h"
#include "uffd.h"
#include "uffd_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SCAN_RUNS     512
#define PROTECT_PIECE (UINT64_C(4) << 20)

struct scan_log {
	struct swo_ram *ram;
	int pagemap_fd;
	int uffd; /* -1: off */
	struct page_region runs[SCAN_RUNS];
};

struct scan_filter {
	uint64_t inverted;
	uint64_t mask;
};

/* Pages that lost their protection by a write. */
static const struct scan_filter filter_written = {0, PAGE_IS_WRITTEN};
/*
 * Pages that are not mapped at all. A protected page always has a mark in the page table, even
 * if nothing is mapped (which counts as SWAPPED). So such a page was written, and then the
 * kernel dropped the mapping, as it may for shared memory. Kernels so far report it as WRITTEN
 * in the scan above for single entries, but not for a missing table; as that is not documented,
 * the scan requests these pages explicitly.
 */
static const struct scan_filter filter_dropped = {
	PAGE_IS_PRESENT | PAGE_IS_SWAPPED, PAGE_IS_PRESENT | PAGE_IS_SWAPPED};

static int scan_region(struct scan_log *log, struct swo_ram_region *region,
	const struct scan_filter *filter, struct swo_error *err)
{
	uint64_t begin = (uintptr_t)region->host, end = begin + region->size;

	while (begin < end) {
		struct pm_scan_arg arg = {
			.size = sizeof(arg),
			.flags = PM_SCAN_WP_MATCHING,
			.start = begin,
			.end = end,
			.vec = (uintptr_t)log->runs,
			.vec_len = SCAN_RUNS,
			.category_inverted = filter->inverted,
			.category_mask = filter->mask,
			.return_mask = filter->mask,
		};
		int runs = ioctl(log->pagemap_fd, PAGEMAP_SCAN, &arg);

		if (runs < 0 && errno == EINTR)
			continue;
		if (runs < 0)
			return swo_error_set(err, SWO_E_IO, errno,
				"pagemap scan of RAM region '%s'", region->name);
		for (int i = 0; i < runs; i++)
			memory_region_mark(region,
				(log->runs[i].start - (uintptr_t)region->host) >> SWO_PAGE_SHIFT,
				(log->runs[i].end - log->runs[i].start) >> SWO_PAGE_SHIFT);
		if (arg.walk_end <= begin)
			return swo_error_set(err, SWO_E_IO, 0,
				"pagemap scan of RAM region '%s' made no progress", region->name);
		begin = arg.walk_end;
	}
	return 0;
}

static void scan_stop(void *self)
{
	struct scan_log *log = self;

	if (log->uffd < 0)
		return;
	memory_uffd_unregister(log->uffd, log->ram);
	swo_close_fd(&log->uffd);
}

/*
 * One page after another, without a look at what it holds: UFFDIO_WRITEPROTECT looks up the page
 * itself, and takes three times as long where all of RAM is mapped. In pieces: KVM unmaps from the
 * guest what is protected, and a vCPU that needs a page of it waits until the call ends.
 */
static int protect_region(
	struct scan_log *log, const struct swo_ram_region *region, struct swo_error *err)
{
	const uint64_t first = (uintptr_t)region->host, end = first + region->size;

	for (uint64_t begin = first; begin < end;) {
		/* No category: pages that are not mapped, and missing tables, match as well. */
		struct pm_scan_arg arg = {
			.size = sizeof(arg),
			.flags = PM_SCAN_WP_MATCHING,
			.start = begin,
			.end = end - begin < PROTECT_PIECE ? end : begin + PROTECT_PIECE,
		};
		int rc = ioctl(log->pagemap_fd, PAGEMAP_SCAN, &arg);

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0 || arg.walk_end <= begin)
			return swo_error_set(err, SWO_E_IO, rc < 0 ? errno : 0,
				"pagemap scan: cannot write-protect RAM region '%s'", region->name);
		begin = arg.walk_end;
	}
	return 0;
}

static int scan_start(void *self, struct swo_error *err)
{
	struct scan_log *log = self;

	scan_stop(log);
	log->uffd = memory_uffd_open(UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED |
					     UFFD_FEATURE_WP_ASYNC,
		err);
	if (log->uffd < 0)
		return -1;
	if (memory_uffd_register(log->uffd, log->ram, err)) {
		scan_stop(log);
		return -1;
	}
	for (unsigned i = 0; i < log->ram->count; i++) {
		if (protect_region(log, &log->ram->region[i], err)) {
			scan_stop(log);
			return -1;
		}
	}
	return 0;
}

static int scan_collect(void *self, struct swo_ram *ram, struct swo_error *err)
{
	struct scan_log *log = self;

	if (log->uffd < 0)
		return swo_error_set(err, SWO_E_STATE, 0, "pagemap scan: the log is not enabled");
	for (unsigned i = 0; i < ram->count; i++)
		if (scan_region(log, &ram->region[i], &filter_written, err) ||
			scan_region(log, &ram->region[i], &filter_dropped, err))
			return -1;
	return 0;
}

static void scan_destroy(void *self)
{
	struct scan_log *log = self;

	scan_stop(log);
	close(log->pagemap_fd);
	free(log);
}

/* An empty scan tests whether the kernel supports the ioctl. */
static int probe(int pagemap_fd)
{
	struct pm_scan_arg arg = {.size = sizeof(arg),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN};

	return ioctl(pagemap_fd, PAGEMAP_SCAN, &arg);
}

int memory_dirty_scan_new(struct swo_ram *ram, struct swo_dirty_source *out, struct swo_error *err)
{
	swo_autofd int uffd =
		memory_uffd_open(UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED |
					 UFFD_FEATURE_WP_ASYNC,
			err);
	swo_autofd int pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (uffd < 0)
		return -1;
	if (pagemap_fd < 0 || probe(pagemap_fd))
		return swo_error_set(err, SWO_E_UNSUPPORTED, errno, "pagemap scan");

	struct scan_log *log = calloc(1, sizeof(*log));

	if (!log)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "pagemap scan");
	log->ram = ram;
	log->pagemap_fd = pagemap_fd;
	log->uffd = -1;
	pagemap_fd = -1;
	*out = (struct swo_dirty_source){
		.name = "pagemap-scan",
		.self = log,
		.start = scan_start,
		.collect = scan_collect,
		.stop = scan_stop,
		.destroy = scan_destroy,
		.own_writes = true,
	};
	return 0;
}
