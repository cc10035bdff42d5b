/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file.c - files that an option names, to be written.
 */
#include "cmd/common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opened as create_file() has it, neither emptied nor closed; -1: *err. */
static int open_file(const char *what, const char *path, struct swo_error *err)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO without a reader fails at once. */
	swo_autofd int fd = open(
		path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);

	if (fd < 0)
		return swo_error_set(err, SWO_E_IO, errno, "%s: cannot write '%s'%s", what, path,
			errno == ELOOP ? " (a symbolic link)" : "");
	if (fstat(fd, &st))
		return swo_error_set(err, SWO_E_IO, errno, "%s: cannot write '%s'", what, path);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return swo_error_set(err, SWO_E_INVALID, 0, "%s: '%s' is not %s; name another file",
			what, path, S_ISREG(st.st_mode) ? "a file of this user" : "a regular file");
	int opened = fd;

	fd = -1;
	return opened;
}

int create_file(const char *what, const char *path, FILE **out, struct swo_error *err)
{
	swo_autofd int fd = open_file(what, path, err);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, 0) || !(*out = fdopen(fd, "w")))
		return swo_error_set(err, SWO_E_IO, errno, "%s: cannot write '%s'", what, path);
	fd = -1;
	return 0;
}

int check_file(const char *what, const char *path, struct swo_error *err)
{
	bool there = !access(path, F_OK) || errno != ENOENT;
	swo_autofd int fd = open_file(what, path, err);

	if (fd < 0)
		return -1;
	if (!there)
		unlink(path);
	return 0;
}

int write_file(const char *what, const char *path, const char *text, struct swo_error *err)
{
	FILE *out;

	if (create_file(what, path, &out, err))
		return -1;
	int error = fputs(text, out) == EOF ? errno : 0;

	if (fclose(out) && !error)
		error = errno;
	return error ? swo_error_set(err, SWO_E_IO, error, "%s: cannot write '%s'", what, path) : 0;
}

int redirect_output(const char *what, const char *path, struct swo_error *err)
{
	FILE *out;

	if (!path)
		return 0;
	if (create_file(what, path, &out, err))
		return -1;
	int rc = dup2(fileno(out), STDOUT_FILENO) < 0
			 ? swo_error_set(err, SWO_E_IO, errno, "%s: cannot write '%s'", what, path)
			 : 0;

	fclose(out);
	return rc;
}
