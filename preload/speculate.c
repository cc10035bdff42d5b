/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * speculate.c - what happens around each call of a VMM: registers devices, joins what was
 * begun ahead, settles what was not predicted, and passes everything else on.
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
	bool failure; /* an arc has failed: the VMM may now do what it does then */
	unsigned begun, asked;
} self;

void speculate_init(const struct settings *settings)
{
	self.vmm = settings->vmm;
	self.observe_only = settings->observe_only;
	self.verbose = settings->verbose;
	self.pid = getpid();
}

void speculate_counts(unsigned *begun, unsigned *asked)
{
	pthread_mutex_lock(&fleet.lock);
	*begun = self.begun;
	*asked = self.asked;
	pthread_mutex_unlock(&fleet.lock);
}

/* A child of vfork shares our memory until it execs: what it closes there, we keep. */
static bool ours(void)
{
	return getpid() == self.pid;
}

struct held {
	int cancel, error;
};

/* Waiting must not be a cancellation point where the call that it stands for is none, and what we
   do beside a call must not touch its errno. */
static struct held lock(void)
{
	struct held held = {.error = errno};

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &held.cancel);
	pthread_mutex_lock(&fleet.lock);
	return held;
}

static void unlock(struct held held)
{
	pthread_mutex_unlock(&fleet.lock);
	pthread_setcancelstate(held.cancel, NULL);
	errno = held.error;
}

/* Sessions, for the record */

static void record_stream(struct tracked_device *device)
{
	if (device->stream_bytes)
		trace_stream(device->name, device->stream_save, device->stream_start_ns,
			device->stream_end_ns, device->stream_bytes);
	device->stream_bytes = 0;
}

