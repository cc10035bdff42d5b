/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machine.h - the reference VMM's machine: RAM, vCPUs, PCI and passthrough devices, its run
 * state, and its migration.
 *
 * Threads: any function may be called from any thread, except create, launch and free.
 * Functions marked slow may take as long as devices take; the others return at once.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "switchover/migration.h"
#include "vmm/accel/accel.h"

#include <jansson.h>

#define VMM_DEVICES_MAX 248 /* 31 slots of 8 functions on bus 0 */
#define VMM_VCPUS_MAX	64

/* Configuration */

struct vmm_device_config {
	char socket[108]; /* of a vfio-user server, or */
	char path[256];	  /* of a kernel device; see swo_vfio_kernel_open */
	int fd;		  /* or its descriptor; see swo_vfio_kernel_adopt; 0: none */
	int iommufd;	  /* of the kernel devices of a machine; 0: opened when it is needed */
	char token[40];	  /* of a VF; "": none. Or */
	char token_file[256];
	int token_fd; /* or from here, to its end; 0: none */
	char id[32];
	char bus[32]; /* "": bus 0 */
	int slot;     /* -1: the next free one */
	int function;
	uint64_t arc_deadline_ms; /* 0: the library's default */
	enum swo_when finalise;	  /* overrides the migration's setting on a target */
	bool finalise_own;
	bool migration_events; /* send VFIO_MIGRATION for each new state */
	uint32_t quirks;       /* SWO_VFIO_USER_*, of a vfio-user server */
	/* Instead of either: this backend (tests). Owned by the device, also on failure. */
	const struct swo_device_ops *ops;
	void *self;
};
/*
 * "vfio-user,socket=PATH" or "vfio,path=PATH|fd=N[,iommufd=N][,vf-token-file=PATH|vf-token-fd=N|
 * vf-token=UUID]", then [,id=NAME][,bus=PORT]
 * [,addr=SLOT[.FUNCTION]][,arc-deadline=MS][,finalise=early|ram|late][,migration-events=on|off]
 * [,quirks=NAME[+NAME...]]
 */
int vmm_device_parse(const char *text, struct vmm_device_config *out, struct swo_error *err);

struct vmm_machine_config {
	const char *name;
	enum vmm_accel_kind accel;
	unsigned vcpus;
	uint64_t ram_size; /* bytes, a multiple of 1 MiB */
	struct vmm_guest_params guest;
	const char *const *root_ports;
	unsigned root_port_count;
	const struct vmm_device_config *devices;
	unsigned device_count;
	enum swo_transitions transitions;
	enum swo_join join;
	unsigned handler_cost_ms; /* time of one simulated handler per depth; 0: no such handlers */
	bool no_dump;		  /* core dumps leave RAM out */
	bool prealloc;		  /* allocate all of RAM now, not page by page as it is touched */
	unsigned stop_writes;	  /* pages that a handler writes in each stop; 0: no such handler */
	bool fill_ram;		  /* write every page before the guest starts */
	bool paused;		  /* do not start; on a target: stay paused after the migration */
	bool incoming;		  /* wait for a migration: the guest is not booted */
	bool exit_on_error;	  /* the default of migrate-incoming */
	/* Initial parameters of migrations, until QMP changes them. */
	struct swo_tls_params tls;
	bool insecure;
	enum swo_handover handover; /* FD: `prealloc` has no effect on a target */

	const struct swo_journal_config *journal; /* outlives the machine; NULL: none */
	const char *
		uuid; /* outlives the machine; NULL: none. A target with one accepts only that VM */

	const char *
		monitor; /* outlives the machine; URI of its QMP socket, for messages; NULL: none */
	/* Called for each QMP event, on any thread: must not block. Owns `data`. May be NULL. */
	void (*event)(void *opaque, const char *name, json_t *data);
	/* Called for each status of a migration, on its thread: must not block. May be NULL. */
	void (*migration_status)(void *opaque, enum swo_migration_status status);
	void *opaque;
};

struct vmm_machine;

/* Connects the devices, and does everything that can be done before the VM runs. */
int vmm_machine_create(
	const struct vmm_machine_config *config, struct vmm_machine **out, struct swo_error *err);
/* Starts the guest, unless it is to be paused or a target. Slow. */
int vmm_machine_launch(struct vmm_machine *machine, struct swo_error *err);
/* Cancels or aborts a migration, and frees the machine. */
void vmm_machine_free(struct vmm_machine *machine);

const char *vmm_machine_accel(const struct vmm_machine *machine);
const char *vmm_machine_name(const struct vmm_machine *machine);
const char *vmm_machine_uuid(const struct vmm_machine *machine); /* NULL: none was given */
unsigned vmm_machine_vcpus(const struct vmm_machine *machine);
int vmm_machine_vcpu_thread(const struct vmm_machine *machine, unsigned vcpu); /* its kernel ID */
enum swo_run_state vmm_machine_state(struct vmm_machine *machine);
/* The worker for slow operations, one at a time. */
struct swo_worker *vmm_machine_worker(struct vmm_machine *machine);

/* Running */

