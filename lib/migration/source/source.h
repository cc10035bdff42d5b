/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * source.h - the source of a migration, shared by its parts.
 */
#ifndef MIGRATION_SOURCE_SOURCE_H
#define MIGRATION_SOURCE_SOURCE_H

#include "analysis/estimate.h"
#include "migration/handover/handover.h"
#include "migration/hello.h"
#include "migration/internal.h"
#include "migration/ram/send.h"
#include "migration/source/state_send.h"

/* Fewer bytes are no measure of a rate. */
#define SOURCE_SAMPLE_MIN (UINT64_C(256) << 10)

struct source;

/* Bytes sent, and pages of RAM sent or found to be zero, by then. */
struct source_mark {
	uint64_t ns, bytes, pages;
};

/* One device's outgoing stream. Used by the device's worker, unless marked. */
struct source_device {
	struct source *source;
	unsigned index;
	unsigned channel;
	struct swo_device *dev;
	const struct swo_device_ops *ops;
	void *backend;
	uint8_t *bufs[SWO_READS_AHEAD]; /* used in turn; with a lane, the lane's buffers are used */
	unsigned next_buf;
	unsigned requested;	 /* outstanding reads, from next_buf on */
	struct state_lane *lane; /* NULL: it uses only its own channel */
	size_t chunk;
	uint64_t window;
	bool widened;		   /* larger than in HELLO */
	struct swo_job job;	   /* of source_jobs_submit: one at a time */
	bool no_info;		   /* no VFIO_MIG_GET_PRECOPY_INFO */
	bool size_failed;	   /* MIG_DATA_SIZE has failed, and that was logged */
	bool info_read;		   /* the next four are set */
	uint64_t initial_reported; /* bytes of initial data, as last reported */
	uint64_t initial;	   /* the same, less what was read since */
	uint64_t carries;	   /* the largest initial data that it has reported */
	uint64_t initial_most;	   /* once so much is sent, its initial data counts as read */
	bool initial_sent;	   /* and its mark */
	bool initial_dry;    /* the last read gave nothing, although it reported initial data */
	uint64_t size_first; /* of all its state, before pre-copy; or SWO_UNKNOWN */
	uint64_t increment;  /* bytes of the latest round beyond its initial data */
	bool session_over;   /* the device has left PRE_COPY: no more pre-copy reads */
	struct swo_job log_stop_job; /* after the others: they may hang */
	uint64_t offset;	     /* sent so far */
	uint64_t sum;
	uint64_t stream_start_ns;
	uint64_t read_ns; /* time spent reading the device */

	/* under the migration's mutex */
	uint64_t consumed;    /* reported by the target */
	uint64_t sent;	      /* as `offset`, for other threads */
	uint64_t sent_before; /* the stop */
	uint64_t stopped_ns;  /* when it was in STOP_COPY; 0: not yet */
	uint64_t streamed_ns; /* when its last byte was sent */
	uint64_t busy_ns;     /* since when it is read, or waits for credit; 0: neither */
	uint64_t wanted;      /* the value that the worker waits for; 0: not waiting */
	pthread_cond_t credit;
	uint64_t stop_bytes;	 /* what is expected to be left for STOP_COPY; or SWO_UNKNOWN */
	uint64_t rate;		 /* bytes/s, of its latest large round; 0: none */
	uint64_t rate_bytes;	 /* of its largest round */
	uint64_t initial_marks;	 /* sent */
	uint64_t initial_loaded; /* of these, acknowledged by the target */
	bool logged;		 /* its DMA log was started, and is to be stopped */
	bool untracked;		 /* it has no log, or has it no more */
	struct swo_error untracked_why;
	bool streamed;	/* its last byte has been sent */
	bool finalised; /* RESUMING->STOP has succeeded on the target */

	pthread_mutex_t config_lock;
	/* under it */
	struct swo_buf config; /* as last sent */
	uint64_t config_generation;
	bool config_final; /* the last one */

	/* the migration's thread */
	bool walking; /* rolling back */
};

/* What had been dirtied and sent until then, bytes. */
struct converge_mark {
	uint64_t ns, dirtied, sent;
};

