/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handover.h - decides where the VM may run: two tables, source and target, and the one
 * dispatcher that performs their steps. No clock, no socket, no thread: a step acts only
 * through struct handover_ops. The engine supplies one, the model checker another.
 *
 * Safety: the source gives up its right to run the VM when READY is received, recorded before
 * GO counts as sent, and regains it only on REFUSED or by an operator; the target obtains it
 * only on GO. A target that replies REFUSED is in a final state from which it never starts.
 *
 * Threads. handover_raise: any thread, with none of the engine's locks held; steps are taken
 * one at a time under the handover's own lock. handover_perform: the migration's own thread.
 */
#ifndef MIGRATION_HANDOVER_HANDOVER_H
#define MIGRATION_HANDOVER_HANDOVER_H

#include "switchover/journal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Source */

enum source_state {
	SOURCE_SETUP,	  /* connecting, HELLO, logs, RESUMING on the target */
	SOURCE_PRECOPY,	  /* the VM runs, state is sent */
	SOURCE_STOPPING,  /* the VM is being stopped or is stopped, and its last state is sent */
	SOURCE_SENT,	  /* everything is sent: waiting for READY */
	SOURCE_COMMITTED, /* GO counts as sent: the point of no return */
	SOURCE_IN_DOUBT,  /* parked: STARTED not received */
	SOURCE_TAKE_BACK, /* before GO: rolling back */
	SOURCE_RESUMING,  /* after GO, refused or by an operator: restarting the VM here */
	SOURCE_COMPLETED, /* the VM runs on the target; final */
	SOURCE_FAILED,	  /* the VM stays here, unchanged; final */
	SOURCE_GIVEN_UP,  /* an operator decided that the VM runs on the target; final */
	SOURCE_STATES
};

enum source_event {
	SOURCE_EV_HELLO_OK,	 /* HELLO_OK received: the target is ready to load */
	SOURCE_EV_CONVERGED,	 /* the prediction is under the limit */
	SOURCE_EV_ALL_SENT,	 /* VM stopped, last byte passed to the channels */
	SOURCE_EV_READY,	 /* READY received */
	SOURCE_EV_FAIL,		 /* local failure or timeout */
	SOURCE_EV_CANCEL,	 /* a user's request, or quit */
	SOURCE_EV_LOST,		 /* the control connection is lost */
	SOURCE_EV_ABORT,	 /* ABORT received: the target has aborted */
	SOURCE_EV_STARTED,	 /* STARTED received: the VM runs on the target */
	SOURCE_EV_REFUSED,	 /* REFUSED received or proved: the target will never run it */
	SOURCE_EV_TIMEOUT,	 /* timed out waiting for STARTED */
	SOURCE_EV_RESUMED,	 /* the VM is rolled back */
	SOURCE_EV_OPERATOR_RUN,	 /* operator: the target is fenced, run here */
	SOURCE_EV_OPERATOR_GONE, /* operator: the VM runs on the target, give it up here */
	SOURCE_EVENTS
};

/* Target */

enum target_state {
	TARGET_SETUP,	 /* listening */
	TARGET_LOADING,	 /* HELLO accepted; state is received */
	TARGET_READY,	 /* READY sent: all state loaded, every device finalised */
	TARGET_STARTING, /* GO received and recorded */
	TARGET_STARTED,	 /* the VM runs here */
	TARGET_SETTLED,	 /* acknowledged by the source; final */
	TARGET_REFUSED,	 /* the VM will never run here; final */
	TARGET_STATES
};

enum target_event {
	TARGET_EV_HELLO,	/* HELLO of a compatible source */
	TARGET_EV_LOADED,	/* all state loaded, every device finalised */
	TARGET_EV_GO,		/* GO with the right ID and nonce */
	TARGET_EV_BAD_GO,	/* GO with another ID or nonce */
	TARGET_EV_ASK,		/* ASK with the right nonce */
	TARGET_EV_ABORT,	/* ABORT received: the source has rolled back */
	TARGET_EV_FAIL,		/* local failure or timeout */
	TARGET_EV_CANCEL,	/* a user's request, or quit */
	TARGET_EV_LOST,		/* the control connection is lost */
	TARGET_EV_STARTED,	/* vCPUs run */
	TARGET_EV_START_FAILED, /* not started, no arc in progress and no device has left STOP */
	TARGET_EV_DONE,		/* DONE received: acknowledged by the source */
	TARGET_EVENTS
};

