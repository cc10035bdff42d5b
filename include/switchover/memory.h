/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.h - guest memory: regions in memfds, their dirty pages, and the sources of dirty pages
 * (KVM's log, userfaultfd or the pagemap scan, devices' DMA logs).
 *
 * Threads: regions are added before vCPUs, devices or a migration use them, and never removed.
 * Marking and taking dirty pages is safe from any thread.
 */
#ifndef SWITCHOVER_MEMORY_H
#define SWITCHOVER_MEMORY_H

#include "switchover/base.h"
#include "switchover/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SWO_PAGE_SHIFT	    12
#define SWO_PAGE_SIZE	    (UINT64_C(1) << SWO_PAGE_SHIFT)
#define SWO_RAM_REGIONS_MAX 16
#define SWO_RAM_NAME_MAX    32

struct swo_ram_region {
	char name[SWO_RAM_NAME_MAX]; /* the same on both sides */
	uint64_t gpa;		     /* guest physical address */
	uint64_t size;		     /* bytes, whole pages */
	int fd;			     /* memfd, offset 0; owned by the ram */
	uint8_t *host;		     /* MAP_SHARED mapping of it */
	uint64_t *dirty;	     /* one bit a page; use the functions below */
	uint64_t marked;	     /* pages that were ever marked, each time; the library's */
};

struct swo_ram;

SWO_API struct swo_ram *swo_ram_new(void); /* NULL: no memory */
/*
 * Unmaps and closes all regions: at once, or, if a migration has left a job with a device that
 * hangs, when that job has ended.
 */
SWO_API void swo_ram_free(struct swo_ram *ram);
/*
 * fd < 0: a new memfd of `size` bytes, sealed against changes of its size. Otherwise takes
 * ownership of `fd` (only on success); its file position changes (SEEK_DATA). Regions must not
 * overlap, names must be unique. SWO_E_UNSUPPORTED on a host whose pages are not SWO_PAGE_SIZE.
 */
SWO_API int swo_ram_add(struct swo_ram *ram, const char *name, uint64_t gpa, uint64_t size, int fd,
	struct swo_error *err);
SWO_API unsigned swo_ram_count(const struct swo_ram *ram);
SWO_API struct swo_ram_region *swo_ram_region(struct swo_ram *ram, unsigned index);
SWO_API uint64_t swo_ram_size(const struct swo_ram *ram); /* of all regions, bytes */
/* The host address of [gpa, gpa + len); NULL unless it is within one region. */
SWO_API void *swo_ram_host(struct swo_ram *ram, uint64_t gpa, uint64_t len);

/*
 * RAM is sparse: a page takes memory from its first write or read on, and a migration neither reads
 * nor writes pages that were never touched (holes). populate allocates all pages, without changing
 * their content: first touches are slow, so a target may prefer to have them before a migration.
 */
SWO_API int swo_ram_populate(struct swo_ram *ram, struct swo_error *err);
/*
 * Whether core dumps of this process have RAM (QEMU's dump-guest-core); initially they do. Also of
 * regions that are added later, and of RAM that is passed by descriptor.
 */
SWO_API int swo_ram_set_dump(struct swo_ram *ram, bool on, struct swo_error *err);
/*
 * Whether [gpa, gpa + len), within one region, was never touched: all zeros, and a read would
 * allocate it. false if unknown. Any thread; a write at the same time may or may not be seen.
 */
SWO_API bool swo_ram_is_hole(struct swo_ram *ram, uint64_t gpa, uint64_t len);

/*
 * is_writable: adopted RAM (handover=fd) is not, until the VM runs here: a thread that writes for
 * others (a device's DMA by message) checks it first. is_gone: it was handed over, and reads as
 * zeros. Any thread.
 */
SWO_API bool swo_ram_is_writable(const struct swo_ram *ram);
SWO_API bool swo_ram_is_gone(const struct swo_ram *ram);

/*
 * Dirty bits: atomic; a mark releases and a take acquires. Beyond that the writers must have
 * stopped, or must be logged.
 */
SWO_API void swo_ram_mark(
	struct swo_ram *ram, uint64_t gpa, uint64_t len); /* outside RAM: ignored */
SWO_API void swo_ram_mark_all(struct swo_ram *ram);
SWO_API void swo_ram_clear_all(struct swo_ram *ram);
/* ORs a bitmap whose bit 0 is the page at `gpa`. */
SWO_API void swo_ram_mark_bitmap(
	struct swo_ram *ram, uint64_t gpa, const uint64_t *bitmap, uint64_t pages);
SWO_API uint64_t swo_ram_dirty_pages(struct swo_ram *ram);
/*
 * Finds the first run of dirty pages in `region` at or after page *page and before `end`, at
 * most max_pages long, clears their bits, and returns the run. false: none.
 */
SWO_API bool swo_ram_take(struct swo_ram *ram, unsigned region, uint64_t *page, uint64_t end,
	uint64_t max_pages, uint64_t *pages);

/* XXH3 over all regions, in order, with their names and sizes: for tests and checks. */
SWO_API uint64_t swo_ram_hash(struct swo_ram *ram);

/*
 * A source of dirty pages. start enables the log (and clears it); collect marks in `ram` the
 * pages written since the last collect, and re-arms; stop disables it. A collect after the
 * writers have stopped is complete. Called by one migration thread.
 */
struct swo_dirty_source {
	const char *name;
	void *self;
	int (*start)(void *self, struct swo_error *err);
	int (*collect)(void *self, struct swo_ram *ram, struct swo_error *err);
	void (*stop)(void *self);
	void (*destroy)(void *self);
	/* It has every write of this process, not only those of vCPUs. */
	bool own_writes;
};

/* KVM's dirty log: needs one memory slot per region, slot number = region index. */
SWO_API int swo_dirty_kvm(
	struct swo_ram *ram, int vm_fd, struct swo_dirty_source *out, struct swo_error *err);
/*
 * Writes through this process's own mapping of the regions: PAGEMAP_SCAN with asynchronous
 * write protection if the kernel has it (6.7), otherwise userfaultfd write protection with a
 * handler thread. force_handler: always the latter (for tests).
 */
SWO_API int swo_dirty_native(struct swo_ram *ram, bool force_handler, struct swo_dirty_source *out,
	struct swo_error *err);

#ifdef __cplusplus
}
#endif

#endif
