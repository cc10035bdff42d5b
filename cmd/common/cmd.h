/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd.h - the verbs of `switchover VERB`: one file a verb, one line a verb in
 * the table of main.c. A verb gets its own name as argv[0] and returns an exit status.
 */
#ifndef CMD_COMMON_CMD_H
#define CMD_COMMON_CMD_H

/* Exit statuses that every verb keeps to; argp's own errors end with CLI_USAGE too. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,	     /* it was tried, and did not come out well */
	CLI_USAGE = 2,	     /* the command line makes no sense */
	CLI_IN_DOUBT = 3,    /* migrate, resolve: GO was sent and nobody answered */
	CLI_UNREACHABLE = 4, /* migrate, resolve: the VMM cannot be talked to */
};

int cmd_migrate(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_resolve(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_observe(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_vm(int argc, char **argv);
int cmd_probe(int argc, char **argv);

#endif
