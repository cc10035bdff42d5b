/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handlers that are added and removed during a change, from inside a callback and from other
 * threads; nested and concurrent changes; observers.
 */
#include "trail.h"

#include "runstate/hold.h"
#include "runstate/internal.h"

#include <stdatomic.h>
#include <unistd.h>

static void remove_other(struct actor *self)
{
	swo_runstate_remove(self->trail->rs, self->other->handler);
	self->other->handler = NULL;
}

static void remove_self(struct actor *self)
{
	swo_runstate_remove(self->trail->rs, self->handler);
	self->handler = NULL;
}

static void add_other(struct actor *self)
{
	trail_ordinary(self->trail, self->other, "new", 0, 0);
}

static void add_other_slow(struct actor *self)
{
	trail_slow(self->trail, self->other, "new", 0, SWO_JOIN_DEPTH);
}

static void a_handler_may_remove_itself(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, b = {.acts = AT_PREPARE, .act = remove_self}, c = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_ordinary(&t, &b, "b", 0, 0);
	trail_ordinary(&t, &c, "c", 0, 0);
	trail_start(&t, "a b c | a c |");
	trail_stop(&t, "c a | c a |");
	trail_close(&t);
}

static void a_handler_removed_before_its_turn_is_not_called(void **state)
{
	(void)state;
	struct trail t;
	struct actor b = {0}, c = {0}, a = {.acts = AT_CHANGE, .act = remove_other, .other = &b};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_ordinary(&t, &b, "b", 0, 0);
	trail_ordinary(&t, &c, "c", 0, 0);
	trail_start(&t, "a b c | a c |");
	trail_close(&t);
}

static void a_handler_removed_after_its_turn_is_not_called_again(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, b = {.acts = AT_PREPARE, .act = remove_other, .other = &a};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_ordinary(&t, &b, "b", 0, 0);
	trail_start(&t, "a b | b |");
	trail_close(&t);
}

static void the_last_handlers_may_remove_each_other_and_themselves(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, b = {.acts = AT_CHANGE, .act = remove_other, .other = &a};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_ordinary(&t, &b, "b", 0, 0);
	trail_stop(&t, "b a | b |");
	b.acts = AT_CHANGE;
	b.act = remove_self;
	trail_start(&t, "b | b |");
	trail_stop(&t, "| |");
	trail_close(&t);
}

static void a_launched_handler_is_joined_when_it_is_removed(void **state)
{
	(void)state;
	struct trail t;
	struct actor x = {0}, a = {.acts = AT_PREPARE, .act = remove_other, .other = &x}, b = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_ordinary(&t, &b, "b", 0, 0);
	trail_start(&t, "x< a >x b | a b |");
	trail_close(&t);
}

static void the_error_of_a_join_on_removal_fails_nothing(void **state)
{
	(void)state;
	struct trail t;
	struct actor x = {.fails_start = AT_PREPARE_JOIN};
	struct actor a = {.acts = AT_PREPARE, .act = remove_other, .other = &x};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_PASS);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_start(&t, "x< a >x! | a |");
	trail_close(&t);
}

static void a_slow_handler_that_removes_itself_in_launch_is_joined_once(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, x = {.acts = AT_PREPARE, .act = remove_self};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_start(&t, "x< >x a | a |");
	trail_close(&t);
}

static void a_slow_handler_that_removes_itself_in_join_is_joined_once(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, x = {.acts = AT_PREPARE_JOIN, .act = remove_self};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_start(&t, "x< a >x | a |");
	trail_close(&t);
}

static void a_handler_added_during_a_pass_counts_from_the_next_one(void **state)
{
	(void)state;
	struct trail t;
	struct actor n = {0}, a = {.acts = AT_PREPARE, .act = add_other, .other = &n}, b = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a, "a", 0, -1);
	trail_ordinary(&t, &b, "b", 0, 1);
	trail_start(&t, "a b | a new b |");
	trail_stop(&t, "b new a | b new a |");
	trail_close(&t);
}

static void a_slow_handler_added_in_its_own_depth_is_not_called_halfway(void **state)
{
	(void)state;
	struct trail t;
	struct actor n = {0}, a = {.acts = AT_CHANGE, .act = add_other_slow, .other = &n};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_stop(&t, "a | a |");
	trail_start(&t, "new< a >new | new< a >new |");
	trail_close(&t);
}

static void nest(struct actor *self)
{
	struct swo_error err = {0};

	assert_int_equal(swo_runstate_change(self->trail->rs, SWO_RUN_STATE_PAUSED,
				 SWO_ON_ERROR_CONTINUE, &err),
		-1);
	assert_int_equal(err.code, SWO_E_STATE);
	/* The old state holds until the change is done. */
	assert_int_equal(swo_runstate_get(self->trail->rs), SWO_RUN_STATE_PRELAUNCH);
}

