/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd.c - file descriptors: __attribute__((cleanup)), and how many there may be.
 */
#include "base/fd.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

void swo_close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void base_raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}
