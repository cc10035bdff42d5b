/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Thousands of random handler sets against a plain model: an array that is sorted for each
 * pass, reversed for a stop, and simulated.
 */
#include "switchover/runstate.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HANDLERS 24
#define SETS	     4000

/* A callback is one of eight: pass, direction, and join or not. */
static unsigned call_bit(enum swo_pass pass, bool running, bool join)
{
	return 1u << ((pass == SWO_PASS_CHANGE ? 4 : 0) + (running ? 2 : 0) + (join ? 1 : 0));
}

struct part {
	struct world *world;
	int id;
	int depth, rank;
	bool slow;
	enum swo_join join_at;
	bool has_prepare, has_change;
	unsigned fails; /* call bits */
	unsigned acts;	/* call bits at which it removes `victim` or adds `novice`, once */
	int victim;	/* -1: none */
	int novice;	/* -1: none */
	struct swo_handler *handler;

	/* the model's */
	bool enlisted, launched, called;
	unsigned acts_left;
	int from_pass;
	int order;
};

struct script {
	char text[16384];
	size_t len;
};

struct world {
	struct swo_runstate *rs;
	struct part part[MAX_HANDLERS];
	int parts;
	struct script real, model;
	int passes;
	int orders;
	bool state_running;
};

static void write_event(struct script *s, char kind, int id, enum swo_pass pass, bool running)
{
	s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%c%d%s%c ", kind,
		id, pass == SWO_PASS_PREPARE ? "p" : "c", running ? '+' : '-');
	assert_true(s->len < sizeof(s->text));
}

static uint32_t seed;

static uint32_t roll(uint32_t sides)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % sides;
}

/* The implementation */

static void enlist(struct world *w, int id);

static int really(
	struct part *p, enum swo_pass pass, bool running, char kind, struct swo_error *err)
{
	unsigned bit = call_bit(pass, running, kind == '>');

	write_event(&p->world->real, kind, p->id, pass, running);
	if (p->acts & bit) {
		p->acts = 0;
		if (p->victim >= 0 && p->world->part[p->victim].handler) {
			struct swo_handler *handler = p->world->part[p->victim].handler;

			p->world->part[p->victim].handler = NULL;
			swo_runstate_remove(p->world->rs, handler);
		}
		if (p->novice >= 0 && !p->world->part[p->novice].handler)
			enlist(p->world, p->novice);
	}
	return p->fails & bit ? swo_error_set(err, SWO_E_DEVICE, p->id + 1, "part") : 0;
}

static int real_prepare(void *o, bool running, enum swo_run_state st, struct swo_error *err)
{
	(void)st;
	return really(o, SWO_PASS_PREPARE, running, '.', err);
}

static int real_change(void *o, bool running, enum swo_run_state st, struct swo_error *err)
{
	(void)st;
	return really(o, SWO_PASS_CHANGE, running, '.', err);
}

static int real_launch(
	void *o, enum swo_pass pass, bool running, enum swo_run_state st, struct swo_error *err)
{
	(void)st;
	return really(o, pass, running, '<', err);
}

static int real_join(
	void *o, enum swo_pass pass, bool running, enum swo_run_state st, struct swo_error *err)
{
	(void)st;
	return really(o, pass, running, '>', err);
}

static void enlist(struct world *w, int id)
{
	struct part *p = &w->part[id];

	if (p->slow) {
		struct swo_slow_desc d = {.size = sizeof(struct swo_slow_desc),
			.name = "slow",
			.depth = p->depth,
			.join_at = p->join_at,
			.launch = real_launch,
			.join = real_join,
			.opaque = p};
		assert_int_equal(swo_runstate_add_slow(w->rs, &d, &p->handler, NULL), 0);
	} else {
		struct swo_handler_desc d = {.size = sizeof(struct swo_handler_desc),
			.name = "ordinary",
			.depth = p->depth,
			.rank = p->rank,
			.prepare = p->has_prepare ? real_prepare : NULL,
			.change = p->has_change ? real_change : NULL,
			.opaque = p};
		assert_int_equal(swo_runstate_add(w->rs, &d, &p->handler, NULL), 0);
	}
}

/* The model */

