/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * speculate.c - what happens around each call of a VMM: registers devices, returns the results
 * of arcs that were started speculatively, drops those that were not requested, and passes all
 * other calls on.
 */
#include "speculate.h"

#include "check.h"
#include "real.h"
#include "siblings.h"
#include "state.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct {
	enum pattern_vmm vmm;
	bool observe_only, verbose;
	pid_t pid;
	bool failure;	/* an arc failed: the VMM may now roll back */
	bool announced; /* the devices, at the first arc */
	unsigned started, requested;
} self;

void speculate_init(const struct settings *settings)
{
	self.vmm = settings->vmm;
	self.observe_only = settings->observe_only;
	self.verbose = settings->verbose;
	self.announced = false;
	self.pid = getpid();
}

void speculate_counts(unsigned *started, unsigned *requested)
{
	pthread_mutex_lock(&devices.lock);
	*started = self.started;
	*requested = self.requested;
	pthread_mutex_unlock(&devices.lock);
}

/*
 * A child of vfork() shares its parent's memory until it execs: its close() calls must not be
 * recorded. A child of fork() is its own process: speculate_fork_child().
 */
static bool in_own_process(void)
{
	return getpid() == self.pid;
}

const char *speculate_pattern(void)
{
	const bool works = in_own_process() && !check_failed() && !devices.inherited;

	return works ? pattern_name(self.vmm) : NULL;
}

struct held {
	int cancel, error;
};

/*
 * Waiting must not be a cancellation point where the intercepted call is none, and must not
 * change errno.
 */
static struct held lock(void)
{
	struct held held = {.error = errno};

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &held.cancel);
	pthread_mutex_lock(&devices.lock);
	return held;
}

static void unlock(struct held held)
{
	pthread_mutex_unlock(&devices.lock);
	pthread_setcancelstate(held.cancel, NULL);
	errno = held.error;
}

/* Sessions, for the trace */

static void record_stream(struct tracked_device *device)
{
	if (device->stream_bytes)
		trace_stream(device->name, device->stream_save, device->stream_start_ns,
			device->stream_end_ns, device->stream_bytes);
	device->stream_bytes = 0;
}

void speculate_moved(int fd, bool save, uint64_t start_ns, ssize_t bytes)
{
	if (bytes <= 0 || device_kind(fd) != FD_DATA || !trace_observes())
		return;
	const struct held held = lock();
	struct tracked_device *device = devices_of(fd);

	if (device && device->used) {
		if (device->stream_bytes && device->stream_save != save)
			record_stream(device);
		if (!device->stream_bytes)
			device->stream_start_ns = start_ns;
		device->stream_save = save;
		device->stream_end_ns = trace_now();
		device->stream_bytes += (uint64_t)bytes;
	}
	unlock(held);
}

/* Speculative arcs */

static void record_arc(const struct tracked_device *device, uint32_t from, uint32_t to,
	uint64_t asked_ns, const struct device_result *result, bool ahead)
{
	if (!trace_observes())
		return;
	trace_arc(&(struct trace_arc){
		.device = device->name,
		.from = from,
		.to = to,
		.asked_ns = asked_ns,
		.start_ns = result->start_ns,
		.end_ns = result->end_ns,
		.answered_ns = asked_ns ? trace_now() : 0,
		.error = result->error,
		.ahead = ahead,
	});
}

/* Records the end state of the arc. The session that it opened, unseen by the VMM, is closed. */
static void drop_result(struct tracked_device *device)
{
	const struct device_result *result = &device->result;

	record_arc(device, device->from, device->to, 0, result, true);
	if (result->data_fd >= 0) {
		devices_drop(result->data_fd);
		real.close(result->data_fd);
	}
	device->state = result->rc < 0 ? STATE_UNKNOWN : device->to;
	devices_set_speculation(device, SPECULATION_NONE);
}

