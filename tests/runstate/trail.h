/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trail.h - the calls, in order, as one line of text: "a" an ordinary handler, "x<" a slow
 * one's launch, ">x" its join, "|" the end of a pass, and "!" after a failed call.
 */
#ifndef TESTS_RUNSTATE_TRAIL_H
#define TESTS_RUNSTATE_TRAIL_H

#include "switchover/runstate.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <string.h>

struct actor;

struct trail {
	struct swo_runstate *rs;
	struct actor *actor[8];
	int actors;
	size_t len;
	char text[4096];
};

/* The calls that fail, or that run the test's function. */
enum when {
	NEVER,
	AT_PREPARE = 1 << 0, /* of an ordinary handler, or a launch */
	AT_CHANGE = 1 << 1,
	AT_PREPARE_JOIN = 1 << 2,
	AT_CHANGE_JOIN = 1 << 3,
};

struct actor {
	struct trail *trail;
	const char *name;
	struct swo_handler *handler;
	unsigned fails;	      /* bits of enum when, on stop only */
	unsigned fails_start; /* the same, on start */
	unsigned acts;	      /* `act` is called once at these */
	void (*act)(struct actor *self);
	struct actor *other; /* for `act` */
	bool last_running;
	enum swo_run_state last_state;
};

static inline void trail_add(
	struct trail *trail, const char *before, const char *name, const char *after, bool failed)
{
	int n = snprintf(trail->text + trail->len, sizeof(trail->text) - trail->len, "%s%s%s%s%s",
		trail->len ? " " : "", before, name, after, failed ? "!" : "");

	trail->len += (size_t)n;
	assert_true(trail->len < sizeof(trail->text));
}

static inline int actor_call(struct actor *self, enum when when, const char *before,
	const char *after, bool running, enum swo_run_state state, struct swo_error *err)
{
	bool fails = (running ? self->fails_start : self->fails) & when;

	trail_add(self->trail, before, self->name, after, fails);
	self->last_running = running;
	self->last_state = state;
	if (self->acts & when) {
		self->acts &= ~(unsigned)when;
		self->act(self);
	}
	return fails ? swo_error_set(err, SWO_E_DEVICE, 0, "%s broke", self->name) : 0;
}

static inline int actor_prepare(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	return actor_call(opaque, AT_PREPARE, "", "", running, state, err);
}

static inline int actor_change(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	return actor_call(opaque, AT_CHANGE, "", "", running, state, err);
}

static inline int actor_launch(void *opaque, enum swo_pass pass, bool running,
	enum swo_run_state state, struct swo_error *err)
{
	enum when when = pass == SWO_PASS_PREPARE ? AT_PREPARE : AT_CHANGE;

	return actor_call(opaque, when, "", "<", running, state, err);
}

static inline int actor_join(void *opaque, enum swo_pass pass, bool running,
	enum swo_run_state state, struct swo_error *err)
{
	enum when when = pass == SWO_PASS_PREPARE ? AT_PREPARE_JOIN : AT_CHANGE_JOIN;

	return actor_call(opaque, when, ">", "", running, state, err);
}

static inline void trail_pass(
	void *opaque, enum swo_pass pass, bool running, uint64_t start_ns, uint64_t end_ns)
{
	(void)pass;
	(void)running;
	assert_true(start_ns <= end_ns);
	trail_add(opaque, "", "|", "", false);
}

/* The log of failures that a case causes itself. */
static inline void trail_hush(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	(void)level;
	assert_true(text[0] != 0);
}

static inline void trail_open(struct trail *trail, enum swo_run_state state)
{
	struct swo_runstate_observer observer = {
		.size = sizeof(struct swo_runstate_observer), .pass = trail_pass, .opaque = trail};

	memset(trail, 0, sizeof(*trail));
	swo_log_set(SWO_LOG_WARN, trail_hush, NULL);
	trail->rs = swo_runstate_new(state);
	assert_non_null(trail->rs);
	swo_runstate_observe(trail->rs, &observer);
}

static inline void trail_close(struct trail *trail)
{
	swo_runstate_free(trail->rs);
}

static inline void trail_ordinary(
	struct trail *trail, struct actor *actor, const char *name, int depth, int rank)
{
	struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
		.name = name,
		.depth = depth,
		.rank = rank,
		.prepare = actor_prepare,
		.change = actor_change,
		.opaque = actor};

	actor->trail = trail;
	actor->name = name;
	assert_int_equal(swo_runstate_add(trail->rs, &desc, &actor->handler, NULL), 0);
}

static inline void trail_slow(struct trail *trail, struct actor *actor, const char *name, int depth,
	enum swo_join join_at)
{
	struct swo_slow_desc desc = {.size = sizeof(struct swo_slow_desc),
		.name = name,
		.depth = depth,
		.join_at = join_at,
		.launch = actor_launch,
		.join = actor_join,
		.opaque = actor};

	actor->trail = trail;
	actor->name = name;
	assert_int_equal(swo_runstate_add_slow(trail->rs, &desc, &actor->handler, NULL), 0);
}

/* Changes the state and compares the trail of that change only. */
static inline void trail_expect(struct trail *trail, enum swo_run_state state,
	enum swo_on_error on_error, int rc, const char *expected)
{
	trail->len = 0;
	trail->text[0] = 0;
	assert_int_equal(swo_runstate_change(trail->rs, state, on_error, NULL), rc);
	assert_string_equal(trail->text, expected);
}

static inline void trail_start(struct trail *trail, const char *expected)
{
	trail_expect(trail, SWO_RUN_STATE_RUNNING, SWO_ON_ERROR_ROLLBACK, 0, expected);
}

static inline void trail_stop(struct trail *trail, const char *expected)
{
	trail_expect(trail, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, 0, expected);
}

#endif
