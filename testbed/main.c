/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - `switchover-bench VERB`: the table of its verbs.
 */
#include "testbed/verbs.h"

#include "cmd/common/cmd.h"

#include "switchover/base.h"

static const struct cmd_verb verbs[] = {
	{"run", bench_cmd_run,
		"Migrate, check and measure: numbers of devices, serial and parallel", NULL},
	{"ablate", bench_cmd_ablate, "Measure what each part of the pipeline gains", NULL},
	{"scale", bench_cmd_scale, "Measure what grows with the number of devices", NULL},
	{"calibrate", bench_cmd_calibrate, "Measure the engine overhead on this host", NULL},
	{"faults", fault_cmd, "Run the fault matrix: kill, cut, stall and corrupt at each moment",
		NULL},
	{"soak", soak_cmd, "Migrate one VM back and forth, many times", NULL},
};

static const struct cmd_program program = {
	.name = "switchover-bench",
	.what = "Start machines with simulated devices, migrate them, check and measure.",
	.verbs = verbs,
	.count = SWO_ARRAY_SIZE(verbs),
};

int main(int argc, char **argv)
{
	return cmd_dispatch(&program, argc, argv);
}
