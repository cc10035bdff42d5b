/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * poll.c - the one place that calls poll(2) with a deadline.
 */
#include "base/poll.h"

#include <errno.h>

/* The longest wait before the interrupt flag is read again. */
#define SLICE_MS 50

int base_poll(struct pollfd *fds, unsigned count, swo_deadline deadline)
{
	for (;;) {
		int n = poll(fds, count, swo_deadline_poll_ms(deadline));

		if (n > 0 || (n < 0 && errno != EINTR))
			return n;
		/* poll(2) may return a fraction of a millisecond early. */
		if (swo_deadline_passed(deadline))
			return 0;
	}
}

int base_wait_fd(int fd, short events, swo_deadline deadline, const volatile int *interrupt)
{
	struct pollfd pfd = {.fd = fd, .events = events};

	for (;;) {
		swo_deadline until = deadline;

		if (interrupt && *interrupt)
			return ECANCELED;
		if (interrupt)
			until = swo_deadline_min(deadline, swo_deadline_ms(SLICE_MS));

		int n = base_poll(&pfd, 1, until);

		if (n)
			return n < 0 ? errno : 0;
		if (swo_deadline_passed(deadline))
			return ETIMEDOUT;
	}
}
