/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handover.h - who may run the VM: the handover as a pure state machine. (state, event) ->
 * (state, actions): no clock, no socket, no thread. The table that runs in production is
 * the one that is tested and model-checked.
 *
 * Safety: the source leaves "mine" for good when it asks for GO to be sent, and takes it
 * back only on REFUSED or an operator's word; the target takes it only on GO. A target
 * that answers REFUSED is in a final state from which it never starts.
 */
#ifndef MIGRATION_HANDOVER_HANDOVER_H
#define MIGRATION_HANDOVER_HANDOVER_H

#include "switchover/journal.h"

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
	SOURCE_RESUMING,  /* after GO, refused or by word: the VM runs here again */
	SOURCE_COMPLETED, /* it runs over there; final */
	SOURCE_FAILED,	  /* it is here as it was; final */
	SOURCE_GIVEN_UP,  /* an operator said it runs elsewhere; final */
	SOURCE_STATES
};

enum source_event {
	SOURCE_EV_HELLO_OK,	 /* the target has agreed and is ready to load */
	SOURCE_EV_CONVERGED,	 /* the prediction is under the limit */
	SOURCE_EV_ALL_SENT,	 /* VM stopped, last byte handed to the channels */
	SOURCE_EV_READY,	 /* the target said READY */
	SOURCE_EV_FAIL,		 /* anything failed here, a deadline passed, or ABORT came */
	SOURCE_EV_CANCEL,	 /* a user's wish */
	SOURCE_EV_LOST,		 /* the connection is gone */
	SOURCE_EV_STARTING,	 /* the target has taken GO and is at it */
	SOURCE_EV_STARTED,	 /* the target runs */
	SOURCE_EV_REFUSED,	 /* the target will never run it */
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
	TARGET_STARTING, /* GO was taken, and journalled */
	TARGET_STARTED,	 /* it runs here; final */
	TARGET_REFUSED,	 /* it will never run here; final */
	TARGET_STATES
};

enum target_event {
	TARGET_EV_HELLO,	/* a source came and fits */
	TARGET_EV_LOADED,	/* everything is in and every device agreed */
	TARGET_EV_GO,		/* GO with the right id and nonce */
	TARGET_EV_BAD_GO,	/* GO with another id or nonce */
	TARGET_EV_ASK,		/* "did you take it?" with the right id */
	TARGET_EV_ABORT,	/* the source took it back */
	TARGET_EV_FAIL,		/* anything failed here, or a deadline passed */
	TARGET_EV_CANCEL,	/* a user's wish, or quit */
	TARGET_EV_LOST,		/* the connection is gone */
	TARGET_EV_STARTED,	/* vCPUs run */
	TARGET_EV_START_FAILED, /* not started, all arcs settled and no device has left STOP */
	TARGET_EVENTS
};

/* What is to be done */

enum handover_action {
	ACT_JOURNAL = 1 << 0,	     /* it is on record before anything else is done */
	ACT_SEND_GO = 1 << 1,	     /* source: it counts as sent from now on */
	ACT_TAKE_BACK = 1 << 2,	     /* source: undo; start the VM if it was running */
	ACT_RESUME = 1 << 3,	     /* source: after GO, run it here again */
	ACT_SEND_ABORT = 1 << 4,     /* tell the peer, if it still listens */
	ACT_PARK = 1 << 5,	     /* source: say so; ask the target on new connections */
	ACT_CLEAN_UP = 1 << 6,	     /* source: STOP_COPY->STOP, post-migration */
	ACT_LOAD = 1 << 7,	     /* target: open sessions, answer HELLO */
	ACT_SEND_READY = 1 << 8,     /* target */
	ACT_STOP_VM = 1 << 9,	     /* source: stop it and send the rest */
	ACT_START = 1 << 10,	     /* target: run it */
	ACT_SEND_STARTING = 1 << 11, /* target: GO was taken, it is not running yet */
	ACT_SEND_STARTED = 1 << 12,  /* target */
	ACT_SEND_REFUSED = 1 << 13,  /* target */
	ACT_DISCARD = 1 << 14,	     /* target: reset the devices, never start */
	ACT_REPORT = 1 << 15,	     /* an outcome to tell the user */
};

/*
 * One step. Returns the actions (or-ed, to be done in the order of their numbers) and
 * changes *state. An event that means nothing in a state changes nothing and returns 0:
 * late and repeated messages are normal.
 */
uint32_t source_step(enum source_state *state, enum source_event event);
uint32_t target_step(enum target_state *state, enum target_event event);

/*
 * What ACT_JOURNAL writes: enum swo_journal_event, by the state that was reached and the event
 * that led there; SWO_JOURNAL_NOTHING where nothing is to be written.
 */
enum swo_journal_event source_record(enum source_state state, enum source_event event);
enum swo_journal_event target_record(enum target_state state);

/* May vCPUs of this side's VM run in this state? The invariant: never both. */
bool source_may_run(enum source_state state);
bool target_may_run(enum target_state state);
/* From GO on: no cancel any more. */
bool source_committed(enum source_state state);
bool source_final(enum source_state state);

const char *source_state_name(enum source_state state);
const char *target_state_name(enum target_state state);
const char *source_event_name(enum source_event event);
const char *target_event_name(enum target_event event);

#endif
