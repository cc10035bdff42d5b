/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_pause.c - pause-before-switchover: where the guest is and what the monitor does there, on both
 * sides; migrate-continue; and the ends of a pause that no client continues.
 */
#include "play.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <string.h>

static void set(const char *command, const char *args)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"execute\": \"%s\", \"arguments\": %s}", command, args);
	json_decref(talk_do(&play.pair.s, text));
}

static void pause_on(void)
{
	set("migrate-set-capabilities", "{\"capabilities\": [{\"capability\": "
					"\"pause-before-switchover\", \"state\": true}]}");
}

static void go_on(void)
{
	set("migrate-continue", "{\"state\": \"pre-switchover\"}");
}

static void refuse_to_go_on(const char *state, const char *part)
{
	char text[128];

	snprintf(text, sizeof(text),
		"{\"execute\": \"migrate-continue\", \"arguments\": {\"state\": \"%s\"}}", state);
	talk_refused(&play.pair.s, text, "GenericError", part);
}

static void reach_pause(void)
{
	play_up();
	pause_on();
	refuse_to_go_on("pre-switchover", "not in expected state: none");
	play_migrate();
	play_await_status(&play.pair.s, "pre-switchover");
}

/* The phase has no name of its own among those of play.h: ones that cannot be confused with it. */
static const struct row rows[] = {
	{STOPPING, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{STOPPING, 's', "cont", "in progress", &moved, 0, 0},
	{STOPPING, 's', "quit", NULL, &moved, 0, 0},
	{STOPPING, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{STOPPING, 's', "migrate", "in progress", &moved, 0, 0},
	{STOPPING, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{STOPPING, 't', "stop", NULL, &moved_paused, 0, 0},
	{STOPPING, 't', "cont", NULL, &moved, 0, 0},
	{STOPPING, 't', "quit", NULL, &moved, 0, 0},
	{STOPPING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{STOPPING, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{STOPPING, 't', "migrate-incoming", "already", &moved, 0, 0},
};

static void the_monitor_in_the_pause(void **state)
{
	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct talk *talk = row->side == 's' ? &play.pair.s : &play.pair.t;

		reach_pause();
		play_send(row, talk);
		play_expect_answer(row, talk);
		if (row->end == &moved || row->end == &moved_paused)
			go_on();
		play_expect_outcome(row);
		play_down();
	}
}

/* As in QEMU: the guest is stopped, all but the last step is done, and DEVICE comes afterwards. */
static void the_guest_is_stopped_in_the_pause_and_events_come_in_qemus_order(void **state)
{
	static const char *const statuses[] = {
		"setup", "active", "pre-switchover", "device", "completed"};
	static const struct row row = {STOPPING, 's', "migrate-continue", NULL, &moved, 0, 0};
	size_t i, next = 0, stops = 0, passes = 0;
	json_t *event, *info;

	(void)state;
	reach_pause();
	box_expect_status(&play.pair.s, "finish-migrate", false);
	assert_false(play_runs(&play.pair.t));
	for (unsigned k = 0; k < BOX_DEVICES; k++)
		assert_int_equal(
			fake_state(&play.pair.source.fake[k].device), SWO_DEVICE_STOP_COPY);
	info = talk_do(&play.pair.s, "{\"execute\": \"query-migrate\"}");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(info, "vfio"), "transferred")),
		BOX_DEVICES * PLAY_STATE_BYTES);
	assert_false(json_is_true(json_object_get(info, "x-committed")));
	json_decref(info);
	refuse_to_go_on("device", "can only be pre-switchover");
	refuse_to_go_on("wrong", "does not accept value 'wrong'");
	go_on();
	play_expect_outcome(&row);
	refuse_to_go_on("pre-switchover", "not in expected state: completed");
	json_array_foreach (play.pair.s.events, i, event) {
		const char *name = json_string_value(json_object_get(event, "event"));
		const json_t *data = json_object_get(event, "data");

		stops += !strcmp(name, "STOP") && next == 2;
		if (!strcmp(name, "MIGRATION_PASS"))
			assert_int_equal(
				json_integer_value(json_object_get(data, "pass")), ++passes);
		if (strcmp(name, "MIGRATION") != 0)
			continue;
		assert_true(next < SWO_ARRAY_SIZE(statuses));
		assert_string_equal(
			json_string_value(json_object_get(data, "status")), statuses[next++]);
	}
	assert_int_equal(next, SWO_ARRAY_SIZE(statuses));
	assert_int_equal(stops, 1);
	if (play.handover == SWO_HANDOVER_COPY)
		assert_true(passes >= 1);
	play_down();
}

/* A guest that is stopped does not wait for a client without an end. */
static void a_pause_ends_with_the_ceiling_or_the_deadline_of_the_stop(void **state)
{
	static const struct {
		const char *limits, *error;
	} ends[] = {
		{"{\"x-downtime-ceiling-ms\": 1500}", "still waiting for migrate-continue"},
		{"{\"x-downtime-ceiling-ms\": 0, \"x-switchover-deadline-ms\": 1500}",
			"timed out waiting for migrate-continue"},
	};
	static const struct row row = {STOPPING, 's', "nothing", NULL, &failed, 0, 0};

	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(ends); i++) {
		play_up();
		pause_on();
		set("migrate-set-parameters", ends[i].limits);
		play_migrate();
		play_await_status(&play.pair.s, "failed");
		play_expect_outcome(&row);
		json_t *info = talk_do(&play.pair.s, "{\"execute\": \"query-migrate\"}");
		const char *desc = json_string_value(json_object_get(info, "error-desc"));

		if (!desc || !strstr(desc, ends[i].error))
			fail_msg("%s; expected: %s", desc ? desc : "no error", ends[i].error);
		json_decref(info);
		play_down();
	}
}

