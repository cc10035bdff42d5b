/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h - checks whether a library can be preloaded into a program, before it is started: a
 * dynamic linker that ignores LD_PRELOAD does so silently.
 */
#ifndef CMD_EXEC_CHECK_H
#define CMD_EXEC_CHECK_H

#include "switchover/base.h"

/* The file that execvp would start, into path. -1 with errno ENOENT or EACCES: none. */
int exec_find(const char *program, char *path, size_t room, struct swo_error *err);

/* -1: the library would not get in, and why. A script counts as its interpreter. */
int exec_can_preload(const char *path, struct swo_error *err);

/* The library beside this program, or where it was installed. */
int exec_find_library(const char *given, char *path, size_t room, struct swo_error *err);

/* Detects sandboxes that kill a thread for a system call of the library: -1, and what to change. */
int exec_check_sandbox(const char *program, char *const argv[], struct swo_error *err);

#endif
