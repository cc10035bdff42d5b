/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shell.h - parts of commands that messages print, to be pasted into a shell.
 */
#ifndef BASE_SHELL_H
#define BASE_SHELL_H

#include "switchover/base.h"

/*
 * Quotes one argument for sh(1); unchanged if it needs no quotes. False, and "", if it does not fit
 * or has bytes that no message may print (swo_escape): then print no command, a wrong or truncated
 * one is worse.
 */
bool base_shell_quote(const char *text, char *out, size_t room);

#endif
