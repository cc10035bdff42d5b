/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - the registrations: one list of places, ordered by (depth, rank, registration).
 * For runstate.c and its tests.
 */
#ifndef RUNSTATE_INTERNAL_H
#define RUNSTATE_INTERNAL_H

#include "switchover/runstate.h"

/* The reserved extremes: below and above every ordinary rank. */
#define RANK_BELOW (SWO_RANK_MIN - 1)
#define RANK_ABOVE (SWO_RANK_MAX + 1)

struct place {
	struct place *prev;
	struct place *next;
	struct swo_handler *owner;
	int depth;
	int rank;
};

/*
 * An ordinary handler has one place, a slow one two. No place is removed from the list during a
 * change, so the iteration can keep a pointer to it across a callback.
 */
struct swo_handler {
	struct place place[2];
	bool slow;
	struct swo_handler_desc ordinary;
	struct swo_slow_desc slowly;
	char *name;
	uint64_t first_pass; /* called from this pass on */
	uint64_t met_in;     /* the last pass that reached one of its places */
	bool called;	     /* in this change; so a rollback includes it */
	bool launched;	     /* launched and not yet joined */
	bool busy;	     /* its callback is running */
	bool removed;	     /* freed at the end of the change */
	unsigned waiters;    /* other threads in swo_runstate_remove */
	struct swo_handler *next_removed;
};

struct swo_runstate {
	pthread_mutex_t mutex;
	/* a callback, a change or a hold ended, or a launched handler was joined */
	pthread_cond_t settled;
	struct place *first;
	struct place *last;
	struct swo_handler *removed;
	struct swo_runstate_observer observer;
	bool observing; /* the changing thread is inside it */
	enum swo_run_state state;
	uint64_t pass_id;
	bool held; /* no change may begin */

	/* the change in progress */
	bool changing;
	pthread_t changer;
	bool in_pass;
	enum swo_pass pass;
	bool running;
	enum swo_run_state to;
};

#endif
