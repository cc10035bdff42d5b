/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handover, model-checked: every reachable state of source x target x channel, walked with
 * the production tables. Messages are lost, delayed, duplicated and reordered; either side fails,
 * is cancelled or dies at every step, also between a record in its journal and what that tells of;
 * a dead source is settled by `resolve`, which asks the target or reads its journal, and
 * started again if its own journal allows it.
 *
 * Safety: never do both run, and no VM that has run on the target runs again at the source but by
 * an operator's word. Liveness: from every reachable state in which both sides live, or one of
 * them and what the other left on record is enough, without further faults, a state is reachable
 * in which exactly one runs for good.
 * And the model must find each of a list of mutants of the tables.
 *
 * All that twice: with RAM copied, and with RAM that both share (handover=fd), where a word in the
 * shared memory is part of the state. Then a source that lives runs only if the target had not
 * begun, whoever says what; and nobody is in doubt where the target had not.
 */
#include "migration/handover/handover.h"
#include "tests/support/cm.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages in flight: a set each way, so any order and any number of copies is covered. */
enum to_target { M_HELLO = 1, M_STATE = 2, M_GO = 4, M_ABORT = 8, M_ASK = 16 };
enum to_source { M_HELLO_OK = 1, M_READY = 2, M_STARTED = 4, M_STARTING = 8, M_REFUSED = 16 };

struct world {
	uint8_t source, target; /* the tables' states */
	uint8_t to_target, to_source;
	bool source_runs, target_runs;
	bool source_lives, target_lives;
	bool linked; /* the first connection; ASK makes its own */
	bool go_before_ready;
	bool target_ran;		/* at any time */
	bool word;			/* an operator has spoken */
	uint8_t source_log, target_log; /* the last records, of enum log */
	uint8_t fate;			/* the word in shared memory, of enum fate */
};

static bool shared;
enum fate { OPEN, BEGUN, FORBIDDEN };

/* What can be forgotten about that word. */
static enum slip {
	NO_SLIP,
	TARGET_BEGINS_ANYHOW,
	TARGET_DOES_NOT_BEGIN,
	SOURCE_TAKES_ANY_WORD,
	SOURCE_DOES_NOT_FORBID
} slip;

/* As much of a journal as matters: for the source, what a restart may do. */
enum log { LOG_NONE, LOG_COMMITTED, LOG_HERE, LOG_THERE }; /* source */
enum { LOG_READY = 1, LOG_STARTING, LOG_STARTED };	   /* target; REFUSED counts as READY */

static uint8_t source_log_of(enum swo_journal_event record)
{
	switch (record) {
	case SWO_JOURNAL_COMMITTED:
	case SWO_JOURNAL_IN_DOUBT:
		return LOG_COMMITTED;
	case SWO_JOURNAL_REFUSED:
	case SWO_JOURNAL_RUN_HERE:
		return LOG_HERE;
	default:
		return LOG_THERE;
	}
}

static uint8_t target_log_of(enum swo_journal_event record)
{
	return record == SWO_JOURNAL_STARTING  ? LOG_STARTING
	       : record == SWO_JOURNAL_STARTED ? LOG_STARTED
					       : LOG_READY;
}

#define WORLD_BITS (shared ? 31 : 29)
static uint32_t pack(const struct world *w)
{
	return (uint32_t)(w->source | w->target << 4 | w->to_target << 7 | w->to_source << 12 |
			  w->source_runs << 17 | w->target_runs << 18 | w->source_lives << 19 |
			  w->target_lives << 20 | w->linked << 21 | w->go_before_ready << 22 |
			  w->target_ran << 23 | w->word << 24 | w->source_log << 25 |
			  w->target_log << 27) |
	       (uint32_t)w->fate << 29;
}

static struct world unpack(uint32_t p)
{
	return (struct world){.source = p & 15,
		.target = p >> 4 & 7,
		.to_target = p >> 7 & 31,
		.to_source = p >> 12 & 31,
		.source_runs = p >> 17 & 1,
		.target_runs = p >> 18 & 1,
		.source_lives = p >> 19 & 1,
		.target_lives = p >> 20 & 1,
		.linked = p >> 21 & 1,
		.go_before_ready = p >> 22 & 1,
		.target_ran = p >> 23 & 1,
		.word = p >> 24 & 1,
		.source_log = p >> 25 & 3,
		.target_log = p >> 27 & 3,
		.fate = p >> 29 & 3};
}

