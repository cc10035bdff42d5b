/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device and its paths: arc by arc on its worker, deadlines and hung arcs, arrival, measured
 * costs, and failures.
 */
#include "scene.h"

#include "device/core/engine.h"
#include "device/core/internal.h"

#include <errno.h>

static void a_device_is_probed_for_its_features_and_state(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);
	void *self;
	assert_string_equal(swo_device_name(vf->dev), "vf0");
	assert_int_equal(swo_device_mig_flags(vf->dev), FAKE_FLAGS_ALL);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RESUMING);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
	assert_ptr_equal(swo_device_backend(vf->dev, &self)->set_state, fake_device_ops.set_state);
	assert_ptr_equal(self, vf);
	assert_int_equal(swo_device_data_deadline_ms(vf->dev), 30000);
	scene_close(&s);
}

static void a_device_that_cannot_migrate_is_refused_and_freed(void **state)
{
	(void)state;
	struct scene s;
	struct swo_device *dev;
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_prepare(&s, "none", SWO_MIG_P2P, SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_create("none", &fake_device_ops, vf, NULL, &dev, &err), -1);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "none"));
	assert_true(vf->destroyed);

	scene_prepare(&s, "mute", FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING)->mute_state = true;
	assert_int_equal(swo_device_create("mute", &fake_device_ops, vf, NULL, &dev, &err), -1);
	assert_int_equal(err.os_errno, EIO);
	assert_true(vf->destroyed);

	scene_prepare(&s, "odd", FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING)->odd_state = true;
	assert_int_equal(swo_device_create("odd", &fake_device_ops, vf, NULL, &dev, &err), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);

	struct swo_device_ops poor = {.size = sizeof(struct swo_device_ops),
		.name = "poor",
		.destroy = fake_device_ops.destroy};
	scene_prepare(&s, "x", FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_create("x", &poor, vf, NULL, &dev, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_true(vf->destroyed);
	scene_close(&s);
}

static void a_path_requests_each_arc_separately(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, NULL), 0);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_STOP_COPY);
	scene_expect(&s, "vf0:RUNNING>RUNNING_P2P vf0:RUNNING_P2P>STOP vf0:STOP>STOP_COPY ");
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, NULL), 0);
	scene_expect(&s, "");
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RUNNING, NULL), 0);
	scene_expect(&s, "vf0:STOP_COPY>STOP vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");

	vf = scene_add(&s, SWO_MIG_STOP_COPY, SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RESUMING, NULL), 0);
	scene_expect(&s, "vf1:RUNNING>STOP vf1:STOP>RESUMING ");
	scene_close(&s);
}

static void a_device_that_was_reset_meanwhile_saves_nothing(void **state)
{
	(void)state;
	static const enum swo_device_state stands[] = {SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP};
	static const char *const paths[] = {
		"vf0:RUNNING>RUNNING_P2P ", "vf1:RUNNING>RUNNING_P2P vf1:RUNNING_P2P>STOP "};
	struct scene s;

	scene_open(&s);
	for (unsigned i = 0; i < 2; i++) {
		struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
		struct swo_error err = {0};

		assert_int_equal(swo_device_set_state(vf->dev, stands[i], NULL), 0);
		pthread_mutex_lock(&vf->group->mutex);
		vf->state = SWO_DEVICE_RUNNING;
		pthread_mutex_unlock(&vf->group->mutex);
		assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, &err), -1);
		assert_non_null(strstr(err.text, "it is in RUNNING, expected"));
		assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
		scene_expect(&s, paths[i]);
	}
	scene_close(&s);
}

static void a_pair_that_the_uapi_refuses_is_an_error_and_touches_nothing(void **state)
{
	(void)state;
	struct scene s;
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_PRE_COPY, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_ERROR, &err), -1);
	assert_int_equal(swo_device_set_state(vf->dev, (enum swo_device_state)99, &err), -1);
	vf = scene_add(&s, SWO_MIG_STOP_COPY, SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RUNNING_P2P, &err), -1);
	scene_expect(&s, "");
	scene_close(&s);
}