static void a_nested_change_is_refused(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {.acts = AT_PREPARE | AT_CHANGE, .act = nest};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_start(&t, "a | a |");
	assert_int_equal(a.acts, NEVER);
	assert_int_equal(swo_runstate_get(t.rs), SWO_RUN_STATE_RUNNING);
	trail_close(&t);
}

/* Another thread that does one thing to the run state while a callback holds the change. */
struct intruder {
	struct swo_runstate *rs;
	struct swo_handler *removes;
	struct swo_error err;
	int rc;
	bool done;
	pthread_t thread;
};

static void *intrude_change(void *opaque)
{
	struct intruder *in = opaque;

	in->rc = swo_runstate_change(in->rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, &in->err);
	return NULL;
}

static struct intruder *intruder;

static void let_in(struct actor *self)
{
	(void)self;
	assert_int_equal(
		swo_thread_start(&intruder->thread, "intruder", intrude_change, intruder, NULL), 0);
	pthread_join(intruder->thread, NULL);
}

static void a_concurrent_change_is_refused(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {.acts = AT_PREPARE, .act = let_in};
	struct intruder in = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a, "a", 0, 0);
	in.rs = t.rs;
	intruder = &in;
	trail_start(&t, "a | a |");
	assert_int_equal(in.rc, -1);
	assert_int_equal(in.err.code, SWO_E_STATE);
	trail_close(&t);
}

static void *intrude_remove(void *opaque)
{
	struct intruder *in = opaque;

	swo_runstate_remove(in->rs, in->removes);
	__atomic_store_n(&in->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool somebody_waits(struct swo_runstate *rs, const struct swo_handler *handler)
{
	pthread_mutex_lock(&rs->mutex);
	bool waits = handler->waiters > 0;
	pthread_mutex_unlock(&rs->mutex);
	return waits;
}

/* Returns once the other thread waits in swo_runstate_remove; the guard ends a failing test. */
static void begin_removal(struct actor *self)
{
	swo_deadline guard = swo_deadline_ms(20000);

	assert_int_equal(
		swo_thread_start(&intruder->thread, "intruder", intrude_remove, intruder, NULL), 0);
	while (!somebody_waits(self->trail->rs, intruder->removes) && !swo_deadline_passed(guard))
		swo_sleep_until(swo_now_ns() + 100000);
	assert_true(somebody_waits(self->trail->rs, intruder->removes));
}

static void must_still_wait(struct actor *self)
{
	(void)self;
	assert_false(__atomic_load_n(&intruder->done, __ATOMIC_ACQUIRE));
}

static void removal_from_another_thread_waits_for_the_join(void **state)
{
	(void)state;
	struct trail t;
	struct actor x = {.acts = AT_PREPARE_JOIN, .act = must_still_wait};
	struct actor a = {.acts = AT_PREPARE, .act = begin_removal};
	struct intruder in = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_DEPTH);
	trail_ordinary(&t, &a, "a", 0, 0);
	in.rs = t.rs;
	in.removes = x.handler;
	intruder = &in;
	trail_start(&t, "x< a >x | a |");
	pthread_join(in.thread, NULL);
	assert_int_equal(x.acts, NEVER);
	trail_stop(&t, "a | a |");
	trail_close(&t);
}

/* Added and removed by its own thread while the state changes. */
struct visitor {
	struct swo_runstate *rs;
	pthread_t thread;
	int slow;
	int in_flight; /* launched and not joined: always 0 or 1 */
	int calls;
	bool wrong;
};

static int visitor_change(void *opaque, bool running, enum swo_run_state to, struct swo_error *err)
{
	struct visitor *visitor = opaque;

	(void)running;
	(void)to;
	(void)err;
	visitor->calls++;
	return 0;
}

static int visitor_launch(void *opaque, enum swo_pass pass, bool running, enum swo_run_state to,
	struct swo_error *err)
{
	struct visitor *visitor = opaque;

	(void)pass;
	visitor->wrong |= visitor->in_flight++ != 0;
	return visitor_change(opaque, running, to, err);
}

static int visitor_join(void *opaque, enum swo_pass pass, bool running, enum swo_run_state to,
	struct swo_error *err)
{
	struct visitor *visitor = opaque;

	(void)pass;
	visitor->wrong |= visitor->in_flight-- != 1;
	return visitor_change(opaque, running, to, err);
}

static void *come_and_go(void *opaque)
{
	struct visitor *visitor = opaque;
	struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
		.name = "v",
		.prepare = visitor_change,
		.change = visitor_change,
		.opaque = visitor};
	struct swo_slow_desc slow = {.size = sizeof(struct swo_slow_desc),
		.name = "v",
		.join_at = SWO_JOIN_PASS,
		.launch = visitor_launch,
		.join = visitor_join,
		.opaque = visitor};

	for (int i = 0; i < 300; i++) {
		struct swo_handler *handler;
		int rc = visitor->slow ? swo_runstate_add_slow(visitor->rs, &slow, &handler, NULL)
				       : swo_runstate_add(visitor->rs, &desc, &handler, NULL);

		if (!rc)
			swo_runstate_remove(visitor->rs, handler);
		/* After a removal there are no more calls: only this thread accesses it. */
		visitor->wrong |= rc || visitor->in_flight != 0;
		visitor->calls = 0;
	}
	return NULL;
}

