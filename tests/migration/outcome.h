/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * outcome.h - the outcome of a migration between two fake VMs, and the arcs whose failure must roll
 * the source back.
 */
#ifndef TESTS_MIGRATION_OUTCOME_H
#define TESTS_MIGRATION_OUTCOME_H

#include "fake_vm.h"

/* Both have ended, and the VM is at the target with all its devices' state. The source's final info.
 */
struct swo_migration_info expect_arrived(
	struct fake_vm *source, struct fake_vm *target, bool running);
/* The source runs, the target never did. words: what the source's error must have; NULL: anything.
 */
void expect_source_runs_on(struct fake_vm *source, struct fake_vm *target, const char *words);

struct failing_arc {
	bool at_target;
	enum swo_device_state from, to;
	const char *words;
};
#define ARCS_BEFORE_GO 5
extern const struct failing_arc arcs_before_go[ARCS_BEFORE_GO];
/* On the second device of its side. */
void fail_arc(struct fake_vm *source, struct fake_vm *target, const struct failing_arc *arc);

/* Anything else that can go wrong before GO, of three devices with 300000 bytes each: makes one of
   them happen, and returns what the error must have of it. */
#define FAILURES_BEFORE_GO 10
const char *fail_before_go(struct fake_vm *source, struct fake_vm *target, unsigned which);

#endif
