/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migration.h - the handover of a VM from a source to a target process: RAM,
 * devices, vCPUs; never on both, never on none while both live.
 *
 * A VMM describes itself as a struct swo_vm and starts one side. The engine runs
 * on its own threads and calls back into the VMM through struct swo_vm_ops. The
 * point of no return is GO: until the source sends it, any failure, cancel or
 * lost peer brings the source's VM back to running; from then on the source
 * never runs it again by itself.
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

enum swo_when { SWO_WHEN_EARLY, SWO_WHEN_RAM, SWO_WHEN_LATE };

/*
 * How RAM gets to the target. FD: it stays where it is, and a target on the same host maps the same
 * memfds; for a unix: URI without TLS. There is one memory then: once the target has begun to run,
 * what the source holds is not the VM that it stopped, and nothing makes it run there again.
 */
enum swo_handover { SWO_HANDOVER_COPY, SWO_HANDOVER_FD };

/*
 * The VMM's part. Called on the migration's thread, one at a time, unless said otherwise.
 * Returns 0, or -1 with *err set.
 */
struct swo_vm_ops {
	/* Appends a text that must be equal on both sides: machine, vCPU count, devices' kinds. */
	int (*layout)(void *vm, struct swo_buf *out, struct swo_error *err);
	/*
	 * Source: pauses the vCPUs, then changes the run state to FINISH_MIGRATE with
	 * SWO_ON_ERROR_ROLLBACK; on failure the vCPUs run again. Not called for a VM that is
	 * not running.
	 */
	int (*stop)(void *vm, struct swo_error *err);
	/*
	 * Changes the run state to RUNNING (SWO_ON_ERROR_CONTINUE), then lets the vCPUs go.
	 * Target: after GO. Source: to take back a stop.
	 */
	int (*start)(void *vm, struct swo_error *err);
	/* Takes the name of another stopped state: PAUSED, POSTMIGRATE, FINISH_MIGRATE, ... */
	void (*set_state)(void *vm, enum swo_run_state state);
	/* vCPUs and board, after stop / before start. At most SWO_MACHINE_STATE_MAX bytes. */
	int (*machine_save)(void *vm, struct swo_buf *out, struct swo_error *err);
	int (*machine_load)(void *vm, const void *data, size_t len, struct swo_error *err);
	/*
	 * What the VMM holds of device `index`'s configuration: PCI command, BARs, MSI-X. Saved by
	 * the migration's thread before the stop and again after it; loaded on that device's worker
	 * (so for different devices at once), in RESUMING, at once and again if it has changed.
	 */
	int (*config_save)(void *vm, unsigned index, struct swo_buf *out, struct swo_error *err);
	int (*config_load)(
		void *vm, unsigned index, const void *data, size_t len, struct swo_error *err);
	/*
	 * Target, optional: true, and *when, for a device that takes RESUMING->STOP at another time
	 * than the migration says, because its driver does not like to dwell in STOP.
	 */
	bool (*finalise)(void *vm, unsigned index, enum swo_when *when);
	/*
	 * Takes RAM out of every device's reach (DMA unmap), or puts it back. Optional: without it
	 * there is no SWO_HANDOVER_FD. Before the devices leave RUNNING at a target, and when all
	 * is over; never within the stop.
	 */
	int (*ram_reach)(void *vm, bool reach, struct swo_error *err);
};

#define SWO_MACHINE_STATE_MAX (16u << 20)
#define SWO_CONFIG_MAX	      (1u << 20)
#define SWO_DEVICES_MAX	      1024

struct swo_vm {
	const struct swo_vm_ops *ops;
	void *opaque;
	struct swo_runstate *runstate;
	struct swo_ram *ram;
	struct swo_dirty_source *cpu_dirty; /* what vCPUs write; source only */
	struct swo_device **devices;	    /* in the same order on both sides */
	unsigned device_count;
	enum swo_transitions transitions; /* SERIAL: RESUMING->STOP goes one device at a time too */
	bool autostart; /* target: run when the source did; false (-S): arrive paused */
	const struct swo_journal_config *journal; /* NULL: none is kept */
	/* The VM's UUID; a target that has one takes no other VM. NULL or "": any. */
	const char *identity;
};

/*
 * What the machinery costs on a host beside what its devices take: threads, messages, copies. The
 * CPUs are taken as one that does one thing at a time. `switchover-bench calibrate` measures
 * it; all 0: nothing is known, and nothing is added.
 */
struct swo_costs {
	uint64_t fixed_ns;   /* once a switchover */
	uint64_t arc_ns;     /* each arc of each device */
	uint64_t stream_ns;  /* each device's stream and load, however short */
	uint64_t state_rate; /* bytes a second of device state; 0: no limit */
};

