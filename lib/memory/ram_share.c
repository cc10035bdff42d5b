/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ram_share.c - RAM that changes hands without being copied: another process's memfds come to
 * lie where our own regions lay, may be read at first, then written; or what lay there is let go.
 */
#include "ram.h"

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
		"RAM region '%s' cannot be handed over by descriptor: %s", region->name, why);
}

int swo_ram_check_fd(const struct swo_ram_region *region, int fd, struct swo_error *err)
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
			"RAM region '%s' cannot be handed over by descriptor: its memfd has %jd "
			"bytes, the region %" PRIu64,
			region->name, (intmax_t)st.st_size, region->size);
	return 0;
}

/* The same memory twice would be one page at two addresses of the guest. */
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

int swo_ram_check_fds(struct swo_ram *ram, const int *fds, struct swo_error *err)
{
	for (unsigned i = 0; i < ram->count; i++)
		if (swo_ram_check_fd(&ram->region[i], fds[i], err))
			return -1;
	if (is_twice(fds, ram->count))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"RAM cannot be handed over by descriptor: two regions are the same memfd");
	return 0;
}

static void unmap(const struct swo_ram *ram, void *const *at, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		munmap(at[i], ram->region[i].size);
}

int swo_ram_adopt(struct swo_ram *ram, int *fds, struct swo_error *err)
{
	void *at[SWO_RAM_REGIONS_MAX];

	if (swo_ram_check_fds(ram, fds, err))
		return -1;
	/* Elsewhere first: what cannot be mapped must not cost what is there. */
	for (unsigned i = 0; i < ram->count; i++) {
		at[i] = mmap(
			NULL, ram->region[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		if (at[i] == MAP_FAILED) {
			swo_error_set(err, SWO_E_NO_MEMORY, errno,
				"RAM region '%s': mapping what was handed over",
				ram->region[i].name);
			unmap(ram, at, i);
			return -1;
		}
	}
	/* Said before it is so. */
	atomic_store(&ram->foreign, true);
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		/* In its place: whoever knows the address (KVM, say) finds the new pages there. */
		if (mremap(at[i], region->size, region->size, MREMAP_MAYMOVE | MREMAP_FIXED,
			    region->host) == MAP_FAILED) {
			swo_error_set(err, SWO_E_NO_MEMORY, errno,
				"RAM region '%s': moving what was handed over to its place",
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

int swo_ram_protect(struct swo_ram *ram, bool on, struct swo_error *err)
{
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		/* No page is mapped then, so that taking it off again takes next to no time. */
		if (on)
			(void)madvise(region->host, region->size, MADV_DONTNEED);
		if (mprotect(region->host, region->size, PROT_READ | (on ? 0 : PROT_WRITE)))
			return swo_error_set(err, SWO_E_NO_MEMORY, errno,
				"RAM region '%s': its protection cannot be changed", region->name);
	}
	return 0;
}

void swo_ram_take_over(struct swo_ram *ram)
{
	atomic_store(&ram->foreign, false);
}

void swo_ram_release(struct swo_ram *ram)
{
	atomic_store(&ram->foreign, true);
	atomic_store(&ram->gone, true);
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		/* Zeros that nobody can write, of no cost: an address that is still in use, by a
		   query say, must not be a hole. */
		if (mmap(region->host, region->size, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			    0) == MAP_FAILED) {
			swo_log(SWO_LOG_ERROR,
				"RAM region '%s' is not let go: %m; it can only be read from now "
				"on",
				region->name);
			(void)mprotect(region->host, region->size, PROT_READ);
			continue;
		}
		swo_close_fd(&region->fd);
	}
}

bool swo_ram_is_writable(const struct swo_ram *ram)
{
	return !atomic_load(&ram->foreign);
}

bool swo_ram_is_gone(const struct swo_ram *ram)
{
	return atomic_load(&ram->gone);
}
