/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * poll.h - waits until a descriptor is ready or a deadline passes.
 */
#ifndef BASE_POLL_H
#define BASE_POLL_H

#include "switchover/base.h"

#include <poll.h>

/*
 * poll(2) that restarts after signals: the number of ready descriptors, 0 at the deadline, or
 * -1 with errno.
 */
int base_poll(struct pollfd *fds, unsigned count, swo_deadline deadline);

/*
 * 0: `fd` is ready for `events`, or broken, which the next call on it reports. Otherwise
 * ETIMEDOUT, poll's errno, or ECANCELED once *interrupt (NULL: none), which a signal handler
 * may set, is not 0.
 */
int base_wait_fd(int fd, short events, swo_deadline deadline, const volatile int *interrupt);

#endif
