/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of handlers: depth, rank, registration, its reverse on stop, and
 * where slow handlers are launched and joined among them.
 */
#include "trail.h"

static void start_goes_by_depth_then_rank_then_registration(void **state)
{
	(void)state;
	struct trail t;
	struct actor a[6] = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a[0], "d1r0", 1, 0);
	trail_ordinary(&t, &a[1], "d0r9", 0, 9);
	trail_ordinary(&t, &a[2], "d1low", 1, SWO_RANK_MIN);
	trail_ordinary(&t, &a[3], "d0r0", 0, 0);
	trail_ordinary(&t, &a[4], "d1r0again", 1, 0);
	trail_ordinary(&t, &a[5], "d0high", 0, SWO_RANK_MAX);
	trail_start(&t, "d0r0 d0r9 d0high d1low d1r0 d1r0again |"
			" d0r0 d0r9 d0high d1low d1r0 d1r0again |");
	trail_close(&t);
}

static void stop_is_the_exact_reverse_ties_included(void **state)
{
	(void)state;
	struct trail t;
	struct actor a[5] = {0};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_ordinary(&t, &a[0], "a", 0, 0);
	trail_ordinary(&t, &a[1], "b", 0, 0);
	trail_ordinary(&t, &a[2], "c", 1, -1);
	trail_ordinary(&t, &a[3], "d", 1, -1);
	trail_ordinary(&t, &a[4], "e", 0, 1);
	trail_stop(&t, "d c e b a | d c e b a |");
	trail_start(&t, "a b e c d | a b e c d |");
	trail_close(&t);
}

static void every_prepare_comes_before_any_change(void **state)
{
	(void)state;
	struct trail t;
	struct actor a[3] = {0};
	struct swo_handler_desc only = {.size = sizeof(struct swo_handler_desc),
		.name = "p",
		.prepare = actor_prepare,
		.opaque = &a[1]};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_ordinary(&t, &a[0], "a", 0, 0);
	a[1].trail = &t;
	a[1].name = "p";
	assert_int_equal(swo_runstate_add(t.rs, &only, NULL, NULL), 0);
	only = (struct swo_handler_desc){.size = sizeof(struct swo_handler_desc),
		.name = "c",
		.change = actor_change,
		.opaque = &a[2]};
	a[2].trail = &t;
	a[2].name = "c";
	assert_int_equal(swo_runstate_add(t.rs, &only, NULL, NULL), 0);
	trail_stop(&t, "p a | c a |");
	trail_start(&t, "a p | a c |");
	trail_close(&t);
}

static void callbacks_learn_the_direction_and_the_new_state(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, x = {0};

	trail_open(&t, SWO_RUN_STATE_INMIGRATE);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_DEPTH);
	trail_start(&t, "x< a >x | x< a >x |");
	assert_true(a.last_running && x.last_running);
	assert_int_equal(a.last_state, SWO_RUN_STATE_RUNNING);
	trail_expect(
		&t, SWO_RUN_STATE_FINISH_MIGRATE, SWO_ON_ERROR_ROLLBACK, 0, "x< a >x | x< a >x |");
	assert_false(a.last_running || x.last_running);
	assert_int_equal(a.last_state, SWO_RUN_STATE_FINISH_MIGRATE);
	assert_int_equal(x.last_state, SWO_RUN_STATE_FINISH_MIGRATE);
	trail_close(&t);
}

static void between_two_stopped_states_no_handler_is_called(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0};

	trail_open(&t, SWO_RUN_STATE_PAUSED);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_expect(&t, SWO_RUN_STATE_FINISH_MIGRATE, SWO_ON_ERROR_ROLLBACK, 0, "");
	assert_int_equal(swo_runstate_get(t.rs), SWO_RUN_STATE_FINISH_MIGRATE);
	trail_start(&t, "a | a |");
	trail_start(&t, "");
	assert_int_equal(swo_runstate_get(t.rs), SWO_RUN_STATE_RUNNING);
	trail_close(&t);
}

static void a_slow_handler_surrounds_every_rank_of_its_depth(void **state)
{
	(void)state;
	struct trail t;
	struct actor a[4] = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a[0], "low", 1, SWO_RANK_MIN);
	trail_ordinary(&t, &a[1], "high", 1, SWO_RANK_MAX);
	trail_slow(&t, &a[2], "x", 1, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a[3], "later", 1, 0);
	trail_start(&t, "x< low later high >x | x< low later high >x |");
	trail_stop(&t, "x< high later low >x | x< high later low >x |");
	trail_close(&t);
}

