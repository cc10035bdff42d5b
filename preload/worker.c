/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.c - waits for a step, runs it, keeps the result. All signals are blocked: they belong
 * to the VMM.
 */
#include "worker.h"

#include "check.h"
#include "patterns.h"
#include "real.h"
#include "state.h"
#include "trace.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define STACK_BYTES (128 * 1024)

uint64_t worker_patience_ns = 30 * 1000000000ull;

/*
 * Only arcs that lose nothing: they end no data session and open none that the VMM has not
 * seen.
 */
static bool has_way_back(uint32_t from, uint32_t to)
{
	switch (from) {
	case SWO_DEVICE_RUNNING:
	case SWO_DEVICE_RUNNING_P2P:
	case SWO_DEVICE_STOP:
		return true;
	case SWO_DEVICE_PRE_COPY:
		return to == SWO_DEVICE_PRE_COPY_P2P;
	default:
		return false;
	}
}

static void take_back(struct tracked_device *device)
{
	struct device_result back;
	const int fd = device->fd;
	const int data_fd = device->result.data_fd;
	const uint32_t from = device->from;

	check_mismatch("%s->%s was started, and not requested", device, pattern_state_name(from),
		pattern_state_name(device->to));
	if (device->result.rc < 0 || !has_way_back(from, device->to))
		return;
	devices_set_speculation(device, SPECULATION_RUNS);
	device->result.data_fd = -1;
	if (data_fd >= 0)
		devices_drop(data_fd);
	pthread_mutex_unlock(&devices.lock);
	if (data_fd >= 0)
		real.close(data_fd);
	state_set(fd, from, &back);
	pthread_mutex_lock(&devices.lock);
	device->state = back.rc < 0 ? STATE_UNKNOWN : from;
	devices_set_speculation(device, SPECULATION_NONE);
	pthread_cond_broadcast(&devices.changed);
}

static void take_step(struct tracked_device *device)
{
	const int fd = device->fd;
	const uint32_t step = device->step;
	struct device_result result;

	pthread_mutex_unlock(&devices.lock);
	state_set(fd, step, &result);
	pthread_mutex_lock(&devices.lock);
	device->result = result;
	devices_session(device, result.data_fd);
	devices_set_speculation(device, step == device->to ? SPECULATION_DONE : SPECULATION_HELD);
	pthread_cond_broadcast(&devices.changed);
}

/* True if an unrequested result must be undone. */
static bool wait_for_work(struct tracked_device *device)
{
	if (device->speculation != SPECULATION_DONE || check_failed()) {
		pthread_cond_wait(&device->go, &devices.lock);
		return false;
	}
	const uint64_t now = trace_now();
	uint64_t until = (devices.last_call_ns > device->result.end_ns ? devices.last_call_ns
								       : device->result.end_ns) +
			 worker_patience_ns;

	if (now >= until) {
		if (!devices.calls)
			return true;
		until = now + worker_patience_ns;
	}
	const struct timespec at = {
		.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};

	pthread_cond_clockwait(&device->go, &devices.lock, CLOCK_MONOTONIC, &at);
	return false;
}

static void *worker(void *arg)
{
	struct tracked_device *device = arg;

	pthread_mutex_lock(&devices.lock);
	while (!device->worker_quits) {
		if (device->speculation == SPECULATION_RUNS)
			take_step(device);
		else if (wait_for_work(device))
			take_back(device);
	}
	pthread_mutex_unlock(&devices.lock);
	return NULL;
}

bool worker_ready(struct tracked_device *device)
{
	pthread_attr_t attr;
	sigset_t all, kept;

	if (device->worker_runs)
		return true;
	if (pthread_attr_init(&attr))
		return false;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &kept);
	const int rc = pthread_create(&device->worker, &attr, worker, device);

	pthread_sigmask(SIG_SETMASK, &kept, NULL);
	pthread_attr_destroy(&attr);
	if (rc)
		return false;
	pthread_setname_np(device->worker, "switchover");
	device->worker_runs = true;
	return true;
}

void worker_start(struct tracked_device *device, uint32_t from, uint32_t to, uint32_t step)
{
	device->from = from;
	device->to = to;
	device->step = step;
	device->result = (struct device_result){.data_fd = -1};
	devices_set_speculation(device, SPECULATION_RUNS);
	pthread_cond_signal(&device->go);
}

void worker_await(const struct tracked_device *device)
{
	while (device->speculation == SPECULATION_RUNS || device->speculation == SPECULATION_HELD)
		pthread_cond_wait(&devices.changed, &devices.lock);
}

void worker_stop(struct tracked_device *device)
{
	if (!device->worker_runs)
		return;
	device->worker_quits = true;
	pthread_cond_signal(&device->go);
	pthread_mutex_unlock(&devices.lock);
	pthread_join(device->worker, NULL);
	pthread_mutex_lock(&devices.lock);
	device->worker_runs = false;
}