static void one_walk_at_a_time_and_none_to_wait_for_is_an_error(void **state)
{
	(void)state;
	struct scene s;
	char step[64];
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_wait(vf->dev, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);

	fake_script(vf, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	assert_int_equal(swo_device_under_way(vf->dev, step, sizeof(step)), 0);
	assert_string_equal(step, "");
	const uint64_t before = swo_now_ns();

	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_RUNNING_P2P, NULL), 0);
	assert_true(fake_await_hang(vf));
	const uint64_t ns = swo_device_under_way(vf->dev, step, sizeof(step));

	assert_true(ns > 0 && ns <= swo_now_ns() - before);
	assert_string_equal(step, "RUNNING->RUNNING_P2P");
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	assert_int_equal(swo_device_recover(vf->dev, false, &err), -1);
	assert_int_equal(swo_device_refresh(vf->dev, &err), -1);
	/* The state is that after the last arc that ended. */
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	fake_release(vf);
	assert_int_equal(swo_device_wait(vf->dev, NULL), 0);
	assert_int_equal(swo_device_under_way(vf->dev, step, sizeof(step)), 0);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING_P2P);
	scene_close(&s);
}

static void a_failed_arc_is_named_and_the_state_read_back(void **state)
{
	(void)state;
	struct scene s;
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY);
	fake_script(vf, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL, 1);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, &err), -1);
	assert_string_equal(
		err.text, "device vf0: PRE_COPY_P2P->STOP_COPY: refuses: Device or resource busy");
	assert_int_equal(err.code, SWO_E_DEVICE);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_PRE_COPY_P2P);

	fake_script(vf, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL_THERE, 1);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, &err), -1);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_STOP_COPY);

	fake_script(vf, SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP, FAKE_BREAK, 1);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP, &err), -1);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_ERROR);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
	assert_int_equal(vf->resets, 0);
	scene_close(&s);
}

static void a_backend_that_is_gone_is_a_lost_device(void **state)
{
	(void)state;
	struct scene s;
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	fake_script(vf, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, FAKE_LOSE, 1);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RUNNING_P2P, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_RUNNING, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	assert_int_equal(swo_device_recover(vf->dev, false, &err), -1);
	assert_int_equal(swo_device_refresh(vf->dev, &err), -1);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
	/* It is available again, like a restarted server. */
	pthread_mutex_lock(&s.group.mutex);
	vf->gone = false;
	pthread_mutex_unlock(&s.group.mutex);
	assert_int_equal(swo_device_refresh(vf->dev, &err), 0);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RUNNING_P2P, &err), 0);
	scene_close(&s);
}

/* Deadlines */

/* Follows a path until an arc hangs and times out. */
static void walk_into_hang(struct fake_device *vf, enum swo_device_state to, struct swo_error *err)
{
	assert_int_equal(swo_device_launch(vf->dev, to, NULL), 0);
	assert_true(fake_await_hang(vf));
	scene_hasten(vf, true);
	assert_int_equal(swo_device_wait(vf->dev, err), -1);
	scene_hasten(vf, false);
}

/* A backend that sees each arc, and a reset where `elsewhere` has a state. */
static enum swo_device_state elsewhere[2];
static bool cannot_see;

static int set_state_seen(void *self, enum swo_device_state state, enum swo_device_state seen[2],
	struct swo_error *err)
{
	if (cannot_see)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0, "one request at a time");
	seen[0] = swo_device_state(((struct fake_device *)self)->dev);
	if (fake_device_ops.set_state(self, state, err))
		return -1;
	seen[1] = state;
	for (int i = 0; i < 2; i++)
		if (elsewhere[i] != SWO_DEVICE_ERROR)
			seen[i] = elsewhere[i];
	return 0;
}

static int go_checked(struct fake_device *vf, enum swo_device_state state, struct swo_error *err)
{
	return device_launch_checked(vf->dev, state, err) || swo_device_wait(vf->dev, err) ? -1 : 0;
}