static void a_slow_handler_is_joined_after_every_sibling_handler_of_its_depth(void **state)
{
	(void)state;
	struct trail t;
	struct actor a[5] = {0};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_slow(&t, &a[0], "x", 2, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a[1], "s", 2, 0);
	trail_slow(&t, &a[2], "y", 2, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a[3], "u", 2, 0);
	trail_slow(&t, &a[4], "z", 2, SWO_JOIN_DEPTH);
	trail_stop(&t, "z< y< x< u s >z >y >x | z< y< x< u s >z >y >x |");
	trail_start(&t, "x< y< z< s u >x >y >z | x< y< z< s u >x >y >z |");
	trail_close(&t);
}

static void join_at_depth_lets_no_other_depth_in_between(void **state)
{
	(void)state;
	struct trail t;
	struct actor a[4] = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a[0], "root", 0, SWO_RANK_MAX);
	trail_ordinary(&t, &a[1], "leaf", 2, SWO_RANK_MIN);
	trail_slow(&t, &a[2], "x", 1, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a[3], "mid", 1, 0);
	trail_start(&t, "root x< mid >x leaf | root x< mid >x leaf |");
	trail_stop(&t, "leaf x< mid >x root | leaf x< mid >x root |");
	trail_close(&t);
}

static void join_at_pass_lets_every_other_depth_overlap(void **state)
{
	(void)state;
	struct trail t;
	struct actor a[5] = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a[0], "root", 0, 0);
	trail_slow(&t, &a[1], "x", 1, SWO_JOIN_PASS);
	trail_ordinary(&t, &a[2], "leaf", 2, 0);
	trail_slow(&t, &a[3], "y", 2, SWO_JOIN_PASS);
	trail_slow(&t, &a[4], "z", 2, SWO_JOIN_DEPTH);
	trail_start(&t, "root x< y< z< leaf >z >x >y | root x< y< z< leaf >z >x >y |");
	trail_stop(&t, "z< y< leaf >z x< root >y >x | z< y< leaf >z x< root >y >x |");
	trail_close(&t);
}

static void no_launched_handler_survives_its_pass(void **state)
{
	(void)state;
	struct trail t;
	struct actor x = {0};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_PASS);
	trail_stop(&t, "x< >x | x< >x |");
	trail_close(&t);
}

static void a_depth_or_rank_out_of_range_is_refused(void **state)
{
	(void)state;
	struct trail t;
	struct swo_error err = {0};
	struct swo_handler_desc desc = {
		.size = sizeof(struct swo_handler_desc), .name = "vf0", .rank = SWO_RANK_MAX + 1};
	struct swo_slow_desc slow = {.size = sizeof(struct swo_slow_desc),
		.name = "vf1",
		.depth = -1,
		.launch = actor_launch,
		.join = actor_join};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	assert_int_equal(swo_runstate_add(t.rs, &desc, NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_non_null(strstr(err.text, "vf0"));
	desc.rank = SWO_RANK_MIN - 1;
	assert_int_equal(swo_runstate_add(t.rs, &desc, NULL, &err), -1);
	desc.rank = 0;
	desc.depth = -1;
	assert_int_equal(swo_runstate_add(t.rs, &desc, NULL, &err), -1);
	assert_int_equal(swo_runstate_add_slow(t.rs, &slow, NULL, &err), -1);
	assert_non_null(strstr(err.text, "vf1"));
	slow.depth = 0;
	slow.join = NULL;
	assert_int_equal(swo_runstate_add_slow(t.rs, &slow, NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	trail_close(&t);
}

static void run_states_have_the_names_query_status_uses(void **state)
{
	(void)state;
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_PRELAUNCH), "prelaunch");
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_INMIGRATE), "inmigrate");
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_RUNNING), "running");
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_PAUSED), "paused");
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_FINISH_MIGRATE), "finish-migrate");
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_POSTMIGRATE), "postmigrate");
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_INTERNAL_ERROR), "internal-error");
	assert_string_equal(swo_run_state_name(SWO_RUN_STATE_SHUTDOWN), "shutdown");
	assert_string_equal(swo_run_state_name((enum swo_run_state)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_goes_by_depth_then_rank_then_registration),
		cmocka_unit_test(stop_is_the_exact_reverse_ties_included),
		cmocka_unit_test(every_prepare_comes_before_any_change),
		cmocka_unit_test(callbacks_learn_the_direction_and_the_new_state),
		cmocka_unit_test(between_two_stopped_states_no_handler_is_called),
		cmocka_unit_test(a_slow_handler_surrounds_every_rank_of_its_depth),
		cmocka_unit_test(a_slow_handler_is_joined_after_every_sibling_handler_of_its_depth),
		cmocka_unit_test(join_at_depth_lets_no_other_depth_in_between),
		cmocka_unit_test(join_at_pass_lets_every_other_depth_overlap),
		cmocka_unit_test(no_launched_handler_survives_its_pass),
		cmocka_unit_test(a_depth_or_rank_out_of_range_is_refused),
		cmocka_unit_test(run_states_have_the_names_query_status_uses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
