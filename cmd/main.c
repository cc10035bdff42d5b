/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - `switchover VERB`: the table of its verbs. A packager may leave out some of them
 * (meson_options.txt): they are refused by name.
 */
#include "cmd/common/verbs.h"

#include "cmd/common/cmd.h"

#include "switchover/base.h"

#ifdef HAVE_VMM
#define VM cmd_vm
#else
#define VM NULL
#endif
#ifdef HAVE_BENCH
#define BENCH cmd_bench
#else
#define BENCH NULL
#endif
#ifdef HAVE_PRELOAD
#define EXEC cmd_exec
#else
#define EXEC NULL
#endif

static const struct cmd_verb verbs[] = {
	{"vm", VM, "Run a virtual machine with passthrough devices, or receive one", "vmm"},
	{"migrate", cmd_migrate, "Migrate a running VM over its QMP socket", NULL},
	{"status", cmd_status, "Show a VM, its migration and its devices, once or until the end",
		NULL},
	{"cancel", cmd_cancel, "Cancel a migration, and wait for its end", NULL},
	{"resolve", cmd_resolve, "Resolve a migration in doubt, or list the journals", NULL},
	{"exec", EXEC, "Start another VMM so that its devices change state in parallel", "preload"},
	{"observe", cmd_observe, "Show where the time went, from the records of `exec`", NULL},
	{"report", cmd_report, "Show timelines and measured rows as one page of HTML or SVG", NULL},
	{"bench", BENCH, "Start switchover-bench, which measures on this host", "bench"},
	{"plan", cmd_plan, "Predict a switchover, or show where the time of one went", NULL},
	{"probe", cmd_probe, "Report what a device supports and whether it follows the rules",
		NULL},
};

static const struct cmd_program program = {
	.name = "switchover",
	.what = "Live migration for virtual machines with passthrough devices.",
#ifdef HAVE_BENCH
	.notes = "\nswitchover-bench starts machines and devices, migrates, checks and measures;\n"
		 "switchover-simvf is a simulated device. Each has a man page.\n",
#endif
	.verbs = verbs,
	.count = SWO_ARRAY_SIZE(verbs),
};

int main(int argc, char **argv)
{
	return cmd_dispatch(&program, argc, argv);
}
