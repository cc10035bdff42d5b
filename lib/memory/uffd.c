/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uffd.c - a userfaultfd on all regions of RAM, with its pages write-protected or not.
 */
#include "uffd.h"
#include "uffd_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Without privilege a process may only take faults of its user mode, which is all we make. */
static int uffd_new(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && errno == EPERM)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	return fd;
}

int memory_uffd_open(uint64_t features, struct swo_error *err)
{
	swo_autofd int fd = uffd_new();

	if (fd < 0)
		return swo_error_set(err, SWO_E_UNSUPPORTED, errno,
			"userfaultfd; the kernel needs CONFIG_USERFAULTFD");
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	if (ioctl(fd, UFFDIO_API, &api) || (api.features & features) != features)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"userfaultfd: this kernel lacks features 0x%llx (write protection of "
			"shared memory needs Linux 5.19, the scan 6.7)",
			(unsigned long long)features);

	int keep = fd;

	fd = -1;
	return keep;
}

int memory_uffd_register(int uffd, struct swo_ram *ram, struct swo_error *err)
{
	for (unsigned i = 0; i < ram->count; i++) {
		struct uffdio_register reg = {
			.range = {.start = (uintptr_t)ram->region[i].host,
				.len = ram->region[i].size},
			.mode = UFFDIO_REGISTER_MODE_WP,
		};

		if (ioctl(uffd, UFFDIO_REGISTER, &reg))
			return swo_error_set(err, SWO_E_IO, errno,
				"userfaultfd: region '%s' cannot be registered",
				ram->region[i].name);
	}
	return 0;
}

void memory_uffd_unregister(int uffd, struct swo_ram *ram)
{
	for (unsigned i = 0; i < ram->count; i++) {
		struct uffdio_range range = {
			.start = (uintptr_t)ram->region[i].host,
			.len = ram->region[i].size,
		};

		/* EINVAL for a region that was never registered: nothing to undo. */
		(void)ioctl(uffd, UFFDIO_UNREGISTER, &range);
	}
}

int memory_uffd_protect(int uffd, const void *host, uint64_t len, bool protect)
{
	struct uffdio_writeprotect wp = {
		.range = {.start = (uintptr_t)host, .len = len},
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	/* EAGAIN: the memory map changes at this moment (mmap in another thread). */
	while (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		if (errno != EAGAIN && errno != EINTR)
			return errno;
	return 0;
}
