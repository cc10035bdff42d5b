/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * walk.c - the state of a device, and its single steps: an arc, a state query, a reset. Steps
 * run on the device's worker only: no other thread makes these calls of the backend.
 */
#include "device/core/internal.h"

#include <stdio.h>

enum swo_device_state swo_device_state(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	enum swo_device_state state = dev->state;
	pthread_mutex_unlock(&dev->mutex);
	return state;
}

enum swo_device_health swo_device_health(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	enum swo_device_health health = dev->health;
	pthread_mutex_unlock(&dev->mutex);
	return health;
}

/* Starts a step; -1 if the task was abandoned. */
static int device_step(struct swo_device *dev, struct task *task, enum step_kind step,
	enum swo_device_state from, enum swo_device_state to, struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	bool abandoned = task->abandoned;
	if (!abandoned) {
		task->step = step;
		task->step_ns = swo_now_ns();
		task->arc_from = from;
		task->arc_to = to;
		pthread_cond_broadcast(&dev->changed);
	}
	pthread_mutex_unlock(&dev->mutex);
	if (abandoned)
		return swo_error_set(
			err, SWO_E_CANCELLED, 0, "device %s: the request was abandoned", dev->name);
	return 0;
}

void device_becomes_lost(struct swo_device *dev)
{
	dev->health = SWO_DEVICE_LOST;
	if (dev->ops.lost)
		dev->ops.lost(dev->self);
}

void device_mark_lost(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	device_becomes_lost(dev);
	pthread_mutex_unlock(&dev->mutex);
}

/* After these errors no result of the backend can be relied on. */
static bool backend_is_gone(enum swo_error_code code)
{
	return code == SWO_E_PEER_LOST || code == SWO_E_TIMEOUT || code == SWO_E_PROTOCOL;
}

static int read_state(struct swo_device *dev, struct swo_error *err)
{
	enum swo_device_state state = SWO_DEVICE_ERROR;
	int rc = dev->ops.get_state(dev->self, &state, err);

	if (!rc && (unsigned)state >= SWO_DEVICE_STATES)
		rc = swo_error_set(err, SWO_E_PROTOCOL, 0, "unknown state %u", (unsigned)state);
	pthread_mutex_lock(&dev->mutex);
	/* An unknown state is treated as ERROR: only a reset leads out of it. */
	dev->state = rc ? SWO_DEVICE_ERROR : state;
	if (rc && err && backend_is_gone(err->code))
		device_becomes_lost(dev);
	pthread_mutex_unlock(&dev->mutex);
	return rc ? swo_error_prefix(err, "device %s: cannot read its state", dev->name) : 0;
}

int device_ask(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	enum swo_device_state state = swo_device_state(dev);

	if (device_step(dev, task, STEP_ASK, state, state, err))
		return -1;
	return read_state(dev, err);
}

static void seen_now(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	dev->seen_ns = swo_now_ns();
	pthread_mutex_unlock(&dev->mutex);
}

uint64_t device_seen_ns(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	const uint64_t ns = dev->seen_ns;

	pthread_mutex_unlock(&dev->mutex);
	return ns;
}

static int is_elsewhere(struct swo_device *dev, enum swo_device_state now,
	enum swo_device_state known, struct swo_error *err)
{
	pthread_mutex_lock(&dev->mutex);
	/* That is where a reset leads. */
	if (now == SWO_DEVICE_RUNNING && dev->health == SWO_DEVICE_SOUND)
		dev->health = SWO_DEVICE_WAS_RESET;
	pthread_mutex_unlock(&dev->mutex);
	return swo_error_set(err, SWO_E_STATE, 0,
		"device %s: it is in %s, expected %s: it was reset, or changed its state, without a "
		"request of this VMM",
		dev->name, swo_device_state_name(now), swo_device_state_name(known));
}