/* Mutants: one cell of a table replaced */

struct mutant {
	const char *name;
	bool of_target;
	int state, event, next;
	uint32_t actions;
};
static const struct mutant *mutant;

static uint32_t step_source(struct world *w, enum source_event event)
{
	enum source_state state = (enum source_state)w->source;
	uint32_t actions;

	if (mutant && !mutant->of_target && mutant->state == (int)state &&
		mutant->event == (int)event) {
		state = (enum source_state)mutant->next;
		actions = mutant->actions;
	} else {
		actions = source_step(&state, event);
	}
	w->source = (uint8_t)state;
	return actions;
}

static uint32_t step_target(struct world *w, enum target_event event)
{
	enum target_state state = (enum target_state)w->target;
	uint32_t actions;

	if (mutant && mutant->of_target && mutant->state == (int)state &&
		mutant->event == (int)event) {
		state = (enum target_state)mutant->next;
		actions = mutant->actions;
	} else {
		actions = target_step(&state, event);
	}
	w->target = (uint8_t)state;
	return actions;
}

/* What the engine does around the tables */

static void source_does(struct world *w, enum source_event event)
{
	uint32_t actions = step_source(w, event);

	if (actions & ACT_JOURNAL)
		w->source_log = source_log_of(source_record((enum source_state)w->source, event));
	if (actions & ACT_STOP_VM)
		w->source_runs = false;
	if (actions & ACT_SEND_GO) {
		if (w->target == TARGET_SETUP || w->target == TARGET_LOADING)
			w->go_before_ready = true;
		if (w->linked)
			w->to_target |= M_GO;
	}
	if ((actions & ACT_SEND_ABORT) && w->linked)
		w->to_target |= M_ABORT;
	/* TAKE_BACK and RESUME end in the event RESUMED, which is a step of its own. */
}

static void target_does(struct world *w, enum target_event event, bool asked)
{
	uint32_t actions = step_target(w, event);
	bool reaches = w->linked || asked;

	if (actions & ACT_JOURNAL)
		w->target_log = target_log_of(target_record((enum target_state)w->target));
	if ((actions & ACT_LOAD) && w->linked)
		w->to_source |= M_HELLO_OK;
	if ((actions & ACT_SEND_READY) && w->linked)
		w->to_source |= M_READY;
	if ((actions & ACT_SEND_STARTED) && reaches)
		w->to_source |= M_STARTED;
	if ((actions & ACT_SEND_STARTING) && reaches)
		w->to_source |= M_STARTING;
	if ((actions & ACT_SEND_REFUSED) && reaches)
		w->to_source |= M_REFUSED;
	if (actions & ACT_DISCARD)
		w->target_runs = false;
}

/* Exploring:
 */

struct edge {
	uint32_t to;
	bool fault;
};
#define EDGES_MAX 64
struct edges {
	struct edge e[EDGES_MAX];
	int n;
};

static void add(struct edges *out, const struct world *w, bool fault)
{
	assert_true(out->n < EDGES_MAX);
	out->e[out->n++] = (struct edge){.to = pack(w), .fault = fault};
}

/* What a step leads to; and to a death right behind its record, before anything else was done. */
static void add_step(
	struct edges *out, const struct world *before, const struct world *after, bool fault)
{
	struct world dead = *before;

	add(out, after, fault);
	if (after->source_log != before->source_log) {
		dead.source_log = after->source_log;
		dead.word = after->word;
		dead.source_lives = dead.source_runs = false;
		add(out, &dead, true);
	}
	if (after->target_log != before->target_log) {
		dead = *before;
		dead.target_log = after->target_log;
		dead.target_lives = dead.target_runs = false;
		add(out, &dead, true);
	}
}

static void deliver_to_target(struct edges *out, const struct world *w, uint8_t message)
{
	static const struct {
		uint8_t message;
		enum target_event event;
	} map[] = {{M_HELLO, TARGET_EV_HELLO}, {M_STATE, TARGET_EV_LOADED}, {M_GO, TARGET_EV_GO},
		{M_ABORT, TARGET_EV_ABORT}, {M_ASK, TARGET_EV_ASK}};

	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		struct world next = *w;

		if (map[i].message != message)
			continue;
		next.to_target &= (uint8_t)~message;
		target_does(&next, map[i].event, message == M_ASK);
		add_step(out, w, &next, false);
		next.to_target |= message; /* a copy comes again */
		add(out, &next, true);
	}
}

