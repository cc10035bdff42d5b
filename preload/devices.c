/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * devices.c - maps file descriptors to devices. A device is recognised by the first migration
 * feature that the VMM requests on it, so it does not matter how the VMM got the descriptor.
 */
#include "devices.h"

#include "trace.h"

#include <ctype.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct devices devices = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};
_Atomic uint8_t devices_kinds[TRACKED_FDS_MAX];
/*
 * The index of the device; meaningful where the kind is. Both tables are BSS on purpose: pages that
 * are never touched cost no memory, and nothing is allocated in a call of the VMM or after a fork.
 */
static uint8_t owner[TRACKED_FDS_MAX];
_Static_assert(TRACKED_MAX <= UINT8_MAX + 1, "an index fits owner[]");
static _Atomic int top = -1;

#define NAMES_MAX 32
static struct {
	int fd;
	char name[64];
} names[NAMES_MAX]; /* of descriptors that are not yet tracked */
static unsigned names_next;

static void mark(int fd, enum device_kind kind, const struct tracked_device *device)
{
	owner[fd] = (uint8_t)(device - devices.device);
	if (fd > top)
		top = fd;
	atomic_store_explicit(&devices_kinds[fd], (uint8_t)kind, memory_order_release);
}

struct tracked_device *devices_of(int fd)
{
	return device_kind(fd) == FD_OTHER ? NULL : &devices.device[owner[fd]];
}

/* The name appears in records and messages: only letters, digits and ":._-". */
static void set_name(struct tracked_device *device, const char *name)
{
	size_t at = 0;

	for (; name[at] && at < sizeof(device->name) - 1; at++)
		device->name[at] = isalnum((unsigned char)name[at]) || strchr(":._-", name[at])
					   ? name[at]
					   : '_';
	device->name[at] = '\0';
}

