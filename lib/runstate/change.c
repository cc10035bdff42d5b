/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * change.c - a change of the run state: two passes over the list in one
 * direction, and, when that is to be taken back, two in the other.
 */
#include "runstate/internal.h"

#include <stdio.h>
#include <string.h>

/* One direction's two passes: over every handler, or over those that were called. */
struct sweep {
	struct swo_runstate *rs;
	bool taking_back;   /* only those that were called */
	bool stop_at_error; /* call nobody after the first */
	unsigned errors;
	struct swo_error first;
};

static void note_error(struct sweep *sweep, const struct swo_error *err)
{
	if (!sweep->errors++)
		sweep->first = *err;
	else
		swo_log(SWO_LOG_WARN, "%s", err->text);
}

/* A callback that failed without a word must not look like one that did not fail. */
static void name_error(
	const struct swo_runstate *rs, const struct swo_handler *handler, struct swo_error *err)
{
	if (err->code == SWO_E_NONE)
		swo_error_set(err, SWO_E_STATE, 0, "failed and gave no reason");
	swo_error_prefix(err, "%s (%s) of '%s'", rs->running ? "start" : "stop",
		rs->pass == SWO_PASS_PREPARE ? "prepare" : "change", handler->name);
}

static int call_out(
	struct swo_runstate *rs, struct swo_handler *handler, bool join, struct swo_error *err)
{
	if (handler->slow)
		return (join ? handler->slowly.join : handler->slowly.launch)(
			handler->slowly.opaque, rs->pass, rs->running, rs->to, err);
	return (rs->pass == SWO_PASS_PREPARE ? handler->ordinary.prepare
					     : handler->ordinary.change)(
		handler->ordinary.opaque, rs->running, rs->to, err);
}

/*
 * Calls one callback: with the mutex let go, observed, and known to be under way. What
 * call_out reads of *rs is written by this same thread only.
 */
static int call(
	struct swo_runstate *rs, struct swo_handler *handler, bool join, struct swo_error *err)
{
	struct swo_runstate_observer observer = rs->observer;

	memset(err, 0, sizeof(*err));
	handler->busy = true;
	pthread_mutex_unlock(&rs->mutex);

	uint64_t start = swo_now_ns();
	int rc = call_out(rs, handler, join, err);
	if (rc)
		name_error(rs, handler, err);
	if (observer.handler)
		observer.handler(
			observer.opaque, handler->name, rs->pass, rs->running, start, swo_now_ns());

	pthread_mutex_lock(&rs->mutex);
	handler->busy = false;
	pthread_cond_broadcast(&rs->settled);
	return rc ? -1 : 0;
}

void swo_runstate_join_removed(struct swo_runstate *rs, struct swo_handler *handler)
{
	struct swo_error err;

	handler->launched = false;
	if (call(rs, handler, true, &err))
		swo_log(SWO_LOG_WARN, "%s (it was being removed)", err.text);
}

static void join(struct sweep *sweep, struct swo_handler *handler)
{
	struct swo_error err;

	if (handler->removed) {
		swo_runstate_join_removed(sweep->rs, handler);
		return;
	}
	handler->launched = false;
	if (call(sweep->rs, handler, true, &err))
		note_error(sweep, &err);
}

static void launch(struct sweep *sweep, struct swo_handler *handler)
{
	struct swo_error err;

	handler->called = true;
	if (call(sweep->rs, handler, false, &err)) {
		note_error(sweep, &err);
		return;
	}
	handler->launched = true;
	/* Removed from within its own launch: there was nothing to join yet. */
	if (handler->removed)
		swo_runstate_join_removed(sweep->rs, handler);
}

static void call_ordinary(struct sweep *sweep, struct swo_handler *handler)
{
	struct swo_error err;

	if (!(sweep->rs->pass == SWO_PASS_PREPARE ? handler->ordinary.prepare
						  : handler->ordinary.change))
		return;
	handler->called = true;
	if (call(sweep->rs, handler, false, &err))
		note_error(sweep, &err);
}