int device_check_state(struct swo_device *dev, struct swo_error *err)
{
	const enum swo_device_state known = swo_device_state(dev);

	if (read_state(dev, err))
		return -1;
	const enum swo_device_state now = swo_device_state(dev);

	if (now != known)
		return is_elsewhere(dev, now, known, err);
	seen_now(dev);
	return 0;
}

void device_explain(struct swo_device *dev, struct swo_error *err)
{
	struct swo_error why = {0};

	/* With these the device does not answer: it would be waited for a second time. */
	if (err->code == SWO_E_CANCELLED || backend_is_gone(err->code))
		return;
	if (device_check_state(dev, &why) && why.code == SWO_E_STATE)
		*err = why;
}

int device_step_check(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	enum swo_device_state state = swo_device_state(dev);

	if (device_step(dev, task, STEP_ASK, state, state, err))
		return -1;
	return device_check_state(dev, err);
}

static void learn(struct swo_arc_cost *cost, uint64_t ns)
{
	/* Weighted by a quarter: recent figures dominate, a single outlier does not. */
	cost->mean_ns = cost->count ? cost->mean_ns - cost->mean_ns / 4 + ns / 4 : ns;
	cost->last_ns = ns;
	if (ns > cost->max_ns)
		cost->max_ns = ns;
	cost->count++;
}

static void record(struct swo_device *dev, struct swo_span span)
{
	snprintf(span.device, sizeof(span.device), "%s", dev->name);
	swo_timeline_record(dev->timeline, &span);
}

static void arc_ended(struct swo_device *dev, enum swo_device_state from, enum swo_device_state to,
	bool failed, uint64_t start, uint64_t end)
{
	pthread_mutex_lock(&dev->mutex);
	/* Under the mutex, so that a detached timeline is not written to. */
	record(dev, (struct swo_span){.event = SWO_EVENT_ARC,
			    .from = from,
			    .to = to,
			    .failed = failed,
			    .start_ns = start,
			    .end_ns = end});
	dev->seen_ns = 0;
	if (!failed) {
		dev->state = to;
		learn(&dev->cost[from][to], end - start);
	}
	struct observer observer = dev->observer;
	dev->observing = !failed && observer.fn;
	pthread_mutex_unlock(&dev->mutex);
	if (failed || !observer.fn)
		return;
	observer.fn(observer.opaque, to);
	pthread_mutex_lock(&dev->mutex);
	dev->observing = false;
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->mutex);
}

static int arc_failed(struct swo_device *dev, struct task *task, enum swo_device_state from,
	enum swo_device_state to, struct swo_error *why, struct swo_error *err)
{
	struct swo_error ignored = {0};

	swo_error_prefix(why, "device %s: %s->%s", dev->name, swo_device_state_name(from),
		swo_device_state_name(to));
	if (why->code == SWO_E_PEER_LOST)
		device_mark_lost(dev);
	else if (!device_step(dev, task, STEP_ASK, from, to, &ignored))
		/* On failure it may be in any state of the path, or in ERROR. */
		read_state(dev, &ignored);
	if (err)
		*err = *why;
	return -1;
}

static int do_arc(struct swo_device *dev, struct task *task, enum swo_device_state from,
	enum swo_device_state to, struct swo_error *err)
{
	struct swo_error why = {0};

	if (device_step(dev, task, STEP_ARC, from, to, err))
		return -1;
	uint64_t start = swo_now_ns();
	int rc = dev->ops.set_state(dev->self, to, &why);
	arc_ended(dev, from, to, rc, start, swo_now_ns());
	return rc ? arc_failed(dev, task, from, to, &why, err) : 0;
}

/* 1: its backend cannot, and nothing was requested. */
static int do_arc_seen(struct swo_device *dev, struct task *task, enum swo_device_state from,
	enum swo_device_state to, struct swo_error *err)
{
	enum swo_device_state seen[2] = {from, to};
	struct swo_error why = {0};

	if (device_step(dev, task, STEP_ARC, from, to, err))
		return -1;
	uint64_t start = swo_now_ns();
	int rc = dev->ops.set_state_seen(dev->self, to, seen, &why);

