/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * view.h - the progress and outcome of a migration as text: pure functions of
 * query-migrate's reply (in QEMU's format).
 */
#ifndef CMD_COMMON_VIEW_H
#define CMD_COMMON_VIEW_H

#include "switchover/base.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum view_state {
	VIEW_RUNNING,	/* in progress */
	VIEW_COMPLETED, /* the machine runs at the target */
	VIEW_FAILED,	/* it does not, and stays at the source */
	VIEW_CANCELLED,
	VIEW_IN_DOUBT, /* GO sent, STARTED not received: the source is parked */
};

enum view_state view_state_of(const json_t *info);
/* "active    812.5 MB/s    31.2 MiB left    stop in about 128 ms": no newline, < len. */
void view_progress(const json_t *info, double elapsed_s, char *out, size_t len);
/* One or two sentences at the end, without a newline. */
void view_summary(const json_t *info, char *out, size_t len);
/* The exit status (cmd.h) of a verb whose migration ended so. */
int view_exit(const json_t *info);
/* The summary, where it belongs: what completed on stdout, all else as an error. */
void view_print_end(const json_t *info);
/* Prints why a monitor gave no answer, and returns the exit status. */
int view_unreachable(const struct swo_error *err);

#endif
