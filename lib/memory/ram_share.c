/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ram_share.c - RAM that changes owner without a copy: maps another process's memfds at the
 * addresses of the regions, read-only at first, then writable; or releases the regions.
 */
#include "ram.h"

#include "memory/share.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1, linux/fcntl.h */
#endif

static int unfit(struct swo_error *err, const struct swo_ram_region *region, const char *why)
{
	return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
		"cannot hand over RAM region '%s' by descriptor: %s", region->name, why);
}

int memory_ram_check_fd(const struct swo_ram_region *region, int fd, struct swo_error *err)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS), flags = fcntl(fd, F_GETFL);

	if (fd < 0 || seals < 0 || fstat(fd, &st))
		return unfit(err, region, "it is not in a memfd");
	if (!(seals & F_SEAL_SHRINK))
		return unfit(err, region, "its memfd is not sealed against shrinking");
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) || (flags & O_ACCMODE) != O_RDWR)
		return unfit(err, region, "its memfd cannot be written");
	if (st.st_size < 0 || (uint64_t)st.st_size != region->size)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"cannot hand over RAM region '%s' by descriptor: memfd of %jd "
			"bytes, expected %" PRIu64,
			region->name, (intmax_t)st.st_size, region->size);
	return 0;
}

/* The same memory twice would be one page at two guest addresses. */
static bool is_twice(const int *fds, unsigned count)
{
	struct stat a, b;

	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < i; k++)
			if (!fstat(fds[i], &a) && !fstat(fds[k], &b) && a.st_ino == b.st_ino &&
				a.st_dev == b.st_dev)
				return true;
	return false;
}

int memory_ram_check_fds(struct swo_ram *ram, const int *fds, struct swo_error *err)
{
	for (unsigned i = 0; i < ram->count; i++)
		if (memory_ram_check_fd(&ram->region[i], fds[i], err))
			return -1;
	if (is_twice(fds, ram->count))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"cannot hand over RAM by descriptor: two regions have the same memfd");
	return 0;
}

static void unmap(const struct swo_ram *ram, void *const *at, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		munmap(at[i], ram->region[i].size);
}

int memory_ram_adopt(struct swo_ram *ram, int *fds, struct swo_error *err)
{
	void *at[SWO_RAM_REGIONS_MAX];

	if (memory_ram_check_fds(ram, fds, err))
		return -1;
	/* Mapped elsewhere first: a failure must not destroy the current content. */
	for (unsigned i = 0; i < ram->count; i++) {
		at[i] = mmap(
			NULL, ram->region[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		if (at[i] == MAP_FAILED) {
			swo_error_set(err, SWO_E_NO_MEMORY, errno,
				"RAM region '%s': cannot map the received memfd",
				ram->region[i].name);
			unmap(ram, at, i);
			return -1;
		}
		if (ram->no_dump && madvise(at[i], ram->region[i].size, MADV_DONTDUMP)) {
			swo_error_set(err, SWO_E_IO, errno,
				"RAM region '%s': core dumps would have it", ram->region[i].name);
			unmap(ram, at, i + 1);
			return -1;
		}
	}
	/* Set before the change. */
	atomic_store(&ram->foreign, true);
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		/* Moved to the region's address: users of that address (KVM, for example) find the new pages. */
		if (mremap(at[i], region->size, region->size, MREMAP_MAYMOVE | MREMAP_FIXED,
			    region->host) == MAP_FAILED) {
			swo_error_set(err, SWO_E_NO_MEMORY, errno,
				"RAM region '%s': cannot move the received memory to its address",
				region->name);
			unmap(ram, at + i, 1);
			return -1;
		}
		close(region->fd);
		region->fd = fds[i];
		fds[i] = -1;
	}
	return 0;
}

int memory_ram_protect(struct swo_ram *ram, bool on, struct swo_error *err)
{
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		/* No page is mapped then, so that removing the protection again takes almost no time. */
		if (on)
			(void)madvise(region->host, region->size, MADV_DONTNEED);
		if (mprotect(region->host, region->size, PROT_READ | (on ? 0 : PROT_WRITE)))
			return swo_error_set(err, SWO_E_NO_MEMORY, errno,
				"RAM region '%s': cannot change its protection", region->name);
	}
	return 0;
}

void memory_ram_take_over(struct swo_ram *ram)
{
	atomic_store(&ram->foreign, false);
}

void memory_ram_release(struct swo_ram *ram)
{
	atomic_store(&ram->foreign, true);
	atomic_store(&ram->gone, true);
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		/* Read-only zeros, at no cost: an address that is still used, by a query for example,
		   must not be a hole. */
		if (mmap(region->host, region->size, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			    0) == MAP_FAILED) {
			swo_log(SWO_LOG_ERROR,
				"cannot release RAM region '%s': %m; it is read-only from now "
				"on",
				region->name);
			(void)mprotect(region->host, region->size, PROT_READ);
			continue;
		}
		swo_close_fd(&region->fd);
	}
}

int memory_ram_renew(struct swo_ram *ram, struct swo_error *err)
{
	int fds[SWO_RAM_REGIONS_MAX], rc = 0;

	for (unsigned i = 0; i < ram->count; i++) {
		fds[i] = rc ? -1 : memory_new_memfd(ram->region[i].name, ram->region[i].size, err);
		rc = fds[i] < 0 ? -1 : 0;
	}
	if (!rc)
		rc = memory_ram_adopt(ram, fds, err);
	for (unsigned i = 0; i < ram->count; i++)
		swo_close_fd(&fds[i]);
	if (rc)
		memory_ram_release(ram);
	else
		memory_ram_take_over(ram);
	return rc;
}

bool swo_ram_is_writable(const struct swo_ram *ram)
{
	return !atomic_load(&ram->foreign);
}

bool swo_ram_is_gone(const struct swo_ram *ram)
{
	return atomic_load(&ram->gone);
}
