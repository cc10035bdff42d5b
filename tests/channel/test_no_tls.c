/* SPDX-License-Identifier: BSD-3-Clause */
/* A build without TLS: lib/channel/no_tls.c is linked in place of the library's TLS. */
#include "channel/tls.h"
#include "tests/support/cm.h"

#include <string.h>

static void credentials_are_refused_with_the_build_option(void **state)
{
	struct swo_tls_params params = {.kind = SWO_TLS_AUTO, .creds = "/etc/pki"};
	struct channel_tls_creds *creds = (struct channel_tls_creds *)&params;
	struct swo_error err = {0};

	(void)state;
	assert_int_equal(channel_tls_creds_load(&params, true, &creds, &err), -1);
	assert_null(creds);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "-Dtls=false"));
	channel_tls_creds_free(creds);
}

static void no_session_starts(void **state)
{
	struct swo_error err = {0};
	struct channel_tls *tls = (struct channel_tls *)&err;

	(void)state;
	assert_int_equal(
		channel_tls_start(-1, NULL, "peer", "host", swo_deadline_ms(1000), &tls, &err), -1);
	assert_null(tls);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credentials_are_refused_with_the_build_option),
		cmocka_unit_test(no_session_starts),
	};

	return cmocka_run_group_tests_name("channel without TLS", tests, NULL, NULL);
}