/* Actions of a step, performed in the order of these bits. */
enum handover_action {
	ACT_LOAD = 1 << 0,	     /* target: open sessions, reply to HELLO, load state */
	ACT_SEND_READY = 1 << 1,     /* target */
	ACT_START = 1 << 2,	     /* target: start the VM */
	ACT_STOP_VM = 1 << 3,	     /* source: stop the VM and send the rest */
	ACT_SEND_END = 1 << 4,	     /* source: send END_ALL */
	ACT_SEND_GO = 1 << 5,	     /* source: counts as sent from now on */
	ACT_PARK = 1 << 6,	     /* source: report the doubt */
	ACT_ROLL_BACK = 1 << 7,	     /* source: roll back; start the VM if it was running */
	ACT_SEND_ABORT = 1 << 8,     /* source: if the target is still connected */
	ACT_SEND_DONE = 1 << 9,	     /* source */
	ACT_CLEAN_UP = 1 << 10,	     /* source: STOP_COPY->STOP, post-migration */
	ACT_SEND_STARTING = 1 << 11, /* target: GO received, not running yet */
	ACT_SEND_STARTED = 1 << 12,  /* target */
	ACT_SEND_REFUSED = 1 << 13,  /* target */
	ACT_DISCARD = 1 << 14,	     /* target: reset the devices, never start */
	ACT_REPORT = 1 << 15,	     /* the outcome, to the user */
};
#define HANDOVER_ACTIONS 16

/* Replies: sent at once, by the thread that raises, if the event is a query. */
#define HANDOVER_ANSWERS (ACT_SEND_STARTING | ACT_SEND_STARTED | ACT_SEND_REFUSED)

/* One cell of a table. An empty cell: the event is ignored in that state. */
struct handover_rule {
	bool set;
	bool must_record; /* if `record` cannot be written, take the step of `fail` instead */
	uint8_t next;
	uint8_t record; /* enum swo_journal_event, written first; or NOTHING */
	uint32_t actions;
};

struct handover_table {
	const struct handover_rule *rules; /* [states][events] */
	unsigned states, events;
	unsigned fail, cancel, lost; /* the common events */
	/* Sets of states, a bit each. */
	uint32_t may_run;   /* this side's vCPUs may run; the VM never runs on both hosts */
	uint32_t committed; /* past the point of no return: a cancel is refused */
	uint32_t final;
	const char *const *state_names, *const *event_names;
};
extern const struct handover_table handover_source, handover_target;

/* Data of an event */
struct handover_cause {
	const struct swo_error *why; /* for the record and the report; NULL: none */
	void *answer_to;	     /* the connection of a query; NULL: no query */
};

struct handover_ops {
	/*
	 * Writes the record. -1: failed. The step lock is held, so the wait for a disk has an end:
	 * soon, unless handover_must_record(); and then when handover_gives_way().
	 */
	int (*record)(void *opaque, enum swo_journal_event record,
		const struct handover_cause *cause, struct swo_error *err);
	/*
	 * Called after a step due to `event`: the new state is set and its actions are due. The
	 * step lock is held: wake waiters, but raise no event.
	 */
	void (*entered)(
		void *opaque, unsigned state, unsigned event, const struct handover_cause *cause);
	/*
	 * Performs an action: a reply on the raising thread, all others (answer_to NULL) on the
	 * migration's thread. May raise events, and may block.
	 */
	void (*perform)(void *opaque, enum handover_action action, void *answer_to);
};

struct handover {
	const struct handover_table *table;
	const struct handover_ops *ops;
	void *opaque;
	pthread_mutex_t lock; /* one step at a time, its record included */
	atomic_uint state;
	atomic_uint due;    /* actions to be performed by the migration's thread */
	atomic_uint coming; /* events waiting for the lock, a bit each */
	unsigned raised;    /* under the lock: the event whose step is being taken */
};

void handover_init(struct handover *h, const struct handover_table *table,
	const struct handover_ops *ops, void *opaque);
void handover_fini(struct handover *h);

enum handover_outcome {
	HANDOVER_IGNORED, /* no rule in this state: late and repeated events are normal */
	HANDOVER_TAKEN,
	/*
	 * While the record was being written, another event that this state handles has arrived (a
	 * lost peer, for example): the step of the other event is taken instead.
	 */
	HANDOVER_GAVE_WAY,
	HANDOVER_UNRECORDED, /* not taken; the step of `fail` was taken, with the reason in *err */
};
/*
 * Takes one step: writes its record, enters the new state, sends its replies. Its other actions
 * become due, and the migration's thread performs them.
 */
enum handover_outcome handover_raise(struct handover *h, unsigned event,
	const struct handover_cause *cause, struct swo_error *err);
/* Performs the first due action; false: there was none. */
bool handover_perform(struct handover *h);

/* In ops.record: the step is only taken once this record is written. */
bool handover_must_record(const struct handover *h);
/* In ops.record of such a step: it is not taken any more, another event has come. */
bool handover_gives_way(const struct handover *h);

static inline bool handover_is(const struct handover *h, unsigned state)
{
	return atomic_load(&h->state) == state;
}
bool handover_may_run(const struct handover *h);
bool handover_committed(const struct handover *h);
bool handover_final(const struct handover *h);

#endif
