/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - private to the machine.
 *
 * Locks, in this order: run_lock, held for a complete change of the run state, however long its
 * devices take; then lock, held briefly, for the migration and its setup.
 */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include "machine.h"
#include "vmm/pci/pci.h"

#include <stdatomic.h>

struct machine_device {
	struct swo_device *dev;
	struct vmm_pci_function *fn;
	enum swo_when finalise;
	bool finalise_own; /* set by --device; otherwise the migration's setting applies */
	bool migration_events;
};

/* An earlier migration that ended here, whose source may still request the outcome. */
struct machine_earlier {
	struct machine_earlier *next;
	struct swo_migration *migration;
	struct swo_timeline *timeline;
};

/* Since the machine was created. */
#define MACHINE_REASONS (SWO_E_CORRUPT + 1)
struct machine_counters {
	uint64_t completed, failed, cancelled, limit_misses;
	uint64_t ceiling_aborts, aborts[MACHINE_REASONS];
};

#define MACHINE_FDS_MAX 16
struct machine_fd {
	char name[64]; /* "": free */
	int fd;
};

struct vmm_machine {
	char name[64];
	struct vmm_machine_config config; /* its pointers are not kept, except the callbacks */
	struct swo_ram *ram;
	struct swo_runstate *runstate;
	struct vmm_accel *accel;
	struct vmm_pci *pci;
	struct swo_vfio_context *vfio; /* of all kernel devices; NULL: none */
	int iommufd;		       /* the caller's, that vfio uses; 0: none */
	struct machine_device *devices;
	struct swo_device **device_list; /* the same, in the migration's format */
	unsigned device_count;
	struct machine_stop_writes {
		uint64_t generation, pages; /* of the latest stop; they migrate */
		uint64_t lost;		    /* pages that did not have it afterwards */
	} stop_writes;
	struct machine_host_events *host_events;
	struct swo_worker *worker;
	int quit_fd;

	pthread_mutex_t run_lock;
	bool hold; /* when it could start next, it stays paused: -S, or a `stop` before that */

	atomic_bool failing; /* a vCPU or device failed, see fail_text: the VM cannot continue */
	struct swo_job fail_job;
	char fail_text[200];

	pthread_mutex_t lock;
	struct vmm_migration_setup setup;
	struct vmm_migration_setup running; /* of the latest migration */
	enum swo_transitions transitions;   /* as the devices follow now */
	enum swo_join join;
	atomic_bool events; /* running.events, for threads that must not take the lock */
	struct swo_migration *migration;
	bool is_source;
	struct swo_dirty_source cpu_dirty; /* of the migration; self NULL: none */
	struct swo_timeline *timeline;
	struct machine_counters counters; /* see machine_count_ended */
	bool counted;			  /* `migration` is among them */
	struct machine_earlier *earlier;  /* no lock: setting up and freeing take turns */
	bool exit_on_error;		  /* of an incoming migration */
	atomic_bool launched;		  /* see vmm_machine_launch; a migrate waits for it */
	bool changing;			  /* a migration is being set up or freed */
	bool cancelled;			  /* during that */
	struct machine_fd fds[MACHINE_FDS_MAX];
};

/* vf_token.c: "" if the device has none. */
#define MACHINE_TOKEN_ROOM 64
int machine_vf_token(const struct vmm_device_config *config, const char *id,
	char out[MACHINE_TOKEN_ROOM], struct swo_error *err);

/* device.c */
int machine_devices_connect(
	struct vmm_machine *m, const struct vmm_device_config *configs, struct swo_error *err);
void machine_devices_free(struct vmm_machine *m);
/* The bus sets each device again after a reset; false: no more. SWO_E_TIMEOUT: one still does. */
int machine_devices_watch_resets(struct vmm_machine *m, bool watch, struct swo_error *err);
/* With run_lock held, or before another thread has the machine. */
int machine_devices_follow(
	struct vmm_machine *m, const struct vmm_migration_setup *setup, struct swo_error *err);
int machine_handlers_add(struct vmm_machine *m, struct swo_error *err);

/* stop_writes.c */
int machine_stop_writes_add(struct vmm_machine *m, struct swo_error *err);
/* Once the guest is booted: does it leave so many pages? */
int machine_stop_writes_fit(struct vmm_machine *m, struct swo_error *err);

/* host_events.c */
/* Once the devices are connected. A device without such events needs no thread. */
int machine_host_events_start(struct vmm_machine *m, struct swo_error *err);
void machine_host_events_stop(struct vmm_machine *m);

/* fds.c */
void machine_fds_free(struct vmm_machine *m);

/* machine.c */
/* The VM cannot continue: it stops, in internal-error. Returns at once. */
void machine_failed(struct vmm_machine *m, const char *why);
/* struct vmm_bus.failed */
void machine_vcpu_failed(void *opaque, unsigned vcpu, const char *why);

/* run.c */
void machine_event(struct vmm_machine *m, const char *name, json_t *data);
bool machine_is_running(struct vmm_machine *m);
/* Both with run_lock held; halt of a VM that runs. */
int machine_start(struct vmm_machine *m, enum swo_on_error on_error, struct swo_error *err);
int machine_halt(struct vmm_machine *m, enum swo_run_state state, enum swo_on_error on_error,
	struct swo_error *err);

/* ops.c */
extern const struct swo_vm_ops machine_ops;

/* metrics.c */
/* With `lock` held: counts the migration, once, if it has ended. */
void machine_count_ended(struct vmm_machine *m);

/* migrate.c */
/* For a reason of the VM's own: the migration fails, unless it is past its point of no return. */
void machine_migration_abort(struct vmm_machine *m, const char *why);
/* Cancels the migration if possible, and frees it. */
void machine_migration_end(struct vmm_machine *m);
/* The reason why the VM may not be started by hand; 0 if it may be. */
int machine_may_cont(struct vmm_machine *m, struct swo_error *err);
/* With `lock` held. */
bool machine_is_migrating(struct vmm_machine *m);

#endif
