/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that follow the run state: the arcs of a stop and of a start, what overlaps and what
 * must not, the P2P barrier, and roll-backs.
 */
#include "scene.h"

static const enum swo_on_error rollback = SWO_ON_ERROR_ROLLBACK;

static struct fake_device *add(struct scene *s, uint64_t flags, enum swo_device_state state,
	enum swo_transitions transitions, enum swo_join join_at)
{
	struct fake_device *vf = scene_add(s, flags, state);

	assert_int_equal(swo_device_follow(vf->dev, s->rs, 1, transitions, join_at, NULL), 0);
	return vf;
}

static void open_at(struct scene *s, enum swo_run_state state)
{
	scene_open(s);
	s->rs = swo_runstate_new(state);
	assert_non_null(s->rs);
}

static void changes(struct scene *s, enum swo_run_state to, const char *arcs)
{
	assert_int_equal(swo_runstate_change(s->rs, to, rollback, NULL), 0);
	scene_expect(s, arcs);
}

static void fails(struct scene *s, enum swo_run_state to, enum swo_error_code code)
{
	struct swo_error err = {0};
	enum swo_run_state before = swo_runstate_get(s->rs);

	assert_int_equal(swo_runstate_change(s->rs, to, rollback, &err), -1);
	assert_int_equal(err.code, code);
	assert_int_equal(swo_runstate_get(s->rs), before);
}

/* Which arcs */

static void arcs_of_a_plain_stop_and_start(enum swo_transitions transitions)
{
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, transitions, SWO_JOIN_DEPTH);
	changes(&s, SWO_RUN_STATE_PAUSED, "vf0:RUNNING>RUNNING_P2P vf0:RUNNING_P2P>STOP ");
	changes(&s, SWO_RUN_STATE_RUNNING, "vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	scene_close(&s);

	open_at(&s, SWO_RUN_STATE_RUNNING);
	add(&s, SWO_MIG_STOP_COPY, SWO_DEVICE_RUNNING, transitions, SWO_JOIN_DEPTH);
	changes(&s, SWO_RUN_STATE_PAUSED, "vf0:RUNNING>STOP ");
	changes(&s, SWO_RUN_STATE_RUNNING, "vf0:STOP>RUNNING ");
	scene_close(&s);
}

static void a_plain_stop_goes_to_stop_and_a_start_to_running(void **state)
{
	(void)state;
	arcs_of_a_plain_stop_and_start(SWO_TRANSITIONS_SERIAL);
	arcs_of_a_plain_stop_and_start(SWO_TRANSITIONS_PARALLEL);
}

static void arcs_of_a_switchover(enum swo_transitions transitions)
{
	static const uint64_t no_p2p = SWO_MIG_STOP_COPY | SWO_MIG_PRE_COPY;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, transitions, SWO_JOIN_PASS);
	changes(&s, SWO_RUN_STATE_FINISH_MIGRATE,
		"vf0:PRE_COPY>PRE_COPY_P2P vf0:PRE_COPY_P2P>STOP_COPY ");
	changes(&s, SWO_RUN_STATE_POSTMIGRATE, "");
	scene_close(&s);

	open_at(&s, SWO_RUN_STATE_RUNNING);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, transitions, SWO_JOIN_PASS);
	changes(&s, SWO_RUN_STATE_FINISH_MIGRATE,
		"vf0:RUNNING>RUNNING_P2P vf0:RUNNING_P2P>STOP vf0:STOP>STOP_COPY ");
	changes(&s, SWO_RUN_STATE_RUNNING,
		"vf0:STOP_COPY>STOP vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	scene_close(&s);

	open_at(&s, SWO_RUN_STATE_RUNNING);
	add(&s, no_p2p, SWO_DEVICE_PRE_COPY, transitions, SWO_JOIN_PASS);
	changes(&s, SWO_RUN_STATE_FINISH_MIGRATE, "vf0:PRE_COPY>STOP_COPY ");
	scene_close(&s);

	open_at(&s, SWO_RUN_STATE_INMIGRATE);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING, transitions, SWO_JOIN_PASS);
	changes(&s, SWO_RUN_STATE_RUNNING,
		"vf0:RESUMING>STOP vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	scene_close(&s);
}

