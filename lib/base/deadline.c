/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * deadline.c - one clock (CLOCK_MONOTONIC, nanoseconds) and absolute deadlines on it.
 */
#include "switchover/base.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

uint64_t swo_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

swo_deadline swo_deadline_ms(uint64_t milliseconds_from_now)
{
	uint64_t now = swo_now_ns();

	/* Saturate well below the top: callers may add to a deadline. */
	if (milliseconds_from_now > (UINT64_MAX / 4) / NS_PER_MS)
		milliseconds_from_now = (UINT64_MAX / 4) / NS_PER_MS;
	return now + milliseconds_from_now * NS_PER_MS;
}

bool swo_deadline_passed(swo_deadline deadline)
{
	return swo_now_ns() >= deadline;
}

int swo_deadline_poll_ms(swo_deadline deadline)
{
	uint64_t now = swo_now_ns();

	if (now >= deadline)
		return 0;
	uint64_t ms = (deadline - now + NS_PER_MS - 1) / NS_PER_MS;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

void swo_sleep_until(uint64_t when_ns)
{
	struct timespec ts = to_timespec(when_ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

int swo_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int rc = pthread_condattr_init(&attr);

	if (rc)
		return rc;
	rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!rc)
		rc = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return rc;
}

int swo_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, swo_deadline deadline)
{
	struct timespec ts = to_timespec(deadline);

	return pthread_cond_timedwait(cond, mutex, &ts);
}