static void deliver_to_source(struct edges *out, const struct world *w, uint8_t message)
{
	static const struct {
		uint8_t message;
		enum source_event event;
	} map[] = {{M_HELLO_OK, SOURCE_EV_HELLO_OK}, {M_READY, SOURCE_EV_READY},
		{M_STARTED, SOURCE_EV_STARTED}, {M_STARTING, SOURCE_EV_STARTING},
		{M_REFUSED, SOURCE_EV_REFUSED}};

	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		struct world next = *w;

		if (map[i].message != message)
			continue;
		next.to_source &= (uint8_t)~message;
		source_does(&next, map[i].event);
		add_step(out, w, &next, false);
		next.to_source |= message;
		add(out, &next, true);
	}
}

/*
 * Before it asks anybody: who has the word? An operator's comes to the same, and is no better.
 */
static void source_in_doubt_looks(struct edges *out, const struct world *w)
{
	struct world next = *w;

	if (w->fate == BEGUN) {
		next.to_target |= M_ASK;
		add(out, &next, false);
		if (slip == SOURCE_TAKES_ANY_WORD && !w->target_lives) {
			next = *w;
			source_does(&next, SOURCE_EV_OPERATOR_RUN);
			next.word = true;
			add_step(out, w, &next, true);
		}
		return;
	}
	/* Forbidden first, then on record: it may die in between, but not the other way round. */
	if (w->fate == OPEN && slip != SOURCE_DOES_NOT_FORBID) {
		next.fate = FORBIDDEN;
		add(out, &next, false);
		return;
	}
	source_does(&next, SOURCE_EV_REFUSED);
	add_step(out, w, &next, false);
}

static void source_moves(struct edges *out, const struct world *w)
{
	struct world next;
	static const enum source_event faults[] = {SOURCE_EV_FAIL, SOURCE_EV_CANCEL};

	for (unsigned i = 0; i < 2; i++) {
		next = *w;
		source_does(&next, faults[i]);
		add(out, &next, true);
	}
	switch (w->source) {
	case SOURCE_PRECOPY:
		next = *w;
		source_does(&next, SOURCE_EV_CONVERGED);
		add(out, &next, false);
		break;
	case SOURCE_STOPPING:
		next = *w;
		source_does(&next, SOURCE_EV_ALL_SENT);
		if (next.linked)
			next.to_target |= M_STATE;
		add(out, &next, false);
		break;
	case SOURCE_SETUP:
	case SOURCE_SENT:
		/* deadlines: the answer never came */
		next = *w;
		source_does(&next, SOURCE_EV_FAIL);
		add(out, &next, false);
		break;
	case SOURCE_COMMITTED:
		next = *w;
		source_does(&next, SOURCE_EV_TIMEOUT);
		add_step(out, w, &next, false);
		break;
	case SOURCE_IN_DOUBT:
		if (shared) {
			source_in_doubt_looks(out, w);
			break;
		}
		next = *w;
		next.to_target |= M_ASK;
		add(out, &next, false);
		/* An operator's word is given only after fencing: the target is dead by then. */
		if (!w->target_lives) {
			next = *w;
			source_does(&next, SOURCE_EV_OPERATOR_RUN);
			/* resolve gives it by itself if the target's journal proves it harmless. */
			next.word = w->word || w->target_log >= LOG_STARTING;
			add_step(out, w, &next, next.word != w->word);
		}
		break;
	case SOURCE_TAKE_BACK:
	case SOURCE_RESUMING:
		next = *w;
		source_does(&next, SOURCE_EV_RESUMED);
		next.source_runs = true;
		if (shared && next.fate == OPEN && slip != SOURCE_DOES_NOT_FORBID)
			next.fate = FORBIDDEN;
		add(out, &next, false);
		break;
	default:
		break;
	}
	next = *w;
	next.source_lives = next.source_runs = false;
	add(out, &next, true);
}

