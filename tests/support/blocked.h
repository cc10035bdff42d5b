/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocked.h - waits until a thread is where it waits for something itself: what a test is to
 * strike at then would pass without having been there, if it only slept for a while.
 */
#ifndef TESTS_SUPPORT_BLOCKED_H
#define TESTS_SUPPORT_BLOCKED_H

#include <stdatomic.h>
#include <stdbool.h>

/* gettid() of a thread of this process, which the thread itself stores; 0: not yet. */
typedef atomic_int blocked_tid;

/* True once the thread sleeps in the kernel and goes on doing so; false when it has ended, or does
   not come to it. */
bool blocked_await(blocked_tid *tid);

#endif
