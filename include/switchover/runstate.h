/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runstate.h - a VM's run state, and the handlers that follow it, by depth and
 * rank. Does not depend on devices, VFIO or migration.
 *
 * A handler belongs to a depth of the device tree (0: a bus's root, children
 * deeper) and has a rank within that depth: 0 is normal, negative below,
 * positive above. The list is ordered by (depth, rank, registration).
 *
 *   to running   ascending: parents before children
 *   to stopped   the exact reverse of that same list, ties included
 *
 * Every change makes two passes in either direction: each handler's prepare,
 * then each handler's change. The barrier that VFIO's P2P states need is between them.
 *
 * Threads: swo_runstate_change may be called from any thread, one change at a
 * time: a nested or concurrent one is refused with SWO_E_STATE. Callbacks run on the
 * changing thread without a lock held, and may add and delete handlers (also
 * themselves); a handler added during a pass is called from the next pass on.
 */
#ifndef SWITCHOVER_RUNSTATE_H
#define SWITCHOVER_RUNSTATE_H

#include "switchover/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Names and meaning are QEMU's RunState (qapi/run-state.json). */
enum swo_run_state {
	SWO_RUN_STATE_PRELAUNCH,      /* never ran yet (-S) */
	SWO_RUN_STATE_INMIGRATE,      /* a target, waiting for its state */
	SWO_RUN_STATE_RUNNING,	      /* the only one in which vCPUs run */
	SWO_RUN_STATE_PAUSED,	      /* stopped by `stop` */
	SWO_RUN_STATE_FINISH_MIGRATE, /* stopped for the switchover */
	SWO_RUN_STATE_POSTMIGRATE,    /* runs on the target now */
	SWO_RUN_STATE_INTERNAL_ERROR, /* a vCPU or device failed permanently */
	SWO_RUN_STATE_SHUTDOWN,	      /* the guest has ended */
};
/* "prelaunch", "inmigrate", ... as in query-status. */
SWO_API const char *swo_run_state_name(enum swo_run_state state);

/*
 * One callback. `running` is the direction of the change and `state` the new state. Returns 0,
 * or -1 with *err set.
 */
typedef int swo_run_state_fn(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err);

#define SWO_RANK_MIN (-1000) /* ordinary ranks lie between these two, inclusive; */
#define SWO_RANK_MAX 1000    /* ranks beyond are those of launch/join pairs */

struct swo_handler_desc {
	size_t size;		   /* of this structure */
	const char *name;	   /* copied; for errors and the timeline */
	int depth;		   /* >= 0 */
	int rank;		   /* SWO_RANK_MIN..SWO_RANK_MAX */
	swo_run_state_fn *prepare; /* either may be NULL */
	swo_run_state_fn *change;
	void *opaque;
};

/* When a launched handler is joined. */
enum swo_join {
	SWO_JOIN_DEPTH, /* after all other handlers of its depth are done */
	SWO_JOIN_PASS,	/* at the end of the pass: for handlers on which no handler of another
			   depth, parent or child, depends */
};

enum swo_pass { SWO_PASS_PREPARE, SWO_PASS_CHANGE };

/*
 * A slow handler: work is launched at the first of its two places in the list and joined at the
 * other. It is built from two ranked handlers, one below and one above all others of its depth,
 * so it is launched before and joined after every ordinary handler of its depth, in both
 * directions and in both passes.
 *
 * launch must return at once; 0 means that join will be called exactly once, non-zero (with
 * *err) that nothing was started and join will not be called. join returns the outcome of the
 * work, and must itself have a deadline.
 */
struct swo_slow_desc {
	size_t size; /* of this structure */
	const char *name;
	int depth;
	enum swo_join join_at;
	int (*launch)(void *opaque, enum swo_pass pass, bool running, enum swo_run_state state,
		struct swo_error *err);
	int (*join)(void *opaque, enum swo_pass pass, bool running, enum swo_run_state state,
		struct swo_error *err);
	void *opaque;
};

struct swo_runstate;
struct swo_handler; /* a registration, ordinary or slow; owned by the runstate */

SWO_API struct swo_runstate *swo_runstate_new(enum swo_run_state initial); /* NULL: no memory */
/* No change may be in progress. Frees all remaining registrations. */
SWO_API void swo_runstate_free(struct swo_runstate *rs);

/* Errors: SWO_E_INVALID for a bad depth or rank, SWO_E_NO_MEMORY. */
SWO_API int swo_runstate_add(struct swo_runstate *rs, const struct swo_handler_desc *desc,
	struct swo_handler **out, struct swo_error *err);
SWO_API int swo_runstate_add_slow(struct swo_runstate *rs, const struct swo_slow_desc *desc,
	struct swo_handler **out, struct swo_error *err);
/* A launched handler is joined first (its error is logged). */
SWO_API void swo_runstate_remove(struct swo_runstate *rs, struct swo_handler *handler);

/*
 * The effect of a failing callback.
 *   ROLLBACK  No further handler is called, all launched ones are joined, the called ones
 *             are rolled back in reverse order (prepare, then change, in the opposite
 *             direction: so the barrier holds during roll-back too), the state stays
 *             unchanged, and the first error is returned.
 *   CONTINUE  Every handler is called; the state changes; the first error is
 *             returned, with the number of further ones. For a plain `stop`, and after
 *             a point of no return.
 */
enum swo_on_error { SWO_ON_ERROR_ROLLBACK, SWO_ON_ERROR_CONTINUE };

/*
 * Changes the state. Handlers are called only if the VM starts or stops, that is if exactly one
 * of old and new is RUNNING; a change between two stopped states only sets the state.
 * SWO_E_STATE if a change is in progress. Waits while a migration moves devices by itself, before
 * and after its own stop: for as long as their arcs take.
 */
SWO_API int swo_runstate_change(struct swo_runstate *rs, enum swo_run_state state,
	enum swo_on_error on_error, struct swo_error *err);
SWO_API enum swo_run_state swo_runstate_get(struct swo_runstate *rs);

/*
 * Called at each pass's end and for each callback, on the changing thread, for a timeline. May be
 * NULL: then, on return, the previous one is called no more (unless it is called by it).
 */
struct swo_runstate_observer {
	size_t size; /* of this structure */
	void (*pass)(
		void *opaque, enum swo_pass pass, bool running, uint64_t start_ns, uint64_t end_ns);
	void (*handler)(void *opaque, const char *name, enum swo_pass pass, bool running,
		uint64_t start_ns, uint64_t end_ns);
	void *opaque;
};
SWO_API void swo_runstate_observe(
	struct swo_runstate *rs, const struct swo_runstate_observer *observer);

#ifdef __cplusplus
}
#endif

#endif