struct slot {
	int depth, rank, order, id;
};

static int by_key(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;

	if (x->depth != y->depth)
		return x->depth - y->depth;
	if (x->rank != y->rank)
		return x->rank - y->rank;
	return x->order - y->order;
}

static int lay_out(const struct world *w, bool running, struct slot *slot)
{
	int n = 0;

	for (int i = 0; i < w->parts; i++) {
		const struct part *p = &w->part[i];

		if (!p->enlisted)
			continue;
		slot[n++] = (struct slot){p->depth, p->slow ? -9999 : p->rank, p->order, i};
		if (p->slow)
			slot[n++] = (struct slot){p->depth, 9999, p->order, i};
	}
	qsort(slot, (size_t)n, sizeof(*slot), by_key);
	for (int i = 0; !running && i < n / 2; i++) {
		struct slot other = slot[i];

		slot[i] = slot[n - 1 - i];
		slot[n - 1 - i] = other;
	}
	return n;
}

static void model_enlist(struct world *w, int id, int from_pass)
{
	w->part[id].enlisted = true;
	w->part[id].called = false;
	w->part[id].from_pass = from_pass;
	w->part[id].order = w->orders++;
}

/* Simulates one call; true if it fails. */
static bool model_call(struct world *w, int id, enum swo_pass pass, bool running, char kind)
{
	struct part *p = &w->part[id];
	unsigned bit = call_bit(pass, running, kind == '>');

	p->called = true;
	p->launched = false;
	write_event(&w->model, kind, id, pass, running);
	if (p->acts_left & bit) {
		p->acts_left = 0;
		if (p->victim >= 0 && w->part[p->victim].enlisted) {
			struct part *v = &w->part[p->victim];

			v->enlisted = false;
			if (v->launched)
				model_call(w, p->victim, pass, running, '>');
		}
		if (p->novice >= 0 && !w->part[p->novice].enlisted)
			model_enlist(w, p->novice, w->passes + 1);
	}
	if (p->fails & bit)
		return true;
	if (kind == '<') {
		p->launched = true;
		/* A handler that removes itself while launching is joined at once. */
		if (!p->enlisted)
			model_call(w, id, pass, running, '>');
	}
	return false;
}

/* One pass; returns the number of errors, and stops after the first if requested. */
static int model_pass(struct world *w, enum swo_pass pass, bool running, bool called_only,
	bool stop, int *culprit)
{
	struct slot slot[2 * MAX_HANDLERS];
	bool met[MAX_HANDLERS] = {false};
	int errors = 0;
	int n = lay_out(w, running, slot);

	w->passes++;
	for (int i = 0; i < n && !(stop && errors); i++) {
		struct part *p = &w->part[slot[i].id];
		bool first = !met[p->id], failed = false;

		met[p->id] = true;
		if (!p->enlisted || p->from_pass > w->passes || (called_only && !p->called))
			continue;
		if (!p->slow && (pass == SWO_PASS_PREPARE ? p->has_prepare : p->has_change))
			failed = model_call(w, p->id, pass, running, '.');
		else if (p->slow && first)
			failed = model_call(w, p->id, pass, running, '<');
		else if (p->slow && p->launched && p->join_at == SWO_JOIN_DEPTH)
			failed = model_call(w, p->id, pass, running, '>');
		if (failed && !errors++ && *culprit < 0)
			*culprit = p->id;
	}
	for (int i = 0; i < n; i++) {
		struct part *p = &w->part[slot[i].id];

		if (p->launched && model_call(w, p->id, pass, running, '>') && !errors++ &&
			*culprit < 0)
			*culprit = p->id;
	}
	return errors;
}

/* Returns the ID of the part whose error is reported, or -1. */
static int model_change(struct world *w, bool running, bool rollback)
{
	int culprit = -1, nobody = -1;

	for (int i = 0; i < w->parts; i++)
		w->part[i].called = false;
	int errors = model_pass(w, SWO_PASS_PREPARE, running, false, rollback, &culprit);
	if (!(errors && rollback))
		errors += model_pass(w, SWO_PASS_CHANGE, running, false, rollback, &culprit);
	if (errors && rollback) {
		model_pass(w, SWO_PASS_PREPARE, !running, true, false, &nobody);
		model_pass(w, SWO_PASS_CHANGE, !running, true, false, &nobody);
	} else {
		w->state_running = running;
	}
	return culprit;
}

