/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * origin.c - the identity of a journal's file, and of the process that wrote it: distinguishes
 * a journal from a copy, whose original may have further records.
 */
#include "journal/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

void journal_boot_id(char out[40])
{
	swo_autofd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, out, JOURNAL_ID_LEN);

	out[got == JOURNAL_ID_LEN ? got : 0] = 0;
}

static uint64_t origin_hash(const struct journal_origin *origin)
{
	return XXH3_64bits(origin, offsetof(struct journal_origin, hash));
}

/* The start time of a process, in ticks since boot; 0: there is no such process. */
static uint64_t start_time(uint32_t pid)
{
	char path[40], text[1024];
	swo_autofd int fd = -1;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (got <= 0)
		return 0;
	text[got] = 0;
	/* Field 2 is the name, in parentheses, of any characters; 22 is the start time. */
	const char *at = strrchr(text, ')');

	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

int journal_origin_write(int fd, const char *name, const char *path, struct swo_error *err)
{
	struct journal_origin origin = {
		.magic = JOURNAL_ORIGIN_MAGIC, .version = 1, .pid = (uint32_t)getpid()};
	struct stat st;

	if (fstat(fd, &st))
		return swo_error_set(err, SWO_E_IO, errno, "journal %.250s", path);
	origin.device = (uint64_t)st.st_dev;
	origin.inode = (uint64_t)st.st_ino;
	origin.start_time = start_time(origin.pid);
	snprintf(origin.name, sizeof(origin.name), "%s", name);
	journal_boot_id(origin.boot_id);
	origin.hash = origin_hash(&origin);
	if (pwrite(fd, &origin, sizeof(origin),
		    (off_t)(JOURNAL_RECORDS * sizeof(struct journal_record))) !=
		(ssize_t)sizeof(origin))
		return swo_error_set(err, SWO_E_IO, errno ? errno : ENOSPC,
			"cannot allocate space for the journal %.250s", path);
	return 0;
}

void journal_origin_check(
	const struct journal_file *file, int fd, const char *name, struct swo_journal_info *out)
{
	const struct journal_origin *origin = &file->origin;
	struct stat st;

	out->original = false;
	if (origin->magic != JOURNAL_ORIGIN_MAGIC) {
		snprintf(out->origin, sizeof(out->origin),
			"it does not record which file it is (version 0.1)");
		return;
	}
	if (fstat(fd, &st)) {
		snprintf(out->origin, sizeof(out->origin), "its file cannot be examined");
		return;
	}
	if (strcmp(origin->name, name))
		snprintf(out->origin, sizeof(out->origin), "it was written as %.47s", origin->name);
	else if (origin->inode != (uint64_t)st.st_ino)
		snprintf(out->origin, sizeof(out->origin),
			"it is a copy: inode %llu, written as %llu", (unsigned long long)st.st_ino,
			(unsigned long long)origin->inode);
	else if (out->here && origin->device != (uint64_t)st.st_dev)
		snprintf(out->origin, sizeof(out->origin), "it is a copy: on another file system");
	else
		out->original = true;
	/* A copy is not locked, even if the process of the original is alive. */
	if (!out->original && out->here && origin->start_time &&
		start_time(origin->pid) == origin->start_time)
		out->live = true;
}

/* NULL if it is valid or missing, otherwise the fault. */
const char *journal_origin_fault(const struct journal_origin *origin)
{
	static const struct journal_origin none;

	if (!memcmp(origin, &none, sizeof(none)))
		return NULL;
	if (origin->magic != JOURNAL_ORIGIN_MAGIC || origin->hash != origin_hash(origin))
		return "its origin has a wrong checksum";
	if (origin->version != 1)
		return "it was written by another version of switchover";
	if (!memchr(origin->name, 0, sizeof(origin->name)) ||
		!memchr(origin->boot_id, 0, sizeof(origin->boot_id)))
		return "a text is not terminated";
	return NULL;
}
