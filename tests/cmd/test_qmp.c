/* SPDX-License-Identifier: BSD-3-Clause */
/* The QMP client against monitors that behave, and that do not. */
#include "cmd/common/qmp_client.h"
#include "fake_monitor.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD swo_deadline_ms(20000)
#define CAPS                                                                                       \
	{                                                                                          \
		.command = "qmp_capabilities", .answer = "{\"return\": {}}"                        \
	}

static void a_command_gets_its_answer_and_events_are_kept_in_order(void **state)
{
	(void)state;
	const struct fake_step steps[] = {
		CAPS, {.command = "query-status",
			      .before = "{\"event\": \"STOP\"}\r\n{\"event\": \"RESUME\"}",
			      .answer = "{\"return\": {\"status\": \"running\"}}"}};
	struct fake_monitor fake = {0};
	struct swo_error err = {0};
	struct qmp qmp;

	fake_monitor_start(&fake, steps, SWO_ARRAY_SIZE(steps));
	assert_int_equal(qmp_open(&qmp, fake.uri, false, GUARD, NULL, &err), 0);
	json_t *answer = qmp_execute(&qmp, "query-status", NULL, GUARD, &err);
	assert_string_equal(json_path_string(answer, "status"), "running");
	json_decref(answer);
	const char *const events[] = {"STOP", "RESUME"};
	for (int i = 0; i < 2; i++) {
		json_t *event = qmp_event(&qmp, GUARD, &err);
		assert_string_equal(json_path_string(event, "event"), events[i]);
		json_decref(event);
	}
	qmp_close(&qmp);
	fake_monitor_stop(&fake);
	assert_string_equal(fake.unexpected, "");
}

static void a_command_that_fails_has_the_text_of_the_monitor(void **state)
{
	(void)state;
	const struct fake_step steps[] = {CAPS,
		{.command = "cont",
			.answer =
				"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no way\"}}"},
		{.command = "stop", .answer = "{}"}};
	struct fake_monitor fake = {0};
	struct swo_error err = {0};
	struct qmp qmp;

	fake_monitor_start(&fake, steps, SWO_ARRAY_SIZE(steps));
	assert_int_equal(qmp_open(&qmp, fake.uri, false, GUARD, NULL, &err), 0);
	assert_null(qmp_execute(&qmp, "cont", NULL, GUARD, &err));
	assert_int_equal(err.code, SWO_E_STATE);
	assert_string_equal(err.text, "cont: no way");
	assert_null(qmp_execute(&qmp, "stop", NULL, GUARD, &err));
	assert_int_equal(err.code, SWO_E_STATE);
	qmp_close(&qmp);
	fake_monitor_stop(&fake);
}

static void a_monitor_that_does_not_answer_runs_into_the_deadline(void **state)
{
	(void)state;
	const struct fake_step steps[] = {CAPS, {.command = "query-status"},
		{.command = "query-migrate",
			.before = "{\"return\": {\"status\": \"late\"}, \"id\": 2}",
			.answer = "{\"return\": {\"status\": \"active\"}}"}};
	struct fake_monitor fake = {0};
	struct swo_error err = {0};
	struct qmp qmp;

	fake_monitor_start(&fake, steps, SWO_ARRAY_SIZE(steps));
	assert_int_equal(qmp_open(&qmp, fake.uri, false, GUARD, NULL, &err), 0);
	assert_null(qmp_execute(&qmp, "query-status", NULL, swo_deadline_ms(20), &err));
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	/* Its late reply is not taken for the next command's. */
	json_t *answer = qmp_execute(&qmp, "query-migrate", NULL, GUARD, &err);
	assert_string_equal(json_path_string(answer, "status"), "active");
	json_decref(answer);
	qmp_close(&qmp);
	fake_monitor_stop(&fake);
}

static void a_lost_monitor_and_garbage_are_distinguished(void **state)
{
	(void)state;
	const struct fake_step gone[] = {CAPS, {.command = "stop", .close_after = true}};
	const struct fake_step rubbish[] = {CAPS, {.command = "stop", .before = "{]"}};
	struct swo_error err = {0};

	for (int i = 0; i < 2; i++) {
		struct fake_monitor fake = {0};
		struct qmp qmp;

		fake_monitor_start(&fake, i ? rubbish : gone, 2);
		assert_int_equal(qmp_open(&qmp, fake.uri, false, GUARD, NULL, &err), 0);
		assert_null(qmp_execute(&qmp, "stop", NULL, GUARD, &err));
		assert_int_equal(err.code, i ? SWO_E_PROTOCOL : SWO_E_PEER_LOST);
		qmp_close(&qmp);
		fake_monitor_stop(&fake);
	}
}

