/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd.h - a program made of verbs, `switchover VERB` and `switchover-bench VERB`: the table of
 * verbs, the exit statuses, and the dispatch. A verb gets its own name as argv[0] and returns an
 * exit status.
 */
#ifndef CMD_COMMON_CMD_H
#define CMD_COMMON_CMD_H

/* The exit statuses of every verb; argp's own errors exit with CLI_USAGE too. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,	     /* the operation failed */
	CLI_USAGE = 2,	     /* invalid usage */
	CLI_IN_DOUBT = 3,    /* migrate, resolve: GO was sent, STARTED not received */
	CLI_UNREACHABLE = 4, /* migrate, resolve: the VMM does not answer */
};

struct cmd_verb {
	const char *name;
	int (*run)(int argc, char **argv); /* NULL: not part of this build */
	const char *what;		   /* one line of --help */
	const char *option;		   /* the build option that excludes it; NULL: none */
};

struct cmd_program {
	const char *name;
	const char *what;  /* the second line of --help */
	const char *notes; /* the last lines of --help; NULL: none */
	const struct cmd_verb *verbs;
	unsigned count;
};

/* Runs the verb that argv[1] names, or --help or --version; an exit status. */
int cmd_dispatch(const struct cmd_program *program, int argc, char **argv);

#endif
