/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - shared by source and target: the migration object, its connections, its outcome.
 */
#ifndef MIGRATION_INTERNAL_H
#define MIGRATION_INTERNAL_H

#include "migration/handover/handover.h"
#include "migration/ram/share.h"
#include "migration/wire.h"
#include "switchover/migration.h"

#include <stdatomic.h>

/*
 * Memory. References to the migration are held by the caller, until swo_migration_free, and by
 * each job on a device's worker, until the worker no longer accesses it. A job may hang in a driver
 * or a server for any time, so the caller does not wait for it: what the job uses (buffers, streams,
 * connections, RAM, timeline, this object) is freed with the last reference. The migration's
 * threads, handlers and observers end in swo_migration_free.
 *
 * The handover decides where the VM may run: a thread raises every event that affects it there.
 * For everything else there is one lock and one condition: readers and jobs store their results
 * under the lock and wake the waiters.
 */
struct swo_migration {
	atomic_uint references;
	bool is_source;
	struct swo_vm vm;		    /* devices: a private copy of the array */
	struct swo_migration_params params; /* the limits of it under the mutex: migration_limits */
	struct swo_migration_observer observer;
	struct swo_timeline *timeline;
	char *uri;
	struct channel_security security; /* of all connections; owns the credentials */
	pthread_t thread;
	const struct migration_ops *ops;
	struct handover handover; /* its lock is never taken with the mutex held */
	struct device_watch {	  /* one per device */
		struct swo_migration *m;
		unsigned index;
		bool checking; /* in migration_check_devices() */
	} * watches;

	struct shared_ram share; /* if RAM is handed over by descriptor */

	struct swo_journal *journal; /* NULL: no journal */
	bool journal_remove;	     /* remove it at the end: it is of no further use */

	pthread_mutex_t mutex;
	pthread_cond_t changed;

	/* under the mutex */
	struct swo_migration_info info;
	struct swo_error failure; /* the first one; code NONE: none */
	struct swo_error reason;  /* of the latest step with one */
	bool given_up;		  /* rolled back, or refused, for any reason */
	bool cancelled;		  /* for that reason */
	bool continued;		  /* a source need not pause before the switchover any more */
	bool quit;		  /* free waits for the thread */
	bool ended;
	bool lost; /* the control connection is lost; see lost_error */
	struct swo_error lost_error;

	/* Jobs and senders check this and end soon once it is set. */
	atomic_bool abort;
	uint64_t abort_ns;	    /* under the mutex: when it was set */
	bool checked;		    /* the migration's thread: see migration_check_devices() */
	struct channel_limit limit; /* of all that is sent */

	struct {		     /* under the mutex */
		uint64_t due_ns;     /* what was sent so far needs the time until then */
		unsigned generation; /* increases: those that sleep wake up */
		bool lifted;	     /* the VM is being stopped: nothing is held up any more */
	} pace;

	struct channel control;
	bool control_open;
	pthread_t control_reader;
	bool control_reader_runs;
	struct channel data[WIRE_CHANNELS_MAX];
	unsigned data_open;
};

struct migration_ops {
	void (*main)(struct swo_migration *m);
	int (*resolve)(struct swo_migration *m, bool run_here, struct swo_error *err);
	/* After the end: no peer can need it any more. NULL: always. */
	bool (*settled)(struct swo_migration *m);
	/* With the mutex held: wakes threads that wait on anything but `changed`; optional. */
	void (*wake)(struct swo_migration *m);
	/* Any thread, no lock held: brings the figures of a migration up to date; optional. */
	void (*progress)(struct swo_migration *m, struct swo_migration_info *out);
	/* Any thread: makes blocking calls of the migration's thread return. */
	void (*interrupt)(struct swo_migration *m);
	/* Ends its threads; no callback, handler or observer is called from then on. */
	void (*close)(struct swo_migration *m);
	/* Frees it: no job is left. Any thread, also a device's worker. */
	void (*destroy)(struct swo_migration *m);
};

/* Fills *m (zeroed by the caller); the caller starts the thread with migration_run. */
int migration_init(struct swo_migration *m, const struct migration_ops *ops,
	const struct handover_table *table, const struct handover_ops *handover,
	const struct swo_vm *vm, const char *uri, const struct swo_migration_params *params,
	const struct swo_migration_observer *observer, struct swo_timeline *timeline,
	struct swo_error *err);
void migration_fini(struct swo_migration *m);
/* close, and the caller's reference. */
void migration_close(struct swo_migration *m);
void migration_hold(struct swo_migration *m);
void migration_release(struct swo_migration *m);
int migration_run(struct swo_migration *m, struct swo_error *err);

/* Creates the journal of m->info.id, and removes settled ones of this VM (it is here). */
int migration_journal_open(struct swo_migration *m, struct swo_error *err);
/*
 * For handover_ops.record: its time is recorded in the timeline, a failure is logged. The deadline is
 * that of a record without which the step is not taken; others are not waited for that long.
 */