static void a_checked_arc_is_refused_from_and_to_another_state(void **state)
{
	static const char *const words[2] = {
		"in RUNNING, expected RESUMING", "in RUNNING, expected STOP"};
	struct swo_device_ops ops = fake_device_ops;
	struct swo_error err = {0};

	(void)state;
	ops.set_state_seen = set_state_seen;
	for (int where = -1; where < 2; where++) {
		struct scene s;

		scene_open(&s);
		struct fake_device *vf =
			scene_prepare(&s, "vf0", FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);

		assert_int_equal(swo_device_create("vf0", &ops, vf, NULL, &vf->dev, &err), 0);
		elsewhere[0] = elsewhere[1] = SWO_DEVICE_ERROR;
		cannot_see = where < 0;
		if (where >= 0)
			elsewhere[where] = SWO_DEVICE_RUNNING;
		if (where < 0) {
			/* get_state instead, before and after. */
			assert_int_equal(go_checked(vf, SWO_DEVICE_STOP, &err), 0);
			assert_true(device_seen_ns(vf->dev) > 0);
		} else {
			assert_int_equal(go_checked(vf, SWO_DEVICE_STOP, &err), -1);
			assert_int_equal(err.code, SWO_E_STATE);
			assert_non_null(strstr(err.text, words[where]));
			assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
			assert_int_equal(device_seen_ns(vf->dev), 0);
		}
		swo_device_destroy(vf->dev);
		scene_close(&s);
	}
}

static void a_checked_arc_is_seen(void **state)
{
	struct swo_device_ops ops = fake_device_ops;
	struct swo_error err = {0};
	struct scene s;

	(void)state;
	ops.set_state_seen = set_state_seen;
	elsewhere[0] = elsewhere[1] = SWO_DEVICE_ERROR;
	cannot_see = false;
	scene_open(&s);
	struct fake_device *vf = scene_prepare(&s, "vf0", FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);
	uint64_t before = swo_now_ns();

	assert_int_equal(swo_device_create("vf0", &ops, vf, NULL, &vf->dev, &err), 0);
	assert_int_equal(go_checked(vf, SWO_DEVICE_STOP, &err), 0);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_STOP);
	assert_true(device_seen_ns(vf->dev) >= before);
	/* An arc that is not checked shows nothing. */
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RUNNING_P2P, &err), 0);
	assert_int_equal(device_seen_ns(vf->dev), 0);
	swo_device_destroy(vf->dev);
	scene_close(&s);
}

