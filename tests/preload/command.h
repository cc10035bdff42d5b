/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * command.h - runs commands of a shell, in a folder for their files, and looks at what they print.
 */
#ifndef TESTS_PRELOAD_COMMAND_H
#define TESTS_PRELOAD_COMMAND_H

#define COMMAND_OUTPUT_MAX 65536

#define EXEC SWITCHOVER " exec "

extern char command_dir[];
/* Of the last command: standard output and standard error. */
extern char command_output[COMMAND_OUTPUT_MAX];

/* Group setup and teardown. */
int command_make_dir(void **state);
int command_remove_dir(void **state);

/* The exit status; -1: a signal. */
int command_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Fails the test if the last command has not, or has, printed this. */
void command_says(const char *what);
void command_does_not_say(const char *what);

#endif
