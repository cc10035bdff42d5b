/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cancel.h - an attempt to connect that another thread may put an end to: a cancel
 * must not wait for a peer that says nothing.
 */
#ifndef CHANNEL_ATTEMPT_H
#define CHANNEL_ATTEMPT_H

#include <pthread.h>
#include <stdbool.h>

struct swo_cancel {
	pthread_mutex_t lock;
	int fd; /* the socket that connects or shakes hands; -1: none does */
	bool ended;
};

#define SWO_ATTEMPT_INIT                                                                           \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1                                        \
	}

/* Any thread, any time: whoever connects with it fails at once, now and later. */
void swo_cancel_fire(struct swo_cancel *attempt);

/* For who connects; NULL is allowed. False: it has been ended. */
bool swo_cancel_arm(struct swo_cancel *attempt, int fd);
/* Before the socket is closed or given away. False: it has been ended meanwhile. */
bool swo_cancel_disarm(struct swo_cancel *attempt);

#endif
