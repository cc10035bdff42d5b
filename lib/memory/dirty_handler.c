/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty_handler.c - logs writes through this process's own mapping by userfaultfd write
 * protection, with a thread that handles each fault, records the page and removes the
 * protection. Linux 5.19 (write protection of shared memory, including pages that are not yet
 * populated).
 */
#include "dirty_native.h"
#include "uffd.h"
#include "uffd_abi.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct handler_log {
	struct swo_ram *ram;
	/*
	 * Recording and releasing a page is atomic with regard to a collect. If it were only
	 * recorded, a collect could take it, protect it again (it still is) and have it read before
	 * the handler releases it for the write, which would then be lost.
	 */
	pthread_mutex_t noting;
	uint64_t *written[SWO_RAM_REGIONS_MAX]; /* by fault, since the last collect */
	int uffd;				/* -1: off */
	int stop_fd;
	pthread_t thread;
};

static struct swo_ram_region *region_of_host(struct swo_ram *ram, uint64_t addr, unsigned *index)
{
	for (unsigned i = 0; i < ram->count; i++) {
		uint64_t host = (uintptr_t)ram->region[i].host;

		if (addr >= host && addr - host < ram->region[i].size) {
			*index = i;
			return &ram->region[i];
		}
	}
	return NULL;
}

static void take_fault(struct handler_log *log, const struct uffd_msg *msg)
{
	unsigned index;
	struct swo_ram_region *region;

	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
	region = region_of_host(log->ram, msg->arg.pagefault.address, &index);
	if (!region)
		return;
	uint64_t page = (msg->arg.pagefault.address - (uintptr_t)region->host) >> SWO_PAGE_SHIFT;

	pthread_mutex_lock(&log->noting);
	__atomic_fetch_or(
		&log->written[index][page / 64], UINT64_C(1) << (page % 64), __ATOMIC_RELAXED);
	int errnum = memory_uffd_protect(
		log->uffd, region->host + page * SWO_PAGE_SIZE, SWO_PAGE_SIZE, false);

	pthread_mutex_unlock(&log->noting);

	/* ENOENT: the region was unregistered meanwhile, which also wakes the writer. */
	if (errnum && errnum != ENOENT)
		swo_log(SWO_LOG_ERROR, "userfaultfd: cannot release a page of '%s' (errno %d)",
			region->name, errnum);
}

static void *handler_main(void *opaque)
{
	struct handler_log *log = opaque;
	struct pollfd fds[2] = {
		{.fd = log->uffd, .events = POLLIN}, {.fd = log->stop_fd, .events = POLLIN}};

	for (;;) {
		struct uffd_msg msgs[16];

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		ssize_t got = read(log->uffd, msgs, sizeof(msgs));

		for (ssize_t i = 0; i < got / (ssize_t)sizeof(msgs[0]); i++)
			take_fault(log, &msgs[i]);
	}
	return NULL;
}

