/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h - the self-check: after the first thing that should not have happened
 * nothing is begun ahead any more in this process.
 *
 * All calls but check_reason: with the fleet's lock held.
 */
#ifndef PRELOAD_CHECK_H
#define PRELOAD_CHECK_H

#include "devices.h"

/* Says once what it was, with the device's name in front (NULL: none), and switches off. */
void check_mismatch(const char *fmt, const struct tracked_device *device, ...)
	__attribute__((format(printf, 1, 3)));
/* Switches off without a word: in a process where nothing may be begun anyway. */
void check_give_up(const char *reason);
bool check_failed(void);
/* What it was, or NULL. */
const char *check_reason(void);
/* For tests. */
void check_reset(void);

#endif