struct swo_migration_params {
	uint64_t downtime_limit_ms;   /* stop when the prediction is below; default 300 */
	uint64_t downtime_ceiling_ms; /* give up when a stop lasts longer; 0: none */
	uint64_t max_bandwidth;	      /* bytes a second before the stop; 0: no limit */
	unsigned channels;	      /* connections, 1..16; default 2 */
	size_t device_window;	/* bytes in flight per device, see swo_migration_window; 4 MiB */
	enum swo_when stream;	/* EARLY: a device streams when it has stopped; LATE: all have */
	enum swo_when finalise; /* RESUMING->STOP EARLY: at its own END; RAM: when all RAM is in;
				   LATE: after GO, where a refusal can no longer abort */
	enum swo_when config;	/* EARLY: before the stop, again only if changed; LATE: after it */
	uint64_t setup_deadline_ms;	 /* connect, HELLO, initial bytes; default 30000 */
	uint64_t switchover_deadline_ms; /* source: stop to READY; default 60000 */
	uint64_t commit_deadline_ms;	 /* GO to STARTED, before it is in doubt; default 30000 */
	uint64_t idle_deadline_ms;  /* a peer that says nothing (it pings every 1/4 of it); 10000 */
	struct swo_tls_params tls;  /* both sides or none; default none */
	bool insecure;		    /* let plain tcp leave this host; default false */
	enum swo_handover handover; /* the source's counts; default COPY */
	struct swo_costs costs;	    /* the source's count, in what it predicts; default nothing */
};
SWO_API void swo_migration_params_init(struct swo_migration_params *params);
/* Large devices (of more than SWO_SHARED_WINDOW) share a device-window, but for so much each: what
   each of so many has. */
#define SWO_SHARED_WINDOW (UINT64_C(1) << 20)
SWO_API uint64_t swo_migration_window(uint64_t device_window, unsigned large);
/* SWO_E_INVALID with the name and the range of the first bad one. */
SWO_API int swo_migration_params_check(
	const struct swo_migration_params *params, struct swo_error *err);

/* Names are QEMU's MigrationStatus where it has one. */
enum swo_migration_status {
	SWO_MIGRATION_NONE,
	SWO_MIGRATION_SETUP,
	SWO_MIGRATION_ACTIVE, /* pre-copy */
	SWO_MIGRATION_DEVICE, /* stopped, switching over */
	SWO_MIGRATION_CANCELLING,
	SWO_MIGRATION_CANCELLED,
	SWO_MIGRATION_COMPLETED,
	SWO_MIGRATION_FAILED,
	SWO_MIGRATION_IN_DOUBT, /* GO was sent and nothing came back: the source is parked */
};
SWO_API const char *swo_migration_status_name(enum swo_migration_status status);

/* A snapshot for query-migrate. */
struct swo_migration_info {
	enum swo_migration_status status;
	bool committed;		/* the point of no return has passed */
	char id[40];		/* of this migration, the same on both sides */
	struct swo_error error; /* why it failed, was cancelled or is in doubt */
	uint64_t start_ns;
	uint64_t end_ns; /* 0 while it runs */
	uint64_t setup_ns;
	uint64_t downtime_ns;		/* source: vCPUs stopped to STARTED; 0 until then */
	uint64_t predicted_downtime_ns; /* what the estimate says, or said at the stop */
	uint64_t
		projected_downtime_ns; /* given up for downtime-ceiling: what it would have taken */
	char slowest_device[32];       /* and which device was the reason */
	uint64_t ram_total, ram_sent, ram_zero_pages, ram_normal_pages, ram_dirty_pages;
	uint64_t ram_passes;
	uint64_t device_sent;	      /* bytes of device state */
	uint64_t device_sent_stopped; /* of these, after the stop */
	uint64_t bandwidth;	      /* bytes a second, measured */
	unsigned threads_max;
};

struct swo_migration;

/*
 * Told of every change of status and of every device state that was reached during a migration. On
 * the migration's threads: return soon, and do not call swo_migration_free from it.
 */
struct swo_migration_observer {
	void (*status)(void *opaque, enum swo_migration_status status);
	void (*device_state)(void *opaque, unsigned index, enum swo_device_state state);
	void *opaque;
};

/*
 * Starts sending to "unix:PATH" or "tcp:HOST:PORT". Returns when the migration's thread runs;
 * what happens then is in info and the observer. `vm` is copied, what it points to must outlive the
 * migration. timeline may be NULL; on the source it holds both sides at the end.
 */
SWO_API int swo_migration_send(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err);
/* Listens on the URI before it returns, and waits for one source. */
SWO_API int swo_migration_receive(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err);

SWO_API void swo_migration_info(struct swo_migration *migration, struct swo_migration_info *out);
/* Before GO: the source resumes, the target gives up. After it: SWO_E_STATE. */
SWO_API int swo_migration_cancel(struct swo_migration *migration, struct swo_error *err);
/*
 * Settles a migration in doubt by an operator's word: run the VM here (only after the target has
 * been fenced off!), or give it up here because it runs there. SWO_E_STATE unless in doubt.
 */
SWO_API int swo_migration_resolve(
	struct swo_migration *migration, bool run_here, struct swo_error *err);
/*
 * May this process's VM be started by hand (`cont`)? False on a target before GO, and on a source
 * from GO on, whatever came of it, unless it was refused or resolved.
 */
SWO_API bool swo_migration_may_run(struct swo_migration *migration);
/* true once it has ended (completed, failed, cancelled): nothing more will change. */
SWO_API bool swo_migration_wait(struct swo_migration *migration, swo_deadline deadline);
/* Cancels if it must, waits for its threads, frees. A migration in doubt is given up on:
   SWO_E_STATE before that is the caller's business. */
SWO_API void swo_migration_free(struct swo_migration *migration);

#endif