static void a_switchover_goes_by_stop_copy_and_by_resuming(void **state)
{
	(void)state;
	arcs_of_a_switchover(SWO_TRANSITIONS_SERIAL);
	arcs_of_a_switchover(SWO_TRANSITIONS_PARALLEL);
}

static void an_open_session_stops_at_stop_copy_even_on_a_plain_stop(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS);
	changes(&s, SWO_RUN_STATE_PAUSED, "vf0:PRE_COPY>PRE_COPY_P2P vf0:PRE_COPY_P2P>STOP_COPY ");
	scene_close(&s);
}

static void a_stop_leaves_a_stopped_device_where_it_is(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_STOP_COPY, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH);
	add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH);
	changes(&s, SWO_RUN_STATE_PAUSED, "");
	scene_close(&s);
}

/* Overlap */

static void all_arcs_meet(
	struct scene *s, enum swo_device_state from, enum swo_device_state to, int vfs)
{
	for (int i = 0; i < vfs; i++)
		fake_script(&s->vf[i], from, to, FAKE_MEET, 1);
}

static void have_met(struct scene *s, int vfs)
{
	pthread_mutex_lock(&s->group.mutex);
	assert_int_equal(s->group.here, vfs);
	assert_false(s->group.missed);
	s->group.want = vfs;
	s->group.here = 0;
	pthread_mutex_unlock(&s->group.mutex);
}

/*
 * Every arc of a pass waits inside set_state until those of all other devices are there:
 * only arcs that overlap get through.
 */
static void parallel_arcs_overlap_in_every_pass_and_direction(void **state)
{
	(void)state;
	struct scene s;
	enum { VFS = 4 };

	for (int join_at = SWO_JOIN_DEPTH; join_at <= SWO_JOIN_PASS; join_at++) {
		open_at(&s, SWO_RUN_STATE_RUNNING);
		for (int i = 0; i < VFS; i++)
			add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, SWO_TRANSITIONS_PARALLEL,
				(enum swo_join)join_at);
		s.group.want = VFS;
		all_arcs_meet(&s, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, VFS);
		assert_int_equal(
			swo_runstate_change(s.rs, SWO_RUN_STATE_FINISH_MIGRATE, rollback, NULL), 0);
		have_met(&s, VFS);
		all_arcs_meet(&s, SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP, VFS);
		assert_int_equal(
			swo_runstate_change(s.rs, SWO_RUN_STATE_RUNNING, rollback, NULL), 0);
		have_met(&s, VFS);
		all_arcs_meet(&s, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, VFS);
		assert_int_equal(
			swo_runstate_change(s.rs, SWO_RUN_STATE_PAUSED, rollback, NULL), 0);
		have_met(&s, VFS);
		all_arcs_meet(&s, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, VFS);
		assert_int_equal(
			swo_runstate_change(s.rs, SWO_RUN_STATE_RUNNING, rollback, NULL), 0);
		have_met(&s, VFS);
		scene_close(&s);
	}
}

static void join_at_pass_overlaps_devices_of_different_depths(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	for (int i = 0; i < 3; i++) {
		struct fake_device *vf = scene_add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING);

		assert_int_equal(swo_device_follow(vf->dev, s.rs, i, SWO_TRANSITIONS_PARALLEL,
					 SWO_JOIN_PASS, NULL),
			0);
	}
	s.group.want = 3;
	all_arcs_meet(&s, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, 3);
	assert_int_equal(swo_runstate_change(s.rs, SWO_RUN_STATE_PAUSED, rollback, NULL), 0);
	scene_close(&s);
}

static void serial_arcs_never_overlap_and_keep_list_order(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	for (int i = 0; i < 3; i++)
		add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, SWO_TRANSITIONS_SERIAL,
			SWO_JOIN_DEPTH);
	changes(&s, SWO_RUN_STATE_FINISH_MIGRATE,
		"vf2:PRE_COPY>PRE_COPY_P2P vf1:PRE_COPY>PRE_COPY_P2P vf0:PRE_COPY>PRE_COPY_P2P "
		"vf2:PRE_COPY_P2P>STOP_COPY vf1:PRE_COPY_P2P>STOP_COPY "
		"vf0:PRE_COPY_P2P>STOP_COPY ");
	assert_int_equal(s.group.arcs_at_once, 1);
	scene_close(&s);
}

