/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * show.h - the state of a VM, its migration and its devices as lines: a pure function of what a
 * monitor replied, switchover's or QEMU's.
 */
#ifndef CMD_STATUS_SHOW_H
#define CMD_STATUS_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* {"vm", "migration", "devices"}: replies to query-status, query-migrate, and x-query-devices or null.
   Returns the lines written; clear: each ends with what clears the rest of a terminal's line. */
unsigned status_show(FILE *out, const json_t *all, bool clear);

#endif