/* Of the migration's thread: how far pre-copy converges. */
struct source_converge {
	struct converge_mark rate_mark, period_mark;
	uint64_t dirty_rate, sent_rate; /* bytes/s; at rate_ns, 0: unknown */
	uint64_t rate_ns;
	unsigned rounds, idle_rounds;
	unsigned busy_periods; /* in a row, in which too much was dirtied */
	unsigned throttle;     /* percent of the vCPUs' time */
	uint64_t best_ns;      /* the least predicted downtime, and when that was */
	uint64_t progress_ns;
	bool reported; /* that it is stalled */
	bool forced;   /* the time is over: stop now */
};

struct source {
	struct swo_migration m; /* first */
	struct source_device *devices;
	struct swo_device_costs *costs; /* of the target's arcs, as it reports them */
	struct ram_send *ram;		/* NULL: RAM is handed over by descriptor */
	struct base_cancel attempt;	/* aborts the connect on a cancel */
	struct base_cancel asking; /* and that of ASK, once the doubt is settled or a quit comes */
	struct state_send *state_send; /* NULL: no device is spread over the channels */
	struct swo_worker
		*stop_worker; /* runs RAM passes while the migration's thread is in vm->stop */
	struct swo_job stop_job;
	struct swo_handler *on_stop; /* first of all handlers when the VM stops */
	struct swo_handler *on_last; /* last of all, and first when a stop is rolled back */
	bool was_running;
	bool stopped_by_us;
	bool stop_returned;		 /* with success */
	bool handler_failed;		 /* in the stop: one of this migration's own */
	struct swo_error peer_before_us; /* as known when the channels were shut down here */
	bool logs_started;
	atomic_bool halting;		 /* the VM stops, or is stopped: no round goes on */
	struct swo_dirty_source own_log; /* of this process's writes in the stop; self NULL: none */
	uint64_t wire_bandwidth;	 /* as measured; 0: unknown */
	double wire_bytes, wire_ns;	 /* of the samples of it */
	double ram_pass_ns;		 /* of a pass of all RAM in the stop; 0: unknown */
	struct source_converge converge;

	/* under the mutex */
	struct source_mark marks[2]; /* for the rate that is reported; 0: not started */
	uint64_t pause_ns,
		continued_ns;	   /* it began to wait for migrate-continue, and ended; 0: not */
	bool learned;		   /* what this stop has shown of the devices */
	uint64_t ready_ns;	   /* READY was received; 0: not yet */
	uint64_t barrier_ns;	   /* all devices were quiet; 0: not yet */
	uint64_t vcpus_stopped_ns; /* 0: they run, or were stopped before the migration */
	uint64_t ram_before_stop;  /* bytes of RAM sent until then */
	bool logs_over;		   /* a DMA log that starts from now on is stopped by its job */
	unsigned untracked;	   /* devices without a log that may still write */
	bool ram_in_stop;	   /* there is one, or was: all RAM is sent in the stop */
	bool ram_all_due;	   /* and has yet to be marked for that */
	unsigned arrived;	   /* devices in STOP_COPY whose DMA log was collected */
	unsigned ended;
	bool ram_done;
	bool ram_kick;
	bool all_launched; /* in the stop: every handler has been called once */
	bool saved;	   /* in the stop: nothing of the VMM writes to RAM any more */
	bool migration_hello_ok;
	bool clock_replied;
	uint64_t clock_target_ns, clock_back_ns;
	bool ready;
	struct wire_go go;
	struct wire_go ticket; /* expected in ATTACH and ASK */
	uint64_t hello_nonce;  /* of HELLO, and expected in the replies of the target */
	uint64_t started_ns;   /* when STARTED was received */
	bool doubted;	       /* it has been in doubt */
	struct swo_error
		refusal; /* the reason in REFUSED or ABORT; code NONE: neither was received */
	struct swo_buf timeline_json;
	bool timeline_in;

	int64_t clock_offset_ns; /* target's clock minus the source's */
	uint64_t rtt_ns;
	uint64_t link_window; /* of the target */
};

static inline bool source_vm_runs(const struct source *s)
{
	return swo_runstate_get(s->m.vm.runstate) == SWO_RUN_STATE_RUNNING;
}

