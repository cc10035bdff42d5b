/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recovery: legal arcs first, stopping short for a barrier, a reset as the last
 * resort, and devices that keep their state across it.
 */
#include "scene.h"

#include "device/core/internal.h"

static void recovers(struct scene *s, struct fake_device *vf, bool stop_short,
	enum swo_device_state end, const char *by)
{
	assert_int_equal(swo_device_recover(vf->dev, stop_short, NULL), 0);
	assert_int_equal(swo_device_state(vf->dev), end);
	scene_expect(s, by);
}

static void every_state_goes_back_by_legal_arcs(void **state)
{
	(void)state;
	static const struct {
		enum swo_device_state from;
		const char *by;
	} way[] = {
		{SWO_DEVICE_RUNNING, ""},
		{SWO_DEVICE_RUNNING_P2P, "vf0:RUNNING_P2P>RUNNING "},
		{SWO_DEVICE_PRE_COPY, "vf0:PRE_COPY>RUNNING "},
		{SWO_DEVICE_PRE_COPY_P2P, "vf0:PRE_COPY_P2P>RUNNING_P2P vf0:RUNNING_P2P>RUNNING "},
		{SWO_DEVICE_STOP, "vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING "},
		{SWO_DEVICE_STOP_COPY,
			"vf0:STOP_COPY>STOP vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING "},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(way); i++) {
		struct scene s;

		scene_open(&s);
		struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, way[i].from);
		recovers(&s, vf, false, SWO_DEVICE_RUNNING, way[i].by);
		assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
		scene_close(&s);
	}
}

static void it_may_stop_short_for_a_barrier(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY);
	recovers(&s, vf, true, SWO_DEVICE_RUNNING_P2P, "vf0:STOP_COPY>STOP vf0:STOP>RUNNING_P2P ");
	recovers(&s, vf, false, SWO_DEVICE_RUNNING, "vf0:RUNNING_P2P>RUNNING ");
	/* A running device passes no barrier, and is not sent back to one. */
	recovers(&s, vf, true, SWO_DEVICE_RUNNING, "");

	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY_P2P);
	recovers(&s, vf, true, SWO_DEVICE_RUNNING_P2P, "vf1:PRE_COPY_P2P>RUNNING_P2P ");
	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY);
	recovers(&s, vf, true, SWO_DEVICE_RUNNING, "vf2:PRE_COPY>RUNNING ");
	vf = scene_add(&s, SWO_MIG_STOP_COPY, SWO_DEVICE_STOP_COPY);
	recovers(&s, vf, true, SWO_DEVICE_STOP, "vf3:STOP_COPY>STOP ");
	recovers(&s, vf, false, SWO_DEVICE_RUNNING, "vf3:STOP>RUNNING ");
	scene_close(&s);
}

static void the_state_is_read_from_the_device_and_not_cached(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY);
	/* A reset from the device's own side. */
	pthread_mutex_lock(&s.group.mutex);
	vf->state = SWO_DEVICE_RUNNING;
	pthread_mutex_unlock(&s.group.mutex);
	recovers(&s, vf, false, SWO_DEVICE_RUNNING, "");
	scene_close(&s);
}

static void an_arc_that_fails_once_is_tried_again_before_any_reset(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, FAKE_FAIL, 1);
	recovers(&s, vf, false, SWO_DEVICE_RUNNING,
		"vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING vf0:RUNNING_P2P>RUNNING ");
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
	scene_close(&s);
}

static void a_reset_is_the_last_resort_and_is_reported(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING_P2P);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, FAKE_FAIL, 0);
	recovers(&s, vf, false, SWO_DEVICE_RUNNING,
		"vf0:RUNNING_P2P>RUNNING vf0:RUNNING_P2P>RUNNING vf0:reset ");
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
	/* Sticky across state changes, cleared by a refresh. */
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RUNNING_P2P, NULL), 0);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
	assert_int_equal(swo_device_refresh(vf->dev, NULL), 0);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
	scene_close(&s);
}

