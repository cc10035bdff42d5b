/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e2e.h - shared by the end-to-end tests, which run all parts as processes.
 */
#ifndef TESTS_E2E_E2E_H
#define TESTS_E2E_E2E_H

#include "testbed/bench/sample.h"
#include "testbed/moments.h"
#include "testbed/pair/pair.h"
#include "testbed/strike.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define E2E_GUARD_MS 60000

/* A case after which no process is left, for any outcome. */
#define e2e_test(f) cmocka_unit_test_teardown(f, e2e_teardown)
int e2e_teardown(void **state);

/* A small machine, quick to boot: native, 64 MiB, one vCPU. */
struct pair_config e2e_config(void);
/* Fails the case with the reason, and keeps the logs. */
#define e2e_must(pair, what)                                                                       \
	do {                                                                                       \
		struct swo_error err_ = {0};                                                       \
		struct swo_error *err = &err_;                                                     \
		if (what)                                                                          \
			e2e_fail(pair, #what, err);                                                \
	} while (0)
void e2e_fail(struct pair *pair, const char *what, const struct swo_error *err)
	__attribute__((noreturn));

/* Skips the case, by name, where /dev/kvm cannot be used. */
void e2e_need_kvm(void);
/* One complete migration, judged by the bench's checks. */
void e2e_migrate_completely(const struct pair_config *config, unsigned vfs, const char *transitions,
	struct bench_sample *sample);

/* Waits for a moment, by its name. */
void e2e_await(struct pair *pair, const char *moment);

/* query-status of a side; "" when its monitor does not answer (any more). */
void e2e_status(struct pair *pair, enum pair_side side, char *out, size_t len);
bool e2e_runs(struct pair *pair, enum pair_side side);
/* Until it runs, or for so long. */
bool e2e_comes_to_run(struct pair *pair, enum pair_side side, uint64_t within_ms);
/* Every device of the side but those in `except` (a bit each) rings on, and lost or repeated
 * nothing. */
void e2e_rings_on(struct pair *pair, enum pair_side side, unsigned except);

#endif
