/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soak.h - the many migrations of one VM: `switchover bench --soak N`. Its own options,
 * its own main.
 */
#ifndef TESTBED_SOAK_SOAK_H
#define TESTBED_SOAK_SOAK_H

int cmd_bench_soak(int argc, char **argv);

#endif
