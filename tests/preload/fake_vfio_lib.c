/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_vfio_lib.c - fake_vfio.h as a library between a program (with the libraries preloaded into it)
 * and libc: it receives the ioctls instead of the kernel.
 */
#include "fake_vfio.h"

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
	const int rc = fake_vfio_ioctl(fd, request, arg);

	if (rc >= 0 || errno != ENOTTY)
		return rc;
	if (!next) {
		void *symbol = dlsym(RTLD_NEXT, "ioctl");

		__builtin_memcpy(&next, &symbol, sizeof(symbol));
	}
	return next(fd, request, arg);
}
