/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * running.c - `switchover exec --pid`: whether the library is in a VMM that others started, and
 * if not, what kept it out. Reads /proc only.
 */
#include "cmd/exec/check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "/libswitchover-preload.so"

/* A file of the process; -1 with errno. */
static int open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void get_name(pid_t pid, char *name, size_t room)
{
	char text[64];
	const int fd = open_proc(pid, "comm");
	const ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	swo_escape(text, name, room);
}

static int is_secure(pid_t pid, bool *secure)
{
	Elf64_auxv_t entry;
	const int fd = open_proc(pid, "auxv");

	*secure = false;
	if (fd < 0)
		return -1;
	while (read(fd, &entry, sizeof(entry)) == (ssize_t)sizeof(entry) && entry.a_type != AT_NULL)
		if (entry.a_type == AT_SECURE)
			*secure = entry.a_un.a_val != 0;
	close(fd);
	return 0;
}

/* The library's path, or "". */
static int find_mapping(pid_t pid, char *path, size_t room)
{
	char file[64], *line = NULL;
	size_t size = 0;

	*path = '\0';
	snprintf(file, sizeof(file), "/proc/%d/maps", (int)pid);
	FILE *in = fopen(file, "re");

	if (!in)
		return -1;
	while (!*path && getline(&line, &size, in) > 0) {
		const char *name = strchr(line, '/');

		line[strcspn(line, "\n")] = '\0';
		if (name && strstr(name, LIBRARY))
			swo_escape(name, path, room);
	}
	free(line);
	fclose(in);
	return 0;
}

/* Whether its environment, as it was started, names the library. */
static bool was_preloaded(pid_t pid)
{
	char file[64], *entry = NULL;
	size_t size = 0;
	bool found = false;

	snprintf(file, sizeof(file), "/proc/%d/environ", (int)pid);
	FILE *in = fopen(file, "re");

	while (in && !found && getdelim(&entry, &size, '\0', in) > 0)
		found = !strncmp(entry, "LD_PRELOAD=", 11) && strstr(entry, &LIBRARY[1]);
	free(entry);
	if (in)
		fclose(in);
	return found;
}

int exec_check_running(pid_t pid, char *text, size_t room, struct swo_error *err)
{
	char name[80], path[PATH_MAX];
	bool secure;

	if (is_secure(pid, &secure) || find_mapping(pid, path, sizeof(path)))
		return swo_error_set(err, SWO_E_INVALID, errno,
			"cannot examine process %d: is it there, and of this user", (int)pid);
	get_name(pid, name, sizeof(name));
	if (*path) {
		snprintf(text, room, "process %d (%s) has %s%s", (int)pid, name, path,
			secure ? ", with AT_SECURE: its settings in the environment are ignored"
			       : "");
		return 0;
	}
	if (secure)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"process %d (%s) has AT_SECURE set, by a change of user, by file "
			"capabilities or by a security module (sVirt's domain transition): the "
			"dynamic linker ignores an LD_PRELOAD with a slash, silently. See AT_SECURE "
			"in docs/preload.md",
			(int)pid, name);
	return swo_error_set(err, SWO_E_INVALID, 0,
		was_preloaded(pid)
			? "process %d (%s) was started with the library in LD_PRELOAD, but it was "
			  "not loaded: the dynamic linker printed why on standard error"
			: "process %d (%s) was started without the library",
		(int)pid, name);
}
