/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handover.h - who may run the VM: two tables, source and target, and the one dispatcher that
 * takes their steps. No clock, no socket, no thread of its own: what a step does, it does through
 * struct handover_ops. The engine supplies one, the model checker another.
 *
 * Safety: the source leaves "mine" for good when READY is taken, on record before GO counts as
 * sent, and takes it back only on REFUSED or by an operator; the target takes it only on GO.
 * A target that answers REFUSED is in a final state from which it never starts.
 *
 * Threads. handover_raise: any thread, none of the engine's locks held; steps are taken one at a
 * time under a lock of the handover's own. handover_perform: the migration's own thread.
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
	SOURCE_SETUP,	  /* connecting, HELLO, logs, RESUMING over there */
	SOURCE_PRECOPY,	  /* the VM runs, state flows */
	SOURCE_STOPPING,  /* the VM is being stopped, or is, and its last state flows */
	SOURCE_SENT,	  /* everything is on its way: waiting for READY */
	SOURCE_COMMITTED, /* GO counts as sent: the point of no return */
	SOURCE_IN_DOUBT,  /* parked: STARTED did not come */
	SOURCE_TAKE_BACK, /* before GO: undoing; the VM is to be as it was */
	SOURCE_RESUMING,  /* after GO, refused or by an operator: the VM runs here again */
	SOURCE_COMPLETED, /* it runs over there; final */
	SOURCE_FAILED,	  /* it is here as it was; final */
	SOURCE_GIVEN_UP,  /* an operator decided that it runs elsewhere; final */
	SOURCE_STATES
};

enum source_event {
	SOURCE_EV_HELLO_OK,	 /* the target has agreed and is ready to load */
	SOURCE_EV_CONVERGED,	 /* the prediction is under the limit */
	SOURCE_EV_ALL_SENT,	 /* VM stopped, last byte handed to the channels */
	SOURCE_EV_READY,	 /* READY came */
	SOURCE_EV_FAIL,		 /* anything failed here, or a deadline passed */
	SOURCE_EV_CANCEL,	 /* a user's request, or quit */
	SOURCE_EV_LOST,		 /* the control connection is gone */
	SOURCE_EV_ABORT,	 /* ABORT came: the target does not want this migration */
	SOURCE_EV_STARTED,	 /* STARTED came: the target runs it */
	SOURCE_EV_REFUSED,	 /* REFUSED came, or is known: the target will never run it */
	SOURCE_EV_TIMEOUT,	 /* STARTED did not come in time */
	SOURCE_EV_RESUMED,	 /* the VM is back as it was */
	SOURCE_EV_OPERATOR_RUN,	 /* operator: the target is fenced off, run here */
	SOURCE_EV_OPERATOR_GONE, /* operator: it runs there, give it up here */
	SOURCE_EVENTS
};

/* Target */

enum target_state {
	TARGET_SETUP,	 /* listening */
	TARGET_LOADING,	 /* HELLO taken; state comes in */
	TARGET_READY,	 /* READY was sent: everything is in, every device agreed */
	TARGET_STARTING, /* GO was taken, and is on record */
	TARGET_STARTED,	 /* it runs here */
	TARGET_SETTLED,	 /* and the source knows; final */
	TARGET_REFUSED,	 /* it will never run here; final */
	TARGET_STATES
};

enum target_event {
	TARGET_EV_HELLO,	/* a source came and fits */
	TARGET_EV_LOADED,	/* everything is in and every device agreed */
	TARGET_EV_GO,		/* GO with the right id and nonce */
	TARGET_EV_BAD_GO,	/* GO with another id or nonce */
	TARGET_EV_ASK,		/* ASK with the right ticket */
	TARGET_EV_ABORT,	/* ABORT came: the source has taken the VM back */
	TARGET_EV_FAIL,		/* anything failed here, or a deadline passed */
	TARGET_EV_CANCEL,	/* a user's request, or quit */
	TARGET_EV_LOST,		/* the control connection is gone */
	TARGET_EV_STARTED,	/* vCPUs run */
	TARGET_EV_START_FAILED, /* not started, all arcs settled and no device has left STOP */
	TARGET_EV_DONE,		/* DONE came: the source knows that it runs here */
	TARGET_EVENTS
};

