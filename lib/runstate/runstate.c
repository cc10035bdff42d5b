/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runstate.c - the list of registrations, ordered by (depth, rank, registration), safe to
 * change from inside a callback and from other threads; and a change of the run state: two
 * passes over the list in one direction, and, to roll back, two in the other.
 */
#include "runstate/hold.h"
#include "runstate/internal.h"

#include "base/sized.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The list */

const char *swo_run_state_name(enum swo_run_state state)
{
	static const char *const names[] = {
		[SWO_RUN_STATE_PRELAUNCH] = "prelaunch",
		[SWO_RUN_STATE_INMIGRATE] = "inmigrate",
		[SWO_RUN_STATE_RUNNING] = "running",
		[SWO_RUN_STATE_PAUSED] = "paused",
		[SWO_RUN_STATE_FINISH_MIGRATE] = "finish-migrate",
		[SWO_RUN_STATE_POSTMIGRATE] = "postmigrate",
		[SWO_RUN_STATE_INTERNAL_ERROR] = "internal-error",
		[SWO_RUN_STATE_SHUTDOWN] = "shutdown",
	};
	if ((size_t)state >= SWO_ARRAY_SIZE(names))
		return "unknown";
	return names[state];
}

struct swo_runstate *swo_runstate_new(enum swo_run_state initial)
{
	struct swo_runstate *rs = calloc(1, sizeof(*rs));

	if (!rs)
		return NULL;
	pthread_mutex_init(&rs->mutex, NULL);
	pthread_cond_init(&rs->settled, NULL);
	rs->state = initial;
	return rs;
}

static void free_handler(struct swo_handler *handler)
{
	free(handler->name);
	free(handler);
}

static void take_out(struct swo_runstate *rs, struct place *place)
{
	*(place->prev ? &place->prev->next : &rs->first) = place->next;
	*(place->next ? &place->next->prev : &rs->last) = place->prev;
}

static void take_out_handler(struct swo_runstate *rs, struct swo_handler *handler)
{
	take_out(rs, &handler->place[0]);
	if (handler->slow)
		take_out(rs, &handler->place[1]);
}

/*
 * Frees removed registrations, unless a change still iterates over the list. With the mutex
 * held.
 */
static void reap(struct swo_runstate *rs)
{
	struct swo_handler **link = &rs->removed;

	if (rs->changing)
		return;
	while (*link) {
		struct swo_handler *handler = *link;

		if (handler->waiters) {
			link = &handler->next_removed;
			continue;
		}
		*link = handler->next_removed;
		take_out_handler(rs, handler);
		free_handler(handler);
	}
}

void swo_runstate_free(struct swo_runstate *rs)
{
	if (!rs)
		return;
	reap(rs);
	while (rs->first) {
		struct swo_handler *handler = rs->first->owner;

		take_out_handler(rs, handler);
		free_handler(handler);
	}
	pthread_cond_destroy(&rs->settled);
	pthread_mutex_destroy(&rs->mutex);
	free(rs);
}

static bool goes_before(const struct place *a, const struct place *b)
{
	if (a->depth != b->depth)
		return a->depth < b->depth;
	return a->rank < b->rank;
}

/* After its equals, so that ties stay in order of registration. */
static void put_in(struct swo_runstate *rs, struct place *place)
{
	struct place *after = rs->last;

	while (after && goes_before(place, after))
		after = after->prev;
	place->prev = after;
	place->next = after ? after->next : rs->first;
	*(after ? &after->next : &rs->first) = place;
	*(place->next ? &place->next->prev : &rs->last) = place;
}

static struct swo_handler *new_handler(const char *name, struct swo_error *err)
{
	struct swo_handler *handler = calloc(1, sizeof(*handler));
	char *copy = strdup(name ? name : "unnamed");

	if (!handler || !copy) {
		free(handler);
		free(copy);
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "run-state handler '%s'",
			name ? name : "unnamed");
		return NULL;
	}
	handler->name = copy;
	return handler;
}

static void set_place(struct swo_handler *handler, int i, int depth, int rank)
{
	handler->place[i].owner = handler;
	handler->place[i].depth = depth;
	handler->place[i].rank = rank;
}