static void visit(struct sweep *sweep, struct swo_handler *handler)
{
	struct swo_runstate *rs = sweep->rs;

	/* Whichever of a slow handler's places comes first launches, the other joins. */
	if (handler->slow && handler->met_in == rs->pass_id) {
		if (handler->launched && handler->slowly.join_at == SWO_JOIN_DEPTH)
			join(sweep, handler);
		return;
	}
	handler->met_in = rs->pass_id;
	if (handler->removed || handler->first_pass > rs->pass_id)
		return;
	if (sweep->taking_back && !handler->called)
		return;
	if (handler->slow)
		launch(sweep, handler);
	else
		call_ordinary(sweep, handler);
}

static struct place *step(const struct swo_runstate *rs, const struct place *from)
{
	if (!from)
		return rs->running ? rs->first : rs->last;
	return rs->running ? from->next : from->prev;
}

static void run_pass(struct sweep *sweep, enum swo_pass pass)
{
	struct swo_runstate *rs = sweep->rs;
	struct swo_runstate_observer observer = rs->observer;
	uint64_t start = swo_now_ns();

	rs->pass_id++;
	rs->pass = pass;
	rs->in_pass = true;
	for (struct place *at = step(rs, NULL); at; at = step(rs, at)) {
		visit(sweep, at->owner);
		if (sweep->errors && sweep->stop_at_error)
			break;
	}
	for (struct place *at = step(rs, NULL); at; at = step(rs, at))
		if (at->owner->launched)
			join(sweep, at->owner);
	rs->in_pass = false;

	if (observer.pass) {
		pthread_mutex_unlock(&rs->mutex);
		observer.pass(observer.opaque, pass, rs->running, start, swo_now_ns());
		pthread_mutex_lock(&rs->mutex);
	}
}

static void sweep_to(struct sweep *sweep, enum swo_run_state state)
{
	sweep->rs->to = state;
	sweep->rs->running = state == SWO_RUN_STATE_RUNNING;
	run_pass(sweep, SWO_PASS_PREPARE);
	if (sweep->errors && sweep->stop_at_error)
		return;
	run_pass(sweep, SWO_PASS_CHANGE);
}

static int report(const struct sweep *sweep, struct swo_error *err)
{
	if (!sweep->errors)
		return 0;
	if (!err)
		return -1;
	*err = sweep->first;
	if (sweep->errors > 1)
		snprintf(err->text, sizeof(err->text), "%.370s (and %u more)", sweep->first.text,
			sweep->errors - 1);
	return -1;
}

static void begin(struct swo_runstate *rs)
{
	rs->changing = true;
	rs->changer = pthread_self();
	for (struct place *at = rs->first; at; at = at->next)
		at->owner->called = false;
}

static void take_back(struct swo_runstate *rs)
{
	struct sweep back = {.rs = rs, .taking_back = true};
	struct swo_error err;

	sweep_to(&back, rs->state);
	if (report(&back, &err))
		swo_log(SWO_LOG_ERROR, "run state: taking back a failed change to '%s': %s",
			swo_run_state_name(rs->state), err.text);
}

static bool starts_or_stops(const struct swo_runstate *rs, enum swo_run_state state)
{
	return (rs->state == SWO_RUN_STATE_RUNNING) != (state == SWO_RUN_STATE_RUNNING);
}

int swo_runstate_change(struct swo_runstate *rs, enum swo_run_state state,
	enum swo_on_error on_error, struct swo_error *err)
{
	struct sweep sweep = {.rs = rs, .stop_at_error = on_error == SWO_ON_ERROR_ROLLBACK};

	pthread_mutex_lock(&rs->mutex);
	if (rs->changing) {
		pthread_mutex_unlock(&rs->mutex);
		return swo_error_set(err, SWO_E_STATE, 0,
			"run state: a change is under way; '%s' must wait until it is done",
			swo_run_state_name(state));
	}
	if (starts_or_stops(rs, state)) {
		begin(rs);
		sweep_to(&sweep, state);
		if (sweep.errors && sweep.stop_at_error)
			take_back(rs);
		else
			rs->state = state;
		rs->changing = false;
		swo_runstate_reap(rs);
	} else {
		rs->state = state;
	}
	pthread_mutex_unlock(&rs->mutex);
	return report(&sweep, err);
}