static void a_hung_arc_times_out_and_the_device_is_lost(void **state)
{
	(void)state;
	struct scene s;
	char step[64];
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_HANG, 1);
	walk_into_hang(vf, SWO_DEVICE_STOP_COPY, &err);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_non_null(strstr(err.text, "device vf0: RUNNING_P2P->STOP: timed out"));
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
	/* The guest's accesses are not to wait for it. */
	assert_int_equal(vf->told_lost, 1);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_RUNNING, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	assert_int_equal(swo_device_recover(vf->dev, false, &err), -1);
	/* Given up, and still on its way. */
	assert_true(swo_device_under_way(vf->dev, step, sizeof(step)) > 0);
	assert_string_equal(step, "RUNNING_P2P->STOP");
	/* While it hangs, no other request is possible either. */
	assert_int_equal(swo_device_refresh(vf->dev, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	fake_release(vf);
	scene_await_settled(vf);
	scene_close(&s);
}

static void a_hung_arc_that_ends_goes_no_further_and_back_to_running(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	fake_script(vf, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	walk_into_hang(vf, SWO_DEVICE_STOP_COPY, NULL);
	fake_release(vf);
	scene_await_settled(vf);
	scene_expect(&s, "vf0:RUNNING>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	assert_int_equal(vf->resets, 0);
	/* Sticky, until it is refreshed. */
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
	assert_int_equal(swo_device_refresh(vf->dev, NULL), 0);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_SOUND);
	scene_close(&s);
}

static void a_hung_arc_that_ends_on_a_target_is_reset(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);
	device_set_settle(vf->dev, DEVICE_SETTLE_RESET);
	fake_script(vf, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, FAKE_HANG, 1);
	walk_into_hang(vf, SWO_DEVICE_STOP, NULL);
	fake_release(vf);
	scene_await_settled(vf);
	scene_expect(&s, "vf0:RESUMING>STOP vf0:reset ");
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
	scene_close(&s);
}

static void a_device_that_hangs_for_ever_is_left_behind(void **state)
{
	(void)state;
	/* Static: its thread and its memory outlive this function by design. */
	static struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	fake_script(vf, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	walk_into_hang(vf, SWO_DEVICE_RUNNING_P2P, NULL);
	swo_device_destroy(vf->dev);
	pthread_mutex_lock(&s.group.mutex);
	assert_false(vf->destroyed);
	pthread_mutex_unlock(&s.group.mutex);
}

static void a_device_that_hangs_in_the_probe_is_leaked(void **state)
{
	(void)state;
	static struct scene s;
	struct swo_device_params params = {
		.size = sizeof(struct swo_device_params), .arc_deadline_ms = 20};
	struct swo_device *dev;
	struct swo_error err = {0};

	scene_open(&s);
	scene_prepare(&s, "vf0", FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING)->hang_flags = true;
	assert_int_equal(
		swo_device_create("vf0", &fake_device_ops, &s.vf[0], &params, &dev, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
}

/* Makes the current step look as if it had started long ago. */
static void age(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	dev->task.step_ns = 1;
	pthread_mutex_unlock(&dev->mutex);
}

static void age_inside_p2p(struct fake_device *fake, enum swo_device_state to)
{
	if (to == SWO_DEVICE_RUNNING_P2P)
		age(fake->dev);
}

static void the_deadline_restarts_at_each_arc(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	vf->inside_arc = age_inside_p2p;
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_HANG, 1);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_STOP, NULL), 0);
	assert_true(fake_await_hang(vf));
	fake_release(vf);
	assert_int_equal(swo_device_wait(vf->dev, NULL), 0);

	/* And it counts: the same with the last arc that old is too late. */
	fake_script(vf, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_RUNNING_P2P, NULL), 0);
	assert_true(fake_await_hang(vf));
	struct swo_error err = {0};
	assert_int_equal(swo_device_wait(vf->dev, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_non_null(strstr(err.text, "STOP->RUNNING_P2P"));
	fake_release(vf);
	scene_await_settled(vf);
	scene_close(&s);
}

struct gate {
	struct scene *scene;
	bool open;
};

static void stand_at_gate(void *opaque)
{
	struct gate *gate = opaque;

	pthread_mutex_lock(&gate->scene->group.mutex);
	while (!gate->open)
		pthread_cond_wait(&gate->scene->group.changed, &gate->scene->group.mutex);
	pthread_mutex_unlock(&gate->scene->group.mutex);
}

static void open_gate(struct gate *gate)
{
	pthread_mutex_lock(&gate->scene->group.mutex);
	gate->open = true;
	pthread_cond_broadcast(&gate->scene->group.changed);
	pthread_mutex_unlock(&gate->scene->group.mutex);
}

static void time_in_the_queue_is_not_the_arcs(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	struct gate gate = {.scene = &s};
	struct swo_job job = {.fn = stand_at_gate, .opaque = &gate};

	fake_script(vf, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	swo_worker_submit(swo_device_worker(vf->dev), &job);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_RUNNING_P2P, NULL), 0);
	age(vf->dev);
	open_gate(&gate);
	assert_true(fake_await_hang(vf));
	fake_release(vf);
	assert_int_equal(swo_device_wait(vf->dev, NULL), 0);
	scene_close(&s);
}

static void time_in_the_queue_is_bounded_too(void **state)
{
	(void)state;
	struct scene s;
	struct swo_error err = {0};

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	struct gate gate = {.scene = &s};
	struct swo_job job = {.fn = stand_at_gate, .opaque = &gate};

	swo_worker_submit(swo_device_worker(vf->dev), &job);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_STOP_COPY, NULL), 0);
	scene_hasten(vf, true);
	assert_int_equal(swo_device_wait(vf->dev, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_non_null(strstr(err.text, "runs another job"));
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_LOST);
	scene_expect(&s, "");
	open_gate(&gate);
	scene_await_settled(vf);
	/* The request is not executed late; the device is only recovered. */
	scene_expect(&s, "vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	scene_close(&s);
}

/* Arrival */

struct stream {
	struct fake_device *fake;
	struct gate gate;
	bool began;
	bool on_worker;
	enum swo_device_state found;
	int rc;
};

static void run_stream(void *opaque)
{
	struct stream *stream = opaque;

	stream->on_worker = swo_worker_is_current(swo_device_worker(stream->fake->dev));
	stream->found = swo_device_state(stream->fake->dev);
	pthread_mutex_lock(&stream->gate.scene->group.mutex);
	stream->began = true;
	pthread_cond_broadcast(&stream->gate.scene->group.changed);
	pthread_mutex_unlock(&stream->gate.scene->group.mutex);
	stand_at_gate(&stream->gate);
}

static void the_waiter_is_woken_before_the_arrival_function_ends(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY_P2P);
	struct stream stream = {.fake = vf, .gate.scene = &s};

	swo_device_on_arrival(vf->dev, SWO_DEVICE_STOP_COPY, run_stream, &stream);
	/* The gate is closed: if the waiter were blocked until the end, this would time out. */
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, NULL), 0);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_RUNNING, NULL), 0);
	open_gate(&stream.gate);
	assert_int_equal(swo_device_wait(vf->dev, NULL), 0);
	assert_true(stream.began);
	assert_true(stream.on_worker);
	/* It ran before the later walk did. */
	assert_int_equal(stream.found, SWO_DEVICE_STOP_COPY);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	scene_close(&s);
}