static void enlist(struct swo_runstate *rs, struct swo_handler *handler)
{
	pthread_mutex_lock(&rs->mutex);
	handler->first_pass = rs->in_pass ? rs->pass_id + 1 : 0;
	put_in(rs, &handler->place[0]);
	if (handler->slow)
		put_in(rs, &handler->place[1]);
	pthread_mutex_unlock(&rs->mutex);
}

int swo_runstate_add(struct swo_runstate *rs, const struct swo_handler_desc *given,
	struct swo_handler **out, struct swo_error *err)
{
	struct swo_handler_desc desc;

	if (base_sized_copy("swo_handler_desc", &desc, sizeof(desc), given, err))
		return -1;
	if (desc.depth < 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"handler '%s': depth %d, expected 0 (a root) or more", desc.name,
			desc.depth);
	if (desc.rank < SWO_RANK_MIN || desc.rank > SWO_RANK_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"handler '%s': rank %d, expected %d to %d", desc.name, desc.rank,
			SWO_RANK_MIN, SWO_RANK_MAX);

	struct swo_handler *handler = new_handler(desc.name, err);
	if (!handler)
		return -1;
	handler->ordinary = desc;
	set_place(handler, 0, desc.depth, desc.rank);
	enlist(rs, handler);
	if (out)
		*out = handler;
	return 0;
}

int swo_runstate_add_slow(struct swo_runstate *rs, const struct swo_slow_desc *given,
	struct swo_handler **out, struct swo_error *err)
{
	struct swo_slow_desc desc;

	if (base_sized_copy("swo_slow_desc", &desc, sizeof(desc), given, err))
		return -1;
	if (desc.depth < 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"slow handler '%s': depth %d, expected 0 (a root) or more", desc.name,
			desc.depth);
	if (!desc.launch || !desc.join)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"slow handler '%s': launch or join is NULL", desc.name);

	struct swo_handler *handler = new_handler(desc.name, err);
	if (!handler)
		return -1;
	handler->slow = true;
	handler->slowly = desc;
	set_place(handler, 0, desc.depth, RANK_BELOW);
	set_place(handler, 1, desc.depth, RANK_ABOVE);
	enlist(rs, handler);
	if (out)
		*out = handler;
	return 0;
}

/* A change */

/* The two passes of one direction: over every handler, or over the called ones. */
struct sweep {
	struct swo_runstate *rs;
	bool taking_back;   /* only the called handlers */
	bool stop_at_error; /* call no handler after the first error */
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

/* A callback that fails without a text must still yield an error. */
static void name_error(
	const struct swo_runstate *rs, const struct swo_handler *handler, struct swo_error *err)
{
	if (err->code == SWO_E_NONE)
		swo_error_set(err, SWO_E_STATE, 0, "failed without a reason");
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
 * The observer as it is now, not as it was when the callback began: it may have been removed
 * meanwhile, with its memory. NULL: a whole pass. With the mutex held, except in the observer.
 */
static void observe(struct swo_runstate *rs, const char *handler, uint64_t start, uint64_t end)
{
	const struct swo_runstate_observer observer = rs->observer;

	if (!(handler ? (bool)observer.handler : (bool)observer.pass))
		return;
	rs->observing = true;
	pthread_mutex_unlock(&rs->mutex);
	if (handler)
		observer.handler(observer.opaque, handler, rs->pass, rs->running, start, end);
	else
		observer.pass(observer.opaque, rs->pass, rs->running, start, end);
	pthread_mutex_lock(&rs->mutex);
	rs->observing = false;
	pthread_cond_broadcast(&rs->settled);
}

/*
 * Calls one callback: without the mutex, observed, and marked as in progress. Only this thread
 * writes the members of *rs that call_out reads.
 */
static int call(
	struct swo_runstate *rs, struct swo_handler *handler, bool join, struct swo_error *err)
{
	memset(err, 0, sizeof(*err));
	handler->busy = true;
	pthread_mutex_unlock(&rs->mutex);

	uint64_t start = swo_now_ns();
	int rc = call_out(rs, handler, join, err);
	if (rc)
		name_error(rs, handler, err);
	const uint64_t end = swo_now_ns();

	pthread_mutex_lock(&rs->mutex);
	handler->busy = false;
	observe(rs, handler->name, start, end);
	pthread_cond_broadcast(&rs->settled);
	return rc ? -1 : 0;
}

/* Joins a launched handler that is being removed, and logs its error. With the mutex held. */
static void join_removed(struct swo_runstate *rs, struct swo_handler *handler)
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
		join_removed(sweep->rs, handler);
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
	/* Removed by its own launch: there was nothing to join yet. */
	if (handler->removed)
		join_removed(sweep->rs, handler);
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

	/* The first of a slow handler's places launches, the other joins. */
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

	observe(rs, NULL, start, swo_now_ns());
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
		swo_log(SWO_LOG_ERROR, "run state: rolling back a failed change to '%s': %s",
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
			"run state: cannot change to '%s': another change is in progress",
			swo_run_state_name(state));
	}
	/* Both may come during the wait; the change that has waited longest need not be first. */
	while (rs->held || rs->changing)
		pthread_cond_wait(&rs->settled, &rs->mutex);
	if (starts_or_stops(rs, state)) {
		begin(rs);
		sweep_to(&sweep, state);
		if (sweep.errors && sweep.stop_at_error)
			take_back(rs);
		else
			rs->state = state;
		rs->changing = false;
		pthread_cond_broadcast(&rs->settled);
		reap(rs);
	} else {
		rs->state = state;
	}
	pthread_mutex_unlock(&rs->mutex);
	return report(&sweep, err);
}