static void note_reset(void *opaque)
{
	scene_note(opaque, "(set again) ");
}

static void after_a_reset_the_vmm_is_told_before_the_device_moves_on(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_ERROR);
	assert_int_equal(swo_device_on_reset(vf->dev, note_reset, &s, NULL), 0);
	recovers(&s, vf, false, SWO_DEVICE_RUNNING, "vf0:reset (set again) ");
	assert_int_equal(swo_device_take_over(vf->dev, NULL), 0);
	scene_expect(&s, "vf0:reset (set again) ");
	assert_int_equal(swo_device_discard(vf->dev, NULL), 0);
	scene_expect(&s, "vf0:reset (set again) ");
	assert_int_equal(swo_device_on_reset(vf->dev, NULL, NULL, NULL), 0);
	assert_int_equal(swo_device_discard(vf->dev, NULL), 0);
	scene_expect(&s, "vf0:reset ");
	assert_int_equal(swo_device_on_reset(vf->dev, note_reset, &s, NULL), 0);
	vf->reset = FAKE_RESET_FAILS;
	assert_int_equal(swo_device_discard(vf->dev, NULL), -1);
	scene_expect(&s, "vf0:reset ");
	scene_close(&s);
}

static void out_of_error_and_out_of_resuming_a_reset_leads_at_once(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_ERROR);
	recovers(&s, vf, true, SWO_DEVICE_RUNNING, "vf0:reset ");
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);
	recovers(&s, vf, false, SWO_DEVICE_RUNNING, "vf1:reset ");
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
	scene_close(&s);
}

static void an_arc_back_that_breaks_the_device_leads_to_a_reset(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY);
	fake_script(vf, SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP, FAKE_BREAK, 0);
	recovers(&s, vf, true, SWO_DEVICE_RUNNING, "vf0:STOP_COPY>STOP vf0:reset ");
	scene_close(&s);
}

static void a_server_that_keeps_its_state_across_reset_goes_on_by_arcs(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);
	vf->reset = FAKE_RESET_KEEPS;
	recovers(&s, vf, false, SWO_DEVICE_RUNNING,
		"vf0:reset vf0:RESUMING>STOP vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);

	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY);
	vf->reset = FAKE_RESET_KEEPS;
	fake_script(vf, SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP, FAKE_FAIL, 2);
	recovers(&s, vf, true, SWO_DEVICE_RUNNING_P2P,
		"vf1:STOP_COPY>STOP vf1:STOP_COPY>STOP vf1:reset vf1:STOP_COPY>STOP "
		"vf1:STOP>RUNNING_P2P ");
	scene_close(&s);
}

static void loses(struct fake_device *vf, enum swo_error_code code)
{
	struct swo_error err = {0};

	assert_int_equal(swo_device_recover(vf->dev, false, &err), -1);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.text, vf->name));
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
}

static void takes_over(struct scene *s, struct fake_device *vf, const char *by)
{
	assert_int_equal(swo_device_take_over(vf->dev, NULL), 0);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	/* It is as good as new: nothing of this user's was lost. */
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
	scene_expect(s, by);
}

static void a_device_with_a_past_is_reset_whatever_state_it_was_left_in(void **state)
{
	(void)state;
	struct scene s;
	struct fake_device *vf;

	scene_open(&s);
	for (unsigned from = SWO_DEVICE_ERROR; from < SWO_DEVICE_STATES; from++) {
		char by[16];

		snprintf(by, sizeof(by), "vf%u:reset ", from);
		vf = scene_add(&s, FAKE_FLAGS_ALL, (enum swo_device_state)from);
		takes_over(&s, vf, by);
	}
	scene_close(&s);
	scene_open(&s);
	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);
	vf->reset = FAKE_RESET_KEEPS;
	takes_over(&s, vf,
		"vf0:reset vf0:RESUMING>STOP vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY);
	vf->reset = FAKE_RESET_NOT_STOPPED;
	takes_over(&s, vf,
		"vf1:reset vf1:STOP_COPY>STOP vf1:STOP>RUNNING_P2P vf1:RUNNING_P2P>RUNNING "
		"vf1:reset ");
	/* Without a reset the arcs are all there is. */
	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	vf->reset = FAKE_RESET_UNSUPPORTED;
	takes_over(&s, vf, "vf2:reset vf2:STOP>RUNNING_P2P vf2:RUNNING_P2P>RUNNING ");
	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	vf->reset = FAKE_RESET_FAILS;
	assert_int_equal(swo_device_take_over(vf->dev, NULL), -1);
	scene_close(&s);
}

