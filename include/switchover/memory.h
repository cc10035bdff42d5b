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
};

struct swo_ram;

SWO_API struct swo_ram *swo_ram_new(void); /* NULL: no memory */
/* Unmaps and closes all regions. */
SWO_API void swo_ram_free(struct swo_ram *ram);
/*
 * fd < 0: a new memfd of `size` bytes, sealed against changes of its size. Otherwise takes
 * ownership of `fd` (only on success). Regions must not overlap, names must be unique.
 */
SWO_API int swo_ram_add(struct swo_ram *ram, const char *name, uint64_t gpa, uint64_t size, int fd,
	struct swo_error *err);
SWO_API unsigned swo_ram_count(const struct swo_ram *ram);
SWO_API struct swo_ram_region *swo_ram_region(struct swo_ram *ram, unsigned index);
SWO_API uint64_t swo_ram_size(const struct swo_ram *ram); /* of all regions, bytes */
/* The host address of [gpa, gpa + len); NULL unless it is within one region. */
SWO_API void *swo_ram_host(struct swo_ram *ram, uint64_t gpa, uint64_t len);

/*
 * Faults in all pages, without changing their content: first touches are slow, so a target does
 * this before a migration, not during it.
 */
SWO_API int swo_ram_populate(struct swo_ram *ram, struct swo_error *err);

/*
 * RAM that is handed over by descriptor: the target maps the same memfds instead of a copy.
 *
 * check_fd: checks that this is a memfd for the region: of its size, writable, sealed against
 * shrinking. For region->fd or another process's. SWO_E_UNSUPPORTED has the reason. check_fds:
 * one per region, no duplicates.
 *
 * adopt: maps these at the host addresses of the regions, replacing their content. Takes
 * ownership of the fds (those that are -1 afterwards). No device may access RAM meanwhile.
 *
 * protect: makes RAM read-only for this process, or writable again. KVM without two-dimensional
 * paging makes either cost 0.1 ms per GiB.
 *
 * take_over: adopted RAM becomes writable for this process. is_writable reports that to any
 * thread: a thread that writes for others (a device's DMA by message) checks it first.
 *
 * release: replaces RAM by read-only zeros, permanently.
 */
SWO_API int swo_ram_check_fd(const struct swo_ram_region *region, int fd, struct swo_error *err);
SWO_API int swo_ram_check_fds(struct swo_ram *ram, const int *fds, struct swo_error *err);
SWO_API int swo_ram_adopt(struct swo_ram *ram, int *fds, struct swo_error *err);
SWO_API int swo_ram_protect(struct swo_ram *ram, bool on, struct swo_error *err);
SWO_API void swo_ram_take_over(struct swo_ram *ram);
SWO_API void swo_ram_release(struct swo_ram *ram);
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

/*
 * True if all 4096 bytes are zero. As fast as memory: written so that the compiler vectorises
 * it.
 */
SWO_API bool swo_page_is_zero(const void *page);
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

/*
 * The DMA log of one device: start enables it for all of `ram` (and clears it); collect marks
 * the device's writes. If a report fails, everything is marked dirty, a warning is logged once,
 * and the device counts as one without a log from then on (swo_device_dma_log_page returns 0).
 *
 * *logged false: the device has no log, or one that cannot be started or is unusable (then with
 * a warning). It can write to everything that is mapped for it, which is all of `ram`, and a
 * collect marks all of that. So a caller excludes such a device from the collects between
 * passes (they would never converge) and collects from it once, after it has stopped.
 */
SWO_API int swo_dma_log_start(
	struct swo_device *dev, struct swo_ram *ram, bool *logged, struct swo_error *err);
SWO_API int swo_dma_log_collect(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err);
SWO_API void swo_dma_log_stop(struct swo_device *dev);

#ifdef __cplusplus
}
#endif

#endif
