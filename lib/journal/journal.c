/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.c - the journal that a migration writes: fully allocated before its first use, locked as
 * long as its process is alive.
 */
#include "journal/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct swo_journal {
	int dir_fd, fd;
	char name[48], path[512];
	bool sync;
	struct journal_record record; /* last record written */

	pthread_mutex_t lock;
};

static int write_whole(struct swo_journal *j, struct swo_error *err)
{
	static const struct journal_record none;

	if (journal_put(j->fd, j->path, &j->record, false, err))
		return -1;
	/* Allocated blocks: writing to a hole could fail with ENOSPC later. */
	for (unsigned i = 1; i < JOURNAL_RECORDS; i++)
		if (pwrite(j->fd, &none, sizeof(none), (off_t)(i * sizeof(none))) !=
			(ssize_t)sizeof(none))
			return swo_error_set(err, SWO_E_IO, errno ? errno : ENOSPC,
				"cannot allocate space for the journal %.250s", j->path);
	if (journal_origin_write(j->fd, j->name, j->path, err))
		return -1;
	if (j->sync && (fsync(j->fd) || fsync(j->dir_fd)))
		return swo_error_set(
			err, SWO_E_IO, errno, "cannot sync the journal %.250s", j->path);
	return 0;
}

/*
 * On a copy-on-write file system, allocated space is only used if copying is disabled for the
 * file.
 */
static void write_in_place(int fd)
{
	int flags;

	if (!ioctl(fd, FS_IOC_GETFLAGS, &flags)) {
		flags |= FS_NOCOW_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags); /* only such file systems support it */
	}
}

/* Create it under a temporary name: readers find a complete journal or none. */
static int make_file(struct swo_journal *j, struct swo_error *err)
{
	char temporary[80];
	int rc = -1;

	snprintf(temporary, sizeof(temporary), ".%s.%ld", j->name, (long)getpid());
	unlinkat(j->dir_fd, temporary, 0);
	j->fd = openat(
		j->dir_fd, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (j->fd < 0 || fchmod(j->fd, 0600) || flock(j->fd, LOCK_EX | LOCK_NB))
		swo_error_set(err, SWO_E_IO, errno, "cannot create the journal %.250s", j->path);
	else if (write_in_place(j->fd), write_whole(j, err))
		;
	else if (linkat(j->dir_fd, temporary, j->dir_fd, j->name, 0))
		swo_error_set(err, errno == EEXIST ? SWO_E_STATE : SWO_E_IO, errno,
			"cannot create the journal %.250s%s", j->path,
			errno == EEXIST ? " (this migration already has a journal here)" : "");
	else if (j->sync && fsync(j->dir_fd))
		swo_error_set(err, SWO_E_IO, errno, "cannot sync the journal %.250s", j->path);
	else
		rc = 0;
	unlinkat(j->dir_fd, temporary, 0);
	return rc;
}

int journal_create(const struct swo_journal_config *config, enum swo_journal_side side,
	const char *id, const char *uri, struct swo_journal **out, struct swo_error *err)
{
	struct swo_journal *j;

	if (!journal_is_id(id))
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "'%.40s' is not a migration ID", id);
	if (strlen(config->vm) >= SWO_JOURNAL_VM_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"a VM's name has at most %d bytes in a journal", SWO_JOURNAL_VM_MAX - 1);
	j = calloc(1, sizeof(*j));
	if (!j)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "journal");
	pthread_mutex_init(&j->lock, NULL);
	j->fd = -1;
	j->dir_fd = -1;
	j->sync = config->sync;
	snprintf(j->name, sizeof(j->name), "%s.%s", id, swo_journal_side_name(side));
	j->record = (struct journal_record){.magic = JOURNAL_MAGIC,
		.version = JOURNAL_VERSION,
		.side = (uint16_t)side,
		.sync = config->sync};
	strcpy(j->record.id, id);
	strcpy(j->record.vm, config->vm);
	journal_boot_id(j->record.boot_id);
	journal_seal(&j->record, 0, SWO_JOURNAL_BEGIN, 0, uri);

	if (!journal_path(config->dir, j->name, j->path, err) &&
		!journal_dir_open(config->dir, &j->dir_fd, err) && !make_file(j, err)) {
		*out = j;
		return 0;
	}
	journal_close(j, false);
	return -1;
}

void journal_set_hello_nonce(struct swo_journal *j, uint64_t nonce)
{
	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	j->record.hello_nonce = nonce;
	pthread_mutex_unlock(&j->lock);
}

int journal_write(struct swo_journal *j, enum swo_journal_event event, uint64_t nonce,
	const char *text, struct swo_error *err)
{
	struct journal_record record;
	int rc;

	if (!j)
		return 0;
	pthread_mutex_lock(&j->lock);
	record = j->record;
	if (record.event == event) {
		/* A repeated record is synced as well. */
		rc = 0;
	} else if (!journal_may_follow((enum swo_journal_side)record.side, record.event, event) ||
		   record.sequence + 1 >= JOURNAL_RECORDS) {
		rc = swo_error_set(err, SWO_E_STATE, 0, "the journal %.250s: %s cannot follow %s",
			j->path, swo_journal_event_name(event),
			swo_journal_event_name((enum swo_journal_event)record.event));
	} else {
		journal_seal(&record, record.sequence + 1, event, nonce, text);
		rc = journal_put(j->fd, j->path, &record, j->sync, err);
		if (!rc)
			j->record = record;
	}
	pthread_mutex_unlock(&j->lock);
	return rc;
}

bool journal_is_sync(const struct swo_journal *j)
{
	return j && j->sync;
}

void journal_close(struct swo_journal *j, bool remove)
{
	if (!j)
		return;
	if (remove)
		unlinkat(j->dir_fd, j->name, 0);
	swo_close_fd(&j->fd);
	swo_close_fd(&j->dir_fd);
	pthread_mutex_destroy(&j->lock);
	free(j);
}
