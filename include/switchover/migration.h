/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migration.h - the migration of a VM from a source to a target process: RAM, devices, vCPUs.
 * The VM never runs on both hosts, and on one of them while both processes live.
 *
 * A VMM describes itself as a struct swo_vm and starts one side. The engine runs on its own
 * threads and calls the VMM through struct swo_vm_ops. The point of no return is GO: until the
 * source sends it, any failure, cancel or lost peer returns the source's VM to running; from
 * then on the source does not run it again without a decision.
 */
#ifndef SWITCHOVER_MIGRATION_H
#define SWITCHOVER_MIGRATION_H

#include "switchover/base.h"
#include "switchover/device.h"
#include "switchover/journal.h"
#include "switchover/memory.h"
#include "switchover/runstate.h"
#include "switchover/timeline.h"
#include "switchover/tls.h"

#ifdef __cplusplus
extern "C" {
#endif

enum swo_when { SWO_WHEN_EARLY, SWO_WHEN_RAM, SWO_WHEN_LATE };

/*
 * How RAM gets to the target. FD: it stays in place, and a target on the same host maps the
 * same memfds; for a unix: URI without TLS. There is only one copy then: once the target has
 * started to run, the source's RAM is no longer the VM that it stopped, and the VM cannot run
 * there again.
 */
enum swo_handover { SWO_HANDOVER_COPY, SWO_HANDOVER_FD };

/*
 * A value that must match on both sides, by a rule. It is sent with HELLO and compared by the
 * target, before anything stops; the error names the first difference with both values. An entry
 * of one side only is a difference.
 */
enum swo_agreement_rule {
	SWO_AGREE_EQUAL,    /* text: the same */
	SWO_AGREE_SUBSET,   /* text: words, each of which the target has as well; blanks between */
	SWO_AGREE_AT_LEAST, /* value: the target's is as large, or larger */
	/* value: differs by at most the target's `ppm` of the source's; 0: unknown, any fits */
	SWO_AGREE_WITHIN,
};
#define SWO_AGREE_ANY	       UINT32_MAX /* ppm: the target takes any value */
#define SWO_AGREEMENT_MAX      32	  /* entries */
#define SWO_AGREEMENT_NAME_MAX 48	  /* with its NUL */
#define SWO_AGREEMENT_TEXT_MAX 8192

struct swo_agreement_entry {
	size_t size;	  /* of this structure */
	const char *name; /* of the value, with its unit: "TSC frequency in kHz" */
	enum swo_agreement_rule rule;
	uint32_t ppm;
	const char *text; /* copied */
	uint64_t value;	  /* at most INT64_MAX */
};
struct swo_agreement;
/* In swo_vm_ops.agree. SWO_E_INVALID: malformed, a second one of that name, or too many. */
SWO_API int swo_agreement_add(struct swo_agreement *agreement,
	const struct swo_agreement_entry *entry, struct swo_error *err);

/*
 * The VMM's callbacks. Called on the migration's thread, one at a time, unless stated
 * otherwise. Return 0, or -1 with *err set.
 */
struct swo_vm_ops {
	/*
	 * Appends a text that must be equal on both sides: machine, vCPU count, kinds of
	 * devices. It is compared line by line, and the error has the first line that differs.
	 */
	int (*layout)(void *vm, struct swo_buf *out, struct swo_error *err);
	/*
	 * Source: pauses the vCPUs, then changes the run state to FINISH_MIGRATE with
	 * SWO_ON_ERROR_ROLLBACK; on failure the vCPUs resume. Not called for a VM that is not
	 * running. If it was stopped by a user meanwhile: -1 with the run state PAUSED, and it is
	 * migrated as a paused one.
	 *
	 * Handlers of the run state, machine_save and config_save may write to RAM (from Linux 6.7
	 * on; before, they mark it with swo_ram_mark). RAM that is written after the last of them
	 * fails the migration.
	 */
	int (*stop)(void *vm, struct swo_error *err);
	/*
	 * Changes the run state to RUNNING (SWO_ON_ERROR_CONTINUE), then resumes the vCPUs.
	 * Target: after GO; 0 with the run state INMIGRATE leaves it paused, for a user who stopped
	 * it before it arrived. Source: to roll back a stop.
	 */
	int (*start)(void *vm, struct swo_error *err);
	/* Changes to another stopped state: PAUSED, POSTMIGRATE, FINISH_MIGRATE, ... */
	void (*set_state)(void *vm, enum swo_run_state state);
	/* vCPUs and board, after stop / before start. At most SWO_MACHINE_STATE_MAX bytes. */
	int (*machine_save)(void *vm, struct swo_buf *out, struct swo_error *err);
	int (*machine_load)(void *vm, const void *data, size_t len, struct swo_error *err);
	/*
	 * The VMM's part of device `index`'s configuration: PCI command, BARs, MSI-X with the
	 * interrupts that are pending. Saved by the migration's thread before the stop and while
	 * the devices stop; the last time on that device's worker (so for several devices
	 * concurrently), once it is in STOP_COPY and raises no more interrupts. Loaded on that
	 * device's worker, in RESUMING, at once and again if it has changed.
	 */
	int (*config_save)(void *vm, unsigned index, struct swo_buf *out, struct swo_error *err);
	int (*config_load)(
		void *vm, unsigned index, const void *data, size_t len, struct swo_error *err);
	/*
	 * Target, optional: true, and *when, for a device that takes RESUMING->STOP at another
	 * time than the migration's parameter, because its driver should not stay in STOP.
	 */
	bool (*finalise)(void *vm, unsigned index, enum swo_when *when);
	/*
	 * Unmaps RAM from every device (DMA unmap), or maps it again. Optional: without it
	 * SWO_HANDOVER_FD is not available. Called before the devices leave RUNNING at a
	 * target, and at the end (a target that refuses the VM gets RAM of its own back, and has it
	 * mapped again); never during the stop.
	 */
	int (*ram_reach)(void *vm, bool reach, struct swo_error *err);
	/*
	 * Adds what need not be equal, but must match by a rule: CPU features, TSC frequency.
	 * Optional. Called on both sides at HELLO.
	 */
	int (*agree)(void *vm, struct swo_agreement *out, struct swo_error *err);
	/*
	 * Source: from now on no vCPU runs for more than 100 - percent (1 to 99) of the time, in
	 * slices of some 10 ms; 0: no more throttling. Does not wait, and does not delay `stop`.
	 * Only needed for swo_converge.auto_converge. May be called while `stop` and `cont` of a
	 * user are in progress; 0 from the migration's thread at its end, always.
	 */
	int (*throttle)(void *vm, unsigned percent, struct swo_error *err);
	/*
	 * Target, optional: sets again what the device's own state may have overwritten as it was
	 * loaded: PCI command, interrupts. Called once on that device's worker, in RESUMING, after
	 * all of its data and the last config_load. It counts against the deadline of an arc.
	 */
	int (*config_renew)(void *vm, unsigned index, struct swo_error *err);
};

#define SWO_MACHINE_STATE_MAX (16u << 20)
#define SWO_CONFIG_MAX	      (1u << 20)
#define SWO_DEVICES_MAX	      1024

struct swo_vm {
	const struct swo_vm_ops *ops;
	void *opaque;
	struct swo_runstate *runstate;
	struct swo_ram *ram;
	struct swo_dirty_source *cpu_dirty; /* writes of vCPUs; source only, not for FD */
	struct swo_device **devices;	    /* in the same order on both sides */
	unsigned device_count;
	enum swo_transitions transitions; /* SERIAL: RESUMING->STOP goes one device at a time too */
	bool autostart; /* target: run if the source did; false (-S): stay paused */
	const struct swo_journal_config *journal; /* NULL: no journal */
	/* The VM's UUID; a target with one accepts no other VM. NULL or "": any. */
	const char *identity;
	/* The URI of the VMM's monitor (QMP), for the commands in messages. NULL: none. */
	const char *monitor;
};

/*
 * The engine overhead on a host besides the devices' time: threads, messages, copies. The CPUs
 * are modelled as one that does one thing at a time. `switchover-bench calibrate` measures it;
 * all 0: unknown, and nothing is added.
 */
struct swo_engine_overhead {
	uint64_t fixed_ns;   /* per switchover */
	uint64_t arc_ns;     /* per arc of each device */
	uint64_t stream_ns;  /* per stream and load of each device, of any length */
	uint64_t state_rate; /* device state, bytes/s; 0: no limit */
};

/*
 * What ends a migration of a guest that writes faster than the link carries. Without any of it
 * pre-copy goes on until it is cancelled.
 */
enum swo_on_timeout { SWO_TIMEOUT_CANCEL, SWO_TIMEOUT_FORCE };

struct swo_converge {
	/*
	 * From the second pass on: whenever in two periods of a second more is dirtied than half of
	 * what is sent, the vCPUs are throttled (more), by percent of their time.
	 */
	bool auto_converge;	     /* default false */
	unsigned throttle_initial;   /* 1..99; default 20 */
	unsigned throttle_increment; /* 1..99; default 10 */
	unsigned throttle_max;	     /* throttle_initial..99; default 99 */
	/* Before the stop, ms: in all; and since the predicted downtime last became less. 0: none. */
	uint64_t timeout_ms;
	uint64_t stall_timeout_ms;
	/* CANCEL: the migration fails, SWO_E_TIMEOUT. FORCE: the VM is stopped, over downtime_limit_ms
	   (the ceiling holds). Default CANCEL. */
	enum swo_on_timeout on_timeout;
};

#define SWO_DEFAULT_CHANNELS	  2
#define SWO_DEFAULT_DEVICE_WINDOW (4u << 20)
#define SWO_DEFAULT_LINK_WINDOW	  (64u << 20)

/*
 * The larger of swo_migration_default_ceiling_ms() of the limit, and twice the prediction with which
 * the stop began.
 */
#define SWO_CEILING_DEFAULT UINT64_MAX

/* One day: no deadline, timeout or ceiling, and no known cost, is longer. */
#define SWO_DURATION_MAX_MS UINT64_C(86400000)

struct swo_migration_params {
	uint64_t downtime_limit_ms; /* stop once the prediction is below; default 300 */
	uint64_t
		downtime_ceiling_ms; /* abort if the stop lasts longer; 0: never; default SWO_CEILING_DEFAULT */
	uint64_t max_bandwidth; /* bytes/s of RAM and device state before the stop; 0: no limit */
	unsigned channels;	/* connections, 1..16; default 2 */
	size_t device_window;	/* bytes in flight per device; large ones share it; 4 MiB */
	enum swo_when stream;	/* EARLY: once the device has stopped; LATE: once all have */
	enum swo_when
		finalise; /* RESUMING->STOP EARLY: at the device's END; RAM: once RAM is complete;
				   LATE: after GO, where a refusal can no longer abort */
	enum swo_when config; /* EARLY: before the stop, and again if changed; LATE: after it */
	uint64_t setup_deadline_ms;	 /* connect, HELLO, initial bytes; default 30000 */
	uint64_t switchover_deadline_ms; /* source: stop to READY; default 60000 */
	uint64_t commit_deadline_ms;	 /* GO to STARTED, then in doubt; default 30000 */
	uint64_t idle_deadline_ms;	 /* of a silent peer (it pings every 1/4 of it); 10000 */
	struct swo_tls_params tls;	 /* both sides or none; default none */
	bool insecure;			 /* allow plain TCP to another host; default false */
	enum swo_handover handover;	 /* the source's applies; default COPY */
	struct swo_engine_overhead overhead; /* the source's, in its predictions; default none */
	/*
	 * The source's applies: migrate several devices even if one has no P2P state. One that
	 * still runs may then write into one that has stopped, and that write is lost.
	 */
	bool allow_no_p2p;
	struct swo_converge converge; /* the source's */
	/*
	 * The source's: migrate a VM of which a device's writes to RAM cannot be tracked. All RAM is
	 * sent in the stop then, once, and the predicted downtime includes that.
	 */
	bool allow_no_dirty_tracking;
	/*
	 * The source's: once the VM is stopped and its state is sent, waits for
	 * swo_migration_continue(), in PRE_SWITCHOVER. The wait is part of the stop: its ceiling and
	 * switchover_deadline_ms hold, and a cancel. Default false.
	 */
	bool pause_before_switchover;
	/*
	 * Bytes in flight of all devices together, at most, over a link whose round trip is 0.5 ms or
	 * more: there each device gets what 10 Gbit/s carry in a round trip, where that is more than
	 * device_window gives it. The lower of both sides' applies, as the target's memory. Default
	 * 64 MiB; 0: device_window applies on every link.
	 */
	size_t link_window;
};
SWO_API void swo_migration_params_init(struct swo_migration_params *params);
/* SWO_E_INVALID with the name and the range of the first invalid parameter. */
SWO_API int swo_migration_params_check(
	const struct swo_migration_params *params, struct swo_error *err);
/* 10 times the limit, at least 3 s. */
SWO_API uint64_t swo_migration_default_ceiling_ms(uint64_t downtime_limit_ms);
SWO_API bool swo_migration_params_equal(
	const struct swo_migration_params *a, const struct swo_migration_params *b);

/* Names are QEMU's MigrationStatus where it has one. */
enum swo_migration_status {
	SWO_MIGRATION_NONE, /* of no migration: the first one of each is SETUP */
	SWO_MIGRATION_SETUP,
	SWO_MIGRATION_ACTIVE, /* pre-copy */
	SWO_MIGRATION_DEVICE, /* stopped, switching over */
	SWO_MIGRATION_CANCELLING,
	SWO_MIGRATION_CANCELLED,
	SWO_MIGRATION_COMPLETED,
	SWO_MIGRATION_FAILED,
	SWO_MIGRATION_IN_DOUBT,	      /* GO sent, STARTED not received: the source is parked */
	SWO_MIGRATION_PRE_SWITCHOVER, /* stopped, and waits: see pause_before_switchover */
};
SWO_API const char *swo_migration_status_name(enum swo_migration_status status);

/* A snapshot for query-migrate: on a source what is sent and what is left are live. */
struct swo_migration_info {
	enum swo_migration_status status;
	bool committed;		/* past the point of no return */
	char id[40];		/* of this migration, the same on both sides */
	struct swo_error error; /* why it failed, was cancelled or is in doubt */
	uint64_t start_ns;
	uint64_t end_ns; /* 0 while it runs */
	uint64_t setup_ns;
	uint64_t downtime_ns;		/* source: vCPUs stopped to STARTED; 0 until then */
	uint64_t predicted_downtime_ns; /* the estimate; after the stop: the last one before it */
	uint64_t
		projected_downtime_ns; /* aborted for downtime-ceiling: the downtime it would have had */
	char slowest_device[32];       /* the device that caused it */
	uint64_t ram_total, ram_sent, ram_zero_pages, ram_normal_pages, ram_dirty_pages;
	uint64_t ram_passes;
	uint64_t device_sent;	      /* bytes of device state */
	uint64_t device_sent_stopped; /* of these, after the stop */
	uint64_t bandwidth;	      /* of the link, bytes/s, measured; 0: unknown */
	unsigned threads_max;
	uint64_t rate; /* bytes/s sent of late; after the end: over the whole migration */
	uint64_t device_remaining; /* state that is still to be sent, as far as devices report it */
	uint64_t dirty_rate;	   /* bytes/s of RAM that the guest writes; 0: unknown */
	unsigned throttle_percent; /* of the vCPUs' time, now; 0: they are not throttled */
	bool stalled;		   /* the predicted downtime does not become less */
	uint64_t over_limit_ns;	   /* completed: downtime_ns beyond downtime_limit; 0: none */
	char over_limit_reason[160];
	bool given_up; /* the VM stays, or is restarted, at the source, whatever is still done for it */
	/* Devices with an arc of unknown cost, or state of unknown size: predicted_downtime_ns is
	   without it. */
	unsigned predicted_without;
	uint64_t ram_sent_stopped; /* of ram_sent, after the stop */
	uint64_t page_rate; /* pages of RAM dealt with per second, in the time that `rate` is of */
};

struct swo_migration;

/*
 * Called for every change of status and for every device state that is reached during a
 * migration. On the migration's threads and the devices' workers: return soon.
 */
struct swo_migration_observer {
	void (*status)(void *opaque, enum swo_migration_status status);
	void (*device_state)(void *opaque, unsigned index, enum swo_device_state state);
	void *opaque;
	/*
	 * Optional: called about 20 times a second while swo_migration_receive, on its caller's thread,
	 * waits for a name server. True: it fails with SWO_E_CANCELLED.
	 */
	bool (*gives_up)(void *opaque);
	/* A source begins a pass over RAM, the first is 1; not in the stop. Optional. */
	void (*pass)(void *opaque, uint64_t pass);
};

/*
 * Is everything there that this side of a migration needs? SWO_E_INVALID names the member that is
 * missing, or the device that does not follow the run state; the layout must not be empty. Send and
 * receive check it, too. What callbacks return is checked when they are called: after `stop` each
 * device is in STOP_COPY, and after `start` in RUNNING.
 */
SWO_API int swo_vm_check(const struct swo_vm *vm, enum swo_side side,
	const struct swo_migration_params *params, struct swo_error *err);

/*
 * Starts sending to "unix:PATH" or "tcp:HOST:PORT". Returns once the migration's thread runs;
 * progress is in info and the observer. `vm` is copied, its pointers must outlive the
 * migration. timeline may be NULL; on the source it has both sides at the end.
 */
SWO_API int swo_migration_send(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err);
/*
 * Listens on the URI before it returns, and waits for one source. A name server that does not answer
 * costs 5 s at most; see gives_up of the observer.
 */
SWO_API int swo_migration_receive(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err);

SWO_API void swo_migration_info(struct swo_migration *migration, struct swo_migration_info *out);

/*
 * The parameters of the same names, which may change while a migration runs, on either side; on a
 * target they have no effect. They apply from the next decision on: a stop that is under way is not
 * prolonged or shortened by a new downtime_limit. Any thread.
 */
struct swo_migration_limits {
	size_t size; /* of this structure, also before it is filled */
	uint64_t downtime_limit_ms;
	uint64_t downtime_ceiling_ms;
	uint64_t max_bandwidth;
	struct swo_converge converge;
};
/* Sets out->size bytes. SWO_E_INVALID: out->size is not set. */
SWO_API int swo_migration_get_limits(
	struct swo_migration *migration, struct swo_migration_limits *out, struct swo_error *err);
/*
 * What a program compiled with earlier headers does not have stays as it is. SWO_E_INVALID with the
 * name and the range of the first invalid one; nothing changes then.
 */
SWO_API int swo_migration_set_limits(struct swo_migration *migration,
	const struct swo_migration_limits *limits, struct swo_error *err);

/* Ends the wait of pause_before_switchover. SWO_E_STATE if the source is not in it. Any thread. */
SWO_API int swo_migration_continue(struct swo_migration *migration, struct swo_error *err);
/* Before GO: the source resumes, the target aborts. After it: SWO_E_STATE. */
SWO_API int swo_migration_cancel(struct swo_migration *migration, struct swo_error *err);
/*
 * The same for the VMM's own reason, such as a guest that has crashed: the migration fails with it.
 * SWO_E_INVALID for a `why` without one.
 */
SWO_API int swo_migration_abort(
	struct swo_migration *migration, const struct swo_error *why, struct swo_error *err);
/*
 * Resolves a migration in doubt by a decision of an operator: run the VM here (only after the
 * target has been fenced!), or give it up here because it runs on the target. SWO_E_STATE
 * unless in doubt.
 */
SWO_API int swo_migration_resolve(
	struct swo_migration *migration, bool run_here, struct swo_error *err);
/*
 * True if this process's VM may be started by hand (`cont`). False on a target before GO, and
 * on a source from GO on, whatever the outcome, unless the target refused or an operator
 * decided.
 */
SWO_API bool swo_migration_may_run(struct swo_migration *migration);
/* true once it has ended (completed, failed, cancelled): its state is final. */
SWO_API bool swo_migration_wait(struct swo_migration *migration, swo_deadline deadline);
/*
 * True once it has ended and no peer can need it any more. A target that has started the VM, or
 * has refused it after READY, answers a source in doubt until that has the outcome: keep it until
 * then, also while the VM migrates on. Its vm, observer and timeline stay in use.
 */
SWO_API bool swo_migration_settled(struct swo_migration *migration);
/*
 * Cancels if necessary, joins its threads, frees it. Also frees a migration in doubt: refusing
 * that with SWO_E_STATE is up to the caller. On return nothing of `vm` or the observer is used or
 * called any more, but for a call of config_load in progress.
 *
 * A device that hangs does not hold it up for longer than the device's arc deadline. The device's
 * worker keeps what it uses, RAM and timeline included, and frees it if the device answers after
 * all. Until then another migration of the VM fails, naming the device (swo_device_refresh).
 *
 * In the migration's own observer it returns at once, and the migration is freed on another thread
 * after the observer has returned: what `vm` points to must outlive that.
 */
SWO_API void swo_migration_free(struct swo_migration *migration);

/*
 * Requests from a target whether it took GO, for a source that is dead: on a connection of its own,
 * with what the source's journal has recorded. It changes nothing, save that a target that was only
 * READY refuses by this.
 */
enum swo_migration_answer {
	SWO_ANSWER_NONE,     /* no answer, or not about this migration; see the reason */
	SWO_ANSWER_STARTED,  /* the VM runs there */
	SWO_ANSWER_STARTING, /* GO was taken, the VM does not run yet: repeat */
	SWO_ANSWER_REFUSED,  /* the VM will never run there, for this reason */
};
struct swo_migration_query {
	size_t size; /* of this structure */
	const char *uri;
	const char *id;	  /* of the migration */
	uint64_t nonce;	  /* swo_journal_info's */
	bool insecure;	  /* tcp: to another host without TLS */
	bool acknowledge; /* STARTED is on record already: the target may drop the migration */
	unsigned deadline_ms;
	const struct swo_tls_params *tls; /* NULL: none */
	uint64_t hello_nonce;		  /* swo_journal_info's: a reply without it is none */
};
#define SWO_REASON_MAX 1024
/* -1: a field of the query is invalid, or the credentials cannot be used. */
SWO_API int swo_migration_query(const struct swo_migration_query *query,
	enum swo_migration_answer *answer, char reason[SWO_REASON_MAX + 1], struct swo_error *err);

#ifdef __cplusplus
}
#endif

#endif
