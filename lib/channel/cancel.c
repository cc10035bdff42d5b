/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cancel.c - shuts a socket down under whoever waits on it, which wakes poll(2) both while
 * it connects and while it shakes hands.
 */
#include "channel/cancel.h"

#include <sys/socket.h>

void swo_cancel_fire(struct swo_cancel *attempt)
{
	pthread_mutex_lock(&attempt->lock);
	attempt->ended = true;
	if (attempt->fd >= 0)
		shutdown(attempt->fd, SHUT_RDWR);
	pthread_mutex_unlock(&attempt->lock);
}

static bool set(struct swo_cancel *attempt, int fd)
{
	if (!attempt)
		return true;
	pthread_mutex_lock(&attempt->lock);
	attempt->fd = fd;
	const bool goes_on = !attempt->ended;

	pthread_mutex_unlock(&attempt->lock);
	return goes_on;
}

bool swo_cancel_arm(struct swo_cancel *attempt, int fd)
{
	return set(attempt, fd);
}

bool swo_cancel_disarm(struct swo_cancel *attempt)
{
	return set(attempt, -1);
}