static void target_moves(struct edges *out, const struct world *w)
{
	struct world next;
	static const enum target_event faults[] = {TARGET_EV_FAIL, TARGET_EV_CANCEL};

	for (unsigned i = 0; i < 2; i++) {
		next = *w;
		target_does(&next, faults[i], false);
		add(out, &next, true);
	}
	if (shared && w->target == TARGET_REFUSED && w->fate == OPEN) {
		next = *w;
		next.fate = FORBIDDEN;
		add(out, &next, false);
	}
	if (shared && w->target == TARGET_STARTING && w->fate != BEGUN &&
		slip != TARGET_DOES_NOT_BEGIN) {
		/* It cannot be put on record; else the word is the last thing before it runs. */
		next = *w;
		target_does(&next, TARGET_EV_START_FAILED, false);
		add_step(out, w, &next, true);
		next = *w;
		if (w->fate == FORBIDDEN && slip != TARGET_BEGINS_ANYHOW)
			target_does(&next, TARGET_EV_START_FAILED, false);
		else
			next.fate = BEGUN;
		add_step(out, w, &next, false);
	} else if (w->target == TARGET_STARTING && !w->target_runs) {
		/* It runs some time before it is known to. */
		next = *w;
		next.target_runs = next.target_ran = true;
		add(out, &next, false);
		next = *w;
		target_does(&next, TARGET_EV_START_FAILED, false);
		if (!shared)
			add_step(out, w, &next, true);
	} else if (w->target == TARGET_STARTING) {
		next = *w;
		target_does(&next, TARGET_EV_STARTED, false);
		add_step(out, w, &next, false);
	}
	if (w->target == TARGET_READY) {
		/* the deadline for GO */
		next = *w;
		target_does(&next, TARGET_EV_FAIL, false);
		add(out, &next, false);
	}
	next = *w;
	next.target_lives = next.target_runs = false;
	add(out, &next, true);
}

/* The source's process is gone, its journal is not: `switchover resolve`, and a new start. */
static void dead_source_moves(struct edges *out, const struct world *w)
{
	struct world next = *w;

	if (w->source_log == LOG_COMMITTED) {
		if (w->target_lives) {
			uint8_t before = w->to_source;

			/* It asks on a connection of its own, and hears the answer or not. */
			next.to_source = 0;
			target_does(&next, TARGET_EV_ASK, true);
			if (next.to_source & M_REFUSED)
				next.source_log = LOG_HERE;
			if (next.to_source & M_STARTED)
				next.source_log = LOG_THERE;
			next.to_source = before;
			add(out, &next, false);
		} else {
			next.source_log = w->target_log >= LOG_STARTING ? LOG_THERE : LOG_HERE;
			add(out, &next, false);
		}
	} else if ((w->source_log == LOG_NONE || w->source_log == LOG_HERE) && !w->source_runs) {
		next.source_runs = true;
		add(out, &next, false);
	}
}

static void expand(uint32_t packed, struct edges *out)
{
	struct world w = unpack(packed), next;

	out->n = 0;
	for (uint8_t message = 1; message <= 16; message = (uint8_t)(message << 1)) {
		if ((w.to_target & message) && w.target_lives)
			deliver_to_target(out, &w, message);
		if ((w.to_source & message) && w.source_lives)
			deliver_to_source(out, &w, message);
		next = w; /* lost */
		next.to_target &= (uint8_t)~message;
		if (next.to_target != w.to_target)
			add(out, &next, true);
		next = w;
		next.to_source &= (uint8_t)~message;
		if (next.to_source != w.to_source)
			add(out, &next, true);
	}
	if (w.linked) {
		/* The connection breaks: each side may notice before or after what is under way. */
		next = w;
		next.linked = false;
		add(out, &next, true);
	} else {
		if (w.source_lives) {
			next = w;
			source_does(&next, SOURCE_EV_LOST);
			add(out, &next, false);
		}
		if (w.target_lives) {
			next = w;
			target_does(&next, TARGET_EV_LOST, false);
			add(out, &next, false);
		}
	}
	if (w.source_lives)
		source_moves(out, &w);
	else
		dead_source_moves(out, &w);
	if (w.target_lives)
		target_moves(out, &w);
}

enum verdict { SOUND, BOTH_RUN, RAN_TWICE, BOTH_WRITE, GO_TOO_EARLY, STUCK };
static const char *const verdict_names[] = {"sound", "both run", "an old state runs again",
	"both may write RAM", "GO before READY", "nobody runs"};

struct space {
	uint8_t *seen; /* a bit a world */
	uint32_t *list;
	size_t count, room;
};

