/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * read.c - a journal as others see it: its last word, whether its process lives, and the
 * word that an operator adds when it does not.
 */
#include "journal/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define JOURNALS_MAX 4096

static int name_parts(
	const char *path, char id[40], enum swo_journal_side *side, struct swo_error *err)
{
	const char *slash = strrchr(path, '/');

	if (strlen(path) >= sizeof(((struct swo_journal_info *)0)->path) ||
		!journal_parse_name(slash ? slash + 1 : path, id, side))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.250s is no journal: those are called ID.source and ID.target", path);
	return 0;
}

/* Was it written on this host, and since that was started? */
static bool is_here(const struct journal_record *record)
{
	char boot_id[40];

	journal_boot_id(boot_id);
	return boot_id[0] && !strcmp(boot_id, record->boot_id);
}

/* Can no record behind this one have died with the host? */
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
	for (unsigned i = 0; i < file->count; i++)
		if (file->records[i].nonce)
			out->nonce = file->records[i].nonce;
	out->complete = is_complete(last);
	out->here = is_here(last);
}

int swo_journal_read(const char *path, struct swo_journal_info *out, struct swo_error *err)
{
	struct journal_file *file;
	swo_autofd int fd = -1;

	memset(out, 0, sizeof(*out));
	if (name_parts(path, out->id, &out->side, err))
		return -1;
	strcpy(out->path, path);
	if (journal_open(path, O_RDONLY, &fd, err))
		return -1;
	file = malloc(sizeof(*file));
	if (!file)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "journal");
	/* The lock before the content: who is dead now writes nothing more. */
	out->live = flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
	if (!journal_load(fd, path, out->id, out->side, file, &out->damage))
		fill(out, file);
	else if (file->count)
		strcpy(out->vm, file->records[0].vm);
	free(file);
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct swo_journal_info *)a)->path,
		((const struct swo_journal_info *)b)->path);
}

static int add(struct swo_journal_info **list, size_t *count, size_t *room, const char *dir,
	const char *name, struct swo_error *err)
{
	struct swo_journal_info info;
	enum swo_journal_side side;
	struct swo_error local = {0};
	char path[sizeof(info.path)];

	if (!journal_parse_name(name, info.id, &side))
		return 0;
	if (*count == *room) {
		size_t more = *room ? 2 * *room : 16;
		struct swo_journal_info *grown =
			*room >= JOURNALS_MAX ? NULL : realloc(*list, more * sizeof(**list));

		if (!grown)
			return swo_error_set(err, SWO_E_NO_MEMORY, 0,
				"%.200s holds too many journals; remove settled ones with "
				"`switchover resolve --prune`",
				dir);
		*list = grown;
		*room = more;
	}
	snprintf(path, sizeof(path), "%.400s/%s", dir, name);
	if (swo_journal_read(path, &info, &local)) {
		/* Removed meanwhile; anything else is a journal that cannot be trusted. */
		if (local.os_errno == ENOENT)
			return 0;
		journal_parse_name(name, info.id, &info.side);
		strcpy(info.path, path);
		info.damage = local;
	}
	(*list)[(*count)++] = info;
	return 0;
}

int swo_journal_list(
	const char *dir, struct swo_journal_info **out, size_t *count, struct swo_error *err)
{
	DIR *stream = opendir(dir);
	size_t room = 0;
	int rc = 0;

	*out = NULL;
	*count = 0;
	if (!stream)
		return swo_error_set(
			err, SWO_E_IO, errno, "cannot look for journals in %.250s", dir);
	for (const struct dirent *entry; !rc && (entry = readdir(stream));)
		rc = add(out, count, &room, dir, entry->d_name, err);
	closedir(stream);
	if (rc) {
		free(*out);
		*out = NULL;
		*count = 0;
	} else if (*count) {
		qsort(*out, *count, sizeof(**out), by_path);
	}
	return rc;
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

	if (name_parts(path, id, &side, err) || journal_open(path, O_RDWR, &fd, err))
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return swo_error_set(err, SWO_E_STATE, 0,
			"the process of the journal %.250s lives: tell it over QMP", path);
	file = malloc(sizeof(*file));
	if (!file)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "journal");
	rc = journal_load(fd, path, id, side, file, err);
	if (!rc) {
		record = file->records[file->count - 1];
		if (!journal_may_follow(side, record.event, event) ||
			file->count == JOURNAL_RECORDS ||
			(side == SWO_JOURNAL_SOURCE && record.event == SWO_JOURNAL_BEGIN &&
				is_complete(&record)))
			rc = swo_error_set(err, SWO_E_STATE, 0,
				"the journal %.250s says '%s': there is nothing to settle", path,
				swo_journal_event_name((enum swo_journal_event)record.event));
	}
	if (!rc) {
		/* boot_id and sync tell how much of the file can be missing: from now on, none. */
		record.sync = 1;
		journal_seal(&record, file->count, event, 0, text);
		rc = journal_put(fd, path, &record, true, err);
	}
	free(file);
	return rc;
}