/* Waits for the arc to end, and drops its result. */
static void cancel_speculation(struct tracked_device *device)
{
	worker_await(device);
	if (device->speculation == SPECULATION_DONE)
		drop_result(device);
}

static bool runs_or_will(uint32_t state)
{
	return state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_RUNNING_P2P;
}

/*
 * The VMM requested another state than predicted. This is normal for a roll-back, and after a
 * failure; otherwise the prediction is wrong for this VMM.
 */
static void resolve_mismatch(struct tracked_device *device, uint32_t to)
{
	if (!runs_or_will(to) && !self.failure)
		check_mismatch("%s requested, %s->%s predicted", device, pattern_state_name(to),
			pattern_state_name(device->from), pattern_state_name(device->to));
	drop_result(device);
}

/* Records the state that the VMM sees. */
static void record_state(
	struct tracked_device *device, uint32_t to, const struct device_result *result)
{
	device->state = result->rc < 0 ? STATE_UNKNOWN : to;
	if (result->rc < 0)
		device->failed = self.failure = true;
	else if (to == SWO_DEVICE_RUNNING)
		device->failed = false;
}

static int answer(const struct device_result *result)
{
	errno = result->error;
	return result->rc;
}

static int return_result(
	struct tracked_device *device, struct state_request *request, uint64_t asked_ns)
{
	const struct device_result result = device->result;

	self.requested++;
	record_state(device, device->to, &result);
	record_stream(device);
	record_arc(device, device->from, device->to, asked_ns, &result, true);
	devices_set_speculation(device, SPECULATION_NONE);
	request->mig.data_fd = result.data_fd;
	return answer(&result);
}

/* Ioctls */

/*
 * Issues the VMM's own call with its own buffer and without the lock. False: the device was
 * removed meanwhile.
 */
static bool call_kernel(struct tracked_device *device, int fd, unsigned long request, void *arg,
	struct device_result *out)
{
	const unsigned generation = devices_call_begin(device);

	pthread_mutex_unlock(&devices.lock);
	out->start_ns = trace_now();
	out->rc = real.ioctl(fd, request, arg);
	out->error = out->rc < 0 ? errno : 0;
	out->end_ns = trace_now();
	pthread_mutex_lock(&devices.lock);
	return devices_call_end(device, generation);
}

/* Once, when the VMM has opened its devices: by then it is known how many there are. */
static void announce(void)
{
	unsigned p2p = 0;

	if (self.announced)
		return;
	self.announced = true;
	devices_for_each(device) p2p += (device->flags & VFIO_MIGRATION_P2P) != 0;
	trace_message("pattern %s, %u VFIO device%s, %u with P2P states%s", pattern_name(self.vmm),
		devices.count, devices.count == 1 ? "" : "s", p2p,
		self.observe_only   ? ": only observed"
		: devices.inherited ? ": opened before a fork, each changes state on its own"
				    : "");
}

static void start_siblings(struct tracked_device *device, uint32_t to)
{
	if (self.observe_only || check_failed() || devices.inherited)
		return;
	if (!atomic_load_explicit(&devices.speculating, memory_order_relaxed))
		self.failure = false;
	const uint32_t from = device->state;
	const unsigned count = siblings_start(self.vmm, device, to);

	self.started += count;
	if (count && self.verbose)
		trace_message("%s->%s of %s: started on %u more", pattern_state_name(from),
			pattern_state_name(to), device->name, count);
}

static int set_state(struct tracked_device *device, int fd, struct state_request *request)
{
	const uint64_t asked_ns = trace_now();
	const uint32_t to = request->mig.device_state;

	worker_await(device);
	if (device->speculation == SPECULATION_DONE) {
		if (device->to == to)
			return return_result(device, request, asked_ns);
		resolve_mismatch(device, to);
	}
	announce();
	start_siblings(device, to);

	struct device_result result = {.data_fd = -1};
	const uint32_t from = device->state;

	record_stream(device);
	if (!call_kernel(device, fd, VFIO_DEVICE_FEATURE, request, &result))
		return answer(&result);
	record_state(device, to, &result);
	if (result.rc >= 0)
		devices_session(device, request->mig.data_fd);
	record_arc(device, from, to, asked_ns, &result, false);
	return answer(&result);
}

