/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Callbacks that fail: in both passes and both directions, under ROLLBACK and
 * under CONTINUE, at each position of the list.
 */
#include "trail.h"

/* root(0), x(1, slow), mid(1), leaf(2): the list of most cases below. */
struct cast {
	struct trail t;
	struct actor root, x, mid, leaf;
};

static void cast_open(struct cast *c, enum swo_run_state state)
{
	memset(c, 0, sizeof(*c));
	trail_open(&c->t, state);
	trail_ordinary(&c->t, &c->root, "root", 0, 0);
	trail_slow(&c->t, &c->x, "x", 1, SWO_JOIN_DEPTH);
	trail_ordinary(&c->t, &c->mid, "mid", 1, 0);
	trail_ordinary(&c->t, &c->leaf, "leaf", 2, 0);
}

static void rolls_back(struct cast *c, enum swo_run_state to, const char *expected)
{
	enum swo_run_state before = swo_runstate_get(c->t.rs);

	trail_expect(&c->t, to, SWO_ON_ERROR_ROLLBACK, -1, expected);
	assert_int_equal(swo_runstate_get(c->t.rs), before);
	trail_close(&c->t);
}

static void a_failed_prepare_takes_back_those_called_and_no_others(void **state)
{
	(void)state;
	struct cast c;

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.leaf.fails = AT_PREPARE;
	rolls_back(&c, SWO_RUN_STATE_PAUSED, "leaf! | leaf | leaf |");

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.root.fails = AT_PREPARE;
	rolls_back(&c, SWO_RUN_STATE_PAUSED,
		"leaf x< mid >x root! | root x< mid >x leaf | root x< mid >x leaf |");
}

static void a_failed_start_is_taken_back_by_a_stop(void **state)
{
	(void)state;
	struct cast c;

	cast_open(&c, SWO_RUN_STATE_PAUSED);
	c.root.fails_start = AT_PREPARE;
	rolls_back(&c, SWO_RUN_STATE_RUNNING, "root! | root | root |");
	assert_int_equal(c.root.last_state, SWO_RUN_STATE_PAUSED);
	assert_false(c.root.last_running);

	cast_open(&c, SWO_RUN_STATE_PAUSED);
	c.leaf.fails_start = AT_CHANGE;
	rolls_back(&c, SWO_RUN_STATE_RUNNING,
		"root x< mid >x leaf | root x< mid >x leaf! |"
		" leaf x< mid >x root | leaf x< mid >x root |");
}

static void launched_handlers_are_joined_before_anything_is_taken_back(void **state)
{
	(void)state;
	struct cast c;

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.mid.fails = AT_PREPARE;
	rolls_back(&c, SWO_RUN_STATE_PAUSED, "leaf x< mid! >x | x< mid >x leaf | x< mid >x leaf |");

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.mid.fails = AT_CHANGE;
	rolls_back(&c, SWO_RUN_STATE_PAUSED,
		"leaf x< mid >x root | leaf x< mid! >x |"
		" root x< mid >x leaf | root x< mid >x leaf |");
}

static void a_failed_join_is_taken_back_like_any_other(void **state)
{
	(void)state;
	struct cast c;

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.x.fails = AT_PREPARE_JOIN;
	rolls_back(&c, SWO_RUN_STATE_PAUSED, "leaf x< mid >x! | x< mid >x leaf | x< mid >x leaf |");

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.x.fails = AT_CHANGE_JOIN;
	rolls_back(&c, SWO_RUN_STATE_PAUSED,
		"leaf x< mid >x root | leaf x< mid >x! |"
		" root x< mid >x leaf | root x< mid >x leaf |");
}

static void a_failed_launch_is_never_joined(void **state)
{
	(void)state;
	struct cast c;

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.x.fails = AT_PREPARE;
	rolls_back(&c, SWO_RUN_STATE_PAUSED, "leaf x<! | x< >x leaf | x< >x leaf |");
}

static void slow_handlers_go_back_in_parallel_too(void **state)
{
	(void)state;
	struct trail t;
	struct actor x = {0}, y = {0}, z = {.fails = AT_CHANGE_JOIN};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_slow(&t, &x, "x", 1, SWO_JOIN_PASS);
	trail_slow(&t, &y, "y", 1, SWO_JOIN_PASS);
	trail_slow(&t, &z, "z", 2, SWO_JOIN_PASS);
	trail_expect(&t, SWO_RUN_STATE_FINISH_MIGRATE, SWO_ON_ERROR_ROLLBACK, -1,
		"z< y< x< >z >y >x | z< y< x< >z! >y >x |"
		" x< y< z< >x >y >z | x< y< z< >x >y >z |");
	trail_close(&t);
}