/* The guest of a user who has paused it is migrated as such, and waits as well. */
static void a_paused_guest_pauses_too(void **state)
{
	static const struct row row = {STOPPING, 's', "stop", NULL, &moved_paused, 0, 0};

	(void)state;
	play_up();
	pause_on();
	play_do(&play.pair.s, "stop");
	play_migrate();
	play_await_status(&play.pair.s, "pre-switchover");
	box_expect_status(&play.pair.s, "finish-migrate", false);
	go_on();
	play_expect_outcome(&row);
	play_down();
}

/* The pause is what took long. */
static void a_long_pause_is_the_reason_for_a_long_downtime(void **state)
{
	json_t *info;

	(void)state;
	play_up();
	pause_on();
	set("migrate-set-parameters",
		"{\"x-downtime-ceiling-ms\": 20000, \"downtime-limit\": 1000}");
	play_migrate();
	play_await_status(&play.pair.s, "pre-switchover");
	swo_sleep_until(swo_deadline_ms(1500));
	go_on();
	play_await_status(&play.pair.s, "completed");
	info = talk_do(&play.pair.s, "{\"execute\": \"query-migrate\"}");
	assert_true(json_integer_value(json_object_get(info, "downtime")) >= 1500);
	assert_non_null(strstr(json_string_value(json_object_get(info, "x-over-limit-reason")),
		"the pause before the switchover took"));
	json_decref(info);
	play_await_status(&play.pair.t, "completed");
	play_down();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_monitor_in_the_pause),
		cmocka_unit_test(the_guest_is_stopped_in_the_pause_and_events_come_in_qemus_order),
		cmocka_unit_test(a_pause_ends_with_the_ceiling_or_the_deadline_of_the_stop),
		cmocka_unit_test(a_paused_guest_pauses_too),
		cmocka_unit_test(a_long_pause_is_the_reason_for_a_long_downtime),
	};

	if (!play_begins(argc, argv))
		return 2;
	return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
