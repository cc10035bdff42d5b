/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.c - the journal that a migration writes: fully allocated before its first use, locked as
 * long as its process is alive. A thread of its own does all that touches the disk, so that nothing
 * has to wait for one that hangs.
 */
#include "journal/internal.h"

#include "base/memory.h"

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

/* How often a wait looks whether it is to give way; it ends at once when the record is written. */
#define LOOK_MS 2
/* For a disk that hangs; what is left is written when it no longer does. */
#define CLOSE_MS 1000
#define WRITE_MS 30000

/* One record to be written; the first is `begin`, with the file. */
struct entry {
	struct swo_job job;
	struct swo_journal *journal;
	enum swo_journal_event event;
	uint64_t nonce;
	char text[SWO_JOURNAL_TEXT_MAX];
	int rc;
	struct swo_error err;
};

struct swo_journal {
	int dir_fd, fd;
	char dir[512], name[48], path[512];
	bool sync, remove;
	bool made;		   /* the file is this one's */
	struct swo_worker *worker; /* opens, writes, prunes, closes: all descriptors are its own */
	struct swo_job prune_job, close_job;

	pthread_mutex_t lock; /* over all that follows, but never while the disk is waited for */
	struct journal_record record; /* last record written */
	struct entry entries[JOURNAL_RECORDS];
	unsigned queued; /* so far: the next one is entries[queued % JOURNAL_RECORDS] */
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
	else if (j->made = true, j->sync && fsync(j->dir_fd))
		swo_error_set(err, SWO_E_IO, errno, "cannot sync the journal %.250s", j->path);
	else
		rc = 0;
	unlinkat(j->dir_fd, temporary, 0);
	return rc;
}

void journal_set_hello_nonce(struct swo_journal *j, uint64_t nonce)
{
	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	j->record.hello_nonce = nonce;
	pthread_mutex_unlock(&j->lock);
}

/* On the journal's worker. */
static void write_entry(void *opaque)
{
	struct entry *entry = opaque;
	struct swo_journal *j = entry->journal;

	pthread_mutex_lock(&j->lock);
	struct journal_record record = j->record;

	pthread_mutex_unlock(&j->lock);
	entry->rc = 0;
	/* A repeated record is synced as well. */
	if (record.event == entry->event)
		return;
	if (!journal_may_follow((enum swo_journal_side)record.side, record.event, entry->event) ||
		record.sequence + 1 >= JOURNAL_RECORDS) {
		entry->rc = swo_error_set(&entry->err, SWO_E_STATE, 0,
			"the journal %.250s: %s cannot follow %s", j->path,
			swo_journal_event_name(entry->event),
			swo_journal_event_name((enum swo_journal_event)record.event));
		return;
	}
	journal_seal(&record, record.sequence + 1, entry->event, entry->nonce, entry->text);
	entry->rc = journal_put(j->fd, j->path, &record, j->sync, &entry->err);
	if (entry->rc)
		return;
	pthread_mutex_lock(&j->lock);
	j->record = record;
	pthread_mutex_unlock(&j->lock);
}

/* With the lock held. NULL: too many wait for the disk. *late: some do. */
static struct entry *queue_entry(struct swo_journal *j, bool *late)
{
	struct entry *entry = &j->entries[j->queued % JOURNAL_RECORDS];
	struct entry *last = &j->entries[(j->queued - 1) % JOURNAL_RECORDS];

	*late = j->queued && !swo_job_done(&last->job);
	if (j->queued >= JOURNAL_RECORDS && !swo_job_done(&entry->job))
		return NULL;
	j->queued++;
	return entry;
}

static int await_entry(
	struct entry *entry, bool late, const struct journal_wait *wait, struct swo_error *err)
{
	const uint64_t start_ns = swo_now_ns();
	const struct journal_wait patient = {.until = swo_deadline_ms(WRITE_MS), .must = true};

