/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pair.h - a source and a target machine with their devices, each a process, in a
 * directory of their own: what bench measures in and the end-to-end tests break.
 *
 * Threads: the main one only, because processes die with the thread that started them.
 */
#ifndef TESTBED_PAIR_PAIR_H
#define TESTBED_PAIR_PAIR_H

#include "testbed/control.h"
#include "testbed/link.h"
#include "testbed/pair/config.h"
#include "testbed/process.h"

enum pair_side { PAIR_SOURCE, PAIR_TARGET, PAIR_SIDES };

struct pair_end {
	int vm; /* process handles; -1: not started */
	int devs[PAIR_VFS_MAX];
	struct qmp qmp;
	struct json_sock controls[PAIR_VFS_MAX];
};

/* What the machines are: this project's VMM, or QEMU in one of several ways (vmm.c). */
struct pair_vmm {
	const char *name;
	const char *const *prefix;  /* before its own command line; NULL: nothing */
	const char *const *options; /* QEMU's machine */
	bool ours;
	bool daemon;   /* QEMU's -daemonize, under exec */
	bool multifd;  /* the capability; QEMU: for the devices' state, too */
	bool cdev;     /* devices by iommufd, which QEMU does with mediated devices */
	bool memfd;    /* the source's RAM can be reached from outside */
	bool prealloc; /* RAM is allocated at the start; QEMU's source always does that */
};
/* NULL: there is none of that name. */
const struct pair_vmm *pair_vmm_named(const char *name);

struct pair {
	const struct pair_vmm *vmm; /* ours, unless it is changed before the start */
	const char *qemu;	    /* program; NULL: where Debian has it */
	const struct pair_config *config;
	unsigned vfs;
	const char *transitions;
	char dir[64];
	char listen_uri[128]; /* where the target listens */
	char uri[128];	      /* where the source sends to: the same, unless something is between */
	struct pair_end ends[PAIR_SIDES];
	bool turned; /* the target's host is the first one's, and the other way round */
	const char *simvf_option; /* for every device; NULL: none */
	bool paused;		  /* the guest never runs */
	bool no_journal;
	bool quiet_devices;	    /* no events of devices: a figure is taken */
	const char *device_options; /* for every --device, from its comma on; NULL: none */
	json_t *parameters;	    /* of the migration, beyond config's; NULL: none; borrowed */
	bool deaths_expected;	    /* a process that ends is the test's doing */
	unsigned threads_max;	    /* seen while migrating */
	uint64_t rss_max_bytes;
	unsigned files_max; /* open files of either machine, looked at before and after migrating */
	double start_ms;    /* of the slower machine: until its monitor answers */
};

/* What both machines are known by in the journals, which are in the pair's directory. */
#define PAIR_UUID "6c6162ab-0000-4000-8000-000000000001"

const char *pair_side_name(enum pair_side side);
/* The host that has this role now: files in the directory are named after it. */
const char *pair_host(const struct pair *pair, enum pair_side side);

#define PAIR_TLS_HOST "target.example"

/* A port of 127.0.0.1 that was free a moment ago; -1: *err. */
int pair_free_port(struct swo_error *err);
/* With --verbose. */
void pair_say(const struct pair *pair, const char *what);

/* Sets everything to "not started" and makes the directory. pair_free also after a failure. */
int pair_init(struct pair *pair, const struct pair_config *config, unsigned vfs,
	const char *transitions, struct swo_error *err);
/* Devices, then machines, connected to; both machines' monitors answer. */
int pair_start(struct pair *pair, struct swo_error *err);
/* The machine of a side alone, in place of one that has ended. */
int pair_start_machine(struct pair *pair, enum pair_side side, struct swo_error *err);
/* Ends it, by its quit or by force: nothing is left of it. */
void pair_end_machine(struct pair *pair, enum pair_side side);
/* A new one in place of that of a side, whether that lives or not; a target's devices count from
   zero. */