enum swo_run_state runstate_hold(struct swo_runstate *rs)
{
	pthread_mutex_lock(&rs->mutex);
	while (rs->held || rs->changing)
		pthread_cond_wait(&rs->settled, &rs->mutex);
	rs->held = true;
	enum swo_run_state state = rs->state;
	pthread_mutex_unlock(&rs->mutex);
	return state;
}

void runstate_release(struct swo_runstate *rs)
{
	pthread_mutex_lock(&rs->mutex);
	rs->held = false;
	pthread_cond_broadcast(&rs->settled);
	pthread_mutex_unlock(&rs->mutex);
}

/* Between changes, or during one */

void swo_runstate_remove(struct swo_runstate *rs, struct swo_handler *handler)
{
	if (!handler)
		return;
	pthread_mutex_lock(&rs->mutex);
	handler->removed = true;
	handler->next_removed = rs->removed;
	rs->removed = handler;

	if (rs->changing && pthread_equal(rs->changer, pthread_self())) {
		if (handler->launched)
			join_removed(rs, handler);
	} else {
		/*
		 * The changing thread is inside its callback, or joins it at its place: both end
		 * by that callback's own deadline, and the caller may free `opaque` afterwards.
		 */
		handler->waiters++;
		while (handler->busy || handler->launched)
			pthread_cond_wait(&rs->settled, &rs->mutex);
		handler->waiters--;
	}
	reap(rs);
	pthread_mutex_unlock(&rs->mutex);
}

enum swo_run_state swo_runstate_get(struct swo_runstate *rs)
{
	pthread_mutex_lock(&rs->mutex);
	enum swo_run_state state = rs->state;
	pthread_mutex_unlock(&rs->mutex);
	return state;
}

void swo_runstate_observe(struct swo_runstate *rs, const struct swo_runstate_observer *observer)
{
	struct swo_runstate_observer copy = {0};
	struct swo_error err;

	if (observer &&
		base_sized_copy("swo_runstate_observer", &copy, sizeof(copy), observer, &err))
		swo_log(SWO_LOG_ERROR, "run state: no observer: %s", err.text);
	pthread_mutex_lock(&rs->mutex);
	/* The caller may free the old one's `opaque` afterwards. */
	while (rs->observing && !pthread_equal(rs->changer, pthread_self()))
		pthread_cond_wait(&rs->settled, &rs->mutex);
	rs->observer = copy;
	pthread_mutex_unlock(&rs->mutex);
}