	wait = wait ? wait : &patient;
	/* What only follows a record that hangs would hang too. */
	while ((wait->must || !late) && !swo_deadline_passed(wait->until)) {
		if (swo_job_wait(
			    &entry->job, swo_deadline_min(wait->until, swo_deadline_ms(LOOK_MS)))) {
			if (entry->rc && err)
				*err = entry->err;
			return entry->rc;
		}
		if (wait->gives_way && wait->gives_way(wait->opaque))
			return swo_error_set(err, SWO_E_CANCELLED, 0,
				"the journal %.250s: %s is not waited for any more",
				entry->journal->path, swo_journal_event_name(entry->event));
	}
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"the journal %.250s: %s was not written in %llu ms: the disk is slow or hangs",
		entry->journal->path, swo_journal_event_name(entry->event),
		(unsigned long long)((swo_now_ns() - start_ns) / 1000000));
}

int journal_write(struct swo_journal *j, enum swo_journal_event event, uint64_t nonce,
	const char *text, const struct journal_wait *wait, struct swo_error *err)
{
	bool late;

	if (!j)
		return 0;
	pthread_mutex_lock(&j->lock);
	struct entry *entry = queue_entry(j, &late);

	if (entry) {
		*entry = (struct entry){.job = {.fn = write_entry, .opaque = entry},
			.journal = j,
			.event = event,
			.nonce = nonce};
		snprintf(entry->text, sizeof(entry->text), "%s", text ? text : "");
		swo_worker_submit(j->worker, &entry->job);
	}
	pthread_mutex_unlock(&j->lock);
	if (!entry)
		return swo_error_set(err, SWO_E_TIMEOUT, 0,
			"the journal %.250s: the disk hangs: %s is not recorded", j->path,
			swo_journal_event_name(event));
	return await_entry(entry, late, wait, err);
}

bool journal_is_sync(const struct swo_journal *j)
{
	return j && j->sync;
}

static void close_files(void *opaque)
{
	struct swo_journal *j = opaque;

	if (j->remove && j->made)
		unlinkat(j->dir_fd, j->name, 0);
	swo_close_fd(&j->fd);
	swo_close_fd(&j->dir_fd);
}

static void close_within(struct swo_journal *j, bool remove, uint64_t ms)
{
	j->remove = remove;
	j->close_job = (struct swo_job){.fn = close_files, .opaque = j};
	if (j->worker) {
		swo_worker_submit(j->worker, &j->close_job);
		if (!swo_worker_destroy(j->worker, swo_deadline_ms(ms))) {
			/* It goes on when the disk does. */
			swo_log(SWO_LOG_WARN,
				"the journal %.250s: the disk hangs; leaking its memory", j->path);
			base_leak_hung(j);
			return;
		}
	}
	pthread_mutex_destroy(&j->lock);
	free(j);
}

void journal_close(struct swo_journal *j, bool remove)
{
	if (j)
		close_within(j, remove, CLOSE_MS);
}

/* On the journal's worker. */
static void prune(void *opaque)
{
	struct swo_journal *j = opaque;

	journal_remove_settled(j->dir, j->record.vm, j->record.id);
}

void journal_prune(struct swo_journal *j)
{
	if (!j)
		return;
	j->prune_job = (struct swo_job){.fn = prune, .opaque = j};
	swo_worker_submit(j->worker, &j->prune_job);
}

/* On the journal's worker. */
static void open_files(void *opaque)
{
	struct entry *entry = opaque;
	struct swo_journal *j = entry->journal;

	entry->rc = journal_dir_open(j->dir, &j->dir_fd, &entry->err) || make_file(j, &entry->err)
			    ? -1
			    : 0;
}

int journal_create(const struct swo_journal_config *config, enum swo_journal_side side,
	const char *id, const char *uri, const struct journal_wait *wait, struct swo_journal **out,
	struct swo_error *err)
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

	struct entry *begin = &j->entries[j->queued++];

	*begin = (struct entry){.job = {.fn = open_files, .opaque = begin},
		.journal = j,
		.event = SWO_JOURNAL_BEGIN};
	if (journal_path(config->dir, j->name, j->path, err) ||
		swo_worker_create("swo-journal", &j->worker, err)) {
		journal_close(j, false);
		return -1;
	}
	/* Shorter than the path. */
	snprintf(j->dir, sizeof(j->dir), "%s", config->dir);
	swo_worker_submit(j->worker, &begin->job);
	if (!await_entry(begin, false, wait, err)) {
		*out = j;
		return 0;
	}
	/* It may be there later, and is of no use then. */
	close_within(j, true, swo_job_done(&begin->job) ? CLOSE_MS : 0);
	return -1;
}