/* Each reset waits for the others: one after the other they would never end. */
static void devices_are_taken_over_at_once(void **state)
{
	(void)state;
	struct scene s;
	struct fake_device *vfs[3];

	scene_open(&s);
	for (unsigned i = 0; i < 3; i++) {
		vfs[i] = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
		vfs[i]->reset_meets = true;
	}
	s.group.want = 3;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(swo_device_take_over_launch(vfs[i]->dev, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(swo_device_wait(vfs[i]->dev, NULL), 0);
		assert_int_equal(swo_device_state(vfs[i]->dev), SWO_DEVICE_RUNNING);
	}
	assert_int_equal(s.group.missed, 0);
	scene_close(&s);
}

static void when_nothing_helps_the_device_is_lost(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_ERROR);
	vf->reset = FAKE_RESET_FAILS;
	loses(vf, SWO_E_DEVICE);

	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_ERROR);
	vf->reset = FAKE_RESET_KEEPS;
	loses(vf, SWO_E_STATE);

	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	fake_script(vf, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_LOSE, 0);
	loses(vf, SWO_E_PEER_LOST);
	assert_int_equal(vf->resets, 0);

	vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	pthread_mutex_lock(&s.group.mutex);
	vf->gone = true;
	pthread_mutex_unlock(&s.group.mutex);
	loses(vf, SWO_E_PEER_LOST);
	scene_close(&s);
}

static void a_device_that_does_not_report_its_state_is_reset(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	vf->mute_state = true;
	/* After the reset it still does not report its state: recovery fails. */
	loses(vf, SWO_E_DEVICE);
	assert_int_equal(vf->resets, 1);
	scene_close(&s);
}

static void a_hung_arc_during_roll_back_has_the_arcs_deadline(void **state)
{
	(void)state;
	struct scene s;
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	fake_script(vf, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	assert_int_equal(device_begin(vf->dev, TASK_RECOVER, SWO_DEVICE_RUNNING, false, NULL), 0);
	assert_true(fake_await_hang(vf));
	scene_hasten(vf, true);
	assert_int_equal(device_end(vf->dev, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
	fake_release(vf);
	scene_await_settled(vf);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_goes_back_by_legal_arcs),
		cmocka_unit_test(it_may_stop_short_for_a_barrier),
		cmocka_unit_test(the_state_is_read_from_the_device_and_not_cached),
		cmocka_unit_test(an_arc_that_fails_once_is_tried_again_before_any_reset),
		cmocka_unit_test(a_reset_is_the_last_resort_and_is_reported),
		cmocka_unit_test(after_a_reset_the_vmm_is_told_before_the_device_moves_on),
		cmocka_unit_test(out_of_error_and_out_of_resuming_a_reset_leads_at_once),
		cmocka_unit_test(an_arc_back_that_breaks_the_device_leads_to_a_reset),
		cmocka_unit_test(a_server_that_keeps_its_state_across_reset_goes_on_by_arcs),
		cmocka_unit_test(a_device_with_a_past_is_reset_whatever_state_it_was_left_in),
		cmocka_unit_test(devices_are_taken_over_at_once),
		cmocka_unit_test(when_nothing_helps_the_device_is_lost),
		cmocka_unit_test(a_device_that_does_not_report_its_state_is_reset),
		cmocka_unit_test(a_hung_arc_during_roll_back_has_the_arcs_deadline),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
