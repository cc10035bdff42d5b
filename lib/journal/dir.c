/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dir.c - the directory of the journals: its default, the check of its owner, and its content. The
 * directory is opened once, checked, and then used through its descriptor only.
 */
#include "journal/internal.h"

#include "base/shell.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int swo_journal_default_dir(char *out, size_t room, struct swo_error *err)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n = -1;

	if (geteuid() == 0)
		n = snprintf(out, room, "/var/lib/switchover");
	else if (state && *state == '/')
		n = snprintf(out, room, "%s/switchover", state);
	else if (home && *home == '/')
		n = snprintf(out, room, "%s/.local/state/switchover", home);
	if (n < 0 || (size_t)n >= room)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"no directory for journals: HOME is not set; set one explicitly");
	return 0;
}

static int make_parents(const char *dir, struct swo_error *err)
{
	swo_autofree char *path = strdup(dir);

	if (!path)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "journal");
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(path, 0700) && errno != EEXIST)
			return swo_error_set(err, SWO_E_IO, errno,
				"cannot create %.200s for the journals in %.150s", path, dir);
		*at = '/';
	}
	return 0;
}

int swo_journal_prepare_dir(const char *dir, bool parents, struct swo_error *err)
{
	if (parents && make_parents(dir, err))
		return -1;
	if (mkdir(dir, 0700) && errno != EEXIST)
		return swo_error_set(err, SWO_E_IO, errno,
			"cannot create the directory %.250s for journals", dir);

	swo_autofd int fd = -1;

	return journal_dir_open(dir, &fd, err);
}

/* All journal names have the same length. */
#define NAME_LEN (JOURNAL_ID_LEN + sizeof(".source") - 1)

int journal_path(const char *dir, const char *name, char out[512], struct swo_error *err)
{
	int n = snprintf(out, 512, "%s/%s", dir, name);

	if (n < 0 || n >= 512)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.100s... cannot hold journals: its path has %zu bytes, at most %zu", dir,
			strlen(dir), 512 - 2 - NAME_LEN);
	return 0;
}

int journal_dir_open(const char *dir, int *fd, struct swo_error *err)
{
	static const char longest[] = "00000000-0000-4000-8000-000000000000.source";
	char path[512];
	struct stat st;

	*fd = -1;
	if (journal_path(dir, longest, path, err))
		return -1;
	*fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &st))
		return swo_error_set(err, SWO_E_IO, errno, "cannot use %.250s for journals", dir);
	if (st.st_uid != geteuid())
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.200s cannot hold journals: another user owns it; only this user may "
			"have access",
			dir);
	if (st.st_mode & 022) {
		char quoted[150];

		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.150s cannot hold journals: others may write to it%s%s", dir,
			base_shell_quote(dir, quoted, sizeof(quoted)) ? "; run: chmod 700 -- " : "",
			quoted);
	}
	return 0;
}

/*
 * Always fills an info: an unreadable journal is damaged. False: not a journal, or it was
 * removed.
 */
static bool read_entry(int dir_fd, const char *dir, const char *name, struct swo_journal_info *out)
{
	struct swo_error err = {0};
	enum swo_journal_side side;
	char id[40], path[512];

	if (!journal_parse_name(name, id, &side))
		return false;
	if (!journal_path(dir, name, path, &err) && !journal_read(dir_fd, name, path, out, &err))
		return true;
	if (err.os_errno == ENOENT)
		return false;
	memset(out, 0, sizeof(*out));
	strcpy(out->id, id);
	out->side = side;
	snprintf(out->path, sizeof(out->path), "%s", path);
	out->damage = err;
	return true;
}

int journal_dir_walk(const char *dir, int (*each)(int dir_fd, struct swo_journal_info *, void *),
	void *opaque, struct swo_error *err)
{
	struct swo_journal_info info;
	const struct dirent *entry;
	int fd, rc = 0;

	if (journal_dir_open(dir, &fd, err))
		return -1;
	DIR *stream = fdopendir(fd);

	if (!stream) {
		swo_close_fd(&fd);
		return swo_error_set(
			err, SWO_E_IO, errno, "cannot list the journals in %.250s", dir);
	}
	for (errno = 0; !rc && (entry = readdir(stream)); errno = 0)
		if (read_entry(dirfd(stream), dir, entry->d_name, &info))
			rc = each(dirfd(stream), &info, opaque);
	/* A directory that was not read completely may contain any journal. */
	if (!rc && errno)
		rc = swo_error_set(err, SWO_E_IO, errno, "cannot list the journals in %.250s", dir);
	closedir(stream);
	return rc;
}

/* Listing */

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct swo_journal_info *)a)->path,
		((const struct swo_journal_info *)b)->path);
}

struct listing {
	struct swo_journal_info *list;
	size_t count, room;
};

static int add(int dir_fd, struct swo_journal_info *info, void *opaque)
{
	struct listing *listing = opaque;

	(void)dir_fd;
	if (listing->count == listing->room) {
		size_t room = listing->room ? 2 * listing->room : 16;
		struct swo_journal_info *grown = reallocarray(listing->list, room, sizeof(*info));

		if (!grown)
			return -1;
		listing->list = grown;
		listing->room = room;
	}
	listing->list[listing->count++] = *info;
	return 0;
}

int swo_journal_list(
	const char *dir, struct swo_journal_info **out, size_t *count, struct swo_error *err)
{
	struct listing listing = {0};
	struct swo_error local = {0};

	*out = NULL;
	*count = 0;
	if (journal_dir_walk(dir, add, &listing, &local)) {
		if (local.code == SWO_E_NONE)
			swo_error_set(&local, SWO_E_NO_MEMORY, ENOMEM, "list of journals");
		free(listing.list);
		if (err)
			*err = local;
		return -1;
	}
	if (listing.count)
		qsort(listing.list, listing.count, sizeof(*listing.list), by_path);
	*out = listing.list;
	*count = listing.count;
	return 0;
}