static void visit(struct space *space, uint32_t world)
{
	if (space->seen[world >> 3] & 1 << (world & 7))
		return;
	space->seen[world >> 3] |= (uint8_t)(1 << (world & 7));
	if (space->count == space->room) {
		space->room = space->room ? 2 * space->room : 1024;
		space->list = realloc(space->list, space->room * sizeof(*space->list));
		assert_non_null(space->list);
	}
	space->list[space->count++] = world;
}

static bool good_end(const struct world *w)
{
	return w->source_runs != w->target_runs &&
	       (w->source_runs ? w->source == SOURCE_FAILED || !w->source_lives
			       : w->target == TARGET_STARTED);
}

/* Must it come out well from here? Not when what is needed for that has died. */
static bool is_promised(const struct world *w)
{
	if (w->target_lives)
		return true;
	/* What is shared outlives a process, and says more than a journal. */
	if (shared && w->source_lives)
		return w->fate != BEGUN;
	return w->source_lives && w->target_log < LOG_STARTING;
}

/*
 * Worlds from which a good end can be reached without a fault: backwards, to a fixed point.
 */
static enum verdict check_liveness(struct space *space)
{
	uint8_t *can = calloc(1u << (WORLD_BITS - 3), 1);
	struct edges edges;
	bool changed = true;

	assert_non_null(can);
	while (changed) {
		changed = false;
		for (size_t i = space->count; i-- > 0;) {
			uint32_t at = space->list[i];
			struct world w = unpack(at);
			bool good = good_end(&w);

			if (can[at >> 3] & 1 << (at & 7))
				continue;
			if (!good) {
				expand(at, &edges);
				for (int e = 0; e < edges.n && !good; e++)
					good = !edges.e[e].fault &&
					       (can[edges.e[e].to >> 3] & 1 << (edges.e[e].to & 7));
			}
			if (good) {
				can[at >> 3] |= (uint8_t)(1 << (at & 7));
				changed = true;
			}
		}
	}
	enum verdict verdict = SOUND;
	for (size_t i = 0; i < space->count && verdict == SOUND; i++) {
		uint32_t at = space->list[i];
		struct world w = unpack(at);

		if (is_promised(&w) && !(can[at >> 3] & 1 << (at & 7)))
			verdict = STUCK;
	}
	free(can);
	return verdict;
}

static enum verdict explore(size_t *states)
{
	struct world start = {.source = SOURCE_SETUP,
		.target = TARGET_SETUP,
		.to_target = M_HELLO,
		.source_runs = true,
		.source_lives = true,
		.target_lives = true,
		.linked = true};
	struct space space = {.seen = calloc(1u << (WORLD_BITS - 3), 1)};
	enum verdict verdict = SOUND;
	struct edges edges;

	assert_non_null(space.seen);
	visit(&space, pack(&start));
	for (size_t i = 0; i < space.count && verdict == SOUND; i++) {
		struct world w = unpack(space.list[i]);

		if (w.source_runs && w.target_runs)
			verdict = BOTH_RUN;
		else if (shared && w.source_lives && w.source_runs && w.target_ran)
			verdict = RAN_TWICE;
		else if (shared && w.source_lives && w.source_runs && w.target_lives &&
			 w.fate == BEGUN)
			verdict = BOTH_WRITE;
		else if (w.source_runs && w.target_ran && !w.word)
			verdict = RAN_TWICE;
		else if (w.go_before_ready)
			verdict = GO_TOO_EARLY;
		expand(space.list[i], &edges);
		for (int e = 0; e < edges.n; e++)
			visit(&space, edges.e[e].to);
	}
	if (verdict == SOUND)
		verdict = check_liveness(&space);
	*states = space.count;
	free(space.list);
	free(space.seen);
	return verdict;
}

static void never_do_both_run_and_never_is_it_stuck(void **state)
{
	(void)state;
	size_t states;

	mutant = NULL;
	enum verdict verdict = explore(&states);
	print_message(
		"# %zu states of source x target x channel: %s\n", states, verdict_names[verdict]);
	assert_int_equal(verdict, SOUND);
	assert_true(states > 1000);
}

