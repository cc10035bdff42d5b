/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file.h - files that an option names, to be written.
 */
#ifndef CMD_COMMON_FILE_H
#define CMD_COMMON_FILE_H

#include "switchover/base.h"

#include <stdio.h>

/*
 * Creates or empties a regular file of this user, mode 0600 when it is new. A link, a FIFO, a device
 * and the file of another user are refused and not touched: in a folder that others may write to,
 * they may have put it there. Never blocks. The error begins with `what`, the option.
 */
int create_file(const char *what, const char *path, FILE **out, struct swo_error *err);
/* Would create_file() work? A file that exists is not changed, one that does not is not left. */
int check_file(const char *what, const char *path, struct swo_error *err);

/* What is written to stdout from now on goes to such a file. NULL: nothing changes. */
int redirect_output(const char *what, const char *path, struct swo_error *err);
/* The same, with this text in it. */
int write_file(const char *what, const char *path, const char *text, struct swo_error *err);

#endif
