/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metrics.c - the file of `switchover vm --metrics`.
 */
#include "cmd/vm/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns an errno. */
static int write_new(const char *path, const char *text)
{
	size_t left = strlen(text);

	/* Of an earlier process of this ID, or put there by another user. */
	unlink(path);
	swo_autofd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	/* Whatever the umask: the collector is another user. */
	if (fd < 0 || fchmod(fd, 0644))
		return errno;
	while (left) {
		const ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : EIO;
		text += n;
		left -= (size_t)n;
	}
	return 0;
}

int vm_metrics_write(const char *path, const char *text, struct swo_error *err)
{
	char new[PATH_MAX];
	int error = ENAMETOOLONG;

	if (snprintf(new, sizeof(new), "%s.%d", path, (int)getpid()) < (int)sizeof(new)) {
		error = write_new(new, text);
		if (!error && rename(new, path))
			error = errno;
		if (error)
			unlink(new);
	}
	return error ? swo_error_set(err, SWO_E_IO, error, "--metrics: cannot write '%s'", path)
		     : 0;
}
