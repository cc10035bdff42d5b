/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * held.h - a pair with simvf.ko devices whose migration is held before its stop, and what the
 * devices saw of it: what ./run lab qemu measures and breaks. Whatever does not work fails the
 * running test, with the reason.
 */
#ifndef TESTS_KERNEL_LAB_HELD_H
#define TESTS_KERNEL_LAB_HELD_H

#include "bed.h"

#include "testbed/moments.h"

#define HELD_DEVICES (BED_DEVICES / 2) /* a side */

struct held {
	struct pair pair;
	struct pair_config config;
	uint64_t violations; /* of the P2P order, before the machine was stopped */
};

/* Prepares `count` devices a side, starts both VMMs and waits until the source's firmware is idle.
 */
void held_start(struct held *held, const struct pair_vmm *vmm, unsigned count, const char *profile);
/* Index of a side's device i. */
unsigned held_device(const struct held *held, enum pair_side side, unsigned i);
/* A target in the place of the one that is there, or was; its devices are restarted. */
void held_new_target(struct held *held);
/* Begins the migration, held back before the stop. */
void held_begin(struct held *held);
/* Begins the migration, held back before the stop: all memory was sent, every device is in PRE_COPY
   or RESUMING. Ours begins when it is let stop the machine. */
void held_precopy(struct held *held);
/* Releases it to stop the machine. */
void held_switch(struct held *held);
/* Waits, without a query to the VMMs, until every device of the target runs. */
void held_handed_over(struct held *held);
/* Waits for a migration's end on the source: "completed", "failed" or "cancelled"; "" when the
   source has died. */
const char *held_outcome(struct held *held);
/* Waits until a machine runs; false when it does not, or has died. */
bool held_runs(struct held *held, enum pair_side side, unsigned within_ms);
/* The reply of a monitor, a new reference; takes ownership of `arguments`. NULL: refused. */
json_t *held_ask(struct held *held, enum pair_side side, const char *command, json_t *arguments);
/* As held_ask, when only success matters. */
bool held_tell(struct held *held, enum pair_side side, const char *command, json_t *arguments);
bool held_alive(struct held *held, enum pair_side side);
void held_kill(struct held *held, enum pair_side side);
bool held_killed(const struct held *held, enum pair_side side);
/* Waits, without a query to the VMMs, until device i is at a moment's state. */
void held_await(struct held *held, const char *moment, unsigned i);
/* Kills what still runs. Also after a failed test. */
void held_stop(struct held *held);

/* Start of the first source arc to P2P until the end of the last target arc to RUNNING. */
double held_outage_ms(const struct held *held);
/* Violations of the P2P order since held_precopy returned. */
uint64_t held_order_violations(const struct held *held);
/* The sum of a counter over all devices of a side. */
uint64_t held_counter(const struct held *held, enum pair_side side, const char *name);
/* How many of a side's devices are in this state. */
unsigned held_count_in(const struct held *held, enum pair_side side, const char *state);
/* The number of sides on which the library's self-check has failed by now, and has logged it. */
unsigned held_surprises(const struct held *held);
/* Whether every target device has loaded what its source device saved. */
bool held_state_equal(const struct held *held);

#endif
