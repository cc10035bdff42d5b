/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machine.h - the reference VMM's machine: RAM, vCPUs, PCI and passthrough devices, its run
 * state, and the migration it is in.
 *
 * Threads: any function may be called from any thread, but for create, launch and free.
 * Those marked slow may take as long as devices take; the others answer at once.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "switchover/migration.h"
#include "vmm/accel/accel.h"

#include <jansson.h>

#define VMM_DEVICES_MAX 248 /* 31 slots of 8 functions on bus 0 */
#define VMM_VCPUS_MAX	64

/* What it is made of */

struct vmm_device_config {
	char socket[108]; /* of a vfio-user server, or */
	char path[256];	  /* of a kernel device; see swo_vfio_kernel_open */
	char id[32];
	char bus[32]; /* "": bus 0 */
	int slot;     /* -1: the next free one */
	int function;
	uint64_t arc_deadline_ms; /* 0: the library's */
	enum swo_when finalise;	  /* as a target's device, instead of what the migration says */
	bool finalise_own;
	bool migration_events; /* VFIO_MIGRATION for each state that it reaches */
	/* Instead of either: this backend (tests). Taken over, also on failure. */
	const struct swo_device_ops *ops;
	void *self;
};
/* "vfio-user,socket=PATH" or "vfio,path=PATH", and then [,id=NAME][,bus=PORT]
   [,addr=SLOT[.FUNCTION]][,arc-deadline=MS][,finalise=early|ram|late][,migration-events=on|off] */
int vmm_device_parse(const char *text, struct vmm_device_config *out, struct swo_error *err);

struct vmm_machine_config {
	const char *name;
	enum vmm_accel_kind accel;
	unsigned vcpus;
	uint64_t ram_size; /* bytes, whole MiB */
	struct vmm_guest_params guest;
	const char *const *root_ports;
	unsigned root_port_count;
	const struct vmm_device_config *devices;
	unsigned device_count;
	enum swo_transitions transitions;
	enum swo_join join;
	unsigned handler_cost_ms; /* an ordinary handler a depth that takes so long; 0: none */
	bool fill_ram;		  /* write every page before the guest starts */
	bool paused;		  /* do not start, or as a target arrive paused */
	bool incoming;		  /* wait for a migration: the guest is not booted */
	/* What migrations begin with, until QMP says otherwise. */
	struct swo_tls_params tls;
	bool insecure;
	enum swo_handover handover; /* FD: as a target, RAM is not had beforehand, either */

	const struct swo_journal_config *journal; /* outlives the machine; NULL: none */
	const char *uuid; /* likewise; NULL: none. A target that has one takes that VM alone */

	/* Told of each event in QMP's terms, on any thread: must not block. Owns `data`. May be
	 * NULL. */
	void (*event)(void *opaque, const char *name, json_t *data);
	/* Told of each status of a migration, on its thread: must not block. May be NULL. */
	void (*migration_status)(void *opaque, enum swo_migration_status status);
	void *opaque;
};

struct vmm_machine;

/* Connects the devices, and does all that can be done before anything runs. */
int vmm_machine_create(
	const struct vmm_machine_config *config, struct vmm_machine **out, struct swo_error *err);
/* Starts the guest, unless it is to be paused or a target. Slow. */
int vmm_machine_launch(struct vmm_machine *machine, struct swo_error *err);
/* Cancels or gives up a migration, ends everything. */
void vmm_machine_free(struct vmm_machine *machine);

const char *vmm_machine_accel(const struct vmm_machine *machine);
enum swo_run_state vmm_machine_state(struct vmm_machine *machine);
/* Where slow work goes, one piece at a time. */
struct swo_worker *vmm_machine_worker(struct vmm_machine *machine);

/* Running */

/* `stop` and `cont`. Slow. When one fails the text says in which state the VM is. */
int vmm_machine_stop(struct vmm_machine *machine, struct swo_error *err);
int vmm_machine_cont(struct vmm_machine *machine, struct swo_error *err);

/*
 * Asks for the end: `vmm_machine_quit_fd` becomes readable. SWO_E_STATE when the only copy of the
 * VM may be here, behind a migration that is not settled; `force` goes all the same.
 */
int vmm_machine_quit(struct vmm_machine *machine, bool force, struct swo_error *err);
int vmm_machine_quit_fd(const struct vmm_machine *machine);

int vmm_machine_guest_stats(
	struct vmm_machine *machine, struct vmm_guest_stats *out, struct swo_error *err);
/* Only of a stopped VM. Slow. */
int vmm_machine_check_ram(
	struct vmm_machine *machine, uint64_t *pages, uint64_t *mismatches, struct swo_error *err);
int vmm_machine_ram_hash(struct vmm_machine *machine, uint64_t *hash, struct swo_error *err);

/* Migrating:
 */

/* Slow, for what an earlier migration may leave to be tidied up. */
int vmm_machine_migrate(struct vmm_machine *machine, const char *uri, struct swo_error *err);
int vmm_machine_incoming(struct vmm_machine *machine, const char *uri, struct swo_error *err);
int vmm_machine_cancel(struct vmm_machine *machine, struct swo_error *err);
/* Slow. */
int vmm_machine_resolve(struct vmm_machine *machine, bool run_here, struct swo_error *err);
/* false: there has been none. */
bool vmm_machine_migration_info(struct vmm_machine *machine, struct swo_migration_info *out);
/* true when none is under way, at the latest at the deadline. */
bool vmm_machine_migration_wait(struct vmm_machine *machine, swo_deadline deadline);

enum vmm_timeline_format { VMM_TIMELINE_JSON, VMM_TIMELINE_CHROME, VMM_TIMELINE_PICTURE };
/* Of the last migration; malloc'ed. columns and utf8 are the picture's. */
int vmm_machine_timeline(struct vmm_machine *machine, enum vmm_timeline_format format,
	unsigned columns, bool utf8, char **out, struct swo_error *err);

/* What migrations are done with from the next one on. */
struct vmm_migration_setup {
	struct swo_migration_params params; /* channels: see multifd */
	bool multifd;			    /* off: one channel, whatever params say */
	bool events;			    /* MIGRATION is told */
	enum swo_transitions transitions;
	enum swo_join join;
};
void vmm_machine_get_setup(struct vmm_machine *machine, struct vmm_migration_setup *out);
/* All or nothing. SWO_E_STATE while a migration is under way. Slow when devices change over. */
int vmm_machine_set_setup(struct vmm_machine *machine, const struct vmm_migration_setup *setup,
	struct swo_error *err);

/* Devices:
 */

unsigned vmm_machine_device_count(const struct vmm_machine *machine);
struct swo_device *vmm_machine_device(struct vmm_machine *machine, unsigned index);
void vmm_machine_device_address(const struct vmm_machine *machine, unsigned index, char out[8]);

#endif