/*
 * After a reset a device is RUNNING, whatever arc was in progress. A device that failed stays
 * excluded until the VMM sets it to RUNNING: the VMM may be in the middle of its error
 * handling.
 */
static int reset(struct tracked_device *device, int fd, unsigned long request, void *arg)
{
	struct device_result result;

	cancel_speculation(device);
	call_kernel(device, fd, request, arg, &result);
	device->state = result.rc < 0 ? STATE_UNKNOWN : SWO_DEVICE_RUNNING;
	trace_mark(device->name, "reset");
	return answer(&result);
}

/* A hot reset affects whole groups of devices, which are not known here. */
static int hot_reset(struct tracked_device *device, int fd, unsigned long request, void *arg)
{
	struct device_result result;

	devices_for_each(other) cancel_speculation(other);
	call_kernel(device, fd, request, arg, &result);
	devices_for_each(other) other->state = STATE_UNKNOWN;
	trace_mark(device->name, "hot reset");
	return answer(&result);
}

static int other_ioctl(struct tracked_device *device, int fd, unsigned long request, void *arg)
{
	struct device_result result;

	worker_await(device);
	call_kernel(device, fd, request, arg, &result);
	return answer(&result);
}

static bool is_set_state(unsigned long request, const void *arg)
{
	const struct vfio_device_feature *header = arg;

	return request == VFIO_DEVICE_FEATURE && arg &&
	       header->argsz >= sizeof(struct state_request) &&
	       header->flags == (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
}

static bool is_get_flags(unsigned long request, const void *arg)
{
	const struct vfio_device_feature *header = arg;

	return request == VFIO_DEVICE_FEATURE && arg &&
	       header->argsz >= sizeof(*header) + sizeof(struct vfio_device_feature_migration) &&
	       header->flags == (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION);
}

/* Creates threads while the VM runs, not when it stops. */
static struct tracked_device *track_device(int fd, uint64_t flags)
{
	struct tracked_device *device = devices_add(fd, flags);

	/* A daemon may change its root and its user after it has opened its devices. */
	trace_open_late();
	if (device && devices.count > 1 && !self.observe_only && !check_failed() &&
		!devices.inherited && self.vmm != VMM_NONE)
		devices_for_each(other) worker_ready(other);
	return device;
}

/* The first request of any VMM on a device that may migrate. */
static int get_flags(int fd, void *arg)
{
	int rc = real.ioctl(fd, VFIO_DEVICE_FEATURE, arg);

	if (rc < 0)
		return rc;
	const struct held held = lock();
	struct tracked_device *device = devices_of(fd);
	struct vfio_device_feature_migration migration;

	memcpy(&migration, ((struct vfio_device_feature *)arg)->data, sizeof(migration));
	if (!device)
		device = track_device(fd, migration.flags);
	else if (device->speculation == SPECULATION_NONE)
		device->state =
			STATE_UNKNOWN; /* a number that was reused without an intercepted call */
	if (!device)
		trace_message("more than %d devices: fd %d is not tracked", TRACKED_MAX, fd);
	unlock(held);
	return rc;
}

/* In a VFIO group the VMM opens a device by name. */
static int get_device_fd(int fd, const char *name)
{
	int device_fd = real.ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, name);

	if (device_fd >= 0 && device_kind(device_fd) == FD_OTHER) {
		const struct held held = lock();

		devices_name(device_fd, name);
		unlock(held);
	}
	return device_fd;
}

bool speculate_concerns(int fd, unsigned long request)
{
	return device_kind(fd) != FD_OTHER || request == VFIO_DEVICE_FEATURE ||
	       request == VFIO_GROUP_GET_DEVICE_FD;
}

