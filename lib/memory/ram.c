/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ram.c - guest memory as a table of regions, each a memfd that other processes (devices) may
 * map too.
 */
#include "ram.h"

#include "memory/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14, asm-generic/mman-common.h */
#endif

struct swo_ram *swo_ram_new(void)
{
	struct swo_ram *ram = calloc(1, sizeof(*ram));

	if (ram)
		memory_ram_hold(ram);
	return ram;
}

void memory_ram_hold(struct swo_ram *ram)
{
	atomic_fetch_add(&ram->references, 1);
}

void swo_ram_free(struct swo_ram *ram)
{
	if (!ram || atomic_fetch_sub(&ram->references, 1) > 1)
		return;
	for (unsigned i = 0; i < ram->count; i++) {
		munmap(ram->region[i].host, ram->region[i].size);
		swo_close_fd(&ram->region[i].fd);
		free(ram->region[i].dirty);
	}
	free(ram);
}

static int check_region(const struct swo_ram *ram, const char *name, uint64_t gpa, uint64_t size,
	struct swo_error *err)
{
	const long page = sysconf(_SC_PAGESIZE);

	/* userfaultfd, madvise and holes in files go by the host's pages. */
	if (page != (long)SWO_PAGE_SIZE)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"RAM region '%.31s': the host's pages are of %ld bytes, only %" PRIu64
			" is supported: boot a kernel with pages of 4 KiB",
			name, page, SWO_PAGE_SIZE);
	if (ram->count == SWO_RAM_REGIONS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"RAM region '%.31s': too many regions, at most %d", name,
			SWO_RAM_REGIONS_MAX);
	if (!*name || strlen(name) >= SWO_RAM_NAME_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"RAM region '%.31s': expected a name of 1 to %d characters", name,
			SWO_RAM_NAME_MAX - 1);
	if (!size || size % SWO_PAGE_SIZE || gpa % SWO_PAGE_SIZE || size > UINT64_MAX - gpa ||
		size > SIZE_MAX / 2)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"RAM region '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64
			" are not aligned to pages, or exceed the address space",
			name, size, gpa);
	for (unsigned i = 0; i < ram->count; i++) {
		const struct swo_ram_region *other = &ram->region[i];

		if (!strcmp(other->name, name))
			return swo_error_set(
				err, SWO_E_INVALID, 0, "RAM region '%s': duplicate name", name);
		if (gpa < other->gpa + other->size && other->gpa < gpa + size)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"RAM region '%s' at 0x%" PRIx64 " overlaps '%s'", name, gpa,
				other->name);
	}
	return 0;
}

int memory_new_memfd(const char *name, uint64_t size, struct swo_error *err)
{
	swo_autofd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return swo_error_set(err, SWO_E_NO_MEMORY, errno,
			"RAM region '%s': cannot create a memfd", name);
	if (ftruncate(fd, (off_t)size))
		return swo_error_set(err, SWO_E_NO_MEMORY, errno,
			"RAM region '%s': cannot resize it to %" PRIu64 " bytes", name, size);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return swo_error_set(err, SWO_E_IO, errno, "RAM region '%s': cannot seal it", name);

	int keep = fd;

	fd = -1;
	return keep;
}

static int check_foreign_fd(const char *name, int fd, uint64_t size, struct swo_error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return swo_error_set(err, SWO_E_INVALID, errno,
			"RAM region '%s': cannot read the size of its fd", name);
	if (st.st_size < 0 || (uint64_t)st.st_size < size)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"RAM region '%s': file of %jd bytes, expected at least %" PRIu64, name,
			(intmax_t)st.st_size, size);
	return 0;
}

int swo_ram_add(struct swo_ram *ram, const char *name, uint64_t gpa, uint64_t size, int fd,
	struct swo_error *err)
{
	swo_autofd int made = -1;

	if (check_region(ram, name, gpa, size, err))
		return -1;
	if (fd >= 0) {
		if (check_foreign_fd(name, fd, size, err))
			return -1;
	} else {
		fd = made = memory_new_memfd(name, size, err);
		if (fd < 0)
			return -1;
	}

	swo_autofree uint64_t *dirty = calloc(bitmap_words(size >> SWO_PAGE_SHIFT), sizeof(*dirty));

