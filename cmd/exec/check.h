/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h - checks whether a library can be preloaded into a program, before it is started: a
 * dynamic linker that ignores LD_PRELOAD may do so silently. And whether it got into a process.
 */
#ifndef CMD_EXEC_CHECK_H
#define CMD_EXEC_CHECK_H

#include "switchover/base.h"

#include <limits.h>
#include <sys/types.h>

/* What the kernel will start for a program's path. */
struct exec_program {
	char elf[PATH_MAX];    /* the program itself, or the interpreter of a script */
	char linker[PATH_MAX]; /* its dynamic linker */
	bool is_script;
};

/* The file that execvp would start, into path. -1 with errno ENOENT or EACCES: none. */
int exec_find(const char *program, char *path, size_t room, struct swo_error *err);

/* -1: the library would not get in, and why. */
int exec_can_preload(const char *path, struct exec_program *out, struct swo_error *err);

/* The library beside this program, or where it was installed. */
int exec_find_library(const char *given, char *path, size_t room, struct swo_error *err);

/* Detects sandboxes that kill a thread for a system call of the library: -1, and what to change. */
int exec_check_sandbox(const char *program, char *const argv[], struct swo_error *err);

/* Trials */

#define EXEC_PATTERN_ROOM 32

/* Lets the program's dynamic linker load it with the library, without starting it. */
int exec_try_load(const struct exec_program *program, const char *library, struct swo_error *err);
/*
 * Starts this program under the VMM's name, in the environment that the VMM would get, and gets the
 * library's pattern after two forks, as a VMM that daemonizes has them.
 */
int exec_try_pattern(const char *path, char pattern[EXEC_PATTERN_ROOM], struct swo_error *err);
/* The other end of it: the exit status of the program so started. */
int exec_trial(void);

/* Whether the library is in a running process, into text; -1: it is not, and why. */
int exec_check_running(pid_t pid, char *text, size_t room, struct swo_error *err);

#endif
