/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * play.h - a migration between two boxes that is held at one of its phases, and what must hold
 * after a command of the monitor there.
 */
#ifndef TESTS_VMM_MACHINE_PLAY_H
#define TESTS_VMM_MACHINE_PLAY_H

#include "box.h"
#include "migration/internal.h"
#include "testbed/link.h"

#define PLAY_STATE_BYTES 100000 /* of a device */

/* What holds the migration at its phase, until it is released. */
enum hold {
	WAITING,       /* the target listens; the release is `migrate` */
	OPENING,       /* setup: the disk hangs with the source's new journal */
	OPENING_THERE, /* setup: with the target's */
	CONNECTING,    /* setup: the target's devices go to RESUMING */
	ENTERING,      /* setup: RUNNING->PRE_COPY */
	PRECOPY,       /* active: the target loads */
	STOPPING,      /* device: PRE_COPY->PRE_COPY_P2P */
	FINALISING,    /* device: the source waits for READY */
	GO_LOST,       /* in doubt: the target waits for GO, and its link is cut */
	GO_UNSENT,     /* device: READY has come, and what sends GO waits for the channel */
	READYING,      /* device: the disk hangs with the target's record of READY */
	RECORDING,     /* device: READY has come, and the disk hangs with the source's record */
	BEGINNING,     /* device: GO has come, and the disk hangs with the target's record of it */
	STARTING,      /* device: the source waits for STARTED */
	DOUBT,	       /* in doubt: it has done so for too long */
	ROLL_BACK,     /* cancelling: the source's devices go back to RUNNING */
	REFUSING,      /* cancelling: the target waits for an arc, and the source has the VM back */
	COMPLETED,
	FAILED,	   /* the target was cancelled */
	CANCELLED, /* the source was */
	HOLDS
};

/* How it ends: of the migration and the VM, at the source and the target. */
struct outcome {
	const char *source, *source_vm, *target, *target_vm;
};

extern const struct outcome moved, moved_paused, cancelled, cancelled_paused, failed, failed_paused,
	lost_paused, both_cancelled, called_off;

struct row {
	enum hold hold;
	char side; /* s or t */
	const char *command;
	const char *refused; /* words of the error; NULL: it succeeds */
	const struct outcome *end;
	bool waits; /* it is answered when the devices are done */
	char only;  /* c or f: with RAM copied, or by descriptor; 0: both */
};

struct play {
	enum swo_handover handover; /* of all that follow */
	struct box_pair pair;
	struct link *link;
	struct channel_turn *turn;   /* taken: what sends GO waits for it; NULL: none */
	enum swo_journal_event kept; /* last in the journal at the end, if not the usual one */
	struct fake_device *held;    /* hangs; NULL: none */
	atomic_int woken;	     /* arcs that made a device of the paused guest run */
	struct swo_job guard;	     /* keeps a worker busy */
	atomic_bool busy;
};
extern struct play play;

/* The argument of the program: copy or fd. */
bool play_begins(int argc, char **argv);
/* Configure a source and a target. */
void play_outgoing(struct vmm_machine_config *config);
void play_incoming(struct vmm_machine_config *config);
void play_up(void);
/* With a journal on a disk that is waited for, of the side whose record this phase is of;
   play_down() checks how it ends. */
void play_up_recorded(enum hold hold);
/* The disk hangs in this phase. */
bool play_is_recorded(enum hold hold);
void play_up_with(box_change *target);
void play_down(void);
/* All that comes later goes through a link. */
void play_use_link(void);
void play_migrate(void);
/* Brings the migration to this phase, and holds it there; until the release. */
void play_reach(enum hold hold);
void play_release(void);

void play_do(struct talk *talk, const char *command);
void play_send(const struct row *row, struct talk *talk);
bool play_runs(struct talk *talk);
bool play_quit_was_taken(struct box *box);
void play_await_status(struct talk *talk, const char *status);
void play_await_vm(struct talk *talk, const char *status);
/* From now on an arc that makes a device run is noticed: the guest is paused. */
void play_watch_paused(const struct box *box);
void play_expect_answer(const struct row *row, struct talk *talk);
/* Waits for the end of the migration on both sides, whose VMs, devices and events are as the row
   states. */
void play_expect_outcome(const struct row *row);

#endif
