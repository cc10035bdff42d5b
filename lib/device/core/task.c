/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task.c - one task at a time: queued on the device's worker by one thread,
 * waited for step by step by another, and left behind when a step hangs.
 */
#include "device/core/internal.h"

#include <stdio.h>

static int query(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	uint64_t flags = 0;

	if (dev->ops->get_mig_flags(dev->self, &flags, err))
		return swo_error_prefix(err, "device %s: asking what it can do", dev->name);
	if (!(flags & SWO_MIG_STOP_COPY))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: cannot migrate (its flags 0x%llx lack STOP_COPY)", dev->name,
			(unsigned long long)flags);
	dev->mig_flags = flags;
	return swo_device_ask(dev, task, err);
}

static int refresh(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	if (swo_device_ask(dev, task, err))
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
		return swo_device_walk(dev, task, task->to, err);
	case TASK_RECOVER:
		return swo_device_run_recovery(dev, task, err);
	case TASK_DISCARD:
		return swo_device_run_discard(dev, task, err);
	case TASK_REFRESH:
		return refresh(dev, task, err);
	}
	return swo_error_set(err, SWO_E_INVALID, 0, "device %s: no such task", dev->name);
}

static bool drives_the_device(enum task_kind kind)
{
	return kind == TASK_WALK || kind == TASK_RECOVER || kind == TASK_DISCARD;
}

/* Its waiter has gone: put the device where it does no harm, then let go of the task. */
static void end_stray(struct swo_device *dev)
{
	if (drives_the_device(dev->task.kind))
		swo_device_run_settling(dev);
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
	task->rc = rc;
	task->err = err;
	task->done = true; /* from here on the task is the waiter's, and perhaps the next one's */
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->mutex);
	if (arrival.fn)
		arrival.fn(arrival.opaque);
}

/* What stands in the way of a new task; the mutex is held. */
static int may_begin(struct swo_device *dev, enum task_kind kind, struct swo_error *err)
{
	if (dev->stray)
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: lost: what it was told before still hangs", dev->name);
	if (dev->health == SWO_DEVICE_LOST && kind != TASK_REFRESH)
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: lost; it takes part again only after a refresh", dev->name);
	return 0;
}

int swo_device_begin(struct swo_device *dev, enum task_kind kind, enum swo_device_state to,
	bool stop_short, struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	int rc = 0;
	if (dev->active)
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"device %s: another walk is under way, or nobody waited for it", dev->name);
	else
		rc = may_begin(dev, kind, err);
	if (rc) {
		pthread_mutex_unlock(&dev->mutex);
		return -1;
	}
	dev->task = (struct task){.kind = kind,
		.to = to,
		.stop_short = stop_short,
		.step = STEP_QUEUED,
		.step_ns = swo_now_ns()};
	dev->active = true;
	struct swo_job *job = &dev->job[dev->next_job++ % 2];
	*job = (struct swo_job){.fn = task_job, .opaque = dev};
	pthread_mutex_unlock(&dev->mutex);
	swo_worker_submit(dev->worker, job);
	return 0;
}

static const char *step_text(const struct task *task, char *buf, size_t size)
{
	switch (task->step) {
	case STEP_QUEUED:
		return "waiting for its worker, which is busy with another job,";
	case STEP_ASK:
		return "asking for its state";
	case STEP_RESET:
		return "reset";
	case STEP_ARC:
		break;
	}
	snprintf(buf, size, "%s->%s", swo_device_state_name(task->arc_from),
		swo_device_state_name(task->arc_to));
	return buf;
}

/* The waiter gives up; the mutex is held. */
static int abandon(struct swo_device *dev, struct swo_error *err)
{
	char buf[48];

	dev->task.abandoned = true;
	dev->active = false;
	dev->stray = true;
	dev->health = SWO_DEVICE_LOST;
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"device %s: %s did not end within %llu ms; the device is given up as lost",
		dev->name, step_text(&dev->task, buf, sizeof(buf)),
		(unsigned long long)dev->arc_deadline_ms);
}

static swo_deadline step_deadline(const struct swo_device *dev)
{
	uint64_t limit = dev->arc_deadline_ms * 1000000;

	return dev->task.step_ns > UINT64_MAX - limit ? UINT64_MAX : dev->task.step_ns + limit;
}

int swo_device_end(struct swo_device *dev, struct swo_error *err)
{
	if (swo_worker_is_current(dev->worker))
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: its worker cannot wait for itself", dev->name);

	pthread_mutex_lock(&dev->mutex);
	int rc = 0;
	if (!dev->active)
		rc = swo_error_set(
			err, SWO_E_STATE, 0, "device %s: no walk was launched", dev->name);
	/* The step may have changed while asleep: the deadline is always the present one's. */
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
 * A job of the worker's own, such as a stream: it is the one thread on the device
 * already. Nobody measures its steps; the backend's own deadlines hold.
 */
static int do_here(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	int rc = 0;
	if (dev->active && !dev->task.done)
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"device %s: another walk is waiting for this job to end", dev->name);
	else
		rc = may_begin(dev, task->kind, err);
	pthread_mutex_unlock(&dev->mutex);
	return rc ? -1 : run(dev, task, err);
}

int swo_device_do(struct swo_device *dev, enum task_kind kind, enum swo_device_state to,
	bool stop_short, struct swo_error *err)
{
	struct swo_error ignored;

	if (!err)
		err = &ignored; /* the steps read what they were told */
	if (swo_worker_is_current(dev->worker)) {
		struct task task = {.kind = kind, .to = to, .stop_short = stop_short};

		return do_here(dev, &task, err);
	}
	if (swo_device_begin(dev, kind, to, stop_short, err))
		return -1;
	return swo_device_end(dev, err);
}