static void only_the_state_that_was_walked_to_counts_as_arrival(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	struct stream stream = {.fake = vf, .gate = {&s, true}};

	swo_device_on_arrival(vf->dev, SWO_DEVICE_STOP, run_stream, &stream);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, NULL), 0);
	fake_script(vf, SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP, FAKE_FAIL, 1);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP, NULL), -1);
	scene_await_settled(vf);
	assert_false(stream.began);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP, NULL), 0);
	scene_await_settled(vf);
	assert_true(stream.began);

	stream.began = false;
	swo_device_on_arrival(vf->dev, SWO_DEVICE_STOP, NULL, NULL);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_RUNNING_P2P, NULL), 0);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP, NULL), 0);
	scene_await_settled(vf);
	assert_false(stream.began);
	scene_close(&s);
}

static void nothing_arrives_when_the_waiter_has_given_up(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP);
	struct stream stream = {.fake = vf, .gate = {&s, true}};

	swo_device_on_arrival(vf->dev, SWO_DEVICE_STOP_COPY, run_stream, &stream);
	fake_script(vf, SWO_DEVICE_STOP, SWO_DEVICE_STOP_COPY, FAKE_HANG, 1);
	walk_into_hang(vf, SWO_DEVICE_STOP_COPY, NULL);
	fake_release(vf);
	scene_await_settled(vf);
	assert_false(stream.began);
	scene_close(&s);
}

/* A load job ends by finalising its own device. */
static void finalise(void *opaque)
{
	struct stream *stream = opaque;
	struct swo_error err = {0};

	stream->rc = swo_device_set_state(stream->fake->dev, SWO_DEVICE_STOP, &err);
	stream->rc |= swo_device_wait(stream->fake->dev, &err) ? 0 : 2;
}

static void a_job_of_the_worker_may_walk_right_there(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING);
	struct stream stream = {.fake = vf, .rc = 7};
	struct swo_job job = {.fn = finalise, .opaque = &stream};

	swo_worker_submit(swo_device_worker(vf->dev), &job);
	assert_true(swo_job_wait(&job, swo_deadline_ms(GUARD_MS)));
	assert_int_equal(stream.rc, 0);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_STOP);
	scene_close(&s);
}

static void finalise_after_gate(void *opaque)
{
	struct stream *stream = opaque;

	stand_at_gate(&stream->gate);
	stream->rc = swo_device_set_state(stream->fake->dev, SWO_DEVICE_STOP, NULL);
}

static void a_job_of_the_worker_yields_to_a_waiting_path(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY);
	struct stream stream = {.fake = vf, .gate.scene = &s};
	struct swo_job job = {.fn = finalise_after_gate, .opaque = &stream};

	swo_worker_submit(swo_device_worker(vf->dev), &job);
	assert_int_equal(swo_device_launch(vf->dev, SWO_DEVICE_RUNNING, NULL), 0);
	open_gate(&stream.gate);
	assert_int_equal(swo_device_wait(vf->dev, NULL), 0);
	assert_int_equal(stream.rc, -1);
	scene_close(&s);
}

/* Measured and expected costs */