	if (rc && why.code == SWO_E_UNSUPPORTED)
		return 1;
	const bool elsewhere = seen[0] != from || seen[1] != to;

	arc_ended(dev, from, to, rc || elsewhere, start, swo_now_ns());
	if (rc)
		return arc_failed(dev, task, from, to, &why, err);
	if (!elsewhere) {
		seen_now(dev);
		return 0;
	}
	pthread_mutex_lock(&dev->mutex);
	dev->state = seen[1];
	pthread_mutex_unlock(&dev->mutex);
	return seen[0] != from ? is_elsewhere(dev, seen[0], from, err)
			       : is_elsewhere(dev, seen[1], to, err);
}

/*
 * On the way to STOP_COPY, and without a session of PRE_COPY: a device that was reset meanwhile
 * would take the arc, and save a blank state as if it were the guest's.
 */
static bool would_save_anything(enum swo_device_state from, enum swo_device_state to)
{
	return to == SWO_DEVICE_STOP_COPY &&
	       (from == SWO_DEVICE_RUNNING_P2P || from == SWO_DEVICE_STOP);
}

int device_walk(
	struct swo_device *dev, struct task *task, enum swo_device_state to, struct swo_error *err)
{
	/* No path is longer than there are states. */
	for (int i = 0; i < SWO_DEVICE_STATES; i++) {
		enum swo_device_state from = swo_device_state(dev), next;

		if (from == to && to != SWO_DEVICE_ERROR)
			return 0;
		if (swo_device_next_state(from, to, dev->mig_flags, &next))
			break;
		if (would_save_anything(from, to) && device_step_check(dev, task, err))
			return -1;
		if (do_arc(dev, task, from, next, err))
			return -1;
	}
	return swo_error_set(err, SWO_E_STATE, 0,
		"device %s: no legal transition from %s to %s; only a reset leads out of ERROR",
		dev->name, swo_device_state_name(swo_device_state(dev)), swo_device_state_name(to));
}

static void tell_reset(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	void (*fn)(void *) = dev->on_reset;
	void *opaque = dev->on_reset_opaque;

	dev->telling_reset = fn;
	pthread_mutex_unlock(&dev->mutex);
	if (!fn)
		return;
	fn(opaque);
	pthread_mutex_lock(&dev->mutex);
	dev->telling_reset = false;
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->mutex);
}

int device_reset(struct swo_device *dev, struct task *task, struct swo_error *err)
{
	enum swo_device_state state = swo_device_state(dev);

	if (!dev->ops.reset)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: the backend has no reset", dev->name);
	if (device_step(dev, task, STEP_RESET, state, SWO_DEVICE_RUNNING, err))
		return -1;
	uint64_t start = swo_now_ns();
	int rc = dev->ops.reset(dev->self, err);

	pthread_mutex_lock(&dev->mutex);
	record(dev, (struct swo_span){.event = SWO_EVENT_RESET,
			    .from = state,
			    .failed = rc,
			    .start_ns = start,
			    .end_ns = swo_now_ns()});
	if (!rc && dev->health == SWO_DEVICE_SOUND)
		dev->health = SWO_DEVICE_WAS_RESET;
	pthread_mutex_unlock(&dev->mutex);
	if (rc)
		return swo_error_prefix(err, "device %s: reset", dev->name);
	tell_reset(dev);
	return device_ask(dev, task, err);
}

int device_walk_checked(
	struct swo_device *dev, struct task *task, enum swo_device_state to, struct swo_error *err)
{
	enum swo_device_state from = swo_device_state(dev), next;

	if (from != to && dev->ops.set_state_seen &&
		!swo_device_next_state(from, to, dev->mig_flags, &next) && next == to) {
		int rc = do_arc_seen(dev, task, from, to, err);

		if (rc <= 0)
			return rc;
	}
	if (device_step_check(dev, task, err) || device_walk(dev, task, to, err))
		return -1;
	return from == to ? 0 : device_step_check(dev, task, err);
}