static void handlers_may_come_and_go_on_other_threads_meanwhile(void **state)
{
	(void)state;
	struct swo_runstate *rs = swo_runstate_new(SWO_RUN_STATE_PAUSED);
	struct visitor visitor[3] = {{.slow = 0}, {.slow = 1}, {.slow = 1}};

	assert_non_null(rs);
	for (int i = 0; i < 3; i++) {
		visitor[i].rs = rs;
		assert_int_equal(swo_thread_start(&visitor[i].thread, "visitor", come_and_go,
					 &visitor[i], NULL),
			0);
	}
	for (int i = 0; i < 300; i++)
		assert_int_equal(swo_runstate_change(rs,
					 i % 2 ? SWO_RUN_STATE_PAUSED : SWO_RUN_STATE_RUNNING,
					 SWO_ON_ERROR_ROLLBACK, NULL),
			0);
	for (int i = 0; i < 3; i++) {
		pthread_join(visitor[i].thread, NULL);
		assert_false(visitor[i].wrong);
	}
	swo_runstate_free(rs);
}

static void a_handler_may_be_removed_between_changes_and_null_is_none(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, x = {0};

	trail_open(&t, SWO_RUN_STATE_PRELAUNCH);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_DEPTH);
	swo_runstate_remove(t.rs, x.handler);
	swo_runstate_remove(t.rs, NULL);
	trail_start(&t, "a | a |");
	swo_runstate_remove(t.rs, a.handler);
	trail_stop(&t, "| |");
	trail_close(&t);
}

struct seen {
	char text[256];
	size_t len;
	uint64_t last_end;
};

static void seen_handler(void *opaque, const char *name, enum swo_pass pass, bool running,
	uint64_t start_ns, uint64_t end_ns)
{
	struct seen *seen = opaque;

	seen->len += (size_t)snprintf(seen->text + seen->len, sizeof(seen->text) - seen->len,
		"%s:%c%c ", name, pass == SWO_PASS_PREPARE ? 'p' : 'c', running ? '+' : '-');
	assert_true(start_ns <= end_ns);
	assert_true(seen->last_end <= start_ns);
	seen->last_end = end_ns;
}

static void the_observer_sees_every_callback_in_order(void **state)
{
	(void)state;
	struct trail t;
	struct actor a = {0}, x = {0};
	struct seen seen = {0};
	struct swo_runstate_observer observer = {.size = sizeof(struct swo_runstate_observer),
		.handler = seen_handler,
		.opaque = &seen};

	trail_open(&t, SWO_RUN_STATE_RUNNING);
	trail_ordinary(&t, &a, "a", 0, 0);
	trail_slow(&t, &x, "x", 0, SWO_JOIN_DEPTH);
	swo_runstate_observe(t.rs, &observer);
	trail_stop(&t, "x< a >x x< a >x");
	assert_string_equal(seen.text, "x:p- a:p- x:p- x:c- a:c- x:c- ");
	swo_runstate_observe(t.rs, NULL);
	seen.len = 0;
	trail_start(&t, "x< a >x x< a >x");
	assert_int_equal(seen.len, 0);
	trail_close(&t);
}

struct blocked_observer {
	struct swo_runstate *rs;
	atomic_bool inside, go_on, removed;
};

static void block_in_pass(
	void *opaque, enum swo_pass pass, bool running, uint64_t start_ns, uint64_t end_ns)
{
	struct blocked_observer *b = opaque;

	(void)pass, (void)running, (void)start_ns, (void)end_ns;
	atomic_store(&b->inside, true);
	while (!atomic_load(&b->go_on))
		usleep(1000);
	/* Its memory is still there. */
	assert_false(atomic_load(&b->removed));
}

