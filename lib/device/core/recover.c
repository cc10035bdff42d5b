/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recover.c - back to running, after anything: legal arcs first, a reset as the
 * last resort; and what is done with a device whose hung arc ends after all.
 */
#include "device/core/internal.h"

/*
 * Twice along the arcs: a driver may be busy once, while a reset costs the guest its
 * device for good.
 */
#define ATTEMPTS 2

/*
 * Out of ERROR only a reset leads; and out of RESUMING too, since ->STOP would make the device
 * take in what little it has of a state.
 */
static bool only_reset_helps(enum swo_device_state state)
{
	return state == SWO_DEVICE_ERROR || state == SWO_DEVICE_RESUMING;
}

/*
 * Stopping short is for a barrier before RUNNING; a device that runs already is not sent
 * back to it: that is one more arc that can fail.
 */
static enum swo_device_state goal(struct swo_device *dev, bool stop_short)
{
	enum swo_device_state state = swo_device_state(dev);

	if (!stop_short || state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_PRE_COPY)
		return SWO_DEVICE_RUNNING;
	return dev->mig_flags & SWO_MIG_P2P ? SWO_DEVICE_RUNNING_P2P : SWO_DEVICE_STOP;
}

/* Nobody waits for the outcome, or nobody is there to reset. */
static bool no_use(struct swo_device *dev, const struct task *task, const struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	bool abandoned = task->abandoned;
	pthread_mutex_unlock(&dev->mutex);
	return abandoned || err->code == SWO_E_PEER_LOST;
}

/* 0: there; 1: a reset may help; -1: no use. */
static int go_by_arcs(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	for (int i = 0; i < ATTEMPTS && !only_reset_helps(swo_device_state(dev)); i++) {
		if (!swo_device_walk(dev, task, goal(dev, task->stop_short), err))
			return 0;
		if (no_use(dev, task, err))
			return -1;
		swo_log(SWO_LOG_WARN, "%s (on the way back to running)", err->text);
	}
	return 1;
}

static int go_by_reset(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	enum swo_device_state before = swo_device_state(dev);

	swo_log(before == SWO_DEVICE_RESUMING ? SWO_LOG_INFO : SWO_LOG_WARN,
		"device %s: reset in %s; what state it had is gone", dev->name,
		swo_device_state_name(before));
	if (swo_device_reset(dev, task, err))
		return -1;
	/* A kernel device runs now; a vfio-user server may have kept its migration state. */
	return swo_device_walk(dev, task, goal(dev, task->stop_short), err);
}

int swo_device_run_recovery(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	int rc = 1;

	if (!swo_device_ask(dev, task, err))
		rc = go_by_arcs(dev, task, err);
	else if (no_use(dev, task, err))
		rc = -1;
	if (rc > 0)
		rc = go_by_reset(dev, task, err);
	if (rc)
		swo_device_mark_lost(dev);
	return rc;
}

int swo_device_run_discard(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	int rc = swo_device_ask(dev, task, err);

	if (!rc)
		rc = go_by_reset(dev, task, err);
	if (rc)
		swo_device_mark_lost(dev);
	return rc;
}

void swo_device_run_settling(struct swo_device *dev)
{
	struct task task = {.kind = TASK_RECOVER, .to = SWO_DEVICE_RUNNING};
	struct swo_error err = {0};

	pthread_mutex_lock(&dev->mutex);
	enum swo_settle settle = dev->settle;
	pthread_mutex_unlock(&dev->mutex);

	int rc = settle == SWO_SETTLE_RUN ? swo_device_run_recovery(dev, &task, &err)
					  : go_by_reset(dev, &task, &err);
	if (rc)
		swo_log(SWO_LOG_ERROR, "%s; it was given up before and stays where it is",
			err.text);
	else
		swo_log(SWO_LOG_WARN,
			"device %s: what hung has ended; the device was driven to RUNNING and "
			"takes "
			"part again after a refresh",
			dev->name);
}

int swo_device_recover(struct swo_device *dev, bool stop_short, struct swo_error *err)
{
	return swo_device_do(dev, TASK_RECOVER, SWO_DEVICE_RUNNING, stop_short, err);
}

int swo_device_discard(struct swo_device *dev, struct swo_error *err)
{
	return swo_device_do(dev, TASK_DISCARD, SWO_DEVICE_RUNNING, false, err);
}
