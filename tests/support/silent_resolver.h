/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * silent_resolver.h - getaddrinfo(3) of a test: names under ".silent" are not answered for before
 * silent_resolver_answer(); others are looked up as ever.
 */
#ifndef TESTS_SUPPORT_SILENT_RESOLVER_H
#define TESTS_SUPPORT_SILENT_RESOLVER_H

/* Returns when `count` lookups wait; fails the test if that does not happen. */
void silent_resolver_await(unsigned count);
/* All that wait get the answer "127.0.0.1", and returns when none waits. */
void silent_resolver_answer(void);

#endif
