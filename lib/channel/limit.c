/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limit.c - see limit.h.
 */
#include "channel/limit.h"

#include "base/poll.h"

#include <errno.h>

/* The longest wait before the limit is read again. */
#define SLICE_MS 20

int channel_limit_reached(const struct channel_limit *limit)
{
	if (!limit)
		return 0;
	if (atomic_load(limit->abort))
		return ECANCELED;
	const swo_deadline until = atomic_load(&limit->until);

	return until && pthread_equal(limit->thread, pthread_self()) && swo_deadline_passed(until)
		       ? ETIME
		       : 0;
}

int channel_limit_wait(
	const struct channel_limit *limit, int fd, short events, swo_deadline deadline)
{
	if (!limit)
		return base_wait_fd(fd, events, deadline, NULL);
	for (;;) {
		int rc = channel_limit_reached(limit);

		if (!rc)
			rc = base_wait_fd(fd, events,
				swo_deadline_min(deadline, swo_deadline_ms(SLICE_MS)), NULL);
		if (rc != ETIMEDOUT || swo_deadline_passed(deadline))
			return rc;
	}
}

void channel_turn_init(struct channel_turn *turn)
{
	pthread_mutex_init(&turn->mutex, NULL);
	swo_cond_init(&turn->freed);
	turn->taken = false;
}

void channel_turn_destroy(struct channel_turn *turn)
{
	pthread_cond_destroy(&turn->freed);
	pthread_mutex_destroy(&turn->mutex);
}

int channel_turn_take(struct channel_turn *turn, const struct channel_limit *limit)
{
	int rc = 0;

	pthread_mutex_lock(&turn->mutex);
	while (turn->taken && !rc) {
		/* What follows an abort may be the reason for it. */
		if (channel_limit_reached(limit) == ETIME)
			rc = ETIME;
		else
			swo_cond_wait(&turn->freed, &turn->mutex, swo_deadline_ms(SLICE_MS));
	}
	turn->taken = turn->taken || !rc;
	pthread_mutex_unlock(&turn->mutex);
	return rc;
}

bool channel_turn_try(struct channel_turn *turn)
{
	pthread_mutex_lock(&turn->mutex);
	const bool free = !turn->taken;

	turn->taken = true;
	pthread_mutex_unlock(&turn->mutex);
	return free;
}

void channel_turn_leave(struct channel_turn *turn)
{
	pthread_mutex_lock(&turn->mutex);
	turn->taken = false;
	pthread_cond_signal(&turn->freed);
	pthread_mutex_unlock(&turn->mutex);
}

int channel_limit_error(struct swo_error *err, int rc, const char *peer)
{
	if (rc == ECANCELED)
		return swo_error_set(err, SWO_E_CANCELLED, 0,
			"the connection '%s' is not waited for: the migration was aborted", peer);
	if (rc == ETIME)
		return swo_error_set(err, SWO_E_TIMEOUT, ETIME,
			"the peer on '%s' did not receive what was sent", peer);
	return swo_error_set(err, SWO_E_IO, rc, "poll on '%s'", peer);
}
