/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pair.h - a source and a target VMM with simvf.ko devices, driven over QMP: what ./run lab qemu
 * measures and breaks. Whatever does not work fails the running test, with a sentence that says
 * why.
 */
#ifndef TESTS_KERNEL_LAB_PAIR_H
#define TESTS_KERNEL_LAB_PAIR_H

#include "bed.h"

#include "cmd/common/qmp_client.h"

#define PAIR_DEVICES (BED_DEVICES / 2) /* a side */

enum pair_side { PAIR_SOURCE, PAIR_TARGET, PAIR_SIDES };

/* How a VMM is started and told to migrate. */
struct pair_vmm {
	const char *name;	   /* "vmm" of a row */
	const char *const *prefix; /* before the VMM's own command line */
	bool multifd;		   /* with the devices' state on the channels, too */
	bool sandbox;		   /* with QEMU's seccomp filter */
	bool cdev;		   /* by iommufd, which QEMU does with mediated devices */
	bool ours;		   /* `switchover vm` */
};
extern const struct pair_vmm pair_vmms[];
extern const unsigned pair_vmm_count;
/* NULL when there is none of that name. */
const struct pair_vmm *pair_vmm_named(const char *name);

struct pair {
	const struct pair_vmm *vmm;
	unsigned count;
	const char *profile;
	char dir[64];
	struct pair_end {
		int process; /* -1: none */
		struct qmp qmp;
	} ends[PAIR_SIDES];
	uint64_t violations; /* of the P2P order, before the machine was stopped */
};

/* Index of a side's device i. */
unsigned pair_device(enum pair_side side, unsigned i);

/* Once in a program. */
void pair_init(void);
/* Prepares `count` devices a side, starts both VMMs and waits until the source's firmware is idle.
 */
void pair_start(struct pair *pair, const struct pair_vmm *vmm, unsigned count, const char *profile);
/* A target in the place of the one that is there, or was; its devices are begun anew. */
void pair_new_target(struct pair *pair);
/* Begins the migration, held back before the stop. */
void pair_begin(struct pair *pair);
/* Begins the migration, held back before the stop: all memory was sent, every device is in PRE_COPY
   or RESUMING. Ours begins when it is let stop the machine. */
void pair_precopy(struct pair *pair);
/* Lets it stop the machine. */
void pair_switch(struct pair *pair);
/* Waits, without asking the VMMs anything, until every device of the target runs. */
void pair_handed_over(struct pair *pair);
/* Waits for a migration's end on the source: "completed", "failed" or "cancelled"; "" when the
   source has died. */
const char *pair_outcome(struct pair *pair);
/* Waits until a machine runs; false when it does not, or has died. */
bool pair_runs(struct pair *pair, enum pair_side side, unsigned within_ms);
/* An answer of a monitor, a new reference; `arguments` is taken over. NULL: the monitor refuses. */
json_t *pair_ask(struct pair *pair, enum pair_side side, const char *command, json_t *arguments);
/* As pair_ask, when only success matters. */
bool pair_tell(struct pair *pair, enum pair_side side, const char *command, json_t *arguments);
bool pair_alive(struct pair *pair, enum pair_side side);
void pair_kill(struct pair *pair, enum pair_side side);
/* Waits, without asking the VMMs anything, until device i of a side is in this state. */
void pair_await(enum pair_side side, unsigned i, const char *state);
/* Kills what still runs. Also after a failed test. */
void pair_stop(struct pair *pair);

/* Start of the first source arc to P2P until the end of the last target arc to RUNNING. */
double pair_outage_ms(const struct pair *pair);
/* Violations of the P2P order since pair_precopy returned. */
uint64_t pair_order_violations(const struct pair *pair);
/* The sum of a counter over all devices of a side. */
uint64_t pair_counter(const struct pair *pair, enum pair_side side, const char *name);
/* How many of a side's devices are in this state. */
unsigned pair_count_in(const struct pair *pair, enum pair_side side, const char *state);
/* How many of the two have the library's self-check off by now: it was surprised, and said so. */
unsigned pair_surprises(const struct pair *pair);
/* Whether every target device has loaded what its source device saved. */
bool pair_state_equal(const struct pair *pair);

#endif