/* An ordinary handler that ends only when an arc of the device has started concurrently. */
static int meet_the_arc(void *opaque, bool running, enum swo_run_state to, struct swo_error *err)
{
	struct fake_device *vf = opaque;

	(void)running;
	(void)to;
	(void)err;
	assert_true(fake_await_hang(vf));
	fake_release(vf);
	return 0;
}

static void an_ordinary_handler_of_the_depth_runs_beside_the_arc(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	struct fake_device *vf = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_DEPTH);
	struct swo_handler_desc sibling = {.size = sizeof(struct swo_handler_desc),
		.name = "sibling",
		.depth = 1,
		.prepare = meet_the_arc,
		.change = meet_the_arc,
		.opaque = vf};
	assert_int_equal(swo_runstate_add(s.rs, &sibling, NULL, NULL), 0);
	/* Each arc hangs until the sibling was called: a join before it would never end. */
	fake_script(vf, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_HANG, 1);
	changes(&s, SWO_RUN_STATE_PAUSED, "vf0:RUNNING>RUNNING_P2P vf0:RUNNING_P2P>STOP ");
	fake_script(vf, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, FAKE_HANG, 1);
	changes(&s, SWO_RUN_STATE_RUNNING, "vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	scene_close(&s);
}

/* The barrier */

static int violations;

static bool is_quiet(enum swo_device_state state)
{
	return state != SWO_DEVICE_RUNNING && state != SWO_DEVICE_PRE_COPY;
}

/*
 * Inside each arc, before it is done: who leaves the P2P states downwards, or upwards, must
 * find every device in a state without peer-to-peer DMA, respectively out of STOP.
 */
static void check_barrier(struct fake_device *fake, enum swo_device_state to)
{
	struct scene *s = fake->opaque;

	pthread_mutex_lock(&s->group.mutex);
	for (int i = 0; i < s->vfs; i++) {
		enum swo_device_state other = s->vf[i].state;

		if ((to == SWO_DEVICE_STOP || to == SWO_DEVICE_STOP_COPY) && !is_quiet(other))
			violations++;
		if (to == SWO_DEVICE_RUNNING && is_quiet(other) &&
			other != SWO_DEVICE_RUNNING_P2P && other != SWO_DEVICE_PRE_COPY_P2P)
			violations++;
	}
	pthread_mutex_unlock(&s->group.mutex);
}

struct changer {
	struct scene *scene;
	enum swo_run_state to;
	int rc;
};

static void *change_thread(void *opaque)
{
	struct changer *c = opaque;

	c->rc = swo_runstate_change(c->scene->rs, c->to, rollback, NULL);
	return NULL;
}

/*
 * All devices but one are through their first arc, and have nothing else to do: whatever
 * they begin now, they begin ahead of the barrier.
 */
static void change_with_one_held_back(
	struct scene *s, enum swo_run_state to, struct fake_device *slow)
{
	struct changer changer = {.scene = s, .to = to};
	pthread_t thread;

	assert_int_equal(swo_thread_start(&thread, "changer", change_thread, &changer, NULL), 0);
	assert_true(fake_await_hang(slow));
	for (int i = 0; i < s->vfs; i++)
		if (&s->vf[i] != slow)
			scene_await_settled(&s->vf[i]);
	fake_release(slow);
	pthread_join(thread, NULL);
	assert_int_equal(changer.rc, 0);
}

static void barrier_holds(enum swo_transitions transitions, enum swo_join join_at, int slow)
{
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	violations = 0;
	for (int i = 0; i < 3; i++)
		add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, transitions, join_at)->inside_arc =
			check_barrier;
	fake_script(&s.vf[slow], SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, FAKE_HANG, 1);
	change_with_one_held_back(&s, SWO_RUN_STATE_FINISH_MIGRATE, &s.vf[slow]);
	assert_int_equal(violations, 0);
	fake_script(&s.vf[slow], SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	change_with_one_held_back(&s, SWO_RUN_STATE_RUNNING, &s.vf[slow]);
	assert_int_equal(violations, 0);
	scene_close(&s);
}

