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

/*
 * Warnings that a stranger can cause at will: at most 8 in 10 s are logged. How many were left out is
 * logged with the next one, or at the end.
 */
struct base_log_rate {
	pthread_mutex_t lock;
	/* under the lock */
	swo_deadline until; /* of the current 10 s */
	unsigned logged, left_out;
};
#define BASE_LOG_RATE_INIT                                                                         \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER                                                  \
	}
void base_log_limited(struct base_log_rate *rate, const char *fmt, ...) SWO_PRINTF(2, 3);
void base_log_rate_end(struct base_log_rate *rate);

#endif
