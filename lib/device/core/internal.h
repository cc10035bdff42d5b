/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - private to the device core: one task at a time on the device's worker, made of
 * steps (an arc, a state query, a reset), each with its own deadline.
 */
#ifndef DEVICE_CORE_INTERNAL_H
#define DEVICE_CORE_INTERNAL_H

#include "device/core/engine.h"

enum task_kind {
	TASK_QUERY,	   /* flags and state, at creation */
	TASK_WALK,	   /* go to a state, arc by arc */
	TASK_WALK_CHECKED, /* after the device was seen to be in the state that is known */
	TASK_RECOVER,	   /* go to RUNNING, by a reset if necessary */
	TASK_DISCARD,	   /* likewise, by a reset at once */
	TASK_REFRESH,	   /* read the state again */
	TASK_CHECK,	   /* does it answer at all? */
	TASK_TAKE_OVER,	   /* go to RUNNING by a reset, from the state that an earlier user left */
};

enum step_kind {
	STEP_QUEUED, /* waiting for another job of the worker */
	STEP_ASK,
	STEP_ARC,
	STEP_RESET,
};

/*
 * A task of the worker. `step` is the current step and `step_ns` its start: the waiter measures
 * its deadline from there, so that it restarts at each step.
 */
struct task {
	enum task_kind kind;
	enum swo_device_state to;
	bool stop_short;
	swo_deadline until; /* of a check, for all of it; other tasks have a deadline a step */
	enum step_kind step;
	uint64_t step_ns;
	enum swo_device_state arc_from;
	enum swo_device_state arc_to;
	bool done;
	bool abandoned; /* its waiter timed out: do not continue */
	int rc;
	struct swo_error err;
};

struct arrival {
	void (*fn)(void *opaque);
	void *opaque;
	void (*hold)(void *opaque, bool on); /* see device_on_arrival_held() */
};

struct follow {
	struct swo_runstate *rs;
	struct swo_handler *handler;
	bool in_flight;	  /* a task was started and not yet waited for */
	bool stop_failed; /* by this device, since it last ran */
};

struct swo_device {
	char name[32];
	struct swo_device_ops ops;
	void *self;
	struct swo_worker *worker;
	uint64_t mig_flags;
	uint64_t arc_deadline_ms;
	uint64_t data_deadline_ms;

	pthread_mutex_t mutex; /* for all below */
	pthread_cond_t changed;
	struct swo_timeline *timeline;
	void (*on_reset)(void *opaque);
	void *on_reset_opaque;
	bool telling_reset;
	enum swo_device_state state;
	enum swo_device_health health;
	uint64_t seen_ns; /* when it was last found in the state that is known; 0: never */
	enum device_settle settle;
	struct arrival arrival[SWO_DEVICE_STATES];
	struct observer {
		void (*fn)(void *opaque, enum swo_device_state state);
		void *opaque;
	} observer;
	bool observing; /* the worker is inside it */
	enum swo_dirty_tracking dirty_tracking;
	uint64_t dma_log_page;
	uint64_t *dma_log_bits; /* for the thread that collects */
	size_t dma_log_words;
	struct swo_arc_cost cost[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	struct swo_device_costs expected;
	struct swo_device_costs learned; /* see device_learn() */
	swo_deadline learned_until;

	struct task task;
	bool active; /* `task` was started and not yet waited for */
	bool stray;  /* `task` was abandoned and its job is still running */
	/*
	 * Two alternating jobs: while one's arrival function runs, the next task may be queued as
	 * the other; before the task after that, the first has ended.
	 */
	struct swo_job job[2];
	unsigned next_job;

	struct follow follow; /* used by the changing thread only */
};

/* Tasks (task.c) */

/* Queues a task; SWO_E_STATE if one is in progress, or the device is lost. Never allocates. */
int device_begin(struct swo_device *dev, enum task_kind kind, enum swo_device_state to,
	bool stop_short, struct swo_error *err);
/* Waits for it, step by step; a step past its deadline: SWO_E_TIMEOUT, and the device is lost. */
int device_end(struct swo_device *dev, struct swo_error *err);
/* Both; on the device's own worker it runs synchronously. */
int device_do(struct swo_device *dev, enum task_kind kind, enum swo_device_state to,
	bool stop_short, struct swo_error *err);

/* Steps (walk.c): on the worker */

int device_ask(struct swo_device *dev, struct task *task, struct swo_error *err);
/* device_check_state() as a step */
int device_step_check(struct swo_device *dev, struct task *task, struct swo_error *err);
int device_walk(
	struct swo_device *dev, struct task *task, enum swo_device_state to, struct swo_error *err);
/* After it was seen in the state that is known, and seen in `to` after the last arc if it can be. */
int device_walk_checked(
	struct swo_device *dev, struct task *task, enum swo_device_state to, struct swo_error *err);
int device_reset(struct swo_device *dev, struct task *task, struct swo_error *err);
void device_mark_lost(struct swo_device *dev);
/* The same with the mutex held. The guest's accesses do not wait for it any more. */
void device_becomes_lost(struct swo_device *dev);

#endif
