/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * follow.c - a device as a handler of the run state: the arcs of a stop and of a start, one
 * device after the other or in parallel.
 */
#include "device/core/internal.h"

/* One call of the handler: the pass and direction of the change. */
struct call {
	enum swo_pass pass;
	bool running;
	enum swo_run_state to;
};

enum todo { TODO_NOTHING, TODO_WALK, TODO_RECOVER };

static enum todo plan_stop(const struct swo_device *dev, const struct call *call,
	enum swo_device_state now, enum swo_device_state *to)
{
	bool session = now == SWO_DEVICE_PRE_COPY || now == SWO_DEVICE_PRE_COPY_P2P;

	if (call->pass == SWO_PASS_PREPARE) {
		if (!(dev->mig_flags & SWO_MIG_P2P))
			return TODO_NOTHING;
		*to = session ? SWO_DEVICE_PRE_COPY_P2P : SWO_DEVICE_RUNNING_P2P;
		/* A device that is already stopped must not run again for this. */
		return now == SWO_DEVICE_STOP || now == SWO_DEVICE_STOP_COPY ||
				       now == SWO_DEVICE_RESUMING
			       ? TODO_NOTHING
			       : TODO_WALK;
	}
	if (now == SWO_DEVICE_STOP_COPY || now == SWO_DEVICE_RESUMING)
		return TODO_NOTHING;
	/* Going to STOP with an open session would run the device briefly: the path leads through
	   RUNNING. */
	*to = session || call->to == SWO_RUN_STATE_FINISH_MIGRATE ? SWO_DEVICE_STOP_COPY
								  : SWO_DEVICE_STOP;
	return TODO_WALK;
}

static enum todo plan_start(const struct swo_device *dev, const struct call *call,
	enum swo_device_state now, enum swo_device_state *to)
{
	*to = SWO_DEVICE_RUNNING;
	if (call->pass == SWO_PASS_CHANGE)
		return TODO_WALK;
	/* A running device passes no barrier. */
	if (!(dev->mig_flags & SWO_MIG_P2P) || now == SWO_DEVICE_RUNNING ||
		now == SWO_DEVICE_PRE_COPY)
		return TODO_NOTHING;
	*to = SWO_DEVICE_RUNNING_P2P;
	return TODO_WALK;
}

/*
 * While a failed stop is rolled back, the run state is still the one before it. A device in
 * RESUMING cannot be rolled back: recovery would reset it.
 */
static bool takes_back(const struct swo_device *dev, enum swo_device_state now)
{
	enum swo_run_state before = swo_runstate_get(dev->follow.rs);

	if (now == SWO_DEVICE_RESUMING)
		return false;
	return before == SWO_RUN_STATE_RUNNING || before == SWO_RUN_STATE_FINISH_MIGRATE ||
	       dev->follow.stop_failed;
}

static const char *call_name(const struct call *call)
{
	if (call->running)
		return call->pass == SWO_PASS_PREPARE ? "start (prepare)" : "start (change)";
	return call->pass == SWO_PASS_PREPARE ? "stop (prepare)" : "stop (change)";
}

static int begin(struct swo_device *dev, const struct call *call, struct swo_error *err)
{
	enum swo_device_state to, now = swo_device_state(dev);
	enum todo todo;
	int rc;

	if (swo_device_health(dev) == SWO_DEVICE_LOST) {
		swo_log(SWO_LOG_WARN, "device %s: lost; %s continues without it", dev->name,
			call_name(call));
		return 0;
	}
	if (call->running && takes_back(dev, now))
		todo = TODO_RECOVER;
	else if (call->running)
		todo = plan_start(dev, call, now, &to);
	else
		todo = plan_stop(dev, call, now, &to);

	if (todo == TODO_NOTHING)
		return 0;
	if (todo == TODO_RECOVER)
		rc = device_begin(
			dev, TASK_RECOVER, SWO_DEVICE_RUNNING, call->pass == SWO_PASS_PREPARE, err);
	else
		rc = device_begin(dev, TASK_WALK, to, false, err);
	dev->follow.in_flight = !rc;
	if (rc && !call->running)
		dev->follow.stop_failed = true;
	return rc;
}

/*
 * A VM that has arrived starts whatever its devices report: it cannot be rolled back. So a
 * failed device is brought to the state of the others, before the barrier and before vCPUs
 * access it.
 */
static void make_ready(struct swo_device *dev, const struct call *call)
{
	struct swo_error err = {0};

	if (swo_runstate_get(dev->follow.rs) == SWO_RUN_STATE_INMIGRATE &&
		swo_device_health(dev) != SWO_DEVICE_LOST &&
		device_do(dev, TASK_RECOVER, SWO_DEVICE_RUNNING, call->pass == SWO_PASS_PREPARE,
			&err))
		swo_log(SWO_LOG_ERROR, "%s", err.text);
}

static int end(struct swo_device *dev, const struct call *call, struct swo_error *err)
{
	if (!dev->follow.in_flight)
		return 0;
	dev->follow.in_flight = false;

	int rc = device_end(dev, err);
	if (rc && call->running)
		make_ready(dev, call);
	if (rc && !call->running)
		dev->follow.stop_failed = true;
	if (!rc && call->running && call->pass == SWO_PASS_CHANGE)
		dev->follow.stop_failed = false;
	return rc;
}

static int launch(void *opaque, enum swo_pass pass, bool running, enum swo_run_state state,
	struct swo_error *err)
{
	return begin(opaque, &(struct call){pass, running, state}, err);
}

static int join(void *opaque, enum swo_pass pass, bool running, enum swo_run_state state,
	struct swo_error *err)
{
	return end(opaque, &(struct call){pass, running, state}, err);
}

static int both(struct swo_device *dev, const struct call *call, struct swo_error *err)
{
	if (begin(dev, call, err))
		return -1;
	return end(dev, call, err);
}

static int serial_prepare(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	return both(opaque, &(struct call){SWO_PASS_PREPARE, running, state}, err);
}

static int serial_change(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	return both(opaque, &(struct call){SWO_PASS_CHANGE, running, state}, err);
}

int swo_device_follow(struct swo_device *dev, struct swo_runstate *rs, int depth,
	enum swo_transitions transitions, enum swo_join join_at, struct swo_error *err)
{
	struct swo_handler_desc serial = {.size = sizeof(struct swo_handler_desc),
		.name = dev->name,
		.depth = depth,
		.prepare = serial_prepare,
		.change = serial_change,
		.opaque = dev};
	struct swo_slow_desc parallel = {.size = sizeof(struct swo_slow_desc),
		.name = dev->name,
		.depth = depth,
		.join_at = join_at,
		.launch = launch,
		.join = join,
		.opaque = dev};

	if (dev->follow.handler)
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: already follows a run state; unfollow it first", dev->name);
	dev->follow = (struct follow){.rs = rs};
	if (transitions == SWO_TRANSITIONS_SERIAL)
		return swo_runstate_add(rs, &serial, &dev->follow.handler, err);
	return swo_runstate_add_slow(rs, &parallel, &dev->follow.handler, err);
}

void swo_device_unfollow(struct swo_device *dev)
{
	struct swo_handler *handler = dev->follow.handler;

	dev->follow.handler = NULL;
	if (handler)
		swo_runstate_remove(dev->follow.rs, handler);
}

bool swo_device_follows(const struct swo_device *dev, const struct swo_runstate *rs)
{
	return dev->follow.handler && dev->follow.rs == rs;
}