void speculate_moved(int fd, bool save, uint64_t start_ns, ssize_t bytes)
{
	if (bytes <= 0 || device_kind(fd) != FLEET_DATA || !trace_observes())
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

/* What was begun ahead */

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

/* The device is where its arc led; the VMM never had the session that it opened. */
static void drop(struct tracked_device *device)
{
	const struct device_result *result = &device->result;

	record_arc(device, device->from, device->to, 0, result, true);
	if (result->data_fd >= 0) {
		devices_forget(result->data_fd);
		real.close(result->data_fd);
	}
	device->state = result->rc < 0 ? FLEET_STATE_UNKNOWN : device->to;
	devices_set_speculation(device, FLEET_IDLE);
}

/* Lets it end, and drops it. */
static void end_ahead(struct tracked_device *device)
{
	worker_await(device);
	if (device->ahead == FLEET_DONE)
		drop(device);
}

static bool runs_or_will(uint32_t state)
{
	return state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_RUNNING_P2P;
}

/* Something else than predicted was asked for. That is how a VMM goes back, or on after a failure;
   otherwise we did not know it as well as we believed. */
static void settle_for(struct tracked_device *device, uint32_t to)
{
	if (!runs_or_will(to) && !self.failure)
		check_mismatch("%s was asked for where %s->%s was predicted", device,
			pattern_state_name(to), pattern_state_name(device->from),
			pattern_state_name(device->to));
	drop(device);
}

/* What the VMM knows now of where its device is. */
static void arrived(struct tracked_device *device, uint32_t to, const struct device_result *result)
{
	device->state = result->rc < 0 ? FLEET_STATE_UNKNOWN : to;
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

static int hand_over(
	struct tracked_device *device, struct state_request *request, uint64_t asked_ns)
{
	const struct device_result result = device->result;

	self.asked++;
	arrived(device, device->to, &result);
	record_stream(device);
	record_arc(device, device->from, device->to, asked_ns, &result, true);
	devices_set_speculation(device, FLEET_IDLE);
	request->mig.data_fd = result.data_fd;
	return answer(&result);
}

/* Ioctls */

/* The VMM's own call, in the VMM's own buffer, with the lock let go. False: its device has gone
 * meanwhile. */
static bool pass_on(struct tracked_device *device, int fd, unsigned long request, void *arg,
	struct device_result *out)
{
	const unsigned generation = devices_call_begin(device);

	pthread_mutex_unlock(&fleet.lock);
	out->start_ns = trace_now();
	out->rc = real.ioctl(fd, request, arg);
	out->error = out->rc < 0 ? errno : 0;
	out->end_ns = trace_now();
	pthread_mutex_lock(&fleet.lock);
	return devices_call_end(device, generation);
}

static void begin(struct tracked_device *device, uint32_t to)
{
	if (self.observe_only || check_failed())
		return;
	if (!atomic_load_explicit(&fleet.ahead, memory_order_relaxed))
		self.failure = false;
	const uint32_t from = device->state;
	const unsigned count = siblings_begin(self.vmm, device, to);

	self.begun += count;
	if (count && self.verbose)
		say("%s->%s of %s: begun on %u more", pattern_state_name(from),
			pattern_state_name(to), device->name, count);
}

static int set_state(struct tracked_device *device, int fd, struct state_request *request)
{
	const uint64_t asked_ns = trace_now();
	const uint32_t to = request->mig.device_state;

	worker_await(device);
	if (device->ahead == FLEET_DONE) {
		if (device->to == to)
			return hand_over(device, request, asked_ns);
		settle_for(device, to);
	}
	begin(device, to);

	struct device_result result = {.data_fd = -1};
	const uint32_t from = device->state;

	record_stream(device);
	if (!pass_on(device, fd, VFIO_DEVICE_FEATURE, request, &result))
		return answer(&result);
	arrived(device, to, &result);
	if (result.rc >= 0)
		devices_session(device, request->mig.data_fd);
	record_arc(device, from, to, asked_ns, &result, false);
	return answer(&result);
}

/* After a reset a device is RUNNING, whatever was begun on it. If it had failed, the VMM is in the
   midst of something, and may or may not ask it again: it stays out of the pattern until it is
   asked to run. */
static int reset(struct tracked_device *device, int fd, unsigned long request, void *arg)
{
	struct device_result result;

	end_ahead(device);
	pass_on(device, fd, request, arg, &result);
	device->state = result.rc < 0 ? FLEET_STATE_UNKNOWN : SWO_DEVICE_RUNNING;
	trace_mark(device->name, "reset");
	return answer(&result);
}

/* A hot reset takes whole groups of devices along: who knows which. */
static int hot_reset(struct tracked_device *device, int fd, unsigned long request, void *arg)
{
	struct device_result result;

	devices_for_each(other) end_ahead(other);
	pass_on(device, fd, request, arg, &result);
	devices_for_each(other) other->state = FLEET_STATE_UNKNOWN;
	trace_mark(device->name, "hot reset");
	return answer(&result);
}

static int other_ioctl(struct tracked_device *device, int fd, unsigned long request, void *arg)
{
	struct device_result result;

	worker_await(device);
	pass_on(device, fd, request, arg, &result);
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

/* Threads are made while the machine runs, not when it stops. */
static struct tracked_device *enlist(int fd, uint64_t flags)
{
	struct tracked_device *device = devices_add(fd, flags);

	if (device && fleet.count > 1 && !self.observe_only && !check_failed() &&
		self.vmm != FORESEE_NONE)
		devices_for_each(other) worker_ready(other);
	return device;
}

/* The first thing that any VMM asks of a device that it may migrate. */
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
		device = enlist(fd, migration.flags);
	else if (device->ahead == FLEET_IDLE)
		device->state =
			FLEET_STATE_UNKNOWN; /* a number used again, by a way that we do not see */
	if (!device)
		say("more than %d devices: fd %d goes its own way", FLEET_DEVICES_MAX, fd);
	unlock(held);
	return rc;
}

/* How the VMM calls its device: in a group by name. */
static int get_device_fd(int fd, const char *name)
{
	int device_fd = real.ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, name);

	if (device_fd >= 0 && device_kind(device_fd) == FLEET_OTHER) {
		const struct held held = lock();

		devices_name(device_fd, name);
		unlock(held);
	}
	return device_fd;
}

bool speculate_concerns(int fd, unsigned long request)
{
	return device_kind(fd) != FLEET_OTHER || request == VFIO_DEVICE_FEATURE ||
	       request == VFIO_GROUP_GET_DEVICE_FD;
}

static int dispatch(int fd, unsigned long request, void *arg)
{
	struct tracked_device *device = devices_of(fd);

	if (!device && is_set_state(request, arg)) {
		/* A device that came into the process ready, over exec say. */
		uint64_t flags;
		const bool migrates = state_flags(fd, &flags);

		device = migrates ? enlist(fd, flags) : NULL;
	}
	if (!device || !device->used) {
		pthread_mutex_unlock(&fleet.lock);
		const int rc = real.ioctl(fd, request, arg);
		const int error = errno;

		pthread_mutex_lock(&fleet.lock);
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
	if (!ours())
		return real.ioctl(fd, request, arg);
	if (request == VFIO_GROUP_GET_DEVICE_FD && arg)
		return get_device_fd(fd, arg);
	if (is_get_flags(request, arg))
		return get_flags(fd, arg);
	if (device_kind(fd) == FLEET_OTHER && !is_set_state(request, arg))
		return real.ioctl(fd, request, arg);
	struct held held = lock();
	const int rc = dispatch(fd, request, arg);

	if (rc < 0)
		held.error = errno;
	unlock(held);
	return rc;
}

/* Everything else */

static void settle(int fd, bool write)
{
	if (!atomic_load_explicit(&fleet.ahead, memory_order_acquire) || !ours())
		return;
	const struct held held = lock();
	struct tracked_device *device = devices_of(fd);

	if (device) {
		worker_await(device);
		/* It is at work, if only on another device's data. */
		fleet.last_call_ns = trace_now();
		if (write && device->ahead == FLEET_DONE && device_kind(fd) == FLEET_DATA)
			check_mismatch(
				"its state is still being written though %s->%s was predicted",
				device, pattern_state_name(device->from),
				pattern_state_name(device->to));
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
	if (device_kind(fd) == FLEET_OTHER || !ours())
		return;
	const struct held held = lock();
	struct tracked_device *device = devices_of(fd);

	if (device_kind(fd) == FLEET_DATA) {
		worker_await(device);
		record_stream(device);
		if (device->ahead == FLEET_DONE && device->result.data_fd == fd) {
			check_mismatch(
				"a session that the VMM does not know of was closed", device);
			device->result.data_fd = -1;
		}
		devices_forget(fd);
	} else if (device) {
		/* Only its last descriptor ends it; until then the others keep it open. */
		if (device->fds == 1)
			end_ahead(device);
		if (devices_forget(fd)) {
			worker_end(device);
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
	if (device_kind(fd) == FLEET_OTHER || !ours())
		return;
	const struct held held = lock();

	devices_alias(fd, copy);
	unlock(held);
}

void speculate_fork_before(void)
{
	pthread_mutex_lock(&fleet.lock);
}

void speculate_fork_parent(void)
{
	pthread_mutex_unlock(&fleet.lock);
}

void speculate_fork_child(void)
{
	check_give_up("in a child process");
	devices_for_each(device)
	{
		device->worker_runs = false;
		if (device->ahead == FLEET_WORKS || device->ahead == FLEET_HELD) {
			device->state = FLEET_STATE_UNKNOWN;
			devices_set_speculation(device, FLEET_IDLE);
		}
	}
	self.pid = getpid();
	pthread_cond_init(&fleet.changed, NULL);
	pthread_mutex_unlock(&fleet.lock);
}