/* `stop` and `cont`. Slow. The text of an error has the state of the VM. */
int vmm_machine_stop(struct vmm_machine *machine, struct swo_error *err);
int vmm_machine_cont(struct vmm_machine *machine, struct swo_error *err);

/*
 * Requests the end: `vmm_machine_quit_fd` becomes readable. SWO_E_STATE if the only copy of the
 * VM may be here, after a migration in doubt; `force` overrides that.
 */
int vmm_machine_quit(struct vmm_machine *machine, bool force, struct swo_error *err);
int vmm_machine_quit_fd(const struct vmm_machine *machine);

int vmm_machine_guest_stats(
	struct vmm_machine *machine, struct vmm_guest_stats *out, struct swo_error *err);
/* Only of a stopped VM. With what stop_writes wrote and a later start did not find. Slow. */
int vmm_machine_check_ram(
	struct vmm_machine *machine, uint64_t *pages, uint64_t *mismatches, struct swo_error *err);
int vmm_machine_ram_hash(struct vmm_machine *machine, uint64_t *hash, struct swo_error *err);

/* Descriptors by name */

/* Takes ownership, also on failure; closes an earlier one of that name. */
int vmm_machine_keep_fd(
	struct vmm_machine *machine, const char *name, int fd, struct swo_error *err);
int vmm_machine_close_fd(struct vmm_machine *machine, const char *name, struct swo_error *err);
/*
 * The URI of the address that a socket is connected to. It is closed, and no longer has the name,
 * whatever this returns.
 */
int vmm_machine_fd_peer(struct vmm_machine *machine, const char *name, char *uri, size_t size,
	struct swo_error *err);

/* Migrating */

/* Slow, since an earlier migration may have to be freed. */
/* `once` applies to this migration only; NULL: the machine's setup. */
struct vmm_migration_setup;
int vmm_machine_migrate(struct vmm_machine *machine, const char *uri,
	const struct vmm_migration_setup *once, struct swo_error *err);
/* Also after one that has failed. exit_on_error: see vmm_machine_incoming_failed. */
int vmm_machine_incoming(
	struct vmm_machine *machine, const char *uri, bool exit_on_error, struct swo_error *err);
bool vmm_machine_exits_on_error(const struct vmm_machine *machine); /* the default */
enum vmm_incoming {
	VMM_INCOMING_GOES_ON, /* it has not failed, or the machine is to stay */
	VMM_INCOMING_ANSWERS, /* it has failed, but its source may be in doubt and send ASK */
	VMM_INCOMING_FAILED,  /* it has failed, and no source needs this machine any more */
};
enum vmm_incoming vmm_machine_incoming_failed(struct vmm_machine *machine);
int vmm_machine_cancel(struct vmm_machine *machine, struct swo_error *err);
/* Of a source that has paused before the switchover. */
int vmm_machine_continue(struct vmm_machine *machine, struct swo_error *err);
/* Slow. */
int vmm_machine_resolve(struct vmm_machine *machine, bool run_here, struct swo_error *err);
/* false: there has been no migration. */
bool vmm_machine_migration_info(struct vmm_machine *machine, struct swo_migration_info *out);
/* true if no migration is in progress, at the latest at the deadline. */
bool vmm_machine_migration_wait(struct vmm_machine *machine, swo_deadline deadline);

enum vmm_timeline_format { VMM_TIMELINE_JSON, VMM_TIMELINE_CHROME, VMM_TIMELINE_PICTURE };
/* Of the last migration; malloc'ed. columns and utf8 are for the picture. */
int vmm_machine_timeline(struct vmm_machine *machine, enum vmm_timeline_format format,
	unsigned columns, bool utf8, char **out, struct swo_error *err);

/* Prometheus' text format 0.0.4; malloc'ed. docs/operating.md describes it. */
int vmm_machine_metrics(struct vmm_machine *machine, char **text, struct swo_error *err);

/* The parameters of migrations from the next one on */
struct vmm_migration_setup {
	struct swo_migration_params params; /* channels: see multifd */
	bool multifd;			    /* off: one channel, whatever `params` has */
	bool events;			    /* send MIGRATION events */
	enum swo_transitions transitions;
	enum swo_join join;
	bool return_path, switchover_ack; /* for query-migrate-capabilities only */
};
void vmm_machine_get_setup(struct vmm_machine *machine, struct vmm_migration_setup *out);
/*
 * Changes all or nothing, by `change`, which may be called twice: for the setup of later migrations,
 * and for that of one in progress, in which only the limits (struct swo_migration_limits) and `events`
 * may change: otherwise SWO_E_STATE. Slow if devices change over.
 */
typedef int vmm_setup_change(
	struct vmm_migration_setup *setup, const void *opaque, struct swo_error *err);
int vmm_machine_change_setup(struct vmm_machine *machine, vmm_setup_change *change,
	const void *opaque, struct swo_error *err);

/* Devices */

unsigned vmm_machine_device_count(const struct vmm_machine *machine);
struct swo_device *vmm_machine_device(struct vmm_machine *machine, unsigned index);
void vmm_machine_device_address(const struct vmm_machine *machine, unsigned index, char out[8]);

#endif
