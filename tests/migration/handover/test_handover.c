/* SPDX-License-Identifier: BSD-3-Clause */
/* The handover's tables, cell by cell: what must and what must not lead where. */
#include "migration/handover/handover.h"
#include "tests/support/cm.h"

#include <stdbool.h>
#include <string.h>

static enum source_state source_after(enum source_state state, enum source_event event)
{
	source_step(&state, event);
	return state;
}

static enum target_state target_after(enum target_state state, enum target_event event)
{
	target_step(&state, event);
	return state;
}

static void only_ready_in_sent_sends_go(void **state)
{
	(void)state;
	for (int s = 0; s < SOURCE_STATES; s++)
		for (int e = 0; e < SOURCE_EVENTS; e++) {
			enum source_state at = (enum source_state)s;
			bool go = source_step(&at, (enum source_event)e) & ACT_SEND_GO;

			assert_int_equal(go, s == SOURCE_SENT && e == SOURCE_EV_READY);
		}
}

static void only_go_in_ready_starts_the_target(void **state)
{
	(void)state;
	for (int s = 0; s < TARGET_STATES; s++)
		for (int e = 0; e < TARGET_EVENTS; e++) {
			enum target_state at = (enum target_state)s;
			uint32_t actions = target_step(&at, (enum target_event)e);
			bool start = actions & ACT_START;

			assert_int_equal(start, s == TARGET_READY && e == TARGET_EV_GO);
		}
}

static void whatever_settles_who_may_run_is_put_on_record(void **state)
{
	(void)state;
	for (int s = 0; s < SOURCE_STATES; s++)
		for (int e = 0; e < SOURCE_EVENTS; e++) {
			enum source_state at = (enum source_state)s;
			uint32_t actions = source_step(&at, (enum source_event)e);
			bool news = (int)at != s && source_record(at, (enum source_event)e);

			assert_int_equal(news, (actions & ACT_JOURNAL) != 0);
		}
	for (int s = 0; s < TARGET_STATES; s++)
		for (int e = 0; e < TARGET_EVENTS; e++) {
			enum target_state at = (enum target_state)s;
			uint32_t actions = target_step(&at, (enum target_event)e);
			bool news = (int)at != s && target_record(at);

			assert_int_equal(news, (actions & ACT_JOURNAL) != 0);
		}
	assert_int_equal(
		source_record(SOURCE_RESUMING, SOURCE_EV_OPERATOR_RUN), SWO_JOURNAL_RUN_HERE);
	assert_int_equal(source_record(SOURCE_RESUMING, SOURCE_EV_REFUSED), SWO_JOURNAL_REFUSED);
	assert_int_equal(target_record(TARGET_STARTING), SWO_JOURNAL_STARTING);
}

static void before_go_every_failure_takes_the_vm_back(void **state)
{
	(void)state;
	const enum source_state before[] = {
		SOURCE_SETUP, SOURCE_PRECOPY, SOURCE_STOPPING, SOURCE_SENT};
	const enum source_event bad[] = {
		SOURCE_EV_FAIL, SOURCE_EV_CANCEL, SOURCE_EV_LOST, SOURCE_EV_REFUSED};

	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 4; j++) {
			enum source_state at = before[i];

			assert_true(source_step(&at, bad[j]) & ACT_TAKE_BACK);
			assert_int_equal(at, SOURCE_TAKE_BACK);
			assert_int_equal(source_after(at, SOURCE_EV_RESUMED), SOURCE_FAILED);
		}
}

static void after_go_only_a_refusal_or_a_word_resumes_the_source(void **state)
{
	(void)state;
	for (int e = 0; e < SOURCE_EVENTS; e++) {
		enum source_state committed = SOURCE_COMMITTED, doubt = SOURCE_IN_DOUBT;
		bool from_committed = source_step(&committed, (enum source_event)e) & ACT_RESUME;
		bool from_doubt = source_step(&doubt, (enum source_event)e) & ACT_RESUME;

		assert_int_equal(from_committed, e == SOURCE_EV_REFUSED);
		assert_int_equal(from_doubt, e == SOURCE_EV_REFUSED || e == SOURCE_EV_OPERATOR_RUN);
	}
	for (int e = 0; e < SOURCE_EVENTS; e++)
		if (e != SOURCE_EV_REFUSED)
			assert_false(source_may_run(
				source_after(SOURCE_COMMITTED, (enum source_event)e)));
}

static void a_refused_target_never_starts(void **state)
{
	(void)state;
	for (int e = 0; e < TARGET_EVENTS; e++)
		assert_int_equal(
			target_after(TARGET_REFUSED, (enum target_event)e), TARGET_REFUSED);
}

static void a_started_target_stays_started_and_says_so_again(void **state)
{
	(void)state;
	for (int e = 0; e < TARGET_EVENTS; e++) {
		enum target_state at = TARGET_STARTED;
		uint32_t actions = target_step(&at, (enum target_event)e);

		assert_int_equal(at, TARGET_STARTED);
		if (e == TARGET_EV_GO || e == TARGET_EV_ASK)
			assert_int_equal(actions, ACT_SEND_STARTED);
		else
			assert_int_equal(actions, 0);
	}
}

static void a_lost_peer_makes_a_ready_target_wait_and_a_loading_one_refuse(void **state)
{
	(void)state;
	assert_int_equal(target_after(TARGET_READY, TARGET_EV_LOST), TARGET_READY);
	assert_int_equal(target_after(TARGET_LOADING, TARGET_EV_LOST), TARGET_REFUSED);
	assert_int_equal(target_after(TARGET_READY, TARGET_EV_ASK), TARGET_REFUSED);
}

static void final_states_are_final_and_unknown_input_is_ignored(void **state)
{
	(void)state;
	for (int s = 0; s < SOURCE_STATES; s++)
		for (int e = 0; e < SOURCE_EVENTS; e++)
			if (source_final((enum source_state)s))
				assert_int_equal(
					source_after((enum source_state)s, (enum source_event)e),
					s);
	enum source_state source = SOURCE_SENT;
	enum target_state target = TARGET_READY;

	assert_int_equal(source_step(&source, (enum source_event)99), 0);
	assert_int_equal(target_step(&target, (enum target_event)99), 0);
	assert_int_equal(source, SOURCE_SENT);
	assert_int_equal(target, TARGET_READY);
}

static void every_state_and_event_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < SOURCE_STATES; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(source_state_name((enum source_state)i),
				source_state_name((enum source_state)j));
	for (int i = 0; i < SOURCE_EVENTS; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(source_event_name((enum source_event)i),
				source_event_name((enum source_event)j));
	for (int i = 0; i < TARGET_STATES; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(target_state_name((enum target_state)i),
				target_state_name((enum target_state)j));
	for (int i = 0; i < TARGET_EVENTS; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(target_event_name((enum target_event)i),
				target_event_name((enum target_event)j));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_ready_in_sent_sends_go),
		cmocka_unit_test(only_go_in_ready_starts_the_target),
		cmocka_unit_test(whatever_settles_who_may_run_is_put_on_record),
		cmocka_unit_test(before_go_every_failure_takes_the_vm_back),
		cmocka_unit_test(after_go_only_a_refusal_or_a_word_resumes_the_source),
		cmocka_unit_test(a_refused_target_never_starts),
		cmocka_unit_test(a_started_target_stays_started_and_says_so_again),
		cmocka_unit_test(a_lost_peer_makes_a_ready_target_wait_and_a_loading_one_refuse),
		cmocka_unit_test(final_states_are_final_and_unknown_input_is_ignored),
		cmocka_unit_test(every_state_and_event_has_a_name_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
