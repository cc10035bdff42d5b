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

/*
 * One sender at a time. Not a mutex alone: the next one waits within its own limit, on the one clock.
 */
struct channel_turn {
	pthread_mutex_t mutex;
	pthread_cond_t freed;
	bool taken; /* under the mutex */
};
void channel_turn_init(struct channel_turn *turn);
void channel_turn_destroy(struct channel_turn *turn);
/* 0, or ETIME by `until`: an abort ends the wait of the sender before. */
int channel_turn_take(struct channel_turn *turn, const struct channel_limit *limit);
/* True if it was free, and is now taken. */
bool channel_turn_try(struct channel_turn *turn);
void channel_turn_leave(struct channel_turn *turn);

/* SWO_E_CANCELLED or SWO_E_TIMEOUT for the former two of these, SWO_E_IO for others. */
int channel_limit_error(struct swo_error *err, int rc, const char *peer);

#endif