static void costs_are_learned_per_arc_and_only_from_arcs_that_passed(void **state)
{
	(void)state;
	struct scene s;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	struct swo_arc_cost cost;
	const enum swo_device_state run = SWO_DEVICE_RUNNING, p2p = SWO_DEVICE_RUNNING_P2P;

	assert_int_equal(swo_device_arc_cost(vf->dev, run, p2p).count, 0);
	fake_script(vf, run, p2p, FAKE_FAIL, 1);
	assert_int_equal(swo_device_set_state(vf->dev, p2p, NULL), -1);
	assert_int_equal(swo_device_arc_cost(vf->dev, run, p2p).count, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(swo_device_set_state(vf->dev, p2p, NULL), 0);
		assert_int_equal(swo_device_set_state(vf->dev, run, NULL), 0);
	}
	cost = swo_device_arc_cost(vf->dev, run, p2p);
	assert_int_equal(cost.count, 3);
	assert_true(cost.last_ns > 0 && cost.last_ns <= cost.max_ns);
	assert_true(cost.mean_ns > 0 && cost.mean_ns <= cost.max_ns);
	assert_int_equal(swo_device_arc_cost(vf->dev, p2p, run).count, 3);
	assert_int_equal(swo_device_arc_cost(vf->dev, p2p, SWO_DEVICE_STOP).count, 0);
	assert_int_equal(swo_device_arc_cost(vf->dev, (enum swo_device_state)9, run).count, 0);
	scene_close(&s);
}

static void an_expected_state_holds_until_the_device_has_taken_the_arc(void **state)
{
	(void)state;
	const uint64_t long_ns = UINT64_C(1000000000000);
	const enum swo_device_state run = SWO_DEVICE_RUNNING, p2p = SWO_DEVICE_RUNNING_P2P,
				    stop = SWO_DEVICE_STOP;
	struct swo_device_costs expected, known;
	struct scene s;

	swo_device_costs_init(&expected);
	expected.running_to_p2p_ns = long_ns;
	expected.p2p_to_stop_ns = 40;
	expected.resuming_to_stop_ns = 20;
	expected.stop_to_p2p_ns = 25;
	expected.p2p_to_running_ns = 15;
	expected.save_rate = 400;
	expected.pf = 3;
	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);
	struct fake_device *no_precopy =
		scene_add(&s, SWO_MIG_STOP_COPY | SWO_MIG_P2P, SWO_DEVICE_RUNNING);
	struct fake_device *plain = scene_add(&s, SWO_MIG_STOP_COPY, SWO_DEVICE_RUNNING);

	known = swo_device_known_costs(vf->dev);
	assert_int_equal(known.pf, -1);
	assert_int_equal(known.running_to_p2p_ns, SWO_UNKNOWN);
	assert_int_equal(known.p2p_to_stop_ns, SWO_UNKNOWN);
	assert_int_equal(known.save_rate, SWO_UNKNOWN);
	assert_int_equal(swo_device_arc_cost(vf->dev, run, p2p).mean_ns, SWO_UNKNOWN);
	/* Missing states cost nothing. */
	assert_int_equal(swo_device_known_costs(plain->dev).running_to_p2p_ns, 0);
	assert_int_equal(swo_device_known_costs(plain->dev).stop_to_p2p_ns, 0);

	swo_device_expect(vf->dev, &expected);
	swo_device_expect(no_precopy->dev, &expected);
	swo_device_expect(plain->dev, &expected);
	assert_int_equal(swo_device_arc_cost(vf->dev, run, p2p).count, 0);
	assert_int_equal(swo_device_arc_cost(vf->dev, run, p2p).mean_ns, long_ns);
	known = swo_device_known_costs(vf->dev);
	assert_memory_equal(&known, &expected, offsetof(struct swo_device_costs, pf));
	assert_int_equal(known.pf, 3);
	known = swo_device_known_costs(no_precopy->dev);
	assert_memory_equal(&known, &expected, offsetof(struct swo_device_costs, pf));
	assert_int_equal(known.pf, 3);
	/* A device without P2P takes both halves in one arc. */
	known = swo_device_known_costs(plain->dev);
	assert_int_equal(known.p2p_to_stop_ns, long_ns + 40);
	assert_int_equal(known.resuming_to_stop_ns, 20);
	assert_int_equal(known.p2p_to_running_ns, 40);
	assert_int_equal(swo_device_arc_cost(vf->dev, run, SWO_DEVICE_ERROR).mean_ns, SWO_UNKNOWN);

	/* A measured cost replaces the expected one, and only for its arc. */
	assert_int_equal(swo_device_set_state(no_precopy->dev, p2p, NULL), 0);
	known = swo_device_known_costs(no_precopy->dev);
	assert_true(known.running_to_p2p_ns < long_ns);
	assert_int_equal(known.p2p_to_stop_ns, 40);
	/* STOP->STOP_COPY, without an expected cost, is added once it is measured. */
	assert_int_equal(swo_device_set_state(no_precopy->dev, SWO_DEVICE_STOP_COPY, NULL), 0);
	known = swo_device_known_costs(no_precopy->dev);
	assert_int_equal(known.p2p_to_stop_ns,
		swo_device_arc_cost(no_precopy->dev, p2p, stop).mean_ns +
			swo_device_arc_cost(no_precopy->dev, stop, SWO_DEVICE_STOP_COPY).mean_ns);
	scene_close(&s);
}

