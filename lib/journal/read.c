/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * read.c - reads a journal: its last record, whether its process is alive, and the decision
 * that an operator appends if it is not.
 */
#include "journal/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* True if it was written on this host since its last boot. */
static bool is_here(const struct journal_record *record)
{
	char boot_id[40];

	journal_boot_id(boot_id);
	return boot_id[0] && !strcmp(boot_id, record->boot_id);
}

/* True if no later record can have been lost in a crash of the host. */
static bool is_complete(const struct journal_record *last)
{
	return last->sync || is_here(last);
}

static void fill(struct swo_journal_info *out, const struct journal_file *file)
{
	const struct journal_record *last = &file->records[file->count - 1];
	strcpy(out->vm, last->vm);
	strcpy(out->uri, file->records[0].text);
	out->last = (enum swo_journal_event)last->event;
	out->time_ns = last->time_ns;
	if (file->count > 1)
		strcpy(out->text, last->text);
	for (unsigned i = 0; i < file->count; i++) {
		if (file->records[i].nonce)
			out->nonce = file->records[i].nonce;
		if (file->records[i].hello_nonce)
			out->hello_nonce = file->records[i].hello_nonce;
	}
	out->complete = is_complete(last);
	out->here = is_here(last);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int journal_read(int dir_fd, const char *at, const char *path, struct swo_journal_info *out,
	struct swo_error *err)
{
	const char *name = base_name(path);
	struct journal_file *file;
	swo_autofd int fd = -1;

	memset(out, 0, sizeof(*out));
	if (!journal_parse_name(name, out->id, &out->side))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.250s is not a journal: expected a name of the form ID.source or ID.target",
			path);
	snprintf(out->path, sizeof(out->path), "%s", path);
	if (journal_open(dir_fd, at, path, O_RDONLY, &fd, err))
		return -1;
	file = malloc(sizeof(*file));
	if (!file)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "journal");
	/*
	 * Lock the file before reading it: a dead process writes nothing more. Only a successful
	 * lock proves that the process is dead.
	 */
	out->live = flock(fd, LOCK_SH | LOCK_NB) != 0;
	if (!journal_load(fd, path, out->id, out->side, file, &out->damage)) {
		fill(out, file);
		journal_origin_check(file, fd, name, out);
	}
	strcpy(out->vm, file->vm);
	free(file);
	return 0;
}

int swo_journal_read(const char *path, struct swo_journal_info *out, struct swo_error *err)
{
	if (strlen(path) >= sizeof(out->path))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"the path of the journal %.100s... has %zu bytes, at most %zu", path,
			strlen(path), sizeof(out->path) - 1);
	return journal_read(AT_FDCWD, path, path, out, err);
}

int swo_journal_settle(
	const char *path, enum swo_journal_event event, const char *text, struct swo_error *err)
{
	enum swo_journal_side side;
	struct journal_record record;
	struct journal_file *file;
	swo_autofd int fd = -1;
	char id[40];
	int rc;
	const char *name = base_name(path);

	if (!journal_parse_name(name, id, &side))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.250s is not a journal: expected a name of the form ID.source or ID.target",
			path);
	if (journal_open(AT_FDCWD, path, path, O_RDWR, &fd, err))
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return swo_error_set(err, SWO_E_STATE, 0,
			"the process of the journal %.250s is alive: resolve it over QMP", path);
	file = malloc(sizeof(*file));
	if (!file)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "journal");
	rc = journal_load(fd, path, id, side, file, err);
	if (!rc) {
		struct swo_journal_info info = {0};

		record = file->records[file->count - 1];
		info.here = is_here(&record);
		journal_origin_check(file, fd, name, &info);
		if (!journal_may_follow(side, record.event, event) ||
			file->count == JOURNAL_RECORDS ||
			(side == SWO_JOURNAL_SOURCE && record.event == SWO_JOURNAL_BEGIN &&
				is_complete(&record) && info.original))
			rc = swo_error_set(err, SWO_E_STATE, 0,
				"the journal %.250s ends with '%s': nothing to resolve", path,
				swo_journal_event_name((enum swo_journal_event)record.event));
	}
	if (!rc) {
		/*
		 * boot_id and sync determine whether records can be missing. From now on none can.
		 */
		record.sync = 1;
		journal_seal(&record, file->count, event, 0, text);
		rc = journal_put(fd, path, &record, true, err);
	}
	free(file);
	return rc;
}