/* What is to be done; a step's actions are performed in the order of these bits. */
enum handover_action {
	ACT_LOAD = 1 << 0,	     /* target: open sessions, answer HELLO, load what comes */
	ACT_SEND_READY = 1 << 1,     /* target */
	ACT_START = 1 << 2,	     /* target: run it */
	ACT_STOP_VM = 1 << 3,	     /* source: stop it and send the rest */
	ACT_SEND_END = 1 << 4,	     /* source: that was all */
	ACT_SEND_GO = 1 << 5,	     /* source: it counts as sent from now on */
	ACT_PARK = 1 << 6,	     /* source: report that it is in doubt */
	ACT_ROLL_BACK = 1 << 7,	     /* source: undo; start the VM if it was running */
	ACT_SEND_ABORT = 1 << 8,     /* source: if the target still listens */
	ACT_SEND_DONE = 1 << 9,	     /* source */
	ACT_CLEAN_UP = 1 << 10,	     /* source: STOP_COPY->STOP, post-migration */
	ACT_SEND_STARTING = 1 << 11, /* target: GO was taken, it is not running yet */
	ACT_SEND_STARTED = 1 << 12,  /* target */
	ACT_SEND_REFUSED = 1 << 13,  /* target */
	ACT_DISCARD = 1 << 14,	     /* target: reset the devices, never start */
	ACT_REPORT = 1 << 15,	     /* the outcome, to the user */
};
#define HANDOVER_ACTIONS 16

/* Answers: sent at once, by the thread that raises, when the event came with somebody to answer. */
#define HANDOVER_ANSWERS (ACT_SEND_STARTING | ACT_SEND_STARTED | ACT_SEND_REFUSED)

/* One cell of a table; one that is not set means that the event is ignored in that state. */
struct handover_rule {
	bool set;
	bool must_record; /* unless `record` is on file, the step is not taken: `fail` is */
	uint8_t next;
	uint8_t record; /* enum swo_journal_event, written before anything else; or NOTHING */
	uint32_t actions;
};

struct handover_table {
	const struct handover_rule *rules; /* [states][events] */
	unsigned states, events;
	unsigned fail, cancel, lost; /* the events that both sides have */
	/* Sets of states, a bit each. */
	uint32_t may_run;   /* vCPUs of this side's VM may run; never on both sides */
	uint32_t committed; /* past the point of no return: no cancel any more */
	uint32_t final;
	const char *const *state_names, *const *event_names;
};
extern const struct handover_table handover_source, handover_target;

/* What an event came with. */
struct handover_cause {
	const struct swo_error *why; /* for the record and the report; NULL: nothing to add */
	void *answer_to;	     /* the connection of a question; NULL: nobody asked */
};

struct handover_ops {
	/* Puts it on record. -1: it may not be. */
	int (*record)(void *opaque, enum swo_journal_event record,
		const struct handover_cause *cause, struct swo_error *err);
	/*
	 * The handover is in a new state, by `event`, and what is due is known. With the lock of
	 * steps held: wake those who wait for it, and raise nothing.
	 */
	void (*entered)(
		void *opaque, unsigned state, unsigned event, const struct handover_cause *cause);
	/*
	 * Does it: an answer on the thread that raised, all else (answer_to NULL) on the
	 * migration's own. May raise, and lasts as long as it takes.
	 */
	void (*perform)(void *opaque, enum handover_action action, void *answer_to);
};

struct handover {
	const struct handover_table *table;
	const struct handover_ops *ops;
	void *opaque;
	pthread_mutex_t lock; /* one step at a time, its record included */
	atomic_uint state;
	atomic_uint due;    /* actions that the migration's thread has yet to perform */
	atomic_uint coming; /* events that wait for the lock, a bit each */
};

void handover_init(struct handover *h, const struct handover_table *table,
	const struct handover_ops *ops, void *opaque);
void handover_fini(struct handover *h);

enum handover_outcome {
	HANDOVER_IGNORED, /* it means nothing in this state: late and repeated events are normal */
	HANDOVER_TAKEN,
	/*
	 * What had to be recorded is, but something else came meanwhile that this state answers
	 * (the peer is lost, say): the step is not taken, and the other one is about to be.
	 */
	HANDOVER_GAVE_WAY,
	HANDOVER_UNRECORDED, /* not taken; `fail` was instead. *err says why */
};
/*
 * One step: its record, then the new state, then its answers; what else is to be done becomes due
 * and is the migration's thread's to perform.
 */
enum handover_outcome handover_raise(struct handover *h, unsigned event,
	const struct handover_cause *cause, struct swo_error *err);
/* Performs the first of the actions that are due; false: none was. */
bool handover_perform(struct handover *h);

static inline bool handover_is(const struct handover *h, unsigned state)
{
	return atomic_load(&h->state) == state;
}
bool handover_may_run(const struct handover *h);
bool handover_committed(const struct handover *h);
bool handover_final(const struct handover *h);

#endif