static void each_mutant_of_the_tables_is_found(void **state)
{
	(void)state;
	static const struct mutant mutants[] = {
		{"the target starts by itself when loaded", true, TARGET_LOADING, TARGET_EV_LOADED,
			TARGET_STARTING, ACT_SEND_READY | ACT_START},
		{"an error after GO resumes the source", false, SOURCE_COMMITTED, SOURCE_EV_FAIL,
			SOURCE_RESUMING, ACT_RESUME},
		{"a lost peer after GO resumes the source", false, SOURCE_COMMITTED, SOURCE_EV_LOST,
			SOURCE_RESUMING, ACT_RESUME},
		{"a timeout after GO resumes the source", false, SOURCE_COMMITTED,
			SOURCE_EV_TIMEOUT, SOURCE_RESUMING, ACT_RESUME},
		{"a cancel after GO is taken", false, SOURCE_COMMITTED, SOURCE_EV_CANCEL,
			SOURCE_TAKE_BACK, ACT_TAKE_BACK},
		{"a ready target that loses its peer starts", true, TARGET_READY, TARGET_EV_LOST,
			TARGET_STARTING, ACT_START},
		{"a refused target takes a late GO", true, TARGET_REFUSED, TARGET_EV_GO,
			TARGET_STARTING, ACT_START},
		{"a started target answers ASK with a refusal", true, TARGET_STARTED, TARGET_EV_ASK,
			TARGET_STARTED, ACT_SEND_REFUSED},
		{"a starting target answers ASK with a refusal", true, TARGET_STARTING,
			TARGET_EV_ASK, TARGET_STARTING, ACT_SEND_REFUSED},
		{"ASK leaves a ready target ready, yet says refused", true, TARGET_READY,
			TARGET_EV_ASK, TARGET_READY, ACT_SEND_REFUSED},
		{"the source does not wait for READY", false, SOURCE_STOPPING, SOURCE_EV_ALL_SENT,
			SOURCE_COMMITTED, ACT_SEND_GO},
		{"a refusal in doubt is ignored", false, SOURCE_IN_DOUBT, SOURCE_EV_REFUSED,
			SOURCE_IN_DOUBT, 0},
		{"STARTED resumes the source", false, SOURCE_COMMITTED, SOURCE_EV_STARTED,
			SOURCE_RESUMING, ACT_RESUME},
		{"GO is sent before it is on record", false, SOURCE_SENT, SOURCE_EV_READY,
			SOURCE_COMMITTED, ACT_SEND_GO},
		{"the target starts before it is on record", true, TARGET_READY, TARGET_EV_GO,
			TARGET_STARTING, ACT_START},
		{"a failure before GO leaves the VM stopped", false, SOURCE_SENT, SOURCE_EV_FAIL,
			SOURCE_COMPLETED, 0},
	};
	size_t states;

	for (unsigned i = 0; i < sizeof(mutants) / sizeof(mutants[0]); i++) {
		mutant = &mutants[i];
		enum verdict verdict = explore(&states);

		print_message("# %s: %s\n", mutants[i].name, verdict_names[verdict]);
		assert_int_not_equal(verdict, SOUND);
	}
	mutant = NULL;
}

static void with_one_memory_it_runs_only_where_it_is_whole(void **state)
{
	(void)state;
	size_t states;

	mutant = NULL;
	shared = true;
	enum verdict verdict = explore(&states);

	shared = false;
	print_message("# %zu states, RAM shared: %s\n", states, verdict_names[verdict]);
	assert_int_equal(verdict, SOUND);
	assert_true(states > 1000);
}

static void each_way_to_forget_the_shared_word_is_found(void **state)
{
	(void)state;
	static const struct {
		enum slip slip;
		const char *name;
	} slips[] = {{TARGET_BEGINS_ANYHOW, "the target begins although it is forbidden"},
		{TARGET_DOES_NOT_BEGIN, "the target does not say that it begins"},
		{SOURCE_TAKES_ANY_WORD, "an operator's word counts although the target has begun"},
		{SOURCE_DOES_NOT_FORBID, "the source looks, but does not forbid"}};
	size_t states;

	for (unsigned i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
		shared = true;
		slip = slips[i].slip;
		enum verdict verdict = explore(&states);

		shared = false;
		slip = NO_SLIP;
		print_message("# %s: %s\n", slips[i].name, verdict_names[verdict]);
		assert_int_not_equal(verdict, SOUND);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_do_both_run_and_never_is_it_stuck),
		cmocka_unit_test(each_mutant_of_the_tables_is_found),
		cmocka_unit_test(with_one_memory_it_runs_only_where_it_is_whole),
		cmocka_unit_test(each_way_to_forget_the_shared_word_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
