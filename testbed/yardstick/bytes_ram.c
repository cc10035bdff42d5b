/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bytes_ram.c - RAM of a stopped VM: two machines of switchover vm or of QEMU, with the same QMP
 * commands and the same fill of their memory.
 */
#include "bytes.h"
#include "testbed/pair/pair.h"
#include "testbed/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE	 4096
#define BLOCK	 (1u << 20)
#define GUARD_MS 120000

const char *const bytes_who_names[BYTES_WHO_COUNT] = {
	"switchover", "switchover-prealloc", "qemu", "qemu-prealloc"};

/* Access to memory from outside */

#define PARTS_MAX 4

struct part {
	char name[128];
	int fd;
	uint64_t size;
};

struct memory {
	struct part parts[PARTS_MAX]; /* by name */
	unsigned count;
};

static void close_memory(struct memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++)
		swo_close_fd(&memory->parts[i].fd);
	memory->count = 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct part *)a)->name, ((const struct part *)b)->name);
}

static void add_part(struct memory *memory, const char *link)
{
	struct part *part = &memory->parts[memory->count];
	ssize_t len = readlink(link, part->name, sizeof(part->name) - 1);
	struct stat st;

	if (len <= 0)
		return;
	part->name[len] = 0;
	if ((strncmp(part->name, "/memfd:ram", 10) &&
		    strncmp(part->name, "/memfd:memory-backend", 21)) ||
		stat(link, &st))
		return;
	part->fd = open(link, O_RDWR | O_CLOEXEC);
	part->size = (uint64_t)st.st_size;
	memory->count += part->fd >= 0;
}

/*
 * Finds the memfds of a process that are its RAM: of switchover vm, or QEMU's memory-backend-memfd.
 */
static int open_memory(pid_t pid, uint64_t size, struct memory *memory, struct swo_error *err)
{
	char path[64], link[400];
	struct dirent *entry;
	uint64_t sum = 0;

	memory->count = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	while (dir && memory->count < PARTS_MAX && (entry = readdir(dir))) {
		snprintf(link, sizeof(link), "%s/%s", path, entry->d_name);
		add_part(memory, link);
	}
	if (dir)
		closedir(dir);
	qsort(memory->parts, memory->count, sizeof(memory->parts[0]), by_name);
	for (unsigned i = 0; i < memory->count; i++)
		sum += memory->parts[i].size;
	if (sum == size)
		return 0;
	close_memory(memory);
	return swo_error_set(err, SWO_E_STATE, 0,
		"process %d has %" PRIu64 " bytes of RAM in memfds, %" PRIu64 " expected", (int)pid,
		sum, size);
}

static int fill_part(const struct part *part, uint64_t *block, struct swo_error *err)
{
	for (uint64_t at = 0; at < part->size; at += BLOCK) {
		for (size_t page = 0; page < BLOCK / PAGE; page++)
			block[page * PAGE / sizeof(*block)] = (at / PAGE + page) * 2 + 1;
		if (pwrite(part->fd, block, BLOCK, (off_t)at) != BLOCK)
			return swo_error_set(err, SWO_E_IO, errno, "filling RAM");
	}
	return 0;
}

/* No page is zero, and each contains its address. */
static int fill(pid_t pid, uint64_t size, struct swo_error *err)
{
	swo_autofree uint64_t *block = malloc(BLOCK);
	uint64_t random = 88172645463325252u;
	struct memory memory;
	int rc = 0;

	if (!block)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a block to fill RAM with");
	for (size_t i = 0; i < BLOCK / sizeof(*block); i++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		block[i] = random;
	}
	if (open_memory(pid, size, &memory, err))
		return -1;
	for (unsigned i = 0; i < memory.count && !rc; i++)
		rc = fill_part(&memory.parts[i], block, err);
	close_memory(&memory);
	return rc;
}

static int compare_part(const struct part *a, const struct part *b, struct swo_error *err)
{
	int rc = 0;

	if (a->size != b->size)
		return swo_error_set(err, SWO_E_CORRUPT, 0, "%s differs in size", a->name);
	void *pa = mmap(NULL, a->size, PROT_READ, MAP_SHARED, a->fd, 0);
	void *pb = mmap(NULL, b->size, PROT_READ, MAP_SHARED, b->fd, 0);

	if (pa == MAP_FAILED || pb == MAP_FAILED)
		rc = swo_error_set(err, SWO_E_NO_MEMORY, errno, "mapping RAM to compare it");
	else if (memcmp(pa, pb, a->size))
		rc = swo_error_set(
			err, SWO_E_CORRUPT, 0, "%s differs after the migration", a->name);
	if (pa != MAP_FAILED)
		munmap(pa, a->size);
	if (pb != MAP_FAILED)
		munmap(pb, b->size);
	return rc;
}

