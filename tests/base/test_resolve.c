/* SPDX-License-Identifier: BSD-3-Clause */
/* Names whose server does not answer: nothing waits for it longer than it wants to. */
#include "base/net.h"
#include "tests/support/cm.h"
#include "tests/support/silent_resolver.h"

#include <string.h>

#define GUARD_MS 30000

static struct base_uri uri_of(const char *text)
{
	struct base_uri uri;

	assert_int_equal(base_uri_parse(text, &uri, NULL), 0);
	return uri;
}

static void a_name_that_nobody_answers_for_costs_the_deadline(void **state)
{
	(void)state;
	struct base_address addresses[BASE_ADDRESSES_MAX];
	const struct base_uri uri = uri_of("tcp:host.silent:80");
	struct swo_error err = {0};

	assert_int_equal(base_resolve(&uri, false, swo_deadline_ms(30), NULL, addresses, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_non_null(strstr(err.text, "'host.silent'"));
	silent_resolver_await(1);
	silent_resolver_answer();
}

struct lookup {
	struct base_cancel cancel;
	struct base_uri uri;
	struct swo_error err;
	int rc;
};

static void *look_up(void *opaque)
{
	struct lookup *lookup = opaque;
	struct base_address addresses[BASE_ADDRESSES_MAX];

	lookup->rc = base_resolve(&lookup->uri, false, swo_deadline_ms(10 * GUARD_MS),
		&lookup->cancel, addresses, &lookup->err);
	return NULL;
}

static void a_cancel_ends_a_lookup_now_and_later(void **state)
{
	(void)state;
	struct lookup lookup = {.cancel = BASE_CANCEL_INIT, .uri = uri_of("tcp:host.silent:80")};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, look_up, &lookup), 0);
	silent_resolver_await(1);
	base_cancel_fire(&lookup.cancel);
	/* Its name is still not answered for. */
	pthread_join(thread, NULL);
	assert_int_equal(lookup.rc, -1);
	assert_int_equal(lookup.err.code, SWO_E_CANCELLED);
	look_up(&lookup);
	assert_int_equal(lookup.err.code, SWO_E_CANCELLED);
	silent_resolver_await(2);
	silent_resolver_answer();
}

static void an_interrupt_ends_a_lookup(void **state)
{
	(void)state;
	const volatile int interrupted = 1;
	struct lookup lookup = {.cancel = BASE_CANCEL_INIT, .uri = uri_of("tcp:host.silent:80")};

	lookup.cancel.interrupt = &interrupted;
	look_up(&lookup);
	assert_int_equal(lookup.err.code, SWO_E_CANCELLED);
	silent_resolver_await(1);
	silent_resolver_answer();
}

static void an_answer_that_comes_in_time_is_taken(void **state)
{
	(void)state;
	struct base_address addresses[BASE_ADDRESSES_MAX];
	struct lookup lookup = {.cancel = BASE_CANCEL_INIT, .uri = uri_of("tcp:host.silent:80")};
	const struct base_uri local = uri_of("tcp:localhost:80");
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, look_up, &lookup), 0);
	silent_resolver_await(1);
	silent_resolver_answer();
	pthread_join(thread, NULL);
	assert_int_equal(lookup.rc, 1);
	assert_true(
		base_resolve(&local, false, swo_deadline_ms(GUARD_MS), NULL, addresses, NULL) > 0);
}

static void lookups_that_are_left_behind_are_bounded(void **state)
{
	(void)state;
	struct base_address addresses[BASE_ADDRESSES_MAX];
	const struct base_uri uri = uri_of("tcp:host.silent:80"),
			      address = uri_of("tcp:127.0.0.1:80");
	struct swo_error err = {0};
	unsigned left = 0;

	do {
		assert_int_equal(
			base_resolve(&uri, false, swo_deadline_ms(5), NULL, addresses, &err), -1);
		assert_int_equal(err.code, SWO_E_TIMEOUT);
	} while (!strstr(err.text, "earlier lookups") && ++left < 1000);
	assert_int_equal(left, 16);
	silent_resolver_await(left);
	/* An address needs no lookup. */
	assert_int_equal(
		base_resolve(&address, false, swo_deadline_ms(0), NULL, addresses, &err), 1);
	silent_resolver_answer();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_that_nobody_answers_for_costs_the_deadline),
		cmocka_unit_test(a_cancel_ends_a_lookup_now_and_later),
		cmocka_unit_test(an_interrupt_ends_a_lookup),
		cmocka_unit_test(an_answer_that_comes_in_time_is_taken),
		cmocka_unit_test(lookups_that_are_left_behind_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
