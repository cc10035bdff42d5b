/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handlers.c - the list of registrations: kept in order, safe to change from inside a callback
 * and from other threads.
 */
#include "runstate/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

void swo_runstate_free(struct swo_runstate *rs)
{
	if (!rs)
		return;
	swo_runstate_reap(rs);
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

int swo_runstate_add(struct swo_runstate *rs, const struct swo_handler_desc *desc,
	struct swo_handler **out, struct swo_error *err)
{
	if (desc->depth < 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"handler '%s': depth %d, expected 0 (a root) or more", desc->name,
			desc->depth);
	if (desc->rank < SWO_RANK_MIN || desc->rank > SWO_RANK_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"handler '%s': rank %d, expected %d to %d", desc->name, desc->rank,
			SWO_RANK_MIN, SWO_RANK_MAX);

	struct swo_handler *handler = new_handler(desc->name, err);
	if (!handler)
		return -1;
	handler->ordinary = *desc;
	set_place(handler, 0, desc->depth, desc->rank);
	enlist(rs, handler);
	if (out)
		*out = handler;
	return 0;
}

int swo_runstate_add_slow(struct swo_runstate *rs, const struct swo_slow_desc *desc,
	struct swo_handler **out, struct swo_error *err)
{
	if (desc->depth < 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"slow handler '%s': depth %d, expected 0 (a root) or more", desc->name,
			desc->depth);
	if (!desc->launch || !desc->join)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"slow handler '%s': launch or join is NULL", desc->name);

	struct swo_handler *handler = new_handler(desc->name, err);
	if (!handler)
		return -1;
	handler->slow = true;
	handler->slowly = *desc;
	set_place(handler, 0, desc->depth, RANK_BELOW);
	set_place(handler, 1, desc->depth, RANK_ABOVE);
	enlist(rs, handler);
	if (out)
		*out = handler;
	return 0;
}

void swo_runstate_reap(struct swo_runstate *rs)
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
			swo_runstate_join_removed(rs, handler);
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
	swo_runstate_reap(rs);
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
	pthread_mutex_lock(&rs->mutex);
	rs->observer = observer ? *observer : (struct swo_runstate_observer){0};
	pthread_mutex_unlock(&rs->mutex);
}
