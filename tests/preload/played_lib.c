/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * played_lib.c - played.h as a library, between a program (and what is loaded in front of it)
 * and libc: it gets the ioctls that the kernel would.
 */
#include "played.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, ...);
	va_list args;

	va_start(args, request);
	void *arg = va_arg(args, void *);

	va_end(args);
	const int rc = played_ioctl(fd, request, arg);

	if (rc == 0 || errno != ENOTTY)
		return rc;
	if (!next) {
		void *symbol = dlsym(RTLD_NEXT, "ioctl");

		__builtin_memcpy(&next, &symbol, sizeof(symbol));
	}
	return next(fd, request, arg);
}