static void every_arc_is_on_the_timeline_under_its_name(void **state)
{
	(void)state;
	struct scene s;
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, 16);
	struct swo_span span;

	scene_open(&s);
	struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY);
	swo_device_set_timeline(vf->dev, timeline);
	fake_script(vf, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL, 1);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, NULL), -1);
	swo_device_set_timeline(vf->dev, NULL);
	assert_int_equal(swo_device_set_state(vf->dev, SWO_DEVICE_STOP_COPY, NULL), 0);

	assert_int_equal(swo_timeline_count(timeline, NULL), 2);
	assert_true(swo_timeline_get(timeline, 0, &span));
	assert_int_equal(span.kind, SWO_SPAN_ARC);
	assert_string_equal(span.device, "vf0");
	assert_string_equal(span.name, "PRE_COPY->PRE_COPY_P2P");
	assert_true(span.start_ns < span.end_ns);
	assert_true(swo_timeline_get(timeline, 1, &span));
	assert_string_equal(span.name, "PRE_COPY_P2P->STOP_COPY failed");
	scene_close(&s);
	swo_timeline_free(timeline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_is_probed_for_its_features_and_state),
		cmocka_unit_test(a_device_that_cannot_migrate_is_refused_and_freed),
		cmocka_unit_test(a_path_requests_each_arc_separately),
		cmocka_unit_test(a_device_that_was_reset_meanwhile_saves_nothing),
		cmocka_unit_test(a_pair_that_the_uapi_refuses_is_an_error_and_touches_nothing),
		cmocka_unit_test(one_walk_at_a_time_and_none_to_wait_for_is_an_error),
		cmocka_unit_test(a_failed_arc_is_named_and_the_state_read_back),
		cmocka_unit_test(a_backend_that_is_gone_is_a_lost_device),
		cmocka_unit_test(a_checked_arc_is_refused_from_and_to_another_state),
		cmocka_unit_test(a_checked_arc_is_seen),
		cmocka_unit_test(a_hung_arc_times_out_and_the_device_is_lost),
		cmocka_unit_test(a_hung_arc_that_ends_goes_no_further_and_back_to_running),
		cmocka_unit_test(a_hung_arc_that_ends_on_a_target_is_reset),
		cmocka_unit_test(a_device_that_hangs_for_ever_is_left_behind),
		cmocka_unit_test(a_device_that_hangs_in_the_probe_is_leaked),
		cmocka_unit_test(the_deadline_restarts_at_each_arc),
		cmocka_unit_test(time_in_the_queue_is_not_the_arcs),
		cmocka_unit_test(time_in_the_queue_is_bounded_too),
		cmocka_unit_test(the_waiter_is_woken_before_the_arrival_function_ends),
		cmocka_unit_test(only_the_state_that_was_walked_to_counts_as_arrival),
		cmocka_unit_test(nothing_arrives_when_the_waiter_has_given_up),
		cmocka_unit_test(a_job_of_the_worker_may_walk_right_there),
		cmocka_unit_test(a_job_of_the_worker_yields_to_a_waiting_path),
		cmocka_unit_test(costs_are_learned_per_arc_and_only_from_arcs_that_passed),
		cmocka_unit_test(an_expected_state_holds_until_the_device_has_taken_the_arc),
		cmocka_unit_test(every_arc_is_on_the_timeline_under_its_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