/* RAM is handed over: no log, no pass. */
static inline bool source_shares(const struct source *s)
{
	return s->m.params.handover == SWO_HANDOVER_FD;
}

/* cost.c */
/* What is known of a device, with the mutex held: seen here, reported by the target, or expected. */
struct swo_device_costs source_device_costs(struct source *s, unsigned index);
/* There is no figure of an arc. */
bool source_arcs_unknown(const struct swo_device_costs *costs);
/*
 * The switchover as known at present, for the solver: all except the memory. With the mutex
 * held; devices has space for one per device; wire_rate 0: unknown.
 */
struct swo_plan_setup source_plan(
	struct source *s, struct swo_plan_device *devices, uint64_t wire_rate);

/* jobs.c */
/*
 * One job on every device's worker. wait returns when all have ended, or -1 when the migration
 * fails: then jobs may still be in progress, and no other is submitted. release: of such a job.
 */
void source_jobs_submit(struct source *s, void (*fn)(void *sd));
int source_jobs_wait(struct source *s, struct swo_error *err);
/* Until then at most; what: "timed out ...". */
int source_jobs_await(
	struct source *s, swo_deadline deadline, const char *what, struct swo_error *err);
void source_job_release(void *sd);

/* device.c */
int source_device_init(struct source *s, unsigned index, struct swo_error *err);
/* From then on no job of it begins. */
void source_device_close(struct source_device *sd);
/* After its last job. */
void source_device_fini(struct source_device *sd);
/* Once the round trip is known: larger windows over a long link, within both sides' link_window. */
void source_devices_widen(struct source *s);
/* Reads the size of each one's state (all workers at once), and sets the windows. */
int source_devices_measure(struct source *s, struct swo_error *err);
/*
 * What each one has left, after a round: a driver saves its next increment in this request, and
 * may report that it has new initial data: then its initial_sent is false again.
 */
int source_devices_left(struct source *s, struct swo_error *err);
/*
 * After the vCPUs have stopped: fails if a device has new initial data since the last round, which
 * would have to be loaded in the stop.
 */
int source_devices_initial_check(struct source *s, swo_deadline deadline, struct swo_error *err);
/* Sends the available pre-copy data of all devices; in parallel with the caller until wait. */
void source_devices_precopy_begin(struct source *s);
int source_devices_precopy_wait(struct source *s, struct swo_error *err);
/*
 * Is each device still in the state that it was left in? In parallel with the caller until wait,
 * which fails with the first that is not.
 */
void source_devices_check_begin(struct source *s);
int source_devices_check_wait(struct source *s, swo_deadline deadline, struct swo_error *err);
/* --stream late: all devices start to stream. */
void source_devices_stream(struct source *s);
/* Sends each device's config that has changed. The last one is sent once the device has stopped. */
int source_configs_send(struct source *s, struct swo_error *err);

/* converge.c */
void source_converge_begin(struct source *s);
/* In a pass, now and then (a source's): false once pre-copy is to end. A failure fails the migration. */
bool source_converge_tick(void *opaque);
/* -1 if the time of pre-copy is over, and the migration with it. Or it is over, and `forced` is set. */
int source_converge_check(struct source *s, struct swo_error *err);
/* The same after a round, with what is left then. */
int source_converge_round(
	struct source *s, const struct estimate *e, uint64_t limit_ns, struct swo_error *err);
/* The vCPUs have all of their time again. Any number of times. */
void source_converge_end(struct source *s);

/* ram.c */
int source_logs_start(struct source *s, struct swo_error *err);
void source_logs_stop(struct source *s);
/* Collects the dirty log of the vCPUs; in a pass, too. */
int source_vcpus_collect(struct source *s, struct swo_error *err);
/* Collects the dirty logs of KVM and of every device's DMA. */
int source_dirty_collect(struct source *s, struct swo_error *err);
/*
 * Logs what this process writes from here on, unless cpu_dirty has it already. Before the stop: it
 * takes time.
 */
void source_own_log_start(struct source *s);
/* After the VM is back here: it takes time, too. */
void source_own_log_stop(struct source *s);
/* After the last pass: SWO_E_STATE with the address if a vCPU has written to RAM since. */
int source_still_check(struct source *s, struct swo_error *err);
/* Run by stop_worker from the stop of the vCPUs until all RAM is sent. */
void source_stop_job(void *opaque);

