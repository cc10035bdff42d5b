/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * silent_resolver.c - see silent_resolver.h.
 */
#include "silent_resolver.h"

#include "switchover/base.h"
#include "tests/support/cm.h"

#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

#define GUARD_MS 30000

typedef int resolver(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned waiting, answers;

static bool is_silent(const char *host)
{
	size_t len = host ? strlen(host) : 0;

	return len > 7 && !strcmp(host + len - 7, ".silent");
}

static void nap(void)
{
	swo_sleep_until(swo_now_ns() + 1000000);
}

static unsigned now_waiting(void)
{
	pthread_mutex_lock(&lock);
	unsigned count = waiting;
	pthread_mutex_unlock(&lock);
	return count;
}

static void wait_in_vain(void)
{
	pthread_mutex_lock(&lock);
	const unsigned mine = answers;

	waiting++;
	while (answers == mine) {
		pthread_mutex_unlock(&lock);
		nap();
		pthread_mutex_lock(&lock);
	}
	waiting--;
	pthread_mutex_unlock(&lock);
}

int getaddrinfo(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
	resolver *real;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (!is_silent(host))
		return real(host, port, hints, out);
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	wait_in_vain();
	return real("127.0.0.1", port, hints, out);
}

void silent_resolver_await(unsigned count)
{
	const swo_deadline guard = swo_deadline_ms(GUARD_MS);

	while (now_waiting() != count && !swo_deadline_passed(guard))
		nap();
	assert_int_equal(now_waiting(), count);
}

void silent_resolver_answer(void)
{
	pthread_mutex_lock(&lock);
	answers++;
	pthread_mutex_unlock(&lock);
	silent_resolver_await(0);
}