static void no_device_stops_before_all_are_in_p2p_and_none_runs_before_all_are(void **state)
{
	(void)state;
	for (int slow = 0; slow < 3; slow++) {
		barrier_holds(SWO_TRANSITIONS_PARALLEL, SWO_JOIN_DEPTH, slow);
		barrier_holds(SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS, slow);
		barrier_holds(SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH, slow);
	}
}

static void the_barrier_holds_for_a_target_that_resumes(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_INMIGRATE);
	violations = 0;
	for (int i = 0; i < 3; i++)
		add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING, SWO_TRANSITIONS_PARALLEL,
			SWO_JOIN_PASS)
			->inside_arc = check_barrier;
	fake_script(&s.vf[1], SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	change_with_one_held_back(&s, SWO_RUN_STATE_RUNNING, &s.vf[1]);
	assert_int_equal(violations, 0);
	scene_close(&s);
}

static void the_barrier_holds_during_roll_back_too(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	violations = 0;
	for (int i = 0; i < 3; i++)
		add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, SWO_TRANSITIONS_PARALLEL,
			SWO_JOIN_PASS)
			->inside_arc = check_barrier;
	fake_script(&s.vf[1], SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL, 1);
	/* During roll-back every device waits for the others at each side of the barrier. */
	fake_script(&s.vf[0], SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_MEET, 1);
	fake_script(&s.vf[1], SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_RUNNING_P2P, FAKE_MEET, 1);
	fake_script(&s.vf[2], SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_MEET, 1);
	s.group.want = 3;
	fails(&s, SWO_RUN_STATE_FINISH_MIGRATE, SWO_E_DEVICE);
	assert_int_equal(violations, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(swo_device_state(s.vf[i].dev), SWO_DEVICE_RUNNING);
		assert_int_equal(swo_device_health(s.vf[i].dev), SWO_DEVICE_SOUND);
	}
	scene_close(&s);
}

/* Failures */

static void a_failed_stop_ends_with_every_device_running(void **state)
{
	(void)state;
	static const struct {
		enum swo_device_state from, to;
		enum fake_deed deed;
		int resets;
	} at[] = {
		{SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, FAKE_FAIL, 0},
		{SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, FAKE_FAIL_THERE, 0},
		{SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, FAKE_BREAK, 1},
		{SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL, 0},
		{SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL_THERE, 0},
		{SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_BREAK, 1},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(at); i++)
		for (int mode = SWO_TRANSITIONS_SERIAL; mode <= SWO_TRANSITIONS_PARALLEL; mode++) {
			struct scene s;

			open_at(&s, SWO_RUN_STATE_RUNNING);
			for (int n = 0; n < 3; n++)
				add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY,
					(enum swo_transitions)mode, SWO_JOIN_PASS);
			fake_script(&s.vf[1], at[i].from, at[i].to, at[i].deed, 1);
			fails(&s, SWO_RUN_STATE_FINISH_MIGRATE, SWO_E_DEVICE);
			for (int n = 0; n < 3; n++) {
				int resets = n == 1 ? at[i].resets : 0;

				/* In a serial pass, a device that was not called yet was never accessed.
				 */
				if (swo_device_state(s.vf[n].dev) != SWO_DEVICE_PRE_COPY)
					assert_int_equal(
						swo_device_state(s.vf[n].dev), SWO_DEVICE_RUNNING);
				assert_int_equal(s.vf[n].resets, resets);
				assert_int_equal(swo_device_health(s.vf[n].dev),
					resets ? SWO_DEVICE_WAS_RESET : SWO_DEVICE_SOUND);
			}
			scene_close(&s);
		}
}

static void a_start_that_takes_back_recovers_instead_of_failing_again(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	struct fake_device *vf = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_FAIL, 1);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, FAKE_FAIL, 0);
	fails(&s, SWO_RUN_STATE_PAUSED, SWO_E_DEVICE);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
	scene_close(&s);
}

