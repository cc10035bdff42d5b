/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * moments.h - the moments of a migration at which a machine, a device or the link is struck: the
 * fault matrix, the end-to-end tests and the kernel lab strike at these and no others.
 */
#ifndef TESTBED_MOMENTS_H
#define TESTBED_MOMENTS_H

#include "testbed/pair/pair.h"

/* An event of one side's monitor, or the first one after another moment. */
struct moment {
	const char *name;
	enum pair_side side;
	const char *event, *key, *word;
	const struct moment *after;
};

/* In the order in which they come: on both sides of GO. */
#define MOMENTS 10
extern const struct moment moments[MOMENTS];

/* NULL: there is none of that name. */
const struct moment *moment_named(const char *name);
/* Takes events until it comes. What came before the call and was not taken yet counts, too. */
int moment_await(
	struct pair *pair, const struct moment *moment, uint64_t within_ms, struct swo_error *err);
/* Whether simvf.ko's device i of its side is in the state that the moment is of, by sysfs: for a
   VMM that sends no events. SWO_E_INVALID for a moment of the migration's status. */
bool moment_is_now(
	struct pair *pair, const struct moment *moment, unsigned i, struct swo_error *err);

#endif
