/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attempt.c - shuts a socket down under whoever waits on it, which wakes poll(2) both while
 * it connects and while it shakes hands.
 */
#include "channel/attempt.h"

#include <sys/socket.h>

void swo_attempt_end(struct swo_attempt *attempt)
{
	pthread_mutex_lock(&attempt->lock);
	attempt->ended = true;
	if (attempt->fd >= 0)
		shutdown(attempt->fd, SHUT_RDWR);
	pthread_mutex_unlock(&attempt->lock);
}

static bool set(struct swo_attempt *attempt, int fd)
{
	if (!attempt)
		return true;
	pthread_mutex_lock(&attempt->lock);
	attempt->fd = fd;
	const bool goes_on = !attempt->ended;

	pthread_mutex_unlock(&attempt->lock);
	return goes_on;
}

bool swo_attempt_begin(struct swo_attempt *attempt, int fd)
{
	return set(attempt, fd);
}

bool swo_attempt_over(struct swo_attempt *attempt)
{
	return set(attempt, -1);
}
