/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verbs.h - the verbs of `switchover-bench`.
 */
#ifndef TESTBED_VERBS_H
#define TESTBED_VERBS_H

/* bench/ */
int bench_cmd_run(int argc, char **argv);
int bench_cmd_ablate(int argc, char **argv);
int bench_cmd_scale(int argc, char **argv);
int bench_cmd_calibrate(int argc, char **argv);

int fault_cmd(int argc, char **argv); /* faults/ */
int soak_cmd(int argc, char **argv);  /* soak/ */

#endif