static void a_server_without_the_qmp_greeting_is_refused(void **state)
{
	(void)state;
	struct fake_monitor fake = {.greeting = "{\"hello\": 1}"};
	struct swo_error err = {0};
	struct qmp qmp;

	fake_monitor_start(&fake, NULL, 0);
	assert_int_equal(qmp_open(&qmp, fake.uri, false, GUARD, NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);
	qmp_close(&qmp);
	fake_monitor_stop(&fake);
}

static void a_monitor_that_is_not_there_is_an_error_or_waited_for(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct qmp qmp;

	assert_int_equal(
		qmp_open(&qmp, "unix:/tmp/switchover-no-such", false, GUARD, NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_IO);
	qmp_close(&qmp);
	uint64_t before = swo_now_ns();
	assert_int_equal(qmp_open(&qmp, "unix:/tmp/switchover-no-such", true, swo_deadline_ms(30),
				 NULL, &err),
		-1);
	assert_true(swo_now_ns() - before >= 30000000);
	qmp_close(&qmp);
	assert_int_equal(qmp_open(&qmp, "nonsense", true, GUARD, NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	qmp_close(&qmp);
}

static void an_interrupt_ends_a_wait(void **state)
{
	(void)state;
	const struct fake_step steps[] = {CAPS, {.command = "stop"}};
	const volatile int interrupt = 1;
	struct fake_monitor fake = {0};
	struct swo_error err = {0};
	struct qmp qmp;

	fake_monitor_start(&fake, steps, SWO_ARRAY_SIZE(steps));
	assert_int_equal(qmp_open(&qmp, fake.uri, false, GUARD, NULL, &err), 0);
	qmp.interrupt = &interrupt;
	assert_null(qmp_execute(&qmp, "stop", NULL, GUARD, &err));
	assert_int_equal(err.code, SWO_E_CANCELLED);
	qmp_close(&qmp);
	fake_monitor_stop(&fake);
}

static void unread_events_are_bounded_and_the_newest_are_kept(void **state)
{
	(void)state;
	enum { SENT = QMP_EVENTS_MAX + 10 };
	char *many = calloc(SENT, 32);
	struct fake_monitor fake = {0};
	struct swo_error err = {0};
	struct qmp qmp;

	for (int i = 0; i < SENT; i++)
		sprintf(many + strlen(many), "{\"event\": \"E%d\"}\n", i);
	const struct fake_step steps[] = {
		CAPS, {.command = "stop", .before = many, .answer = "{\"return\": {}}"}};
	fake_monitor_start(&fake, steps, SWO_ARRAY_SIZE(steps));
	assert_int_equal(qmp_open(&qmp, fake.uri, false, GUARD, NULL, &err), 0);
	json_decref(qmp_execute(&qmp, "stop", NULL, GUARD, &err));
	json_t *event = qmp_event(&qmp, GUARD, &err);
	assert_string_equal(json_path_string(event, "event"), "E10");
	json_decref(event);
	qmp_close(&qmp);
	fake_monitor_stop(&fake);
	free(many);
}

static void a_path_leads_through_nested_objects(void **state)
{
	(void)state;
	json_t *root = json_loads("{\"a\": {\"b\": {\"n\": 7, \"s\": \"x\"}}}", 0, NULL);

	assert_true(json_path_number(root, "a.b.n") == 7);
	assert_string_equal(json_path_string(root, "a.b.s"), "x");
	assert_null(json_path(root, "a.c.n"));
	assert_null(json_path(root, "a.b.n.more"));
	assert_true(json_path_number(NULL, "a") == 0);
	assert_string_equal(json_path_string(root, "a.b.n"), "");
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_gets_its_answer_and_events_are_kept_in_order),
		cmocka_unit_test(a_command_that_fails_has_the_text_of_the_monitor),
		cmocka_unit_test(a_monitor_that_does_not_answer_runs_into_the_deadline),
		cmocka_unit_test(a_lost_monitor_and_garbage_are_distinguished),
		cmocka_unit_test(a_server_without_the_qmp_greeting_is_refused),
		cmocka_unit_test(a_monitor_that_is_not_there_is_an_error_or_waited_for),
		cmocka_unit_test(an_interrupt_ends_a_wait),
		cmocka_unit_test(unread_events_are_bounded_and_the_newest_are_kept),
		cmocka_unit_test(a_path_leads_through_nested_objects),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
