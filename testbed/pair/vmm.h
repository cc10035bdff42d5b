/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vmm.h - how the two machines of a pair are started, by the VMM that they are of.
 */
#ifndef TESTBED_PAIR_VMM_H
#define TESTBED_PAIR_VMM_H

#include "testbed/pair/pair.h"

#define PAIR_ARGS_MAX (64 + 2 * PAIR_VFS_MAX)

/* A command line; all zero: empty. */
struct pair_args {
	const char *argv[PAIR_ARGS_MAX + 1];
	size_t count;
	bool failed; /* an argument did not fit */
};

void pair_arg(struct pair_args *args, const char *fmt, ...) SWO_PRINTF(2, 3);
/* Starts it (process_spawn) and frees the arguments. */
int pair_args_spawn(
	struct pair_args *args, const char *name, const char *log, struct swo_error *err);
/* The whole command line of a side's machine. */
void pair_vmm_args(const struct pair *pair, enum pair_side side, struct pair_args *args);

#endif