static void one_that_is_taken_back_for_anothers_failure_is_recovered_too(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	for (int i = 0; i < 2; i++)
		add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, SWO_TRANSITIONS_PARALLEL,
			SWO_JOIN_PASS);
	fake_script(&s.vf[0], SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL, 1);
	fake_script(&s.vf[1], SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP, FAKE_BREAK, 1);
	fails(&s, SWO_RUN_STATE_PAUSED, SWO_E_DEVICE);
	assert_int_equal(swo_device_state(s.vf[1].dev), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(s.vf[1].dev), SWO_DEVICE_WAS_RESET);
	assert_int_equal(swo_device_health(s.vf[0].dev), SWO_DEVICE_SOUND);
	scene_close(&s);
}

static void a_source_that_goes_on_after_a_switchover_recovers_its_devices(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	struct fake_device *vf = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH);
	assert_int_equal(
		swo_runstate_change(s.rs, SWO_RUN_STATE_FINISH_MIGRATE, rollback, NULL), 0);
	fake_script(vf, SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP, FAKE_BREAK, 1);
	assert_int_equal(swo_runstate_change(s.rs, SWO_RUN_STATE_RUNNING, rollback, NULL), 0);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(vf->dev), SWO_DEVICE_WAS_RESET);
	scene_close(&s);
}

static void a_resuming_device_is_never_reset_by_a_start(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_FINISH_MIGRATE);
	struct fake_device *vf = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_RESUMING, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS);
	changes(&s, SWO_RUN_STATE_RUNNING,
		"vf0:RESUMING>STOP vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	assert_int_equal(vf->resets, 0);
	scene_close(&s);
}

static void an_ordinary_start_that_fails_resets_nothing(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	struct fake_device *vf =
		add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH);
	changes(&s, SWO_RUN_STATE_PAUSED, "vf0:RUNNING>RUNNING_P2P vf0:RUNNING_P2P>STOP ");
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, FAKE_FAIL, 1);
	fails(&s, SWO_RUN_STATE_RUNNING, SWO_E_DEVICE);
	/* Rolled back to the stopped state; another attempt may succeed. */
	scene_expect(&s, "vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING vf0:RUNNING_P2P>STOP ");
	assert_int_equal(vf->resets, 0);
	changes(&s, SWO_RUN_STATE_RUNNING, "vf0:STOP>RUNNING_P2P vf0:RUNNING_P2P>RUNNING ");
	scene_close(&s);
}

static void a_device_whose_stop_failed_on_a_plain_stop_is_recovered_by_the_start(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	struct fake_device *vf = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_DEPTH);
	fake_script(vf, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_BREAK, 1);
	assert_int_equal(
		swo_runstate_change(s.rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, NULL), -1);
	assert_int_equal(swo_runstate_get(s.rs), SWO_RUN_STATE_PAUSED);
	assert_int_equal(swo_runstate_change(s.rs, SWO_RUN_STATE_RUNNING, rollback, NULL), 0);
	assert_int_equal(swo_device_state(vf->dev), SWO_DEVICE_RUNNING);
	assert_int_equal(vf->resets, 1);
	scene_close(&s);
}

static void a_lost_device_is_left_out_and_the_others_go_on(void **state)
{
	(void)state;
	struct scene s;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	struct fake_device *lost = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS);
	struct fake_device *sound = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS);
	fake_script(lost, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, FAKE_LOSE, 1);
	fails(&s, SWO_RUN_STATE_PAUSED, SWO_E_PEER_LOST);
	assert_int_equal(swo_device_state(sound->dev), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(lost->dev), SWO_DEVICE_LOST);
	scene_forget(&s);
	changes(&s, SWO_RUN_STATE_PAUSED, "vf1:RUNNING>RUNNING_P2P vf1:RUNNING_P2P>STOP ");
	changes(&s, SWO_RUN_STATE_RUNNING, "vf1:STOP>RUNNING_P2P vf1:RUNNING_P2P>RUNNING ");
	scene_close(&s);
}

