/* SPDX-License-Identifier: BSD-3-Clause */
/* dir.h - a folder of its own for a test, flat, whose files go with it. */
#ifndef TESTS_SUPPORT_DIR_H
#define TESTS_SUPPORT_DIR_H

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIR_PATH_MAX 32

/* -1: it cannot be made. */
static inline int dir_make(char path[DIR_PATH_MAX])
{
	strcpy(path, "/tmp/switchover-test.XXXXXX");
	return mkdtemp(path) ? 0 : -1;
}

static inline void dir_empty(const char *path)
{
	DIR *dir = opendir(path);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
}

static inline int dir_remove(const char *path)
{
	dir_empty(path);
	return rmdir(path);
}

#endif
