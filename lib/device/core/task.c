/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task.c - one task at a time: queued on the device's worker by one thread, waited for step by
 * step by another, and abandoned if a step hangs. Recovery is a task: back to RUNNING by arcs
 * or, if none lead there, by a reset.
 */
#include "device/core/internal.h"

#include <stdio.h>

/* Recovery */

/*
 * The arcs are tried twice: a driver may be busy once, while a reset loses the guest's device
 * state permanently.
 */
#define ATTEMPTS 2

/*
 * Only a reset leads out of ERROR; and out of RESUMING too, since ->STOP would make the device
 * load an incomplete state.
 */
static bool only_reset_helps(enum swo_device_state state)
{
	return state == SWO_DEVICE_ERROR || state == SWO_DEVICE_RESUMING;
}

/*
 * Stopping short is for a barrier before RUNNING; a device that runs already is not stopped for
 * it: that would be one more arc that can fail.
 */
static enum swo_device_state goal(struct swo_device *dev, bool stop_short)
{
	enum swo_device_state state = swo_device_state(dev);

	if (!stop_short || state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_PRE_COPY)
		return SWO_DEVICE_RUNNING;
	return dev->mig_flags & SWO_MIG_P2P ? SWO_DEVICE_RUNNING_P2P : SWO_DEVICE_STOP;
}

/* The task was abandoned, or the device is lost. */
static bool no_use(struct swo_device *dev, const struct task *task, const struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	bool abandoned = task->abandoned;
	pthread_mutex_unlock(&dev->mutex);
	return abandoned || err->code == SWO_E_PEER_LOST;
}

/* 0: reached; 1: a reset may help; -1: failed. */
static int go_by_arcs(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	for (int i = 0; i < ATTEMPTS && !only_reset_helps(swo_device_state(dev)); i++) {
		if (!device_walk(dev, task, goal(dev, task->stop_short), err))
			return 0;
		if (no_use(dev, task, err))
			return -1;
		swo_log(SWO_LOG_WARN, "%s (during recovery to RUNNING)", err->text);
	}
	return 1;
}

static int go_by_reset(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	enum swo_device_state before = swo_device_state(dev);

	swo_log(before == SWO_DEVICE_RESUMING ? SWO_LOG_INFO : SWO_LOG_WARN,
		"device %s: reset in %s; its state is lost", dev->name,
		swo_device_state_name(before));
	if (device_reset(dev, task, err))
		return -1;
	/* A kernel device is RUNNING now; a vfio-user server may have kept its migration state. */
	return device_walk(dev, task, goal(dev, task->stop_short), err);
}

static int run_recovery(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	int rc = 1;

	if (!device_ask(dev, task, err))
		rc = go_by_arcs(dev, task, err);
	else if (no_use(dev, task, err))
		rc = -1;
	if (rc > 0)
		rc = go_by_reset(dev, task, err);
	if (rc)
		device_mark_lost(dev);
	return rc;
}

static int run_discard(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	int rc = device_ask(dev, task, err);

	if (!rc)
		rc = go_by_reset(dev, task, err);
	if (rc)
		device_mark_lost(dev);
	return rc;
}

/* Not an error of this user's: nothing is logged, and the device is as good as new. */
static int run_take_over(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	if (device_ask(dev, task, err))
		return -1;
	int rc = device_reset(dev, task, err);

	/* libvfio-user resets no device in STOP or STOP_COPY. */
	if (rc && err->code != SWO_E_UNSUPPORTED && !no_use(dev, task, err) &&
		swo_device_state(dev) != SWO_DEVICE_RUNNING &&
		!device_walk(dev, task, SWO_DEVICE_RUNNING, err))
		rc = device_reset(dev, task, err);
	if (rc && err->code == SWO_E_UNSUPPORTED) {
		swo_log(SWO_LOG_WARN,
			"%s; what an earlier user of it has started, such as DMA, may go on",
			err->text);
		rc = 0;
	}
	if (!rc)
		rc = device_walk(dev, task, SWO_DEVICE_RUNNING, err);
	pthread_mutex_lock(&dev->mutex);
	if (!rc)
		dev->health = SWO_DEVICE_SOUND;
	pthread_mutex_unlock(&dev->mutex);
	return rc;
}

static void run_settling(struct swo_device *dev)
{
	struct task task = {.kind = TASK_RECOVER, .to = SWO_DEVICE_RUNNING};
	struct swo_error err = {0};

	pthread_mutex_lock(&dev->mutex);
	enum device_settle settle = dev->settle;
	pthread_mutex_unlock(&dev->mutex);

	int rc = settle == DEVICE_SETTLE_RUN ? run_recovery(dev, &task, &err)
					     : go_by_reset(dev, &task, &err);
	if (rc)
		swo_log(SWO_LOG_ERROR, "%s; it was abandoned before and stays in its state",
			err.text);
	else
		swo_log(SWO_LOG_WARN,
			"device %s: the hung call has ended; the device was set to RUNNING and "
			"takes "
			"part again after a refresh",
			dev->name);
}

/* Tasks */

