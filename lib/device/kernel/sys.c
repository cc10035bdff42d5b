/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys.c - the system's calls as the table that the kernel backend goes
 * through.
 */
#include "device/kernel/internal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int host_open(const char *path, int flags)
{
	return open(path, flags);
}

static int host_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

static ssize_t host_read(int fd, void *buf, size_t len, off_t offset)
{
	return offset < 0 ? read(fd, buf, len) : pread(fd, buf, len, offset);
}

static ssize_t host_write(int fd, const void *buf, size_t len, off_t offset)
{
	return offset < 0 ? write(fd, buf, len) : pwrite(fd, buf, len, offset);
}

static void *host_mmap(size_t len, int prot, int fd, off_t offset)
{
	return mmap(NULL, len, prot, MAP_SHARED, fd, offset);
}

const struct vfio_sys kernel_sys_host = {
	.open = host_open,
	.ioctl = host_ioctl,
	.read = host_read,
	.write = host_write,
	.mmap = host_mmap,
	.munmap = munmap,
	.close = close,
	.dev = "/dev",
	.sysfs = "/sys",
};