/* tracking.c */
/* SWO_E_UNSUPPORTED if a device has none and the parameters do not allow it. */
int source_tracking_start(struct source *s, struct swo_error *err);
int source_tracking_collect(struct source *s, struct swo_error *err);
int source_tracking_last(struct source_device *sd, struct swo_error *err);
void source_tracking_stop(struct source *s);
/* All RAM is still to be sent in the stop. */
bool source_all_ram_due(struct source *s);
/*
 * What a stop at this moment has to send of RAM, in bytes. bandwidth not 0: as many as this link
 * sends in the time that they take.
 */
uint64_t source_ram_due(struct source *s, uint64_t bandwidth);

/* sample.c */
/*
 * Before the stop, if all RAM is due in it: sends a part of RAM a second time, and takes the time. The
 * first pass is no measure of the last one: the target allocates its pages.
 */
int source_ram_sample(struct source *s, struct swo_error *err);

/* setup.c */
int source_setup(struct source *s, struct swo_error *err);
/* STARTED or REFUSED, with the target's text: a step of the handover. Any thread. */
void source_take_started(struct source *s, const char *text);
void source_take_refused(struct source *s, const char *text);

/* precopy.c: returns 0 when it is time to stop. */
int source_precopy(struct source *s, struct swo_error *err);

/* ceiling.c */
/* What a stop may take at present; 0: no limit. The mutex is not held. */
uint64_t source_ceiling_ns(struct source *s);
/* SWO_E_TIMEOUT if the stop has lasted, or is expected to last, longer than downtime-ceiling. */
int source_ceiling_check(struct source *s, struct swo_error *err);
/*
 * A handler's `change`, the first when the VM stops: between the passes an abort still costs
 * little.
 */
int source_on_barrier(void *opaque, bool running, enum swo_run_state state, struct swo_error *err);
/* The deadline, or the ceiling, if that comes earlier. */
/* Names the ceiling where it is what ended the wait for COMMITTED. */
void source_ceiling_explain_record(struct source *s, struct swo_error *err);
swo_deadline source_ceiling_deadline(struct source *s, swo_deadline deadline);
/* migration_wait_until, at most until the ceiling. */
int source_ceiling_wait(struct source *s, bool (*done)(void *arg), const char *what,
	swo_deadline deadline, struct swo_error *err);

/*
 * Right after the vCPUs have stopped, on the migration's thread: its sends wait no longer than the
 * ceiling allows. Until disarm.
 */
void source_ceiling_arm(struct source *s);
void source_ceiling_disarm(struct source *s);
/* Replaces the error of a send that the ceiling has ended. */
void source_ceiling_explain(struct source *s, struct swo_error *err);

/* lesson.c */
/* What the device is waited for in this stop, as a text; "": nothing. The mutex is held. */
const char *source_pending(struct source *s, unsigned index);
/* A stop is given up: what it has shown of each device counts the next time. */
void source_learn(struct source *s);
/* Warns of devices that the estimate has no figures of: right before the stop. */
void source_report_unknown(struct source *s);
/* Completed: fills in by how much downtime_limit was missed, and why. The mutex is held. */
void source_explain_downtime(struct source *s);
/* An earlier one has shown something of this device. */
bool source_has_learned(struct source *s, unsigned index);

/* stop.c */
int source_add_handlers(struct source *s, struct swo_error *err);
/* Stops the VM; returns when all remaining data has been passed to the channels. */
int source_stop(struct source *s, struct swo_error *err);
/* -1, with *err, if the guest can never run again: a migration would hide that. */
int source_vm_failed(struct source *s, struct swo_error *err);
/* Sends the channels' totals, and the end. */
int source_send_end(struct source *s, struct swo_error *err);
/* The deadline of READY, counted from the stop. */
swo_deadline source_switchover_deadline(struct source *s);
/* Rolls back the VM and its devices; appends the health of the devices to *why. */
void source_roll_back(struct source *s, struct swo_error *why);
/* Devices to STOP, RAM released: it runs over there. */
void source_finish(struct source *s);

#endif