/* Sets and changes at random */

static void make_part(struct world *w, int id, uint32_t spice)
{
	static const int ranks[] = {0, 0, 0, -1, 1, SWO_RANK_MIN, SWO_RANK_MAX};
	struct part *p = &w->part[id];

	p->world = w;
	p->id = id;
	p->depth = (int)roll(4);
	p->rank = ranks[roll(SWO_ARRAY_SIZE(ranks))];
	p->slow = roll(3) == 0;
	p->join_at = roll(2) ? SWO_JOIN_PASS : SWO_JOIN_DEPTH;
	p->has_prepare = roll(8) != 0;
	p->has_change = roll(8) != 0;
	p->victim = p->novice = -1;
	if (spice & 1)
		for (int bit = 0; bit < 8; bit++)
			if (roll(40) == 0)
				p->fails |= 1u << bit;
	if ((spice & 2) && roll(4) == 0) {
		p->acts = 1u << roll(8);
		if (roll(2))
			p->victim = (int)roll((uint32_t)w->parts);
		else
			p->novice = (int)roll((uint32_t)w->parts);
		/* It would return with its launched work still in progress. */
		if (p->novice == id)
			p->novice = -1;
	}
	p->acts_left = p->acts;
}

static void change_both(struct world *w, bool running, bool rollback)
{
	struct swo_error err = {0};

	w->real.len = w->model.len = 0;
	w->real.text[0] = w->model.text[0] = 0;
	int rc = swo_runstate_change(w->rs, running ? SWO_RUN_STATE_RUNNING : SWO_RUN_STATE_PAUSED,
		rollback ? SWO_ON_ERROR_ROLLBACK : SWO_ON_ERROR_CONTINUE, &err);
	int culprit = model_change(w, running, rollback);

	assert_string_equal(w->real.text, w->model.text);
	assert_int_equal(rc, culprit < 0 ? 0 : -1);
	assert_int_equal(err.os_errno, culprit + 1);
	assert_int_equal(swo_runstate_get(w->rs) == SWO_RUN_STATE_RUNNING, w->state_running);
}

static void play_set(struct world *w, uint32_t spice)
{
	memset(w, 0, sizeof(*w));
	w->rs = swo_runstate_new(SWO_RUN_STATE_PAUSED);
	assert_non_null(w->rs);
	w->parts = 1 + (int)roll(MAX_HANDLERS);
	for (int i = 0; i < w->parts; i++)
		make_part(w, i, spice);
	for (int i = 0; i < w->parts; i++) {
		if (roll(5) == 0)
			continue;
		enlist(w, i);
		model_enlist(w, i, 0);
	}
	for (int i = 0; i < 4; i++)
		change_both(w, !w->state_running, roll(2));
	swo_runstate_free(w->rs);
}

static void swallow(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	(void)level;
	(void)text;
}

static void play_sets(uint32_t spice, uint32_t first_seed)
{
	struct world *w = malloc(sizeof(*w));

	assert_non_null(w);
	swo_log_set(SWO_LOG_ERROR, swallow, NULL);
	for (uint32_t i = 0; i < SETS; i++) {
		seed = first_seed + i * 7919;
		play_set(w, spice);
	}
	free(w);
}

static void random_sets_follow_the_model(void **state)
{
	(void)state;
	play_sets(0, 1);
}

static void random_sets_with_failures_follow_the_model(void **state)
{
	(void)state;
	play_sets(1, 20261);
}

static void random_sets_that_add_and_remove_follow_the_model(void **state)
{
	(void)state;
	play_sets(2, 40507);
}

static void random_sets_with_everything_at_once_follow_the_model(void **state)
{
	(void)state;
	play_sets(3, 60013);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sets_follow_the_model),
		cmocka_unit_test(random_sets_with_failures_follow_the_model),
		cmocka_unit_test(random_sets_that_add_and_remove_follow_the_model),
		cmocka_unit_test(random_sets_with_everything_at_once_follow_the_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