int migration_record(struct swo_migration *m, enum swo_journal_event record, uint64_t nonce,
	const struct handover_cause *cause, swo_deadline deadline, struct swo_error *err);
/* For handover_ops.entered. give_up: work in progress here is no longer needed. */
void migration_entered(
	struct swo_migration *m, unsigned event, const struct handover_cause *cause, bool give_up);
enum handover_outcome migration_raise(
	struct swo_migration *m, unsigned event, const struct swo_error *why);
/* Performs due actions until there are none. On the migration's thread. */
void migration_perform(struct swo_migration *m);

/* A random (version 4) UUID as text. */
int migration_make_id(char id[40], struct swo_error *err);
/* Not 0. */
int migration_random(uint64_t *out, struct swo_error *err);
unsigned migration_threads(void);

/*
 * Stores the first failure, sets abort, wakes all threads, raises `fail`. Any thread, no lock
 * held. After an abort nothing is stored: what fails then, such as a send on a connection that was
 * shut down, is a consequence.
 */
void migration_fail(struct swo_migration *m, const struct swo_error *err);
/* Stores it as the first failure even so: the cause of the abort. */
void migration_note_failure(struct swo_migration *m, const struct swo_error *err);
/*
 * A device's error: SWO_E_PEER_LOST is left to the migration's peer, whatever has become of the
 * device's backend. Returns -1. data_error also names the device, its state, and what was done.
 */
int migration_device_error(struct swo_error *err);
int migration_data_error(struct swo_device *dev, const char *what, struct swo_error *err);
/* True if an event has ended the migration before GO. Fills *err with it. Any thread. */
bool migration_broken(struct swo_migration *m, struct swo_error *err);
void migration_set_status(struct swo_migration *m, enum swo_migration_status status);
/* On the migration's thread: the status that it has had since before its caller got it. */
void migration_report_setup(struct swo_migration *m);
/* A source begins that pass. */
void migration_tell_pass(struct swo_migration *m, uint64_t pass);
/* Before the roll-back: reports a cancel to the observer, if that is the reason, in order. */
void migration_report_cancel(struct swo_migration *m);
/* The final status, end time, ended. */
void migration_end(
	struct swo_migration *m, enum swo_migration_status status, const struct swo_error *err);
void migration_wake(struct swo_migration *m);

/*
 * Waits on m->changed until done(arg) is true (called with the mutex held), the migration is
 * broken (unless `regardless`), or the deadline has passed: SWO_E_TIMEOUT, naming `what`.
 */
int migration_wait_until(struct swo_migration *m, bool (*done)(void *arg), void *arg,
	bool regardless, swo_deadline deadline, const char *what, struct swo_error *err);
/* The same, regardless, until the handover has left `state`. */
int migration_wait_step(struct swo_migration *m, unsigned state, swo_deadline deadline,
	const char *what, struct swo_error *err);

struct swo_migration_limits migration_limits(struct swo_migration *m);
/* SWO_E_INVALID if the VMM cannot throttle its vCPUs, and they are to be throttled. */
int migration_check_throttle(
	const struct swo_vm *vm, const struct swo_migration_params *params, struct swo_error *err);
/*
 * Sleeps as long as what was sent before the stop, `bytes` now included, exceeds max_bandwidth; until
 * it is released or the migration is aborted. Any thread.
 */
void migration_pace(struct swo_migration *m, uint64_t bytes);
/* Wakes all that sleep for max_bandwidth; for_good: it does not apply any more. */
void migration_pace_release(struct swo_migration *m, bool for_good);

/* Sends one frame without fields on the control connection. */
int migration_control(struct swo_migration *m, enum wire_type type, const void *payload, size_t len,
	struct swo_error *err);

/*
 * The loop of a control connection's reader: pings, detects silence, passes each complete frame
 * to `handle` (payload NUL-terminated beyond its length), ends on an error or if handle fails,
 * and then marks the connection lost.
 */
typedef int control_handler(struct swo_migration *m, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err);
void migration_read_control(struct swo_migration *m, control_handler *handle);

/* Watches devices and run-state passes for the observer and the timeline; undo with NULLs. */
void migration_watch(struct swo_migration *m, bool on);

/*
 * A sum over a stream's frames, whatever the order in which they come: each checksum is also over
 * its frame's device and offset, and where a frame may lie is checked. Starts at 0.
 */
uint64_t migration_sum(uint64_t sum, uint64_t frame_checksum);

/* Sets `abort`, and the time from which devices have to end their jobs. Wakes no thread. */
void migration_set_abort(struct swo_migration *m);
/*
 * After `abort`, before anything else is requested of the devices: waits until each answers. All
 * at the same time, each up to its own deadline, counted once, from the abort: not from here, and
 * not for each step or device. One that does not is lost, and stays out. Once; on the migration's
 * thread.
 */
void migration_check_devices(struct swo_migration *m);

#endif
