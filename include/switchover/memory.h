/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.h - guest memory: regions in memfds, which pages are dirty, and who
 * says so (KVM's log, userfaultfd or the pagemap scan, devices' DMA logs).
 *
 * Threads: regions are added before vCPUs, devices or a migration use them, and
 * never removed. Marking and taking dirty pages is safe from any thread.
 */
#ifndef SWITCHOVER_MEMORY_H
#define SWITCHOVER_MEMORY_H

#include "switchover/base.h"
#include "switchover/device.h"

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
/* Unmaps and closes everything. */
SWO_API void swo_ram_free(struct swo_ram *ram);
/*
 * fd < 0: a new memfd of `size` bytes, sealed against changes of its size. Else takes over `fd`
 * (only on success). No overlap with others, no name twice.
 */
SWO_API int swo_ram_add(struct swo_ram *ram, const char *name, uint64_t gpa, uint64_t size, int fd,
	struct swo_error *err);
SWO_API unsigned swo_ram_count(const struct swo_ram *ram);
SWO_API struct swo_ram_region *swo_ram_region(struct swo_ram *ram, unsigned index);
SWO_API uint64_t swo_ram_size(const struct swo_ram *ram); /* of all regions, bytes */
/* Host address of [gpa, gpa + len); NULL unless one region holds all of it. */
SWO_API void *swo_ram_host(struct swo_ram *ram, uint64_t gpa, uint64_t len);

/*
 * Has the kernel find all pages now, zeroed or as they are: first touches are slow, so a target
 * pays for them before a migration, not in it. Contents do not change.
 */
SWO_API int swo_ram_populate(struct swo_ram *ram, struct swo_error *err);

/*
 * RAM that is handed over by descriptor: the next owner maps the same memfds instead of a copy.
 *
 * check_fd: is this a memfd for the region: of its size, writable, sealed against shrinking? Of its
 * own (region->fd) or of another process's. SWO_E_UNSUPPORTED says what it lacks. check_fds: one a
 * region, none twice.
 *
 * adopt: these come to lie where the regions lay, at the same host addresses; what was there is
 * gone. Takes over the fds (those that are -1 afterwards). No device may reach RAM meanwhile.
 *
 * protect: from now on this process can only read it, whatever tries, or write it again. KVM without
 * two-dimensional paging makes either cost 0.1 ms a GiB.
 *
 * take_over: what was adopted is ours to write. is_writable says so to any thread: whoever writes
 * on behalf of others (a device's DMA by message) asks first.
 *
 * let_go: what lies there from now on are zeros that cannot be written; for good.
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
 * Dirty bits: atomic; a mark releases and a take acquires. What else is needed is that who
 * dirtied has stopped or is logged.
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
 * most max_pages long, clears their bits, and gives the run. false: none there.
 */
SWO_API bool swo_ram_take(struct swo_ram *ram, unsigned region, uint64_t *page, uint64_t end,
	uint64_t max_pages, uint64_t *pages);

/* All 4096 bytes zero? As fast as memory: written so that the compiler vectorises it. */
SWO_API bool swo_page_is_zero(const void *page);
/* XXH3 over all regions, in order, with their names and sizes: for tests and checks. */
SWO_API uint64_t swo_ram_hash(struct swo_ram *ram);

/*
 * Who knows which pages were written. start arms the log (and forgets what was before);
 * collect marks in `ram` what was written since the last collect, and re-arms; stop ends it. A
 * collect after the writers have stopped is complete. Called by one migration thread.
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
 * write protection where the kernel has it (6.7), else userfaultfd write protection with a
 * handler thread. force_handler: the latter even so (for tests).
 */
SWO_API int swo_dirty_native(struct swo_ram *ram, bool force_handler, struct swo_dirty_source *out,
	struct swo_error *err);

/*
 * The DMA log of one device: start asks it to log all of `ram` (forgetting what was before);
 * collect marks what the device wrote. A failing report marks everything dirty, says so once, and
 * the device counts as one without a log from then on (swo_device_dma_log_page gives 0).
 *
 * *logged false: the device has no log, or one that cannot be started or is of no use (then with a
 * warning). Its reach is all that is mapped for it, which is all of `ram`, and a collect marks just
 * that. So a caller leaves such a device out of the collects between passes (they would never
 * converge) and collects from it once, after it has stopped.
 */
SWO_API int swo_dma_log_start(
	struct swo_device *dev, struct swo_ram *ram, bool *logged, struct swo_error *err);
SWO_API int swo_dma_log_collect(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err);
SWO_API void swo_dma_log_stop(struct swo_device *dev);

#endif
