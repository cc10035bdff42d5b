/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limit.c - see limit.h.
 */
#include "channel/limit.h"

#include "base/poll.h"

#include <errno.h>
#include <time.h>

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

int channel_limit_lock(const struct channel_limit *limit, pthread_mutex_t *mutex)
{
	if (!limit)
		return pthread_mutex_lock(mutex);
	int rc = pthread_mutex_trylock(mutex);

	while (rc == EBUSY || rc == ETIMEDOUT) {
		const swo_deadline slice = swo_deadline_ms(SLICE_MS);
		const struct timespec at = {.tv_sec = (time_t)(slice / 1000000000),
			.tv_nsec = (long)(slice % 1000000000)};

		/* An abort ends the wait of the sender before, and what follows may be the reason. */
		if (channel_limit_reached(limit) == ETIME)
			return ETIME;
		rc = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &at);
	}
	return rc;
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
