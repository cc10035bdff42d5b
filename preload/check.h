/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h - the self-check: after the first unexpected event, this process starts no more arcs
 * speculatively.
 *
 * All calls except check_reason() require the devices lock.
 */
#ifndef PRELOAD_CHECK_H
#define PRELOAD_CHECK_H

#include "devices.h"

/*
 * Logs the mismatch once, prefixed with the device's name (NULL: none), and disables
 * speculation.
 */
void check_mismatch(const char *fmt, const struct tracked_device *device, ...)
	__attribute__((format(printf, 1, 3)));
bool check_failed(void);
/* The stored mismatch, or NULL. */
const char *check_reason(void);
/* For tests. */
void check_reset(void);

#endif