static void find_name(struct tracked_device *device, int fd)
{
	char link[64], path[256], fallback[32];

	for (unsigned i = 0; i < NAMES_MAX; i++)
		if (names[i].name[0] && names[i].fd == fd) {
			set_name(device, names[i].name);
			names[i].name[0] = '\0';
			return;
		}
	/* A cdev, /dev/vfio/devices/vfioN: sysfs has its bus address. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof(path) - 1);
	const char *slash = NULL;

	if (len > 0) {
		path[len] = '\0';
		slash = strrchr(path, '/');
	}
	if (slash && !strncmp(slash + 1, "vfio", 4)) {
		char sysfs[128], parent[256];

		snprintf(sysfs, sizeof(sysfs), "/sys/class/vfio-dev/%.32s/device", slash + 1);
		len = readlink(sysfs, parent, sizeof(parent) - 1);
		if (len > 0) {
			parent[len] = '\0';
			const char *bus = strrchr(parent, '/');

			set_name(device, bus ? bus + 1 : parent);
		} else {
			set_name(device, slash + 1);
		}
		return;
	}
	snprintf(fallback, sizeof(fallback), "fd%d", fd);
	set_name(device, fallback);
}

/*
 * Finds an open file that is already tracked under another number, duplicated in a way that is
 * not intercepted (SCM_RIGHTS, for example).
 */
static struct tracked_device *same_file(int fd)
{
	const pid_t self = getpid();

	devices_for_each(device) if (syscall(SYS_kcmp, self, self, KCMP_FILE, fd, device->fd) ==
				     0) return device;
	return NULL;
}

struct tracked_device *devices_add(int fd, uint64_t flags)
{
	if (fd < 0 || fd >= TRACKED_FDS_MAX)
		return NULL;
	struct tracked_device *device = devices_of(fd);

	if (device)
		return device;
	device = same_file(fd);
	if (device) {
		mark(fd, FD_DEVICE, device);
		device->fds++;
		return device;
	}
	for (device = devices.device; device < devices.device + TRACKED_MAX; device++) {
		if (device->used)
			continue;
		const unsigned generation = device->generation;

		memset(device, 0, sizeof(*device));
		device->used = true;
		device->generation = generation + 1;
		device->fd = fd;
		device->fds = 1;
		device->flags = flags;
		device->state = STATE_UNKNOWN;
		device->result.data_fd = -1;
		pthread_cond_init(&device->go, NULL);
		find_name(device, fd);
		mark(fd, FD_DEVICE, device);
		devices.count++;
		trace_mark(device->name, "opened");
		return device;
	}
	return NULL;
}

void devices_alias(int fd, int copy)
{
	const enum device_kind kind = device_kind(fd);

	if (kind == FD_OTHER || copy < 0 || copy >= TRACKED_FDS_MAX)
		return;
	struct tracked_device *device = devices_of(fd);

	if (kind == FD_DEVICE)
		device->fds++;
	mark(copy, kind, device);
}

void devices_session(struct tracked_device *device, int data_fd)
{
	if (data_fd >= 0 && data_fd < TRACKED_FDS_MAX)
		mark(data_fd, FD_DATA, device);
}

/* Another descriptor of the device, when the one in use is closed. */
static int another_fd(const struct tracked_device *device, int but)
{
	for (int fd = 0; fd <= top; fd++)
		if (fd != but && device_kind(fd) == FD_DEVICE && devices_of(fd) == device)
			return fd;
	return -1;
}

bool devices_drop(int fd)
{
	const enum device_kind kind = device_kind(fd);
	struct tracked_device *device = devices_of(fd);

	if (!device)
		return false;
	atomic_store_explicit(&devices_kinds[fd], FD_OTHER, memory_order_release);
	if (kind != FD_DEVICE)
		return false;
	if (--device->fds == 0)
		return true;
	if (device->fd == fd)
		device->fd = another_fd(device, fd);
	return false;
}

void devices_remove(struct tracked_device *device)
{
	if (!device->inherited) /* its parent still has it */
		trace_mark(device->name, "closed");
	for (int fd = 0; fd <= top; fd++) /* sessions that were not closed before their device */
		if (device_kind(fd) == FD_DATA && devices_of(fd) == device)
			atomic_store_explicit(&devices_kinds[fd], FD_OTHER, memory_order_release);
	devices_set_speculation(device, SPECULATION_NONE);
	device->used = false;
	devices.count--;
	devices.inherited -= device->inherited;
}

void devices_set_speculation(struct tracked_device *device, enum devices_speculation speculation)
{
	if (device->speculation == SPECULATION_NONE && speculation != SPECULATION_NONE)
		atomic_fetch_add_explicit(&devices.speculating, 1, memory_order_release);
	if (device->speculation != SPECULATION_NONE && speculation == SPECULATION_NONE)
		atomic_fetch_sub_explicit(&devices.speculating, 1, memory_order_release);
	device->speculation = speculation;
}

unsigned devices_call_begin(struct tracked_device *device)
{
	device->calls++;
	devices.calls++;
	return device->generation;
}

bool devices_call_end(struct tracked_device *device, unsigned generation)
{
	devices.calls--;
	devices.last_call_ns = trace_now();
	if (device->generation != generation)
		return false;
	device->calls--;
	return device->used;
}

int devices_top(void)
{
	return top;
}

void devices_name(int fd, const char *name)
{
	names[names_next].fd = fd;
	const size_t len = strcspn(name, " ");
	const size_t room = sizeof(names[0].name) - 1;

	snprintf(names[names_next].name, sizeof(names[0].name), "%.*s",
		(int)(len < room ? len : room), name);
	names_next = (names_next + 1) % NAMES_MAX;
}

void devices_inherit(void)
{
	devices_for_each(device)
	{
		device->inherited = true;
		device->worker_runs = false;
		device->calls = 0;
		if (device->speculation == SPECULATION_RUNS ||
			device->speculation == SPECULATION_HELD) {
			device->state = STATE_UNKNOWN;
			devices_set_speculation(device, SPECULATION_NONE);
		}
	}
	devices.inherited = devices.count;
	devices.calls = 0;
	pthread_cond_init(&devices.changed, NULL);
}
