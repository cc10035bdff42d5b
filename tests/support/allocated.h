/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * allocated.h - how much of guest memory its host has allocated.
 */
#ifndef TESTS_SUPPORT_ALLOCATED_H
#define TESTS_SUPPORT_ALLOCATED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static inline uint64_t allocated_bytes(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? UINT64_MAX : (uint64_t)st.st_blocks * 512;
}

/* false on a host that allocates huge pages in memfds (transparent_hugepage/shmem_enabled). */
static inline bool allocates_single_pages(void)
{
	const int fd = memfd_create("probe", MFD_CLOEXEC);
	bool single = false;

	if (fd < 0)
		return false;
	if (!ftruncate(fd, 8 << 20)) {
		uint8_t *at = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (at != MAP_FAILED) {
			at[5 << 20] = 1;
			munmap(at, 8 << 20);
		}
		single = allocated_bytes(fd) == 4096;
	}
	close(fd);
	return single;
}

#endif
