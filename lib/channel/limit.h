/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limit.h - ends the waits of senders before their connection stalls for its whole deadline: what
 * they send is not wanted any more, or one thread has less time than the others.
 */
#ifndef CHANNEL_LIMIT_H
#define CHANNEL_LIMIT_H

#include "switchover/base.h"

#include <stdatomic.h>

struct channel_limit {
	const atomic_bool *abort; /* true: no sender waits any more */
	/* Of `thread` alone, which sets both: others are waited for by it. 0: none. */
	_Atomic swo_deadline until;
	pthread_t thread;
};

/* 0, ECANCELED by abort, ETIME by `until`. NULL: no limit. */
int channel_limit_reached(const struct channel_limit *limit);
/* base_wait_fd() within the limit: also its results. */
int channel_limit_wait(
	const struct channel_limit *limit, int fd, short events, swo_deadline deadline);
/* pthread_mutex_lock() within `until`, of a mutex that is held during such waits. */
int channel_limit_lock(const struct channel_limit *limit, pthread_mutex_t *mutex);
/* SWO_E_CANCELLED or SWO_E_TIMEOUT for the former two of these, SWO_E_IO for others. */
int channel_limit_error(struct swo_error *err, int rc, const char *peer);

#endif