	if (!dirty)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "RAM region '%s'", name);

	void *host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (host == MAP_FAILED)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, errno, "RAM region '%s': cannot map it", name);

	if (ram->no_dump && madvise(host, size, MADV_DONTDUMP)) {
		swo_error_set(
			err, SWO_E_IO, errno, "RAM region '%s': core dumps would have it", name);
		munmap(host, size);
		return -1;
	}

	struct swo_ram_region *region = &ram->region[ram->count++];

	strcpy(region->name, name);
	region->gpa = gpa;
	region->size = size;
	region->fd = fd;
	region->host = host;
	region->dirty = dirty;
	dirty = NULL;
	made = -1;
	return 0;
}

unsigned swo_ram_count(const struct swo_ram *ram)
{
	return ram->count;
}

struct swo_ram_region *swo_ram_region(struct swo_ram *ram, unsigned index)
{
	return index < ram->count ? &ram->region[index] : NULL;
}

uint64_t swo_ram_size(const struct swo_ram *ram)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < ram->count; i++)
		size += ram->region[i].size;
	return size;
}

void *swo_ram_host(struct swo_ram *ram, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < ram->count; i++) {
		const struct swo_ram_region *region = &ram->region[i];

		if (gpa < region->gpa || gpa - region->gpa >= region->size)
			continue;
		uint64_t offset = gpa - region->gpa;

		return len <= region->size - offset ? region->host + offset : NULL;
	}
	return NULL;
}

int swo_ram_populate(struct swo_ram *ram, struct swo_error *err)
{
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		/* EINVAL: not supported by the kernel; pages are then faulted in later, one by one. */
		if (madvise(region->host, region->size, MADV_POPULATE_WRITE) && errno != EINVAL)
			return swo_error_set(err, SWO_E_NO_MEMORY, errno,
				"RAM region '%s': cannot populate %" PRIu64 " bytes", region->name,
				region->size);
	}
	return 0;
}

int swo_ram_set_dump(struct swo_ram *ram, bool on, struct swo_error *err)
{
	for (unsigned i = 0; i < ram->count; i++)
		if (madvise(ram->region[i].host, ram->region[i].size,
			    on ? MADV_DODUMP : MADV_DONTDUMP))
			return swo_error_set(err, SWO_E_IO, errno,
				"RAM region '%s': cannot %s core dumps", ram->region[i].name,
				on ? "include it in" : "exclude it from");
	ram->no_dump = !on;
	return 0;
}

bool memory_page_is_zero(const void *page)
{
	/* GCC's vector types, so that every compiler vectorises it; any alignment. */
	typedef uint64_t lanes __attribute__((vector_size(16), aligned(1), may_alias));
	const lanes *p = page;

	for (size_t i = 0; i < SWO_PAGE_SIZE / sizeof(*p); i += 16) {
		lanes a = p[i], b = p[i + 1], c = p[i + 2], d = p[i + 3];

		for (size_t j = 4; j < 16; j += 4) {
			a |= p[i + j];
			b |= p[i + j + 1];
			c |= p[i + j + 2];
			d |= p[i + j + 3];
		}
		a |= b | c | d;
		if (a[0] | a[1])
			return false;
	}
	return true;
}

static void hash_region(XXH3_state_t *state, const struct swo_ram_region *region)
{
	static const uint8_t zeros[16 * SWO_PAGE_SIZE];
	const uint64_t end = region_pages(region);
	bool hole;

	for (uint64_t page = 0, next; page < end; page = next) {
		next = memory_region_extent(region, page, end, &hole);
		if (!hole)
			XXH3_64bits_update(state, region->host + (page << SWO_PAGE_SHIFT),
				(next - page) << SWO_PAGE_SHIFT);
		for (uint64_t left = (next - page) << SWO_PAGE_SHIFT, part; hole && left;
			left -= part) {
			part = left < sizeof(zeros) ? left : sizeof(zeros);
			XXH3_64bits_update(state, zeros, part);
		}
	}
}

uint64_t swo_ram_hash(struct swo_ram *ram)
{
	XXH3_state_t *state = XXH3_createState();

	if (!state)
		return 0;
	XXH3_64bits_reset(state);
	for (unsigned i = 0; i < ram->count; i++) {
		const struct swo_ram_region *region = &ram->region[i];

		XXH3_64bits_update(state, region->name, sizeof(region->name));
		XXH3_64bits_update(state, &region->size, sizeof(region->size));
		hash_region(state, region);
	}
	uint64_t hash = XXH3_64bits_digest(state);

	XXH3_freeState(state);
	return hash;
}
