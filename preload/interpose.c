/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interpose.c - the symbols that replace those of libc. For a descriptor that is no VFIO
 * device's each costs one load and one comparison.
 */
/* Both forms of each name are defined here, so no header may map one to the other. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE

#include "speculate.h"

#include "check.h"
#include "real.h"
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static atomic_bool active;
static bool idle; /* loaded into a program without a pattern */

static bool is_ours(int fd)
{
	return device_kind(fd) != FD_OTHER;
}

__attribute__((constructor)) static void load(void)
{
	struct settings settings;

	real_find();
	const char *wrong = settings_read(&settings, program_invocation_name);

	trace_open(&settings);
	if (wrong)
		trace_message("%s: invalid value; see switchover-exec(1). Speculation is disabled",
			wrong);
	idle = !settings.off && settings.vmm == VMM_NONE;
	if (settings.off || (idle && !settings.observe))
		return;
	speculate_init(&settings);
	if (settings.is_vmm) {
		trace_message("loaded, pattern %s%s", pattern_name(settings.vmm),
			settings.observe_only ? ": only observes" : "");
		trace_begin_record();
	}
	pthread_atfork(speculate_fork_before, speculate_fork_parent, speculate_fork_child);
	atomic_store(&active, true);
}

/* For `switchover exec --check`. */
EXPORT const char *switchover_preload_pattern(void);
const char *switchover_preload_pattern(void)
{
	return idle ? pattern_name(VMM_NONE) : speculate_pattern();
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	va_start(args, request);
	void *arg = va_arg(args, void *);

	va_end(args);
	if (!atomic_load_explicit(&active, memory_order_relaxed)) {
		real_find();
		return real.ioctl(fd, request, arg);
	}
	return speculate_concerns(fd, request) ? speculate_ioctl(fd, request, arg)
					       : real.ioctl(fd, request, arg);
}

EXPORT int close(int fd)
{
	real_find();
	if (trace_owns(fd)) {
		errno = EBADF;
		return -1;
	}
	if (is_ours(fd))
		speculate_close(fd);
	return real.close(fd);
}

/* The range without the descriptors of the log and the record. */
static int close_others(unsigned first, unsigned last, int flags)
{
	int rc = 0;

	while (!rc && first <= last) {
		const int kept = first > INT_MAX ? -1 : trace_next_owned((int)first);

		if (kept < 0 || (unsigned)kept > last)
			return real.close_range(first, last, flags);
		if ((unsigned)kept > first)
			rc = real.close_range(first, (unsigned)kept - 1, flags);
		first = (unsigned)kept + 1;
	}
	return rc;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	real_find();
	if (first > last)
		return real.close_range(first, last, flags);
	if (!((unsigned)flags & CLOSE_RANGE_CLOEXEC))
		speculate_close_range(first, last);
	return close_others(first, last, flags);
}

EXPORT void closefrom(int first)
{
	const unsigned from = first < 0 ? 0 : (unsigned)first;

	real_find();
	speculate_close_range(from, ~0u);
	/* A kernel without close_range(2) gets libc's own loop. */
	if (close_others(from, ~0u, 0))
		real.closefrom(first);
}

EXPORT int dup(int fd)
{
	real_find();
	const int copy = real.dup(fd);

	if (copy >= 0 && is_ours(fd))
		speculate_dup(fd, copy);
	return copy;
}

/*
 * A number that dup2() takes over is closed by it. If the call then fails, the device is
 * tracked again at its next change of state.
 */
static void take_over(int fd, int copy)
{
	if (fd == copy)
		return;
	trace_vacate(copy);
	if (is_ours(copy))
		speculate_close(copy);
}

EXPORT int dup2(int fd, int copy)
{
	real_find();
	take_over(fd, copy);
	const int rc = real.dup2(fd, copy);

	if (rc >= 0 && fd != copy && is_ours(fd))
		speculate_dup(fd, rc);
	return rc;
}

EXPORT int dup3(int fd, int copy, int flags)
{
	real_find();
	take_over(fd, copy);
	const int rc = real.dup3(fd, copy, flags);

	if (rc >= 0 && is_ours(fd))
		speculate_dup(fd, rc);
	return rc;
}

EXPORT int fcntl(int fd, int command, ...)
{
	va_list args;

	va_start(args, command);
	void *arg = va_arg(args, void *);

	va_end(args);
	real_find();
	const int rc = real.fcntl(fd, command, arg);

	if (rc >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC) && is_ours(fd))
		speculate_dup(fd, rc);
	return rc;
}

/* Called by programs with a 64-bit off_t. */
EXPORT int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

/* Data */

#define MOVE(fd, save, settle, call)                                                               \
	do {                                                                                       \
		real_find();                                                                       \
		if (!is_ours(fd))                                                                  \
			return call;                                                               \
		settle(fd);                                                                        \
		const uint64_t start_ns = trace_now();                                             \
		const ssize_t moved = call;                                                        \
                                                                                                   \
		speculate_moved(fd, save, start_ns, moved);                                        \
		return moved;                                                                      \
	} while (0)

EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	MOVE(fd, true, speculate_settle, real.read(fd, buf, len));
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int count)
{
	MOVE(fd, true, speculate_settle, real.readv(fd, iov, count));
}

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	MOVE(fd, false, speculate_settle_write, real.write(fd, buf, len));
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	MOVE(fd, false, speculate_settle_write, real.writev(fd, iov, count));
}

/* The device's own regions. */
EXPORT ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	real_find();
	if (is_ours(fd))
		speculate_settle(fd);
	return real.pread(fd, buf, len, offset);
}

EXPORT ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	real_find();
	if (is_ours(fd))
		speculate_settle(fd);
	return real.pwrite(fd, buf, len, offset);
}

EXPORT ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
	return pread(fd, buf, len, offset);
}

EXPORT ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t offset)
{
	return pwrite(fd, buf, len, offset);
}

static void settle_all(const struct pollfd *fds, nfds_t count)
{
	if (!atomic_load_explicit(&devices.speculating, memory_order_acquire))
		return;
	for (nfds_t i = 0; i < count; i++)
		if (is_ours(fds[i].fd))
			speculate_settle(fds[i].fd);
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	real_find();
	settle_all(fds, count);
	return real.poll(fds, count, timeout);
}

EXPORT int ppoll(
	struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	real_find();
	settle_all(fds, count);
	return real.ppoll(fds, count, timeout, mask);
}

/* Called instead by a VMM that was built with _FORTIFY_SOURCE. */

void __chk_fail(void) __attribute__((noreturn));

static void check_room(size_t len, size_t room)
{
	if (len > room)
		__chk_fail();
}

EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	check_room(len, room);
	return read(fd, buf, len);
}

EXPORT ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t room);
ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t room)
{
	check_room(len, room);
	return pread(fd, buf, len, offset);
}

EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t room)
{
	check_room(len, room);
	return pread(fd, buf, len, offset);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
	check_room(count, room / sizeof(*fds));
	return poll(fds, count, timeout);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	const sigset_t *mask, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	const sigset_t *mask, size_t room)
{
	check_room(count, room / sizeof(*fds));
	return ppoll(fds, count, timeout, mask);
}