static int query(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	uint64_t flags = 0;

	if (dev->ops.get_mig_flags(dev->self, &flags, err))
		return swo_error_prefix(err, "device %s: cannot read its features", dev->name);
	if (!(flags & SWO_MIG_STOP_COPY))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: cannot migrate: flags 0x%llx without STOP_COPY", dev->name,
			(unsigned long long)flags);
	dev->mig_flags = flags;
	return device_ask(dev, task, err);
}

static int refresh(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	if (device_ask(dev, task, err))
		return -1;
	pthread_mutex_lock(&dev->mutex);
	dev->health = SWO_DEVICE_SOUND;
	pthread_mutex_unlock(&dev->mutex);
	return 0;
}

static int run(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	switch (task->kind) {
	case TASK_QUERY:
		return query(dev, task, err);
	case TASK_WALK:
		return device_walk(dev, task, task->to, err);
	case TASK_WALK_CHECKED:
		return device_walk_checked(dev, task, task->to, err);
	case TASK_RECOVER:
		return run_recovery(dev, task, err);
	case TASK_DISCARD:
		return run_discard(dev, task, err);
	case TASK_REFRESH:
		return refresh(dev, task, err);
	case TASK_CHECK:
		return device_ask(dev, task, err);
	case TASK_TAKE_OVER:
		return run_take_over(dev, task, err);
	}
	return swo_error_set(err, SWO_E_INVALID, 0, "device %s: unknown task", dev->name);
}

static bool drives_the_device(enum task_kind kind)
{
	return kind == TASK_WALK || kind == TASK_WALK_CHECKED || kind == TASK_RECOVER ||
	       kind == TASK_DISCARD || kind == TASK_TAKE_OVER || kind == TASK_CHECK;
}

/* The waiter timed out: puts the device into a harmless state, then frees the task. */
static void end_stray(struct swo_device *dev)
{
	if (drives_the_device(dev->task.kind))
		run_settling(dev);
	pthread_mutex_lock(&dev->mutex);
	dev->stray = false;
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->mutex);
}

static void task_job(void *opaque)
{
	struct swo_device *dev = opaque;
	struct task *task = &dev->task;
	struct swo_error err = {0};
	struct arrival arrival = {0};
	int rc = run(dev, task, &err);

	pthread_mutex_lock(&dev->mutex);
	if (task->abandoned) {
		pthread_mutex_unlock(&dev->mutex);
		end_stray(dev);
		return;
	}
	if (!rc && task->kind == TASK_WALK)
		arrival = dev->arrival[task->to];
	if (arrival.hold)
		arrival.hold(arrival.opaque, true);
	task->rc = rc;
	task->err = err;
	/* A check has any number of waiters, or none. */
	if (task->kind == TASK_CHECK)
		dev->active = false;
	task->done = true; /* from here on the waiter owns the task, and may reuse it */
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->mutex);
	if (arrival.fn)
		arrival.fn(arrival.opaque);
	if (arrival.hold)
		arrival.hold(arrival.opaque, false);
}

/* Refuses a new task if necessary. With the mutex held. */
static int may_begin(struct swo_device *dev, enum task_kind kind, struct swo_error *err)
{
	if (dev->stray)
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: lost: an earlier request still hangs; try again once the device "
			"answers, or restart the VM",
			dev->name);
	if (dev->health == SWO_DEVICE_LOST && kind != TASK_REFRESH)
		return swo_error_set(
			err, SWO_E_STATE, 0, "device %s: lost, until it is refreshed", dev->name);
	return 0;
}

static const char *step_text(const struct task *task, char *buf, size_t size)
{
	switch (task->step) {
	case STEP_QUEUED:
		return "waiting for its worker, which runs another job";
	case STEP_ASK:
		return "reading its state";
	case STEP_RESET:
		return "reset";
	case STEP_ARC:
		break;
	}
	snprintf(buf, size, "%s->%s", swo_device_state_name(task->arc_from),
		swo_device_state_name(task->arc_to));
	return buf;
}

uint64_t swo_device_under_way(struct swo_device *dev, char *text, size_t room)
{
	const uint64_t now = swo_now_ns();
	uint64_t ns = 0;
	char buf[48];

	pthread_mutex_lock(&dev->mutex);
	const bool is = (dev->active || dev->task.abandoned) && !dev->task.done;

	snprintf(text, room, "%s", is ? step_text(&dev->task, buf, sizeof(buf)) : "");
	if (is)
		ns = now > dev->task.step_ns ? now - dev->task.step_ns : 1;
	pthread_mutex_unlock(&dev->mutex);
	return ns;
}

/* Abandons the task. With the mutex held. */
static int abandon(struct swo_device *dev, struct swo_error *err)
{
	char buf[48];

	dev->task.abandoned = true;
	dev->active = false;
	dev->stray = true;
	device_becomes_lost(dev);
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"device %s: %s: timed out after %llu ms; the device is marked lost", dev->name,
		step_text(&dev->task, buf, sizeof(buf)), (unsigned long long)dev->arc_deadline_ms);
}

/*
 * Waits for a check in progress, until its deadline: then the device is lost. With the mutex held.
 */
