/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bytes_ram.c - RAM of a machine that stands still: two machines of ours, or two of QEMU's, driven
 * over QMP in the same way, their memory filled by the same hand.
 */
#include "bytes.h"
#include "testbed/ask.h"
#include "testbed/process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE	 4096
#define BLOCK	 (1u << 20)
#define GUARD_MS 120000
#define ARGS_MAX 40

const char *const bytes_who_names[BYTES_WHO_COUNT] = {"switchover", "qemu", "qemu-prealloc"};

struct end {
	int handle; /* process; -1: none */
	struct qmp qmp;
	char sock[128];
};

int bytes_free_port(int *port, struct swo_error *err)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	swo_autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
		getsockname(fd, (struct sockaddr *)&address, &len))
		return swo_error_set(err, SWO_E_IO, errno, "a free port of 127.0.0.1");
	*port = ntohs(address.sin_port);
	return 0;
}

/* Memory, from outside */

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

/* The memfds of a process that are its RAM: ours, or QEMU's memory-backend-memfd. */
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
		"process %d has %" PRIu64 " bytes of RAM in memfds, %" PRIu64 " were expected",
		(int)pid, sum, size);
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

/* No page is zero, and each says where it belongs. */
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
		rc = swo_error_set(err, SWO_E_CORRUPT, 0, "the two sides' RAM is cut differently");
	for (unsigned i = 0; i < a.count && !rc; i++)
		rc = compare_part(&a.parts[i], &b.parts[i], err);
	close_memory(&a);
	close_memory(&b);
	return rc;
}

/* Machines */

static int start_ours(
	const struct bytes_setting *s, struct end *end, bool target, struct swo_error *err)
{
	char program[420], ram[40], qmp[160], log[160];
	/* What a guest has written lies in the page tables of its machine. */
	const char *argv[ARGS_MAX] = {program, "vm", "--paused", "--quiet", "--ram", ram, "--qmp",
		qmp, "--journal", "none", target ? "--incoming" : "--fill-ram",
		target ? "defer" : NULL};

	snprintf(program, sizeof(program), "%s/switchover", s->bin);
	snprintf(ram, sizeof(ram), "%" PRIu64, s->ram);
	snprintf(qmp, sizeof(qmp), "unix:%s", end->sock);
	snprintf(log, sizeof(log), "%s.log", end->sock);
	end->handle = bench_spawn(target ? "target" : "source", argv, log, err);
	return end->handle < 0 ? -1 : 0;
}

static int start_qemu(const struct bytes_setting *s, bool prealloc, struct end *end, bool target,
	struct swo_error *err)
{
	char backend[128], qmp[160], log[160], size[40];
	const char *argv[ARGS_MAX] = {s->qemu, "-machine", "q35,accel=kvm:tcg,memory-backend=ram",
		"-m", size, "-object", backend, "-nodefaults", "-display", "none", "-S", "-qmp",
		qmp, target ? "-incoming" : NULL, "defer"};

	/*
	 * The source's can be filled from outside, and is mapped as if a guest had written to it;
	 * the target's is what `-m` alone gives.
	 */
	if (target)
		snprintf(backend, sizeof(backend), "memory-backend-ram,id=ram,size=%" PRIu64 "%s",
			s->ram, prealloc ? ",prealloc=on" : "");
	else
		snprintf(backend, sizeof(backend),
			"memory-backend-memfd,id=ram,share=on,prealloc=on,size=%" PRIu64, s->ram);
	snprintf(size, sizeof(size), "%" PRIu64 "M", s->ram >> 20);
	snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", end->sock);
	snprintf(log, sizeof(log), "%s.log", end->sock);
	end->handle = bench_spawn(target ? "qemu target" : "qemu source", argv, log, err);
	return end->handle < 0 ? -1 : 0;
}

static int talk(struct end *end, struct swo_error *err)
{
	char uri[160];

	snprintf(uri, sizeof(uri), "unix:%s", end->sock);
	return ask_qmp_open(&end->qmp, uri, GUARD_MS, err);
}