int pair_renew_machine(struct pair *pair, enum pair_side side, struct swo_error *err);
/* Puts a link between the two: to be done before pair_migrate. The caller stops it. */
struct link *pair_put_link(struct pair *pair, struct swo_error *err);
/* Waits until the guest rings all devices of the source steadily; then resets their counters. */
int pair_boot(struct pair *pair, struct swo_error *err);
/* After a migration: its source ends, its target is to be the next source, and where the source was
   a new machine waits. The devices stay. UNIX sockets only. */
int pair_turn(struct pair *pair, struct swo_error *err);
/* An error when a process has died that should not have, or on an interrupt. */
int pair_check(struct pair *pair, struct swo_error *err);
/* Sets the parameters on both sides, lets the target listen and the source begin. */
int pair_migrate(struct pair *pair, struct swo_error *err);
/* The same in two steps: the latter is the source's `migrate` alone. */
int pair_listen(struct pair *pair, struct swo_error *err);
int pair_send(struct pair *pair, struct swo_error *err);
#define PAIR_STATUS_MAX 32
/* Until query-migrate of the source names an end, which is copied to status. */
int pair_wait_end(struct pair *pair, uint64_t within_ms, char *status, struct swo_error *err);
/* The same of either side. */
int pair_wait_side(struct pair *pair, enum pair_side side, uint64_t within_ms, char *status,
	struct swo_error *err);
/* Both sides' devices count from zero. */
int pair_reset_counters(struct pair *pair, struct swo_error *err);
/* Until every device of a side, but those in `except` (a bit each), has received `more` doorbells more
   than at the first look. */
int pair_wait_for_doorbells(struct pair *pair, enum pair_side side, uint64_t except, unsigned more,
	uint64_t within_ms, struct swo_error *err);
/* A device's report; a new reference. */
json_t *pair_report(struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err);
/* An answer of a side's monitor; `arguments` may be NULL and is taken over. */
json_t *pair_qmp(struct pair *pair, enum pair_side side, const char *command, json_t *arguments,
	struct swo_error *err);
/* Writes the costs of the devices, by their profiles, as a probe would, to the pair's directory (tests/kernel-lab/probe.c).
 */
#define PAIR_PROBE "probe.json"
int pair_write_probe(const struct pair *pair, struct swo_error *err);

/* Devices of simvf.ko or simvf_pci.ko instead of processes (kernel.c) */

#define PAIR_PATH_MAX 200
#define PAIR_BDF_MAX  16

/* Of the VFs, in the lab: a test's secret is none. */
#define PAIR_VF_TOKEN "00112233-4455-6677-8899-aabbccddeeff"

bool pair_is_kernel(const struct pair *pair); /* of either */
bool pair_is_pci(const struct pair *pair);
/* "0000:01:10.0": PCI functions count by their addresses. "": there are not so many. */
void pair_pci_address(
	const struct pair *pair, enum pair_side side, unsigned i, char out[PAIR_BDF_MAX]);
/* What `--device vfio,path=` takes: its group, and its name there with the token. */
void pair_group_node(
	const struct pair *pair, enum pair_side side, unsigned i, char *out, size_t room);
/* A side's device i is simvf.N with N = i, on the target beyond those of the source. */
int pair_kernel_prepare(struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err);
unsigned pair_kernel_number(const struct pair *pair, enum pair_side side, unsigned i);
/* Its folder in sysfs. */
void pair_kernel_path(
	const struct pair *pair, enum pair_side side, unsigned i, char out[PAIR_PATH_MAX]);
/* Writes to one of its files in sysfs. */
int pair_kernel_put(const struct pair *pair, enum pair_side side, unsigned i, const char *file,
	const char *text, struct swo_error *err);
/* Its state alone, also while an arc is under way: a report waits for the end of it. */
int pair_kernel_state(const struct pair *pair, enum pair_side side, unsigned i,
	char out[PAIR_STATUS_MAX], struct swo_error *err);
json_t *pair_kernel_report(
	const struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err);

/* Kills everything; removes the directory unless it is to be kept, which is then printed. */
void pair_free(struct pair *pair, bool keep);

#endif
