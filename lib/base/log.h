/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.h - output that never delays its caller by more than a moment: also texts that are not the
 * library's.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "switchover/base.h"

/* To stderr, in order with the log. Nothing is added or escaped. */
void base_print(const char *fmt, ...) SWO_PRINTF(1, 2);
/* Returns when all that was logged has reached the sink, or half a second later. */
void base_log_flush(void);

#endif