static void handler_stop(void *self)
{
	struct handler_log *log = self;
	uint64_t one = 1;

	if (log->uffd < 0)
		return;
	/* Wakes writers in a fault, so that none waits for the thread that ends now. */
	memory_uffd_unregister(log->uffd, log->ram);
	while (write(log->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(log->thread, NULL);
	swo_close_fd(&log->uffd);
	swo_close_fd(&log->stop_fd);
}

static void forget_written(struct handler_log *log)
{
	for (unsigned i = 0; i < log->ram->count; i++)
		for (size_t w = 0; w < bitmap_words(region_pages(&log->ram->region[i])); w++)
			log->written[i][w] = 0;
}

static int handler_start(void *self, struct swo_error *err)
{
	struct handler_log *log = self;

	handler_stop(log);
	forget_written(log);
	log->uffd = memory_uffd_open(
		UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM, err);
	if (log->uffd < 0)
		return -1;
	log->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (log->stop_fd < 0) {
		swo_error_set(err, SWO_E_NO_MEMORY, errno, "userfaultfd: cannot create an eventfd");
		swo_close_fd(&log->uffd);
		return -1;
	}
	if (memory_uffd_register(log->uffd, log->ram, err) ||
		swo_thread_start(&log->thread, "swo-dirty", handler_main, log, err)) {
		memory_uffd_unregister(log->uffd, log->ram);
		swo_close_fd(&log->uffd);
		swo_close_fd(&log->stop_fd);
		return -1;
	}
	for (unsigned i = 0; i < log->ram->count; i++) {
		const struct swo_ram_region *region = &log->ram->region[i];
		int errnum = memory_uffd_protect(log->uffd, region->host, region->size, true);

		if (errnum) {
			handler_stop(log);
			return swo_error_set(err, SWO_E_IO, errnum,
				"userfaultfd: cannot write-protect region '%s'", region->name);
		}
	}
	return 0;
}

/* Protects one run of pages again, then marks it: a later write faults again. */
static int rearm_run(struct handler_log *log, struct swo_ram_region *region, uint64_t page,
	uint64_t pages, struct swo_error *err)
{
	int errnum = memory_uffd_protect(
		log->uffd, region->host + page * SWO_PAGE_SIZE, pages * SWO_PAGE_SIZE, true);

	memory_region_mark(region, page, pages);
	if (errnum)
		return swo_error_set(err, SWO_E_IO, errnum,
			"userfaultfd: cannot write-protect pages of '%s'", region->name);
	return 0;
}

/*
 * Without a set bit, no page has been released that is not recorded later: no need for the
 * lock.
 */
static uint64_t take_word(struct handler_log *log, unsigned index, size_t word)
{
	uint64_t *written = &log->written[index][word];

	if (!__atomic_load_n(written, __ATOMIC_RELAXED))
		return 0;
	pthread_mutex_lock(&log->noting);
	const uint64_t bits = __atomic_exchange_n(written, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&log->noting);
	return bits;
}

static int handler_collect(void *self, struct swo_ram *ram, struct swo_error *err)
{
	struct handler_log *log = self;

	if (log->uffd < 0)
		return swo_error_set(err, SWO_E_STATE, 0, "userfaultfd: the log is not enabled");
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];
		uint64_t run = 0, length = 0;

		for (size_t w = 0; w < bitmap_words(region_pages(region)); w++) {
			uint64_t bits = take_word(log, i, w);

			while (bits) {
				uint64_t page = w * 64 + (uint64_t)__builtin_ctzll(bits);

				bits &= bits - 1;
				if (length && page == run + length) {
					length++;
					continue;
				}
				if (length && rearm_run(log, region, run, length, err))
					return -1;
				run = page;
				length = 1;
			}
		}
		if (length && rearm_run(log, region, run, length, err))
			return -1;
	}
	return 0;
}

static void handler_destroy(void *self)
{
	struct handler_log *log = self;

	handler_stop(log);
	for (unsigned i = 0; i < SWO_RAM_REGIONS_MAX; i++)
		free(log->written[i]);
	pthread_mutex_destroy(&log->noting);
	free(log);
}

int memory_dirty_handler_new(
	struct swo_ram *ram, struct swo_dirty_source *out, struct swo_error *err)
{
	swo_autofd int probe = memory_uffd_open(
		UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM, err);

	if (probe < 0)
		return -1;

	struct handler_log *log = calloc(1, sizeof(*log));

	if (!log)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "userfaultfd log");
	log->ram = ram;
	pthread_mutex_init(&log->noting, NULL);
	log->uffd = log->stop_fd = -1;
	for (unsigned i = 0; i < ram->count; i++) {
		log->written[i] = calloc(bitmap_words(region_pages(&ram->region[i])), 8);
		if (!log->written[i]) {
			handler_destroy(log);
			return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "userfaultfd log");
		}
	}
	*out = (struct swo_dirty_source){
		.name = "userfaultfd",
		.self = log,
		.start = handler_start,
		.collect = handler_collect,
		.stop = handler_stop,
		.destroy = handler_destroy,
		.own_writes = true,
	};
	return 0;
}