static int dispatch(int fd, unsigned long request, void *arg)
{
	struct tracked_device *device = devices_of(fd);

	if (!device && is_set_state(request, arg)) {
		/* A device that was opened before exec, for example. */
		uint64_t flags;
		const bool migrates = state_flags(fd, &flags);

		device = migrates ? track_device(fd, flags) : NULL;
	}
	if (!device || !device->used) {
		pthread_mutex_unlock(&devices.lock);
		const int rc = real.ioctl(fd, request, arg);
		const int error = errno;

		pthread_mutex_lock(&devices.lock);
		errno = error;
		return rc;
	}
	if (is_set_state(request, arg))
		return set_state(device, fd, arg);
	if (request == VFIO_DEVICE_RESET)
		return reset(device, fd, request, arg);
	if (request == VFIO_DEVICE_PCI_HOT_RESET)
		return hot_reset(device, fd, request, arg);
	return other_ioctl(device, fd, request, arg);
}

int speculate_ioctl(int fd, unsigned long request, void *arg)
{
	if (!in_own_process())
		return real.ioctl(fd, request, arg);
	if (request == VFIO_GROUP_GET_DEVICE_FD && arg)
		return get_device_fd(fd, arg);
	if (is_get_flags(request, arg))
		return get_flags(fd, arg);
	if (device_kind(fd) == FD_OTHER && !is_set_state(request, arg))
		return real.ioctl(fd, request, arg);
	struct held held = lock();
	const int rc = dispatch(fd, request, arg);

	if (rc < 0)
		held.error = errno;
	unlock(held);
	return rc;
}

/* All other calls */

static void settle(int fd, bool write)
{
	if (!atomic_load_explicit(&devices.speculating, memory_order_acquire) || !in_own_process())
		return;
	const struct held held = lock();
	struct tracked_device *device = devices_of(fd);

	if (device) {
		worker_await(device);
		/* The VMM is active, if only on another device's data. */
		devices.last_call_ns = trace_now();
		if (write && device->speculation == SPECULATION_DONE && device_kind(fd) == FD_DATA)
			check_mismatch("write to the data session, %s->%s predicted", device,
				pattern_state_name(device->from), pattern_state_name(device->to));
	}
	unlock(held);
}

void speculate_settle(int fd)
{
	settle(fd, false);
}

void speculate_settle_write(int fd)
{
	settle(fd, true);
}

void speculate_close(int fd)
{
	if (device_kind(fd) == FD_OTHER || !in_own_process())
		return;
	const struct held held = lock();
	struct tracked_device *device = devices_of(fd);

	if (device_kind(fd) == FD_DATA) {
		worker_await(device);
		record_stream(device);
		if (device->speculation == SPECULATION_DONE && device->result.data_fd == fd) {
			check_mismatch(
				"close of a data session that the VMM has not received", device);
			device->result.data_fd = -1;
		}
		devices_drop(fd);
	} else if (device) {
		/* The device stays open until its last descriptor is closed. */
		if (device->fds == 1)
			cancel_speculation(device);
		if (devices_drop(fd)) {
			worker_stop(device);
			devices_remove(device);
		}
	}
	unlock(held);
}

void speculate_close_range(unsigned first, unsigned last)
{
	for (int fd = (int)first; fd <= devices_top() && (unsigned)fd <= last; fd++)
		speculate_close(fd);
}

void speculate_dup(int fd, int copy)
{
	if (device_kind(fd) == FD_OTHER || !in_own_process())
		return;
	const struct held held = lock();

	devices_alias(fd, copy);
	unlock(held);
}

void speculate_fork_before(void)
{
	pthread_mutex_lock(&devices.lock);
}

void speculate_fork_parent(void)
{
	pthread_mutex_unlock(&devices.lock);
}

void speculate_fork_child(void)
{
	devices_inherit();
	trace_fork_child();
	self.announced = self.failure = false;
	self.pid = getpid();
	pthread_mutex_unlock(&devices.lock);
}