static void handlers_without_that_callback_were_not_called(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {.fails = AT_PREPARE}, b = {0};
	struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
		.name = "b",
		.depth = 1,
		.change = actor_change,
		.opaque = &b};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_ordinary(&t, &a, "a", 0, 0);
	b.trail = &t;
	b.name = "b";
	assert_int_equal(swo_runstate_add(t.rs, &desc, NULL, NULL), 0);
	trail_expect(&t, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, -1, "a! | a | a |");
	a.fails = AT_CHANGE;
	trail_expect(&t, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, -1, "a | b a! | a | a b |");
	trail_close(&t);
}

static void an_error_during_roll_back_stops_and_hides_nothing(void **state)
{
	(void)state;
	struct cast c;
	struct swo_error err = {0};

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.root.fails = AT_CHANGE;
	c.mid.fails_start = AT_PREPARE;
	c.x.fails_start = AT_CHANGE_JOIN;
	assert_int_equal(
		swo_runstate_change(c.t.rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, &err), -1);
	assert_string_equal(c.t.text, "leaf x< mid >x root | leaf x< mid >x root! |"
				      " root x< mid! >x leaf | root x< mid >x! leaf |");
	assert_string_equal(err.text, "stop (change) of 'root': root broke");
	assert_int_equal(err.code, SWO_E_DEVICE);
	assert_int_equal(swo_runstate_get(c.t.rs), SWO_RUN_STATE_RUNNING);
	trail_close(&c.t);
}

static void continue_calls_everyone_and_reports_the_first_and_the_rest(void **state)
{
	(void)state;
	struct cast c;
	struct swo_error err = {0};

	cast_open(&c, SWO_RUN_STATE_RUNNING);
	c.leaf.fails = AT_PREPARE;
	c.mid.fails = AT_CHANGE;
	c.x.fails = AT_CHANGE_JOIN;
	assert_int_equal(
		swo_runstate_change(c.t.rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, &err), -1);
	assert_string_equal(c.t.text, "leaf! x< mid >x root | leaf x< mid! >x! root |");
	assert_string_equal(err.text, "stop (prepare) of 'leaf': leaf broke (and 2 more)");
	assert_int_equal(swo_runstate_get(c.t.rs), SWO_RUN_STATE_PAUSED);
	trail_close(&c.t);
}

static void continue_goes_on_after_a_failed_launch(void **state)
{
	(void)state;
	struct cast c;

	cast_open(&c, SWO_RUN_STATE_PAUSED);
	c.x.fails_start = AT_PREPARE;
	trail_expect(&c.t, SWO_RUN_STATE_RUNNING, SWO_ON_ERROR_CONTINUE, -1,
		"root x<! mid leaf | root x< mid >x leaf |");
	assert_int_equal(swo_runstate_get(c.t.rs), SWO_RUN_STATE_RUNNING);
	trail_close(&c.t);
}

static int wordless(void *opaque, bool running, enum swo_run_state to, struct swo_error *err)
{
	(void)opaque;
	(void)running;
	(void)to;
	(void)err;
	return -1;
}

static void a_callback_that_fails_without_a_text_is_named(void **state)
{
	(void)state;
	struct trail t;
	struct swo_error err = {0};
	struct swo_handler_desc desc = {
		.size = sizeof(struct swo_handler_desc), .name = "mute", .prepare = wordless};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	assert_int_equal(swo_runstate_add(t.rs, &desc, NULL, NULL), 0);
	assert_int_equal(
		swo_runstate_change(t.rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, &err), -1);
	assert_int_not_equal(err.code, SWO_E_NONE);
	assert_non_null(strstr(err.text, "mute"));
	trail_close(&t);
}

static void remove_other(struct actor *self)
{
	swo_runstate_remove(self->trail->rs, self->other->handler);
}

static void one_that_was_removed_is_not_taken_back(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {.fails = AT_CHANGE}, b = {0};

	a.acts = AT_CHANGE;
	a.act = remove_other;
	a.other = &b;
	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_ordinary(&t, &b, "b", 1, 0);
	trail_expect(&t, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, -1, "b a | b a! | a | a |");
	trail_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_prepare_takes_back_those_called_and_no_others),
		cmocka_unit_test(a_failed_start_is_taken_back_by_a_stop),
		cmocka_unit_test(launched_handlers_are_joined_before_anything_is_taken_back),
		cmocka_unit_test(a_failed_join_is_taken_back_like_any_other),
		cmocka_unit_test(a_failed_launch_is_never_joined),
		cmocka_unit_test(slow_handlers_go_back_in_parallel_too),
		cmocka_unit_test(handlers_without_that_callback_were_not_called),
		cmocka_unit_test(an_error_during_roll_back_stops_and_hides_nothing),
		cmocka_unit_test(continue_calls_everyone_and_reports_the_first_and_the_rest),
		cmocka_unit_test(continue_goes_on_after_a_failed_launch),
		cmocka_unit_test(a_callback_that_fails_without_a_text_is_named),
		cmocka_unit_test(one_that_was_removed_is_not_taken_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