static void *remove_observer(void *opaque)
{
	struct blocked_observer *b = opaque;

	swo_runstate_observe(b->rs, NULL);
	atomic_store(&b->removed, true);
	return NULL;
}

static void *stop_it(void *opaque)
{
	swo_runstate_change(opaque, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, NULL);
	return NULL;
}

static void removing_the_observer_waits_for_its_call(void **state)
{
	(void)state;
	struct blocked_observer b = {.rs = swo_runstate_new(SWO_RUN_STATE_RUNNING)};
	const struct swo_runstate_observer observer = {
		.size = sizeof(struct swo_runstate_observer), .pass = block_in_pass, .opaque = &b};
	pthread_t stopping, removing;

	swo_runstate_observe(b.rs, &observer);
	assert_int_equal(pthread_create(&stopping, NULL, stop_it, b.rs), 0);
	while (!atomic_load(&b.inside))
		usleep(1000);
	assert_int_equal(pthread_create(&removing, NULL, remove_observer, &b), 0);
	usleep(100000);
	assert_false(atomic_load(&b.removed));
	atomic_store(&b.go_on, true);
	pthread_join(removing, NULL);
	pthread_join(stopping, NULL);
	swo_runstate_free(b.rs);
}

/* A hold */

struct holding {
	struct swo_runstate *rs;
	pthread_t thread;
	atomic_bool released;
	atomic_int calls;
	bool early; /* a handler was called before the release */
};

static int check_released(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	struct holding *holding = opaque;

	(void)running;
	(void)state;
	(void)err;
	holding->early |= !atomic_load(&holding->released);
	atomic_fetch_add(&holding->calls, 1);
	return 0;
}

static void *change_held(void *opaque)
{
	struct holding *holding = opaque;

	assert_int_equal(
		swo_runstate_change(holding->rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, NULL),
		0);
	return NULL;
}

static void a_change_waits_for_the_release_of_a_hold(void **state)
{
	struct holding holding = {.rs = swo_runstate_new(SWO_RUN_STATE_RUNNING)};
	const struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
		.name = "held",
		.prepare = check_released,
		.opaque = &holding};
	struct swo_handler *handler;

	(void)state;
	assert_int_equal(swo_runstate_add(holding.rs, &desc, &handler, NULL), 0);
	assert_int_equal(runstate_hold(holding.rs), SWO_RUN_STATE_RUNNING);
	assert_int_equal(pthread_create(&holding.thread, NULL, change_held, &holding), 0);
	/* Time enough for a change that does not wait. */
	for (int i = 0; i < 50 && !atomic_load(&holding.calls); i++)
		usleep(1000);
	assert_int_equal(swo_runstate_get(holding.rs), SWO_RUN_STATE_RUNNING);
	atomic_store(&holding.released, true);
	runstate_release(holding.rs);
	pthread_join(holding.thread, NULL);
	assert_int_equal(atomic_load(&holding.calls), 1);
	assert_false(holding.early);
	assert_int_equal(runstate_hold(holding.rs), SWO_RUN_STATE_PAUSED);
	runstate_release(holding.rs);
	swo_runstate_free(holding.rs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handler_may_remove_itself),
		cmocka_unit_test(a_handler_removed_before_its_turn_is_not_called),
		cmocka_unit_test(a_handler_removed_after_its_turn_is_not_called_again),
		cmocka_unit_test(the_last_handlers_may_remove_each_other_and_themselves),
		cmocka_unit_test(a_launched_handler_is_joined_when_it_is_removed),
		cmocka_unit_test(the_error_of_a_join_on_removal_fails_nothing),
		cmocka_unit_test(a_slow_handler_that_removes_itself_in_launch_is_joined_once),
		cmocka_unit_test(a_slow_handler_that_removes_itself_in_join_is_joined_once),
		cmocka_unit_test(a_handler_added_during_a_pass_counts_from_the_next_one),
		cmocka_unit_test(a_slow_handler_added_in_its_own_depth_is_not_called_halfway),
		cmocka_unit_test(a_nested_change_is_refused),
		cmocka_unit_test(a_concurrent_change_is_refused),
		cmocka_unit_test(removal_from_another_thread_waits_for_the_join),
		cmocka_unit_test(handlers_may_come_and_go_on_other_threads_meanwhile),
		cmocka_unit_test(a_handler_may_be_removed_between_changes_and_null_is_none),
		cmocka_unit_test(the_observer_sees_every_callback_in_order),
		cmocka_unit_test(removing_the_observer_waits_for_its_call),
		cmocka_unit_test(a_change_waits_for_the_release_of_a_hold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