/* multifd, as many channels, no limit on the bandwidth: the same words to both. */
static int tune(const struct bytes_setting *s, struct end *end, struct swo_error *err)
{
	if (ask_qmp_do(&end->qmp, "migrate-set-capabilities",
		    json_pack("{s:[{s:s,s:b},{s:s,s:b}]}", "capabilities", "capability", "multifd",
			    "state", 1, "capability", "events", "state", 1),
		    err))
		return -1;
	return ask_qmp_do(&end->qmp, "migrate-set-parameters",
		json_pack("{s:I,s:I}", "multifd-channels", (json_int_t)s->channels, "max-bandwidth",
			(json_int_t)1 << 50),
		err);
}

/* Until MIGRATION says completed or failed. */
static int await_end(struct end *end, const char *who, struct swo_error *err)
{
	const swo_deadline deadline = swo_deadline_ms(GUARD_MS);

	for (;;) {
		json_t *event = qmp_event(&end->qmp, deadline, err);

		if (!event)
			return -1;
		const bool ours = !strcmp(json_path_string(event, "event"), "MIGRATION");
		char status[32];

		snprintf(status, sizeof(status), "%s",
			ours ? json_path_string(event, "data.status") : "");
		json_decref(event);
		if (!strcmp(status, "completed"))
			return 0;
		if (!strcmp(status, "failed") || !strcmp(status, "cancelled"))
			return swo_error_set(err, SWO_E_STATE, 0,
				"%s: the migration %s (its log is %s.log)", who, status, end->sock);
	}
}

/* Of all its threads so far, those that are gone too. */
static int cpu_seconds(const struct end *end, double *seconds, struct swo_error *err)
{
	struct timespec t;
	clockid_t clock;
	int rc = clock_getcpuclockid(bench_pid(end->handle), &clock);

	if (!rc && clock_gettime(clock, &t))
		rc = errno;
	if (rc)
		return swo_error_set(
			err, SWO_E_IO, rc, "the CPU time of %d", (int)bench_pid(end->handle));
	*seconds = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	return 0;
}

static int measure(const struct bytes_setting *s, bool ours, struct end *ends,
	struct bytes_speed *speed, struct swo_error *err)
{
	double before[2], after[2];
	char uri[160];
	int port;

	if (talk(&ends[0], err) || talk(&ends[1], err) ||
		fill(bench_pid(ends[0].handle), s->ram, err) || tune(s, &ends[0], err) ||
		tune(s, &ends[1], err))
		return -1;
	if (s->tcp) {
		if (bytes_free_port(&port, err))
			return -1;
		snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%d", port);
	} else {
		snprintf(uri, sizeof(uri), "unix:%s.mig", ends[1].sock);
	}
	if (ask_qmp_do(&ends[1].qmp, "migrate-incoming", json_pack("{s:s}", "uri", uri), err))
		return -1;
	if (cpu_seconds(&ends[0], &before[0], err) || cpu_seconds(&ends[1], &before[1], err))
		return -1;
	const uint64_t start = swo_now_ns();

	if (ask_qmp_do(&ends[0].qmp, "migrate", json_pack("{s:s}", "uri", uri), err) ||
		await_end(&ends[0], "source", err) || await_end(&ends[1], "target", err))
		return -1;
	speed->rate = (double)s->ram * 1e9 / (double)(swo_now_ns() - start);
	if (cpu_seconds(&ends[0], &after[0], err) || cpu_seconds(&ends[1], &after[1], err))
		return -1;
	speed->cpu = after[0] - before[0] + after[1] - before[1];
	return ours ? compare(bench_pid(ends[0].handle), bench_pid(ends[1].handle), s->ram, err)
		    : 0;
}

int bytes_ram(const struct bytes_setting *s, enum bytes_who who, struct bytes_speed *speed,
	struct swo_error *err)
{
	struct end ends[2] = {{.handle = -1, .qmp.sock = JSON_SOCK_INIT},
		{.handle = -1, .qmp.sock = JSON_SOCK_INIT}};
	const bool ours = who == BYTES_SWITCHOVER;
	static unsigned number;
	int rc = 0;

	for (int i = 0; i < 2 && !rc; i++) {
		snprintf(ends[i].sock, sizeof(ends[i].sock), "%s/%u", s->dir, number++);
		rc = ours ? start_ours(s, &ends[i], i, err)
			  : start_qemu(s, who == BYTES_QEMU_PREALLOC, &ends[i], i, err);
	}
	rc = rc || measure(s, ours, ends, speed, err) ? -1 : 0;
	for (int i = 0; i < 2; i++) {
		qmp_close(&ends[i].qmp);
		bench_kill(ends[i].handle);
	}
	return rc;
}
