/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dir.c - the directory of the journals: where it is when nobody says, and that it is
 * its owner's alone.
 */
#include "journal/internal.h"

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
			"there is no place for journals: HOME is not set; name a directory");
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
				"cannot make %.200s for the journals in %.150s", path, dir);
		*at = '/';
	}
	return 0;
}

int swo_journal_prepare_dir(const char *dir, bool parents, struct swo_error *err)
{
	struct stat st;

	if (parents && make_parents(dir, err))
		return -1;
	if (mkdir(dir, 0700) && errno != EEXIST)
		return swo_error_set(
			err, SWO_E_IO, errno, "cannot make the directory %.250s for journals", dir);

	swo_autofd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		return swo_error_set(err, SWO_E_IO, errno, "cannot use %.250s for journals", dir);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.200s cannot hold journals: %s; it must be this user's alone (chmod 700)",
			dir,
			st.st_uid != geteuid() ? "it is another user's" : "others may write to it");
	return 0;
}