static int compare(pid_t source, pid_t target, uint64_t size, struct swo_error *err)
{
	struct memory a, b;
	int rc = 0;

	if (open_memory(source, size, &a, err))
		return -1;
	if (open_memory(target, size, &b, err)) {
		close_memory(&a);
		return -1;
	}
	if (a.count != b.count)
		rc = swo_error_set(err, SWO_E_CORRUPT, 0, "the RAM blocks of the two sides differ");
	for (unsigned i = 0; i < a.count && !rc; i++)
		rc = compare_part(&a.parts[i], &b.parts[i], err);
	close_memory(&a);
	close_memory(&b);
	return rc;
}

/* Machines */

/* CPU time of all its threads, including exited ones. */
static int add_cpu_seconds(
	const struct pair *pair, enum pair_side side, double *seconds, struct swo_error *err)
{
	pid_t pid = process_pid(pair->ends[side].vm);
	struct timespec t;
	clockid_t clock;
	int rc = clock_getcpuclockid(pid, &clock);

	if (!rc && clock_gettime(clock, &t))
		rc = errno;
	if (rc)
		return swo_error_set(err, SWO_E_IO, rc, "the CPU time of %d", (int)pid);
	*seconds += (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	return 0;
}

static int cpu_seconds(const struct pair *pair, double *seconds, struct swo_error *err)
{
	*seconds = 0;
	return add_cpu_seconds(pair, PAIR_SOURCE, seconds, err) ||
			       add_cpu_seconds(pair, PAIR_TARGET, seconds, err)
		       ? -1
		       : 0;
}

static int await_completed(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	char status[PAIR_STATUS_MAX];

	if (pair_wait_side(pair, side, GUARD_MS, status, err))
		return -1;
	if (!strcmp(status, "completed"))
		return 0;
	return swo_error_set(err, SWO_E_STATE, 0, "%s: the migration %s (its log is in %s)",
		pair_side_name(side), status, pair->dir);
}

static int measure(
	struct pair *pair, uint64_t ram, struct bytes_speed *speed, struct swo_error *err)
{
	double before, after;

	if (pair_start(pair, err) || fill(process_pid(pair->ends[PAIR_SOURCE].vm), ram, err) ||
		pair_listen(pair, err) || cpu_seconds(pair, &before, err))
		return -1;
	const uint64_t start = swo_now_ns();

	if (pair_send(pair, err) || await_completed(pair, PAIR_SOURCE, err) ||
		await_completed(pair, PAIR_TARGET, err))
		return -1;
	speed->rate = (double)ram * 1e9 / (double)(swo_now_ns() - start);
	if (cpu_seconds(pair, &after, err))
		return -1;
	speed->cpu = after - before;
	if (!pair->vmm->ours)
		return 0;
	return compare(process_pid(pair->ends[PAIR_SOURCE].vm),
		process_pid(pair->ends[PAIR_TARGET].vm), ram, err);
}

int bytes_ram(const struct bytes_setting *s, enum bytes_who who, struct bytes_speed *speed,
	struct swo_error *err)
{
	static const char *const vmms[BYTES_WHO_COUNT] = {
		"switchover", "switchover-prealloc", "qemu-ram", "qemu-ram-prealloc"};
	static struct pair pair;
	struct pair_config config;
	char ram[24];

	pair_defaults(&config);
	snprintf(ram, sizeof(ram), "%" PRIu64, s->ram);
	config.ram = ram;
	config.vcpus = 1;
	config.doorbell_period_us = 1000;
	/* The pages that a guest has written are in the page tables of its machine. */
	config.fill_ram = true;
	config.channel = s->tcp ? "tcp" : "unix";
	config.channels = s->channels;
	config.max_bandwidth = UINT64_C(1) << 50;
	int rc = pair_init(&pair, &config, 0, "parallel", err);

	pair.vmm = pair_vmm_named(vmms[who]);
	pair.qemu = s->qemu;
	pair.paused = pair.no_journal = true;
	if (!rc)
		rc = measure(&pair, s->ram, speed, err);
	pair_free(&pair, rc && !process_interrupted);
	return rc;
}
