/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notify.c - see notify.h.
 */
#include "cmd/vm/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int vm_ready_fd_check(int fd, struct swo_error *err)
{
	const int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return swo_error_set(err, SWO_E_INVALID, errno, "--ready-fd %d", fd);
	if ((flags & O_ACCMODE) == O_RDONLY)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--ready-fd %d: it is open for reading only; pass the end to write to", fd);
	return 0;
}

void vm_ready_fd_write(int fd)
{
	if (fd < 0)
		return;
	/* A pipe has room for it. */
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (write(fd, "\n", 1) != 1)
		swo_log(SWO_LOG_WARN, "--ready-fd %d: %s", fd, strerror(errno));
	close(fd);
}

void vm_notify(const char *format, ...)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	char text[512];
	va_list args;

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(to.sun_path))
		return;
	va_start(args, format);
	const int len = vsnprintf(text, sizeof(text), format, args);

	va_end(args);
	strcpy(to.sun_path, path);
	/* An abstract name begins with a byte of 0, and has none at its end. */
	if (*path == '@')
		to.sun_path[0] = 0;
	swo_autofd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const size_t size = len < 0			 ? 0
			    : (size_t)len < sizeof(text) ? (size_t)len
							 : sizeof(text) - 1;

	if (fd >= 0 && size)
		(void)!sendto(fd, text, size, MSG_NOSIGNAL, (const struct sockaddr *)&to,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
}