static void a_hung_arc_does_not_keep_the_others_from_going_back(void **state)
{
	(void)state;
	struct scene s;
	struct changer changer = {.scene = &s, .to = SWO_RUN_STATE_FINISH_MIGRATE};
	pthread_t thread;

	open_at(&s, SWO_RUN_STATE_RUNNING);
	for (int i = 0; i < 3; i++)
		add(&s, FAKE_FLAGS_ALL, SWO_DEVICE_PRE_COPY, SWO_TRANSITIONS_PARALLEL,
			SWO_JOIN_PASS);
	fake_script(&s.vf[2], SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_HANG, 1);
	assert_int_equal(swo_thread_start(&thread, "changer", change_thread, &changer, NULL), 0);
	assert_true(fake_await_hang(&s.vf[2]));
	scene_hasten(&s.vf[2], true);
	pthread_join(thread, NULL);
	assert_int_equal(changer.rc, -1);
	assert_int_equal(swo_device_health(s.vf[2].dev), SWO_DEVICE_LOST);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(swo_device_state(s.vf[i].dev), SWO_DEVICE_RUNNING);
		assert_int_equal(swo_device_health(s.vf[i].dev), SWO_DEVICE_SOUND);
	}
	/* "If the arc ends later, it is driven to RUNNING." */
	fake_release(&s.vf[2]);
	scene_await_settled(&s.vf[2]);
	assert_int_equal(swo_device_state(s.vf[2].dev), SWO_DEVICE_RUNNING);
	scene_close(&s);
}

/* Following and not */

static void a_device_follows_once_and_may_stop_following(void **state)
{
	(void)state;
	struct scene s;
	struct swo_error err = {0};

	open_at(&s, SWO_RUN_STATE_RUNNING);
	struct fake_device *vf = add(
		&s, FAKE_FLAGS_ALL, SWO_DEVICE_RUNNING, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS);
	assert_int_equal(
		swo_device_follow(vf->dev, s.rs, 0, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH, &err),
		-1);
	assert_int_equal(err.code, SWO_E_STATE);
	swo_device_unfollow(vf->dev);
	swo_device_unfollow(vf->dev);
	changes(&s, SWO_RUN_STATE_PAUSED, "");
	assert_int_equal(
		swo_device_follow(vf->dev, s.rs, -1, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH, &err),
		-1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_int_equal(
		swo_device_follow(vf->dev, s.rs, 0, SWO_TRANSITIONS_SERIAL, SWO_JOIN_DEPTH, &err),
		0);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_stop_goes_to_stop_and_a_start_to_running),
		cmocka_unit_test(a_switchover_goes_by_stop_copy_and_by_resuming),
		cmocka_unit_test(an_open_session_stops_at_stop_copy_even_on_a_plain_stop),
		cmocka_unit_test(a_stop_leaves_a_stopped_device_where_it_is),
		cmocka_unit_test(parallel_arcs_overlap_in_every_pass_and_direction),
		cmocka_unit_test(join_at_pass_overlaps_devices_of_different_depths),
		cmocka_unit_test(serial_arcs_never_overlap_and_keep_list_order),
		cmocka_unit_test(an_ordinary_handler_of_the_depth_runs_beside_the_arc),
		cmocka_unit_test(
			no_device_stops_before_all_are_in_p2p_and_none_runs_before_all_are),
		cmocka_unit_test(the_barrier_holds_for_a_target_that_resumes),
		cmocka_unit_test(the_barrier_holds_during_roll_back_too),
		cmocka_unit_test(a_failed_stop_ends_with_every_device_running),
		cmocka_unit_test(a_start_that_takes_back_recovers_instead_of_failing_again),
		cmocka_unit_test(one_that_is_taken_back_for_anothers_failure_is_recovered_too),
		cmocka_unit_test(a_source_that_goes_on_after_a_switchover_recovers_its_devices),
		cmocka_unit_test(a_resuming_device_is_never_reset_by_a_start),
		cmocka_unit_test(an_ordinary_start_that_fails_resets_nothing),
		cmocka_unit_test(
			a_device_whose_stop_failed_on_a_plain_stop_is_recovered_by_the_start),
		cmocka_unit_test(a_lost_device_is_left_out_and_the_others_go_on),
		cmocka_unit_test(a_hung_arc_does_not_keep_the_others_from_going_back),
		cmocka_unit_test(a_device_follows_once_and_may_stop_following),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