static int await_check(struct swo_device *dev, struct swo_error *err)
{
	while (dev->active && dev->task.kind == TASK_CHECK) {
		const swo_deadline until = dev->task.until;

		swo_cond_wait(&dev->changed, &dev->mutex, until);
		if (dev->active && dev->task.kind == TASK_CHECK && swo_deadline_passed(until))
			return abandon(dev, err);
	}
	return 0;
}

static int begin(struct swo_device *dev, const struct task *task, struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	/* A check is no state change: a user's `stop` meanwhile is not refused for it. */
	int rc = swo_worker_is_current(dev->worker) ? 0 : await_check(dev, err);
	if (!rc && dev->active)
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"device %s: another state change is in progress, or has not been waited for",
			dev->name);
	else if (!rc)
		rc = may_begin(dev, task->kind, err);
	if (rc) {
		pthread_mutex_unlock(&dev->mutex);
		return -1;
	}
	dev->task = *task;
	dev->task.step = STEP_QUEUED;
	dev->task.step_ns = swo_now_ns();
	dev->active = true;
	struct swo_job *job = &dev->job[dev->next_job++ % 2];
	*job = (struct swo_job){.fn = task_job, .opaque = dev};
	pthread_mutex_unlock(&dev->mutex);
	swo_worker_submit(dev->worker, job);
	return 0;
}

int device_begin(struct swo_device *dev, enum task_kind kind, enum swo_device_state to,
	bool stop_short, struct swo_error *err)
{
	const struct task task = {.kind = kind, .to = to, .stop_short = stop_short};

	return begin(dev, &task, err);
}

static swo_deadline step_deadline(const struct swo_device *dev)
{
	uint64_t limit = dev->arc_deadline_ms * 1000000;

	return dev->task.step_ns > UINT64_MAX - limit ? UINT64_MAX : dev->task.step_ns + limit;
}

int device_end(struct swo_device *dev, struct swo_error *err)
{
	if (swo_worker_is_current(dev->worker))
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: its worker cannot wait for itself", dev->name);

	pthread_mutex_lock(&dev->mutex);
	int rc = 0;
	if (!dev->active)
		rc = swo_error_set(
			err, SWO_E_STATE, 0, "device %s: no state change was launched", dev->name);
	/* The step may have changed meanwhile: the deadline is that of the current one. */
	while (!rc && !dev->task.done) {
		swo_cond_wait(&dev->changed, &dev->mutex, step_deadline(dev));
		if (!dev->task.done && swo_deadline_passed(step_deadline(dev)))
			rc = abandon(dev, err);
	}
	if (!rc) {
		dev->active = false;
		rc = dev->task.rc;
		if (rc && err)
			*err = dev->task.err;
	}
	pthread_mutex_unlock(&dev->mutex);
	return rc;
}

/*
 * Called by a job on the worker itself, such as a stream: it is already the one thread of the
 * device. Its steps have no deadline but the backend's.
 */
static int do_here(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	int rc = 0;
	if (dev->active && !dev->task.done)
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"device %s: another state change is waiting for the end of this job",
			dev->name);
	else if (!rc)
		rc = may_begin(dev, task->kind, err);
	pthread_mutex_unlock(&dev->mutex);
	return rc ? -1 : run(dev, task, err);
}

int device_do(struct swo_device *dev, enum task_kind kind, enum swo_device_state to,
	bool stop_short, struct swo_error *err)
{
	struct swo_error ignored;

	if (!err)
		err = &ignored; /* the steps read the previous error */
	if (swo_worker_is_current(dev->worker)) {
		struct task task = {.kind = kind, .to = to, .stop_short = stop_short};

		return do_here(dev, &task, err);
	}
	if (device_begin(dev, kind, to, stop_short, err))
		return -1;
	return device_end(dev, err);
}

int device_check_launch(struct swo_device *dev, swo_deadline deadline, struct swo_error *err)
{
	const struct task task = {.kind = TASK_CHECK, .to = SWO_DEVICE_RUNNING, .until = deadline};

	return begin(dev, &task, err);
}

int device_check_wait(struct swo_device *dev, struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	int rc = await_check(dev, err);
	pthread_mutex_unlock(&dev->mutex);
	return rc;
}

int device_discard_launch(struct swo_device *dev, struct swo_error *err)
{
	return device_begin(dev, TASK_DISCARD, SWO_DEVICE_RUNNING, false, err);
}

int swo_device_recover(struct swo_device *dev, bool stop_short, struct swo_error *err)
{
	return device_do(dev, TASK_RECOVER, SWO_DEVICE_RUNNING, stop_short, err);
}

int swo_device_discard(struct swo_device *dev, struct swo_error *err)
{
	return device_do(dev, TASK_DISCARD, SWO_DEVICE_RUNNING, false, err);
}

int swo_device_take_over_launch(struct swo_device *dev, struct swo_error *err)
{
	return device_begin(dev, TASK_TAKE_OVER, SWO_DEVICE_RUNNING, false, err);
}

int swo_device_take_over(struct swo_device *dev, struct swo_error *err)
{
	return device_do(dev, TASK_TAKE_OVER, SWO_DEVICE_RUNNING, false, err);
}
