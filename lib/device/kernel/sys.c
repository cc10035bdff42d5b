/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys.c - the system calls as the table that the kernel backend uses, and two helpers: an ioctl
 * that restarts after signals, and a feature.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define INTERRUPTS_MAX 1000
#define FEATURE_MAX    64

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

static int host_dup(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int host_shut(int fd)
{
	swo_autofd int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	return nothing < 0 ? -1 : dup3(nothing, fd, O_CLOEXEC);
}

const struct vfio_sys kernel_sys_host = {
	.open = host_open,
	.ioctl = host_ioctl,
	.read = host_read,
	.write = host_write,
	.mmap = host_mmap,
	.munmap = munmap,
	.dup = host_dup,
	.shut = host_shut,
	.close = close,
	.dev = "/dev",
	.sysfs = "/sys",
	.modules = "/lib/modules",
};

/* Calls on a device */

int kernel_ioctl(const struct vfio_kernel *vk, int fd, unsigned long request, void *arg)
{
	int rc = -1;

	if (fd == vk->fd && kernel_is_released(vk))
		return -ENODEV;
	/* A driver may interrupt a wait without a signal: retried only a few times. */
	for (int i = 0; i < INTERRUPTS_MAX; i++) {
		rc = vk->sys->ioctl(fd, request, arg);
		if (rc >= 0 || errno != EINTR)
			break;
	}
	return rc >= 0 ? rc : -errno;
}

int kernel_feature(const struct vfio_kernel *vk, uint32_t flags, void *data, size_t len)
{
	union {
		struct vfio_device_feature head;
		uint64_t align;
		uint8_t bytes[sizeof(struct vfio_device_feature) + FEATURE_MAX];
	} f = {.head = {.flags = flags}};

	if (len > FEATURE_MAX)
		return -E2BIG;
	f.head.argsz = (uint32_t)(sizeof(f.head) + len);
	if (len)
		memcpy(f.bytes + sizeof(f.head), data, len);
	int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_FEATURE, &f);

	if (rc >= 0 && len)
		memcpy(data, f.bytes + sizeof(f.head), len);
	return rc;
}

bool kernel_is_unsupported(int os_errno)
{
	return os_errno == ENOTTY || os_errno == EINVAL || os_errno == EOPNOTSUPP ||
	       os_errno == ENOSYS;
}
