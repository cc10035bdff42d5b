/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handover, model-checked: every reachable state of source x target x network, walked with the
 * production tables and the production dispatcher; only what the actions do is the model's.
 *
 * What happens to it. Messages are lost, delayed, duplicated and reordered, answers too. Either
 * side fails, is cancelled, stopped, continued, or dies at every moment: between a record and its
 * effect, between any two actions of a step, in the middle of an action. A record fails, or
 * fails and is on file all the same. An event comes while another one's record is being made. A
 * host dies, and with it the last records of its journals. A dead source is settled by `resolve`,
 * which sends ASK to the target or goes by its journal, and is started again if its journal allows it. A VM
 * migrates again after a failure, or onward, while what is left of the first time is still about.
 *
 * Safety: the VM never runs on both hosts; no state of the VM runs that is older than one that has run elsewhere,
 * but by an operator's decision; every request is answered; what was cancelled does not go on.
 *
 * Liveness, always and not only possibly: where the living sides and their journals are enough,
 * without further faults every (weakly) fair run comes to exactly one side having the VM, for good,
 * and all sides done. For that the strongly connected components of the graph without faults are
 * computed: each one is good, or one actor is always able to act there and each of its actions leaves.
 *
 * And it must find each of a list of mutants of the tables and of what the engine does.
 *
 * All that twice: with RAM copied, and with RAM that both share (handover=fd), where a word in the
 * shared memory is part of the state.
 */
#include "migration/handover/handover.h"
#include "switchover/base.h"
#include "tests/support/cm.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state */

/* Messages in flight: a set each way, so any order and any number of copies is covered. */
enum { M_HELLO = 1, M_END = 2, M_GO = 4, M_ABORT = 8, M_ASK = 16, M_DONE = 32 };
enum { M_HELLO_OK = 1, M_READY = 2, M_STARTED = 4, M_STARTING = 8, M_REFUSED = 16 };

/* An action that the migration's thread is in. */
enum { IDLE, STOPPING, ROLLING };	 /* source */
enum { LOADING = 1, STARTING, RUNNING }; /* target */

/* The last record of a journal, as far as it matters. */
enum { S_BEGIN, S_COMMITTED, S_IN_DOUBT, S_HERE, S_THERE };
enum { T_NONE, T_BEGIN, T_READY, T_STARTING, T_STARTED, T_REFUSED };

enum { OPEN, BEGUN, FORBIDDEN }; /* the word in shared memory */

struct one { /* migration */
	uint64_t s_state : 4, s_due : 9, s_doing : 2, t_state : 3, t_due : 8, t_doing : 2;
	uint64_t to_target : 6, to_source : 5, linked : 1;
	uint64_t s_log : 3, t_log : 3, s_complete : 1, t_complete : 1, fate : 2;
	uint64_t s_reported : 1, t_reported : 1, parked : 1, cleaned : 1, discarded : 1;
	uint64_t s_committed : 1; /* that record is in the journal, if not the last */
	uint64_t s_lost : 1;	  /* the loss of its connection was raised */
};

enum { AGAIN = 1, ONWARD }; /* the second migration */

struct world {
	struct one m[2];
	struct { /* a bit a process */
		uint64_t lives : 3, runs : 3;
		uint64_t stale : 3;   /* the VM has run elsewhere since */
		uint64_t decided : 1; /* by an operator, without proof */
		uint64_t paused : 1;  /* by a user: it is to arrive paused */
		uint64_t faults : 4;
		uint64_t second : 2;
	} all;
};
static_assert(sizeof(struct world) == 24, "three words, no holes");

static unsigned source_of(const struct world *w, unsigned k)
{
	return k && w->all.second == ONWARD ? 1 : 0;
}

static unsigned target_of(const struct world *w, unsigned k)
{
	(void)w;
	return k + 1;
}

/* What is looked at in this run */

static bool shared;
static unsigned faults_max; /* 15: any number */
static bool twice;	    /* the VM migrates a second time */

enum slip {
	NO_SLIP,
	TARGET_BEGINS_ANYHOW,
	TARGET_DOES_NOT_BEGIN,
	SOURCE_TAKES_ANY_WORD,
	SOURCE_DOES_NOT_FORBID,
	GO_BEFORE_ITS_RECORD,
	GO_DESPITE_A_LOSS,
	ANSWERS_ARE_LEFT_OUT,
	CONT_ANYWHERE,
};
static enum slip slip;
static uint32_t dropped, doubled; /* actions */

static struct handover_rule source_rules[(size_t)SOURCE_STATES * SOURCE_EVENTS];
static struct handover_rule target_rules[(size_t)TARGET_STATES * TARGET_EVENTS];
static struct handover_table source_table, target_table;

static void reset_tables(void)
{
	memcpy(source_rules, handover_source.rules, sizeof(source_rules));
	memcpy(target_rules, handover_target.rules, sizeof(target_rules));
	source_table = handover_source;
	target_table = handover_target;
	source_table.rules = source_rules;
	target_table.rules = target_rules;
}

enum verdict {
	SOUND,
	BOTH_RUN,
	OLD_STATE_RUNS,
	BOTH_WRITE,
	GO_TOO_EARLY,
	UNANSWERED,
	ABORT_IGNORED,
	CANCEL_FORGOTTEN,
	GO_TO_NOBODY,
	DONE_TWICE,
	OUT_OF_PLACE,
	NOT_SETTLED,
	IN_VAIN
};
static const char *const verdict_names[] = {"sound", "both run", "an old state runs again",
	"both may write RAM", "GO before READY", "a question is not answered", "ABORT is ignored",
	"a cancel is acknowledged and dropped", "GO although the peer is known to be lost",
	"reported twice", "an action out of place", "it is not settled", "no migration succeeds"};
static enum verdict found;
static bool tell; /* how it was found */

static void find(enum verdict verdict)
{
	if (found == SOUND)
		found = verdict;
}

/* The engine's part: handover_ops */

enum fate_of_record { RECORDED, FAILED_CLEAN, FAILED_DIRTY };

struct act {
	struct world w;
	unsigned k;
	struct handover h;
	enum fate_of_record records[2];
	unsigned recorded;
	struct world at_record; /* as it would be found if the process died right then */
	int coming;		/* an event that comes while the first record is made; -1: none */
	bool answered;
};

static struct one *one(struct act *a)
{
	return &a->w.m[a->k];
}

static unsigned s_log_of(enum swo_journal_event record)
{
	switch (record) {
	case SWO_JOURNAL_COMMITTED:
		return S_COMMITTED;
	case SWO_JOURNAL_IN_DOUBT:
		return S_IN_DOUBT;
	case SWO_JOURNAL_TAKEN_BACK:
	case SWO_JOURNAL_REFUSED:
	case SWO_JOURNAL_RUN_HERE:
		return S_HERE;
	default:
		return S_THERE;
	}
}

static unsigned t_log_of(enum swo_journal_event record)
{
	switch (record) {
	case SWO_JOURNAL_READY:
		return T_READY;
	case SWO_JOURNAL_STARTING:
		return T_STARTING;
	case SWO_JOURNAL_REFUSED:
		return T_REFUSED;
	default:
		return T_STARTED;
	}
}

/* false: it could not be made. */
static bool next_record(struct act *a)
{
	const enum fate_of_record fate = a->records[a->recorded ? 1 : 0];

	if (!a->recorded && a->coming >= 0)
		atomic_fetch_or(&a->h.coming, 1u << a->coming);
	a->recorded++;
	return fate != FAILED_CLEAN;
}

static int outcome(struct act *a, struct swo_error *err)
{
	if (a->recorded == 1)
		a->at_record = a->w;
	return a->records[a->recorded > 1 ? 1 : 0] == RECORDED
		       ? 0
		       : swo_error_set(err, SWO_E_IO, EIO, "record");
}

static int source_record(void *opaque, enum swo_journal_event record,
	const struct handover_cause *cause, struct swo_error *err)
{
	struct act *a = opaque;

	(void)cause;
	if (slip == GO_BEFORE_ITS_RECORD && record == SWO_JOURNAL_COMMITTED && one(a)->linked)
		one(a)->to_target |= M_GO;
	const struct world before = a->w;

	/* An end stays one. */
	if (next_record(a) && one(a)->s_log < S_HERE) {
		one(a)->s_log = s_log_of(record) & 7;
		one(a)->s_committed = one(a)->s_committed || record == SWO_JOURNAL_COMMITTED;
	}
	int rc = outcome(a, err);
	if (slip == GO_BEFORE_ITS_RECORD && a->recorded == 1)
		a->at_record = before;
	return rc;
}

static int target_record(void *opaque, enum swo_journal_event record,
	const struct handover_cause *cause, struct swo_error *err)
{
	struct act *a = opaque;

	(void)cause;
	if (next_record(a) && one(a)->t_log != T_NONE && one(a)->t_log != T_REFUSED)
		one(a)->t_log = t_log_of(record) & 7;
	return outcome(a, err);
}

static void entered(
	void *opaque, unsigned state, unsigned event, const struct handover_cause *cause)
{
	(void)opaque;
	(void)state;
	(void)event;
	(void)cause;
}

static void send_to_target(struct act *a, unsigned message)
{
	if (one(a)->linked)
		one(a)->to_target |= message & 63;
}

static void set_runs(struct world *w, unsigned process, bool runs)
{
	w->all.runs = ((w->all.runs & ~(1u << process)) | (unsigned)runs << process) & 7u;
}

/* What it holds of the VM goes on from there, and every other copy is old from then on. */
static void run_vm(struct world *w, unsigned process)
{
	if (w->all.paused)
		return;
	if ((w->all.stale >> process & 1) && !w->all.decided)
		find(OLD_STATE_RUNS);
	set_runs(w, process, true);
	w->all.stale = (w->all.stale | 7u) & ~(1u << process) & 7u;
}

static void source_begins(struct act *a, uint32_t action)
{
	struct one *m = one(a);
	const unsigned me = source_of(&a->w, a->k);

	switch (action) {
	case ACT_STOP_VM:
		if (m->s_doing)
			find(OUT_OF_PLACE);
		set_runs(&a->w, me, false);
		m->s_doing = STOPPING;
		break;
	case ACT_SEND_END:
		send_to_target(a, M_END);
		break;
	case ACT_SEND_GO:
		if (m->t_state == TARGET_SETUP || m->t_state == TARGET_LOADING)
			find(GO_TOO_EARLY);
		send_to_target(a, M_GO);
		break;
	case ACT_PARK:
		m->parked = 1;
		break;
	case ACT_ROLL_BACK:
		if (m->s_state != SOURCE_TAKE_BACK && m->s_state != SOURCE_RESUMING)
			find(OUT_OF_PLACE);
		if (shared && m->fate == OPEN && slip != SOURCE_DOES_NOT_FORBID)
			m->fate = FORBIDDEN;
		if (m->s_doing)
			find(OUT_OF_PLACE);
		m->s_doing = ROLLING;
		break;
	case ACT_SEND_ABORT:
		send_to_target(a, M_ABORT);
		break;
	case ACT_SEND_DONE:
		send_to_target(a, M_DONE);
		break;
	case ACT_CLEAN_UP:
		if (a->w.all.runs >> me & 1)
			find(OUT_OF_PLACE);
		m->cleaned = 1;
		break;
	case ACT_REPORT:
		if (m->s_reported)
			find(DONE_TWICE);
		m->s_reported = 1;
		break;
	default:
		find(OUT_OF_PLACE);
	}
}

/* On the connection of the question, else on the first one, if that still is. */
static void answer(struct act *a, unsigned message, const void *answer_to)
{
	if (answer_to && slip == ANSWERS_ARE_LEFT_OUT)
		return;
	a->answered = a->answered || answer_to;
	if (one(a)->linked || answer_to)
		one(a)->to_source |= message & 31;
}

static void target_begins(struct act *a, uint32_t action, const void *answer_to)
{
	struct one *m = one(a);
	const unsigned me = target_of(&a->w, a->k);

	switch (action) {
	case ACT_LOAD:
		if (m->t_doing)
			find(OUT_OF_PLACE);
		m->t_doing = LOADING;
		m->t_log = T_BEGIN;
		a->w.all.stale = (a->w.all.stale & ~(1u << me)) & 7u;
		if (m->linked)
			m->to_source |= M_HELLO_OK;
		break;
	case ACT_SEND_READY:
		if (m->linked)
			m->to_source |= M_READY;
		break;
	case ACT_START:
		if (m->t_doing || a->w.all.runs >> me & 1)
			find(OUT_OF_PLACE);
		m->t_doing = STARTING;
		break;
	case ACT_SEND_STARTING:
		answer(a, M_STARTING, answer_to);
		break;
	case ACT_SEND_STARTED:
		answer(a, M_STARTED, answer_to);
		break;
	case ACT_SEND_REFUSED:
		answer(a, M_REFUSED, answer_to);
		break;
	case ACT_DISCARD:
		if (a->w.all.runs >> me & 1)
			find(OUT_OF_PLACE);
		if (shared && m->fate == OPEN)
			m->fate = FORBIDDEN;
		m->discarded = 1;
		break;
	case ACT_REPORT:
		if (m->t_reported)
			find(DONE_TWICE);
		m->t_reported = 1;
		break;
	default:
		find(OUT_OF_PLACE);
	}
}

static void source_perform(void *opaque, enum handover_action action, void *answer_to)
{
	(void)answer_to;
	for (unsigned i = 0; i < (action & dropped ? 0 : action & doubled ? 2 : 1); i++)
		source_begins(opaque, action);
}

static void target_perform(void *opaque, enum handover_action action, void *answer_to)
{
	for (unsigned i = 0; i < (action & dropped ? 0 : action & doubled ? 2 : 1); i++)
		target_begins(opaque, action, answer_to);
}

static const struct handover_ops source_ops = {source_record, entered, source_perform};
static const struct handover_ops target_ops = {target_record, entered, target_perform};

/* Of both tables' actions, those that a side has, without gaps. */
#define SOURCE_DUE(due)	     (((due) >> 3 & 0xff) | ((due) >> 15 & 1) << 8)
#define SOURCE_ACTIONS(bits) (((bits)&0xffu) << 3 | ((bits) >> 8 & 1u) << 15)
#define TARGET_DUE(due)	     (((due)&7) | ((due) >> 11 & 31) << 3)
#define TARGET_ACTIONS(bits) (((bits)&7u) | ((bits) >> 3 & 31u) << 11)

static void load_source(struct act *a)
{
	a->h.table = &source_table;
	a->h.ops = &source_ops;
	atomic_store_explicit(&a->h.state, one(a)->s_state, memory_order_relaxed);
	atomic_store_explicit(
		&a->h.due, SOURCE_ACTIONS((unsigned)one(a)->s_due), memory_order_relaxed);
}

static void store_source(struct act *a)
{
	one(a)->s_state = atomic_load_explicit(&a->h.state, memory_order_relaxed) & 15;
	one(a)->s_due = SOURCE_DUE(atomic_load_explicit(&a->h.due, memory_order_relaxed)) & 511;
}

static void load_target(struct act *a)
{
	a->h.table = &target_table;
	a->h.ops = &target_ops;
	atomic_store_explicit(&a->h.state, one(a)->t_state, memory_order_relaxed);
	atomic_store_explicit(
		&a->h.due, TARGET_ACTIONS((unsigned)one(a)->t_due), memory_order_relaxed);
}

static void store_target(struct act *a)
{
	one(a)->t_state = atomic_load_explicit(&a->h.state, memory_order_relaxed) & 7;
	one(a)->t_due = TARGET_DUE(atomic_load_explicit(&a->h.due, memory_order_relaxed)) & 255;
}

static struct act new_act(const struct world *w, unsigned k)
{
	struct act a = {.w = *w, .k = k, .coming = -1};

	pthread_mutex_init(&a.h.lock, NULL);
	return a;
}

static enum handover_outcome raise_at_source(struct act *a, unsigned event)
{
	a->h.opaque = a;
	load_source(a);
	enum handover_outcome outcome = handover_raise(&a->h, event, NULL, NULL);

	if (outcome == HANDOVER_GAVE_WAY) {
		const int next = a->coming;

		a->coming = -1;
		atomic_store(&a->h.coming, 0);
		/* Which has its turn now; a slip may take the step all the same. */
		if (slip == GO_DESPITE_A_LOSS)
			outcome = handover_raise(&a->h, event, NULL, NULL);
		handover_raise(&a->h, (unsigned)next, NULL, NULL);
	}
	atomic_store(&a->h.coming, 0);
	store_source(a);
	return outcome;
}

static enum handover_outcome raise_at_target(struct act *a, unsigned event, bool asked)
{
	const struct handover_cause cause = {.answer_to = asked ? a : NULL};

	a->h.opaque = a;
	load_target(a);
	enum handover_outcome outcome = handover_raise(&a->h, event, &cause, NULL);

	if (outcome == HANDOVER_GAVE_WAY) {
		const int next = a->coming;

		a->coming = -1;
		atomic_store(&a->h.coming, 0);
		handover_raise(&a->h, (unsigned)next, NULL, NULL);
	}
	atomic_store(&a->h.coming, 0);
	store_target(a);
	return outcome;
}

/* The graph */

enum actor { /* of each migration */
	AT_SOURCE,
	AT_TARGET,
	LOSS_AT_SOURCE,
	LOSS_AT_TARGET,
	OPERATOR,
	RESOLVE,
	DELIVERY_TO_TARGET,			     /* one a message */
	DELIVERY_TO_SOURCE = DELIVERY_TO_TARGET + 6, /* one a message */
	ACTORS = DELIVERY_TO_SOURCE + 5
};

struct edge {
	struct world to;
	uint8_t actor;
	bool fault;
};
#define EDGES_MAX 512
static struct edge edges[EDGES_MAX];
static unsigned edge_count;

static bool may_fault(const struct world *w)
{
	return faults_max == 15 || w->all.faults < faults_max;
}

static void add(const struct world *from, const struct world *to, unsigned actor, bool fault)
{
	struct edge *edge = &edges[edge_count++];

	assert_true(edge_count < EDGES_MAX);
	*edge = (struct edge){.to = *to, .actor = (uint8_t)actor, .fault = fault};
	if (fault && faults_max != 15)
		edge->to.all.faults = (from->all.faults + 1) & 15;
}

static void kill_process(struct world *w, unsigned process)
{
	w->all.lives = (w->all.lives & ~(1u << process)) & 7u;
	set_runs(w, process, false);
	for (unsigned k = 0; k <= (w->all.second ? 1u : 0u); k++)
		if (source_of(w, k) == process || target_of(w, k) == process)
			w->m[k].linked = 0;
}

/* What must hold of a step, whatever comes of it later. */
static void judge(const struct act *a, const struct world *before, bool at_source, unsigned event,
	bool asked, enum handover_outcome outcome)
{
	const struct one *was = &before->m[a->k], *is = &a->w.m[a->k];

	if (at_source && event == SOURCE_EV_CANCEL && outcome == HANDOVER_IGNORED &&
		!(source_table.committed >> is->s_state & 1) && is->s_state != SOURCE_TAKE_BACK &&
		is->s_state != SOURCE_FAILED)
		find(CANCEL_FORGOTTEN);
	if (at_source && event == SOURCE_EV_READY && was->s_lost &&
		(is->s_state == SOURCE_COMMITTED || is->s_state == SOURCE_IN_DOUBT))
		find(GO_TO_NOBODY);
	if (at_source || was->t_state == TARGET_SETUP)
		return;
	if (event == TARGET_EV_ABORT &&
		(is->t_state == TARGET_LOADING || is->t_state == TARGET_READY))
		find(ABORT_IGNORED);
	/* One with a wrong nonce is a stranger's: it learns nothing of a VM that is being started. */
	if (event == TARGET_EV_BAD_GO && (target_table.may_run >> was->t_state & 1))
		return;
	if (asked && !a->answered && outcome != HANDOVER_GAVE_WAY &&
		outcome != HANDOVER_UNRECORDED &&
		!(event == TARGET_EV_GO && was->t_state == TARGET_READY &&
			is->t_state == TARGET_STARTING))
		find(UNANSWERED);
}

static struct act take(const struct world *w, unsigned k, bool at_source, unsigned event,
	bool asked, enum fate_of_record first, enum fate_of_record second, int coming)
{
	struct act a = new_act(w, k);
	struct world before;

	a.records[0] = first;
	a.records[1] = second;
	a.coming = coming;
	/* One who comes with a loss has lost it, and it is known before the step is taken. */
	if (coming == (int)(at_source ? (unsigned)SOURCE_EV_LOST : (unsigned)TARGET_EV_LOST))
		a.w.m[k].linked = 0;
	if (at_source && (event == SOURCE_EV_LOST || coming == SOURCE_EV_LOST))
		a.w.m[k].s_lost = 1;
	before = a.w;
	judge(&a, &before, at_source, event, asked,
		at_source ? raise_at_source(&a, event) : raise_at_target(&a, event, asked));
	/* From there on it makes no difference. */
	if (a.w.m[k].s_state > SOURCE_SENT)
		a.w.m[k].s_lost = 0;
	return a;
}

/* An event, and everything that can become of its record. `w` may be ahead of `from`. */
static void step(const struct world *from, const struct world *w, unsigned k, bool at_source,
	unsigned event, bool asked, unsigned actor, bool fault)
{
	static const enum fate_of_record fates[][2] = {{FAILED_CLEAN, RECORDED},
		{FAILED_CLEAN, FAILED_CLEAN}, {FAILED_DIRTY, RECORDED},
		{FAILED_DIRTY, FAILED_CLEAN}};
	const int comes[2][2] = {
		{TARGET_EV_LOST, TARGET_EV_CANCEL}, {SOURCE_EV_LOST, SOURCE_EV_CANCEL}};

	if (fault && !may_fault(from))
		return;
	struct act a = take(w, k, at_source, event, asked, RECORDED, RECORDED, -1);

	add(from, &a.w, actor, fault);
	if (!a.recorded || fault || !may_fault(from))
		return;
	const struct handover_table *table = at_source ? &source_table : &target_table;
	const unsigned state = at_source ? w->m[k].s_state : w->m[k].t_state;
	const bool must = table->rules[state * table->events + event].must_record;

	/* It dies right behind its record. */
	kill_process(&a.at_record, at_source ? source_of(w, k) : target_of(w, k));
	add(from, &a.at_record, actor, true);
	for (unsigned i = 0; i < 4; i += must ? 1 : 2) {
		a = take(w, k, at_source, event, asked, fates[i][0], fates[i][1], -1);
		add(from, &a.w, actor, true);
	}
	for (unsigned i = 0; must && i < 2; i++) {
		a = take(w, k, at_source, event, asked, RECORDED, RECORDED, comes[at_source][i]);
		add(from, &a.w, actor, true);
	}
}

static enum swo_journal_proof proof_of_target(const struct world *w, unsigned k)
{
	static const enum swo_journal_event last[] = {SWO_JOURNAL_NOTHING, SWO_JOURNAL_BEGIN,
		SWO_JOURNAL_READY, SWO_JOURNAL_STARTING, SWO_JOURNAL_STARTED, SWO_JOURNAL_REFUSED};
	struct swo_journal_info info = {.side = SWO_JOURNAL_TARGET,
		.last = last[w->m[k].t_log],
		.live = w->all.lives >> target_of(w, k) & 1,
		.complete = w->m[k].t_complete,
		.here = true,
		.original = true};

	return swo_journal_proof(&info, false);
}

static bool lives(const struct world *w, unsigned process)
{
	return w->all.lives >> process & 1;
}

static bool runs(const struct world *w, unsigned process)
{
	return w->all.runs >> process & 1;
}

/* With the second migration, one side's object of the first is gone from its process. */
static bool source_is_there(const struct world *w, unsigned k)
{
	return !(k == 0 && w->all.second == AGAIN);
}

static bool target_is_there(const struct world *w, unsigned k)
{
	return !(k == 0 && w->all.second == ONWARD);
}

/* Of the first connection nothing is lost without the rest of it; a question has its own. */
static void lose(
	const struct world *w, const struct world *without, unsigned k, bool apart, unsigned actor)
{
	struct world next = *without;

	if (!may_fault(w))
		return;
	if (!apart)
		next.m[k].linked = 0;
	add(w, &next, actor, true);
}

static void deliver_to_target(const struct world *w, unsigned k)
{
	static const unsigned events[] = {TARGET_EV_HELLO, TARGET_EV_LOADED, TARGET_EV_GO,
		TARGET_EV_ABORT, TARGET_EV_ASK, TARGET_EV_DONE};

	for (unsigned i = 0; i < 6; i++) {
		const unsigned message = 1u << i;
		const unsigned actor = DELIVERY_TO_TARGET + i;
		struct world next = *w;

		if (!(w->m[k].to_target & message))
			continue;
		next.m[k].to_target &= ~message & 63u;
		lose(w, &next, k, message == M_ASK, actor);
		/* Whatever overtakes what: HELLO is the first frame of its connection. */
		if (!lives(w, target_of(w, k)) ||
			(message > M_HELLO && message != M_ASK && (w->m[k].to_target & M_HELLO)))
			continue;
		for (unsigned copy = 0; copy < 2; copy++) {
			if (copy && !may_fault(w))
				break;
			if (copy) /* it comes again */
				next.m[k].to_target = w->m[k].to_target;
			struct world then = next;

			if (message == M_END) {
				if (w->m[k].t_doing != LOADING ||
					w->m[k].t_state != TARGET_LOADING) {
					add(w, &then, actor, copy);
					continue;
				}
				then.m[k].t_doing = IDLE;
			}
			/* What is not there any more is not answered. */
			if (!target_is_there(w, k))
				add(w, &then, actor, copy);
			else
				step(w, &then, k, false, events[i],
					message == M_GO || message == M_ASK, actor, copy);
		}
	}
}

static void deliver_to_source(const struct world *w, unsigned k)
{
	static const unsigned events[] = {
		SOURCE_EV_HELLO_OK, SOURCE_EV_READY, SOURCE_EV_STARTED, 0, SOURCE_EV_REFUSED};

	for (unsigned i = 0; i < 5; i++) {
		const unsigned message = 1u << i;
		const unsigned actor = DELIVERY_TO_SOURCE + i;
		struct world next = *w;

		if (!(w->m[k].to_source & message))
			continue;
		next.m[k].to_source &= ~message & 31u;
		lose(w, &next, k, message >= M_STARTED && !w->m[k].linked, actor);
		if (!lives(w, source_of(w, k)))
			continue;
		for (unsigned copy = 0; copy < 2; copy++) {
			if (copy && !may_fault(w))
				break;
			if (copy)
				next.m[k].to_source = w->m[k].to_source;
			if (message == M_STARTING || !source_is_there(w, k))
				add(w, &next, actor, copy);
			else
				step(w, &next, k, true, events[i], false, actor, copy);
		}
	}
}

/*
 * Where RAM is shared: who has the word? An operator's decision comes to the same, and is no better.
 */
static void source_in_doubt_looks(const struct world *w, unsigned k)
{
	struct world next = *w;

	if (w->m[k].fate == BEGUN) {
		next.m[k].to_target |= M_ASK;
		add(w, &next, AT_SOURCE, false);
		if (slip == SOURCE_TAKES_ANY_WORD && !lives(w, target_of(w, k)) && may_fault(w)) {
			next = *w;
			next.all.decided = 1;
			step(w, &next, k, true, SOURCE_EV_OPERATOR_RUN, false, OPERATOR, true);
		}
		return;
	}
	/* Forbidden first, then on record: it may die in between, but not the other way round. */
	if (w->m[k].fate == OPEN && slip != SOURCE_DOES_NOT_FORBID) {
		next.m[k].fate = FORBIDDEN;
		add(w, &next, AT_SOURCE, false);
		return;
	}
	step(w, &next, k, true, SOURCE_EV_REFUSED, false, AT_SOURCE, false);
}

static void source_in_doubt_asks(const struct world *w, unsigned k)
{
	struct world next = *w;

	next.m[k].to_target |= M_ASK;
	add(w, &next, AT_SOURCE, false);
	/* An operator decides only after fencing: the target is dead by then. */
	if (lives(w, target_of(w, k)) || !w->m[k].parked)
		return;
	switch (proof_of_target(w, k)) {
	case SWO_JOURNAL_PROVES_NEVER:
		step(w, w, k, true, SOURCE_EV_OPERATOR_RUN, false, OPERATOR, false);
		break;
	case SWO_JOURNAL_PROVES_RAN:
		step(w, w, k, true, SOURCE_EV_OPERATOR_GONE, false, OPERATOR, false);
		break;
	default:
		next = *w;
		next.all.decided = 1;
		step(w, &next, k, true, SOURCE_EV_OPERATOR_RUN, false, OPERATOR, true);
	}
}

/* The migration's thread of a source. */
static void source_thread(const struct world *w, unsigned k)
{
	const struct one *m = &w->m[k];
	struct world next = *w;

	next.m[k].s_doing = IDLE;
	switch (m->s_doing) {
	case STOPPING:
		if (m->s_state == SOURCE_STOPPING)
			step(w, &next, k, true, SOURCE_EV_ALL_SENT, false, AT_SOURCE, false);
		else
			step(w, &next, k, true, SOURCE_EV_FAIL, false, AT_SOURCE, false);
		if (m->s_state == SOURCE_STOPPING)
			step(w, &next, k, true, SOURCE_EV_FAIL, false, AT_SOURCE, true);
		return;
	case ROLLING:
		run_vm(&next, source_of(w, k));
		step(w, &next, k, true, SOURCE_EV_RESUMED, false, AT_SOURCE, false);
		return;
	default:
		break;
	}
	if (m->s_due) {
		struct act a = new_act(w, k);

		a.h.opaque = &a;
		load_source(&a);
		handover_perform(&a.h);
		store_source(&a);
		add(w, &a.w, AT_SOURCE, false);
		return;
	}
	switch (m->s_state) {
	case SOURCE_SETUP:
	case SOURCE_SENT: /* deadlines: the answer never came */
		step(w, w, k, true, SOURCE_EV_FAIL, false, AT_SOURCE, false);
		break;
	case SOURCE_PRECOPY:
		step(w, w, k, true, SOURCE_EV_CONVERGED, false, AT_SOURCE, false);
		break;
	case SOURCE_COMMITTED:
		step(w, w, k, true, SOURCE_EV_TIMEOUT, false, AT_SOURCE, false);
		break;
	case SOURCE_IN_DOUBT:
		if (shared)
			source_in_doubt_looks(w, k);
		else
			source_in_doubt_asks(w, k);
		break;
	default:
		break;
	}
}

/* The migration's thread of a target. */
static void target_thread(const struct world *w, unsigned k)
{
	const struct one *m = &w->m[k];
	const unsigned me = target_of(w, k);
	struct world next = *w;

	switch (m->t_doing) {
	case LOADING: /* until what it waits for comes, or it is over */
		next.m[k].t_doing = IDLE;
		if (m->t_state != TARGET_LOADING)
			add(w, &next, AT_TARGET, false);
		return;
	case STARTING:
		if (shared && m->fate != BEGUN && slip != TARGET_DOES_NOT_BEGIN) {
			next.m[k].t_doing = IDLE;
			if (m->fate == FORBIDDEN && slip != TARGET_BEGINS_ANYHOW) {
				step(w, &next, k, false, TARGET_EV_START_FAILED, false, AT_TARGET,
					false);
				return;
			}
			next = *w;
			next.m[k].fate = BEGUN;
			add(w, &next, AT_TARGET, false);
			return;
		}
		/* It runs some time before it is known to. */
		next.m[k].t_doing = RUNNING;
		run_vm(&next, me);
		add(w, &next, AT_TARGET, false);
		next = *w;
		next.m[k].t_doing = IDLE;
		if (!shared)
			step(w, &next, k, false, TARGET_EV_START_FAILED, false, AT_TARGET, true);
		return;
	case RUNNING:
		next.m[k].t_doing = IDLE;
		step(w, &next, k, false, TARGET_EV_STARTED, false, AT_TARGET, false);
		return;
	default:
		break;
	}
	if (m->t_due) {
		struct act a = new_act(w, k);

		a.h.opaque = &a;
		load_target(&a);
		handover_perform(&a.h);
		store_target(&a);
		add(w, &a.w, AT_TARGET, false);
	} else if (m->t_state == TARGET_READY) {
		/* the deadline for GO */
		step(w, w, k, false, TARGET_EV_FAIL, false, AT_TARGET, false);
	}
}

/* `stop` and `cont` of a user's, where the VM's last migration lets them. */
static void user(const struct world *w, unsigned process, bool reported, bool may_run)
{
	struct world next = *w;

	if (!may_fault(w))
		return;
	if (runs(w, process)) {
		next.all.paused = 1;
		set_runs(&next, process, false);
		add(w, &next, AT_SOURCE, true);
	} else if (w->all.paused && reported && (may_run || slip == CONT_ANYWHERE)) {
		next.all.paused = 0;
		run_vm(&next, process);
		add(w, &next, AT_SOURCE, true);
	}
}

static void die(const struct world *w, unsigned process)
{
	struct world next = *w;

	if (!may_fault(w))
		return;
	kill_process(&next, process);
	add(w, &next, AT_SOURCE, true);
	if (shared)
		return;
	/* The host too: last records of its journals may be gone, and what is left is incomplete. */
	for (unsigned k = 0; k <= (w->all.second ? 1u : 0u); k++) {
		struct one *m = &next.m[k];
		const bool source = source_of(w, k) == process;

		if (!source && target_of(w, k) != process)
			continue;
		if (source)
			m->s_complete = 0;
		else
			m->t_complete = 0;
		add(w, &next, AT_SOURCE, true);
		const struct one whole = *m;

		for (unsigned log = S_BEGIN; source && log < whole.s_log && log < S_HERE; log++) {
			if (log > S_BEGIN && !whole.s_committed)
				break;
			m->s_log = log & 7;
			add(w, &next, AT_SOURCE, true);
		}
		for (unsigned log = T_BEGIN; !source && log < whole.t_log && log < T_STARTED;
			log++) {
			m->t_log = log & 7;
			add(w, &next, AT_SOURCE, true);
		}
		*m = whole;
	}
}

/* May the VM be started from nothing where this process was? Every journal of it counts. */
static bool may_boot(const struct world *w, unsigned process)
{
	for (unsigned k = 0; k <= (w->all.second ? 1u : 0u); k++) {
		const struct one *m = &w->m[k];

		if (source_of(w, k) == process && m->s_log != S_HERE &&
			!(m->s_log == S_BEGIN && m->s_complete))
			return false;
	}
	return true;
}

/* The source's process is gone, its journal is not: `switchover resolve`, and a new start. */
static void dead_source(const struct world *w, unsigned k)
{
	const unsigned me = source_of(w, k);
	struct world next = *w;

	if (w->m[k].s_log == S_COMMITTED || w->m[k].s_log == S_IN_DOUBT) {
		if (lives(w, target_of(w, k)) && target_is_there(w, k)) {
			/* ASK has a connection of its own. */
			next.m[k].to_source = 0;
			struct act a =
				take(&next, k, false, TARGET_EV_ASK, true, RECORDED, RECORDED, -1);

			if (a.w.m[k].to_source & M_REFUSED)
				a.w.m[k].s_log = S_HERE;
			if (a.w.m[k].to_source & M_STARTED)
				a.w.m[k].s_log = S_THERE;
			a.w.m[k].to_source = w->m[k].to_source;
			add(w, &a.w, RESOLVE, false);
		} else if (!lives(w, target_of(w, k))) {
			const enum swo_journal_proof proof = proof_of_target(w, k);

			next.m[k].s_log = proof == SWO_JOURNAL_PROVES_RAN ? S_THERE : S_HERE;
			if (proof == SWO_JOURNAL_PROVES_NOTHING)
				next.all.decided = 1;
			if (proof != SWO_JOURNAL_PROVES_NOTHING || may_fault(w))
				add(w, &next, RESOLVE, proof == SWO_JOURNAL_PROVES_NOTHING);
		}
	} else if (!runs(w, me) && may_boot(w, me) && k == (w->all.second ? 1u : 0u)) {
		next.all.paused = 0;
		run_vm(&next, me);
		add(w, &next, RESOLVE, false);
	}
}

static const struct one fresh = {
	.linked = 1, .to_target = M_HELLO, .s_log = S_BEGIN, .s_complete = 1, .t_complete = 1};

static void begin_second(const struct world *w)
{
	const struct one *m = &w->m[0];
	struct world next = *w;

	if (!twice || w->all.second)
		return;
	next.m[1] = fresh;
	/* Whatever of the first is still under way to the target, or being done there by itself. */
	if (m->s_state == SOURCE_FAILED && m->s_reported && !m->s_due && lives(w, 0) &&
		!m->to_source && !m->t_due) {
		next.all.second = AGAIN;
		add(w, &next, AT_SOURCE, true);
		edges[edge_count - 1].to.all.faults = w->all.faults;
	}
	if ((m->t_state == TARGET_STARTED || m->t_state == TARGET_SETTLED) && m->t_reported &&
		!m->t_due && !m->t_doing && lives(w, 1) && !m->to_source &&
		(!lives(w, 0) || (!m->s_due && !m->s_doing))) {
		next.all.second = ONWARD;
		add(w, &next, AT_SOURCE, true);
		edges[edge_count - 1].to.all.faults = w->all.faults;
	}
}

static void expand_one(const struct world *w, unsigned k)
{
	const unsigned source = source_of(w, k), target = target_of(w, k);
	const struct one *m = &w->m[k];
	const unsigned at_source[] = {SOURCE_EV_FAIL, SOURCE_EV_CANCEL, SOURCE_EV_ABORT};
	const unsigned at_target[] = {TARGET_EV_FAIL, TARGET_EV_CANCEL};

	deliver_to_target(w, k);
	deliver_to_source(w, k);
	if (m->linked && may_fault(w)) {
		struct world next = *w;

		next.m[k].linked = 0;
		add(w, &next, AT_SOURCE, true);
	}
	if (lives(w, source) && source_is_there(w, k)) {
		source_thread(w, k);
		for (unsigned i = 0; i < 3; i++)
			step(w, w, k, true, at_source[i], false, AT_SOURCE, true);
		/* Each side may notice a broken connection before or after what is under way. */
		if (!m->linked)
			step(w, w, k, true, SOURCE_EV_LOST, false, LOSS_AT_SOURCE, false);
		if (k == (w->all.second ? 1u : 0u))
			user(w, source, m->s_reported, source_table.may_run >> m->s_state & 1);
	} else if (!lives(w, source)) {
		dead_source(w, k);
	}
	if (lives(w, target) && target_is_there(w, k)) {
		target_thread(w, k);
		for (unsigned i = 0; i < 2; i++)
			step(w, w, k, false, at_target[i], false, AT_TARGET, true);
		if (m->linked && m->t_state != TARGET_SETUP)
			step(w, w, k, false, TARGET_EV_BAD_GO, true, AT_TARGET, true);
		if (!m->linked)
			step(w, w, k, false, TARGET_EV_LOST, false, LOSS_AT_TARGET, false);
		if (k == (w->all.second ? 1u : 0u))
			user(w, target, m->t_reported, target_table.may_run >> m->t_state & 1);
	}
}

static void expand(const struct world *w)
{
	edge_count = 0;
	for (unsigned k = 0; k <= (w->all.second ? 1u : 0u); k++) {
		const unsigned first = edge_count;

		expand_one(w, k);
		for (unsigned i = first; i < edge_count; i++)
			edges[i].actor = (uint8_t)(edges[i].actor + k * ACTORS);
	}
	for (unsigned process = 0; process < 3; process++)
		if (lives(w, process) && (process < 2 || w->all.second))
			die(w, process);
	begin_second(w);
}

/* Worlds seen: a hash set, by number. */

static struct space {
	struct world *worlds;
	uint32_t *slots;  /* number + 1; 0: free */
	uint32_t *parent; /* from which it was found first */
	uint32_t *first;  /* of each world's edges without faults */
	uint32_t *to;
	uint8_t *actor;
	size_t count, room, slot_count, edge_count, edge_room;
} space;

static size_t hash(const struct world *w)
{
	uint64_t word[3], h = 0;

	memcpy(word, w, sizeof(word));
	for (unsigned i = 0; i < 3; i++) {
		h = (h ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h;
}

static void *grow(void *old, size_t count, size_t size)
{
	void *grown = realloc(old, count * size);

	assert_non_null(grown);
	return grown;
}

static void rehash(size_t slot_count)
{
	free(space.slots);
	space.slots = calloc(slot_count, sizeof(*space.slots));
	assert_non_null(space.slots);
	space.slot_count = slot_count;
	for (size_t i = 0; i < space.count; i++) {
		size_t at = hash(&space.worlds[i]) & (slot_count - 1);

		while (space.slots[at])
			at = (at + 1) & (slot_count - 1);
		space.slots[at] = (uint32_t)i + 1;
	}
}

static uint32_t visit(const struct world *w, size_t parent)
{
	size_t at = hash(w) & (space.slot_count - 1);

	for (; space.slots[at]; at = (at + 1) & (space.slot_count - 1))
		if (!memcmp(&space.worlds[space.slots[at] - 1], w, sizeof(*w)))
			return space.slots[at] - 1;
	if (space.count == space.room) {
		space.room *= 2;
		space.worlds = grow(space.worlds, space.room, sizeof(*space.worlds));
		space.parent = grow(space.parent, space.room, sizeof(*space.parent));
		space.first = grow(space.first, space.room + 1, sizeof(*space.first));
	}
	space.worlds[space.count] = *w;
	space.parent[space.count] = (uint32_t)parent;
	space.slots[at] = (uint32_t)++space.count;
	if (space.count * 2 > space.slot_count)
		rehash(space.slot_count * 2);
	return (uint32_t)space.count - 1;
}

static void keep_edge(uint32_t to, uint8_t actor)
{
	if (space.edge_count == space.edge_room) {
		space.edge_room *= 2;
		space.to = grow(space.to, space.edge_room, sizeof(*space.to));
		space.actor = grow(space.actor, space.edge_room, sizeof(*space.actor));
	}
	space.to[space.edge_count] = to;
	space.actor[space.edge_count++] = actor;
}

static void open_space(void)
{
	space = (struct space){.room = 1024, .edge_room = 4096};
	space.worlds = grow(NULL, space.room, sizeof(*space.worlds));
	space.parent = grow(NULL, space.room, sizeof(*space.parent));
	space.first = grow(NULL, space.room + 1, sizeof(*space.first));
	space.to = grow(NULL, space.edge_room, sizeof(*space.to));
	space.actor = grow(NULL, space.edge_room, sizeof(*space.actor));
	rehash(4096);
}

static void close_space(void)
{
	free(space.worlds);
	free(space.slots);
	free(space.parent);
	free(space.first);
	free(space.to);
	free(space.actor);
}

/* How it got there, to fix what the model has found. */
static void print_way(size_t at)
{
	if (at)
		print_way(space.parent[at]);
	const struct world *w = &space.worlds[at];

	for (unsigned k = 0; k <= (w->all.second ? 1u : 0u); k++) {
		const struct one *m = &w->m[k];

		print_message("#   %s due %#x in %u log %u%s | %s due %#x in %u log %u%s | "
			      "-> %#x <- %#x%s%s\n",
			source_table.state_names[m->s_state], SOURCE_ACTIONS((unsigned)m->s_due),
			(unsigned)m->s_doing, (unsigned)m->s_log, m->s_reported ? " reported" : "",
			target_table.state_names[m->t_state], TARGET_ACTIONS((unsigned)m->t_due),
			(unsigned)m->t_doing, (unsigned)m->t_log, m->t_reported ? " reported" : "",
			(unsigned)m->to_target, (unsigned)m->to_source, m->linked ? "" : " cut",
			k ? " (2nd)" : "");
	}
	print_message("#     lives %u runs %u old %u%s%s fate %u\n", (unsigned)w->all.lives,
		(unsigned)w->all.runs, (unsigned)w->all.stale, w->all.paused ? " paused" : "",
		w->all.decided ? " decided" : "", (unsigned)w->m[0].fate);
}

/* Liveness */

static bool source_is_done(const struct world *w, unsigned k, bool has_it)
{
	const unsigned me = source_of(w, k);
	const struct one *m = &w->m[k];

	if (!lives(w, me))
		return has_it ? runs(w, me) : !runs(w, me) && !may_boot(w, me);
	if (m->s_due || m->s_doing || !m->s_reported)
		return false;
	if (has_it)
		return m->s_state == SOURCE_FAILED && runs(w, me) == !w->all.paused;
	return (m->s_state == SOURCE_COMPLETED || m->s_state == SOURCE_GIVEN_UP) && m->cleaned &&
	       !runs(w, me);
}

static bool target_is_done(const struct world *w, unsigned k, bool has_it)
{
	const unsigned me = target_of(w, k);
	const struct one *m = &w->m[k];

	if (has_it)
		return lives(w, me) && !m->t_due && !m->t_doing && m->t_reported &&
		       (m->t_state == TARGET_STARTED || m->t_state == TARGET_SETTLED) &&
		       runs(w, me) == !w->all.paused;
	if (!lives(w, me))
		return true;
	return !runs(w, me) && !m->t_due && !m->t_doing &&
	       (m->t_state == TARGET_SETUP ||
		       (m->t_state == TARGET_REFUSED && m->t_reported && m->discarded));
}

/* Exactly one has it, and all sides are done. */
static bool is_good(const struct world *w)
{
	const unsigned k = w->all.second ? 1 : 0;

	if (w->all.second == AGAIN && !target_is_done(w, 0, false))
		return false;
	return source_is_done(w, k, true) != source_is_done(w, k, false) &&
	       ((source_is_done(w, k, true) && target_is_done(w, k, false)) ||
		       (source_is_done(w, k, false) && target_is_done(w, k, true)));
}

/* Is a good end promised from here? Not when what is needed for that has died. */
static bool is_promised(const struct world *w)
{
	const unsigned k = w->all.second ? 1 : 0;
	const struct one *m = &w->m[k];

	if (!lives(w, source_of(w, k))) {
		const bool cut_short =
			(m->s_log == S_BEGIN && !m->s_complete) ||
			(w->all.second == AGAIN && w->m[0].s_log == S_BEGIN && !w->m[0].s_complete);

		return lives(w, target_of(w, k)) &&
		       (!cut_short || (target_table.may_run >> m->t_state & 1));
	}
	if (lives(w, target_of(w, k)))
		return true;
	if (m->s_state == SOURCE_RESUMING || !(source_table.committed >> m->s_state & 1))
		return true;
	if (m->s_state != SOURCE_COMMITTED && m->s_state != SOURCE_IN_DOUBT)
		return false;
	/* What is shared outlives a process, and proves more than a journal. */
	return shared ? m->fate != BEGUN : proof_of_target(w, k) == SWO_JOURNAL_PROVES_NEVER;
}

static uint64_t actors_of(uint32_t at)
{
	uint64_t actors = 0;

	for (uint32_t e = space.first[at]; e < space.first[at + 1]; e++)
		actors |= UINT64_C(1) << space.actor[e];
	return actors;
}

/* One strongly connected component, as members of `component` numbered `number`. */
static bool is_left(
	const uint32_t *members, size_t count, const uint32_t *component, uint32_t number)
{
	uint64_t able = UINT64_MAX, stay = 0;
	bool good = true, promised = false, closed = true;

	for (size_t i = 0; i < count; i++) {
		const uint32_t at = members[i];

		good = good && is_good(&space.worlds[at]);
		promised = promised || is_promised(&space.worlds[at]);
		able &= actors_of(at);
		for (uint32_t e = space.first[at]; e < space.first[at + 1]; e++) {
			if (component[space.to[e]] == number)
				stay |= UINT64_C(1) << space.actor[e];
			else
				closed = false;
		}
	}
	if (closed)
		return good || !promised;
	/* Without a way round it is left by whatever happens; else by one who always can. */
	return !promised || !stay || (able & ~stay);
}

/* Tarjan's algorithm, without recursion. false: some component is not left and not good. */
static bool check_components(void)
{
	const uint32_t none = UINT32_MAX;
	uint32_t *index = grow(NULL, space.count, sizeof(*index));
	uint32_t *low = grow(NULL, space.count, sizeof(*low));
	uint32_t *edge = grow(NULL, space.count, sizeof(*edge));
	uint32_t *component = grow(NULL, space.count, sizeof(*component));
	uint32_t *stack = grow(NULL, space.count, sizeof(*stack));
	uint32_t *path = grow(NULL, space.count, sizeof(*path));
	size_t depth = 0, stacked = 0;
	uint32_t next = 0, components = 0;
	bool sound = true;

	for (size_t i = 0; i < space.count; i++)
		index[i] = component[i] = none;
	for (size_t root = 0; root < space.count && sound; root++) {
		if (index[root] != none)
			continue;
		path[depth++] = (uint32_t)root;
		while (depth && sound) {
			const uint32_t at = path[depth - 1];

			if (index[at] == none) {
				index[at] = low[at] = next++;
				edge[at] = space.first[at];
				stack[stacked++] = at;
			}
			if (edge[at] < space.first[at + 1]) {
				const uint32_t to = space.to[edge[at]];

				if (index[to] == none) {
					path[depth++] = to;
					continue;
				}
				if (component[to] == none && low[to] < low[at])
					low[at] = low[to];
				edge[at]++;
				continue;
			}
			if (low[at] == index[at]) {
				size_t first = stacked;

				do
					component[stack[--first]] = components;
				while (stack[first] != at);
				sound = is_left(
					stack + first, stacked - first, component, components);
				if (!sound && tell)
					print_way(at);
				components++;
				stacked = first;
			}
			depth--;
		}
	}
	free(index);
	free(low);
	free(edge);
	free(component);
	free(stack);
	free(path);
	return sound;
}

static void check_safety(const struct world *w)
{
	const unsigned running = (unsigned)w->all.runs;

	if (running & (running - 1))
		find(BOTH_RUN);
	for (unsigned k = 0; shared && k <= (w->all.second ? 1u : 0u); k++)
		if (runs(w, source_of(w, k)) && lives(w, source_of(w, k)) && w->m[k].fate == BEGUN)
			find(BOTH_WRITE);
}

static enum verdict explore(size_t *states)
{
	struct world start = {.m = {fresh}, .all = {.lives = twice ? 7 : 3, .runs = 1, .stale = 0}};

	size_t last = 0;
	bool succeeded = false;

	found = SOUND;
	open_space();
	visit(&start, 0);
	for (size_t i = 0; i < space.count && found == SOUND; i++) {
		const struct world w = space.worlds[i];

		last = i;
		succeeded = succeeded || (is_good(&w) && w.m[0].t_state == TARGET_SETTLED);
		check_safety(&w);
		expand(&w);
		space.first[i] = (uint32_t)space.edge_count;
		for (unsigned e = 0; e < edge_count && found == SOUND; e++) {
			const uint32_t to = visit(&edges[e].to, i);

			if (!edges[e].fault)
				keep_edge(to, edges[e].actor);
		}
		space.first[i + 1] = (uint32_t)space.edge_count;
	}
	if (found == SOUND && !succeeded)
		find(IN_VAIN);
	else if (found == SOUND && !check_components())
		found = NOT_SETTLED;
	else if (found != SOUND && tell)
		print_way(last);
	*states = space.count;
	close_space();
	return found;
}

/* What is expected of it */

static void expect_sound(const char *what, unsigned faults, size_t least)
{
	size_t states;

	faults_max = faults;
	tell = true;
	enum verdict verdict = explore(&states);

	tell = false;
	print_message("# %zu states, %s: %s\n", states, what, verdict_names[verdict]);
	assert_int_equal(verdict, SOUND);
	assert_true(states > least);
}

/* By one fault, if that does: it is quicker. */
static void expect_found(const char *what)
{
	enum verdict verdict = SOUND;
	size_t states = 0;

	for (faults_max = 1; faults_max <= 2 && verdict == SOUND; faults_max++)
		verdict = explore(&states);
	print_message("# %s: %s (%zu states)\n", what, verdict_names[verdict], states);
	assert_int_not_equal(verdict, SOUND);
}

static int put_back(void **state)
{
	(void)state;
	reset_tables();
	shared = twice = false;
	slip = NO_SLIP;
	dropped = doubled = 0;
	return 0;
}

static void never_do_both_run_and_always_one_does(void **state)
{
	(void)state;
	expect_sound("any number of faults", 15, 1000000);
}

static void with_one_memory_the_vm_runs_only_where_it_is_consistent(void **state)
{
	(void)state;
	shared = true;
	expect_sound("RAM shared, any number of faults", 15, 100000);
}

static void a_second_migration_is_not_disturbed_by_what_is_left_of_the_first(void **state)
{
	(void)state;
	twice = true;
	expect_sound("again after a failure, or onward; one fault", 1, 1000000);
}

/* Cells of a table: what is there instead. */
#define IGNORED                                                                                    \
	{                                                                                          \
		.set = false                                                                       \
	}
#define GOES(state, what, actions_)                                                                \
	{                                                                                          \
		.set = true, .next = (state), .record = SWO_JOURNAL_##what, .actions = (actions_)  \
	}

static void each_mutant_of_the_tables_is_found(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		bool of_target;
		unsigned state, event;
		struct handover_rule instead;
	} mutants[] = {
		{"the target starts by itself when loaded", true, TARGET_LOADING, TARGET_EV_LOADED,
			GOES(TARGET_STARTING, STARTING, ACT_SEND_READY | ACT_START)},
		{"an error after GO resumes the source", false, SOURCE_COMMITTED, SOURCE_EV_FAIL,
			GOES(SOURCE_RESUMING, REFUSED, ACT_ROLL_BACK)},
		{"a lost peer after GO resumes the source", false, SOURCE_COMMITTED, SOURCE_EV_LOST,
			GOES(SOURCE_RESUMING, REFUSED, ACT_ROLL_BACK)},
		{"a timeout after GO resumes the source", false, SOURCE_COMMITTED,
			SOURCE_EV_TIMEOUT, GOES(SOURCE_RESUMING, REFUSED, ACT_ROLL_BACK)},
		{"a cancel after GO is taken", false, SOURCE_COMMITTED, SOURCE_EV_CANCEL,
			GOES(SOURCE_TAKE_BACK, TAKEN_BACK, ACT_ROLL_BACK)},
		{"a ready target that loses its peer starts", true, TARGET_READY, TARGET_EV_LOST,
			GOES(TARGET_STARTING, STARTING, ACT_START)},
		{"a refused target takes a late GO", true, TARGET_REFUSED, TARGET_EV_GO,
			GOES(TARGET_STARTING, STARTING, ACT_START)},
		{"a started target answers ASK with a refusal", true, TARGET_STARTED, TARGET_EV_ASK,
			GOES(TARGET_STARTED, NOTHING, ACT_SEND_REFUSED)},
		{"a starting target answers ASK with a refusal", true, TARGET_STARTING,
			TARGET_EV_ASK, GOES(TARGET_STARTING, NOTHING, ACT_SEND_REFUSED)},
		{"ASK leaves a ready target ready, yet REFUSED is sent", true, TARGET_READY,
			TARGET_EV_ASK, GOES(TARGET_READY, NOTHING, ACT_SEND_REFUSED)},
		{"the source does not wait for READY", false, SOURCE_STOPPING, SOURCE_EV_ALL_SENT,
			GOES(SOURCE_COMMITTED, COMMITTED, ACT_SEND_GO)},
		{"a refusal in doubt is ignored", false, SOURCE_IN_DOUBT, SOURCE_EV_REFUSED,
			IGNORED},
		{"STARTED in doubt is ignored", false, SOURCE_IN_DOUBT, SOURCE_EV_STARTED, IGNORED},
		{"STARTED resumes the source", false, SOURCE_COMMITTED, SOURCE_EV_STARTED,
			GOES(SOURCE_RESUMING, REFUSED, ACT_ROLL_BACK)},
		{"STARTED is not put on record as the end", false, SOURCE_COMMITTED,
			SOURCE_EV_STARTED,
			GOES(SOURCE_COMPLETED, TAKEN_BACK,
				ACT_SEND_DONE | ACT_CLEAN_UP | ACT_REPORT)},
		{"GO is sent without a record", false, SOURCE_SENT, SOURCE_EV_READY,
			GOES(SOURCE_COMMITTED, NOTHING, ACT_SEND_GO)},
		{"GO is sent although its record failed", false, SOURCE_SENT, SOURCE_EV_READY,
			GOES(SOURCE_COMMITTED, COMMITTED, ACT_SEND_GO)},
		{"the target starts without a record", true, TARGET_READY, TARGET_EV_GO,
			GOES(TARGET_STARTING, NOTHING, ACT_START)},
		{"the target starts although its record failed", true, TARGET_READY, TARGET_EV_GO,
			GOES(TARGET_STARTING, STARTING, ACT_START)},
		{"a failure before GO leaves the VM stopped", false, SOURCE_SENT, SOURCE_EV_FAIL,
			GOES(SOURCE_COMPLETED, DONE, ACT_CLEAN_UP | ACT_REPORT)},
		{"READY beats a loss that is known", false, SOURCE_SENT, SOURCE_EV_LOST, IGNORED},
		{"a starting target does not answer ASK", true, TARGET_STARTING, TARGET_EV_ASK,
			IGNORED},
		{"a started target does not answer ASK", true, TARGET_STARTED, TARGET_EV_ASK,
			IGNORED},
		{"a starting target does not answer a second GO", true, TARGET_STARTING,
			TARGET_EV_GO, IGNORED},
		{"a refused target does not answer ASK", true, TARGET_REFUSED, TARGET_EV_ASK,
			IGNORED},
		{"a ready target ignores ABORT", true, TARGET_READY, TARGET_EV_ABORT, IGNORED},
		{"a ready target ignores a wrong GO", true, TARGET_READY, TARGET_EV_BAD_GO,
			IGNORED},
		{"a ready target starts on a wrong GO", true, TARGET_READY, TARGET_EV_BAD_GO,
			GOES(TARGET_STARTING, STARTING, ACT_START)},
		{"a ready target waits for GO for ever", true, TARGET_READY, TARGET_EV_FAIL,
			IGNORED},
		{"a loading target outlives its source", true, TARGET_LOADING, TARGET_EV_LOST,
			IGNORED},
		{"an operator is not listened to", false, SOURCE_IN_DOUBT, SOURCE_EV_OPERATOR_RUN,
			IGNORED},
		{"START_FAILED is dropped", true, TARGET_STARTING, TARGET_EV_START_FAILED, IGNORED},
		{"what was taken back is not over", false, SOURCE_TAKE_BACK, SOURCE_EV_RESUMED,
			IGNORED},
	};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(mutants); i++) {
		reset_tables();
		if (mutants[i].of_target)
			target_rules[mutants[i].state * TARGET_EVENTS + mutants[i].event] =
				mutants[i].instead;
		else
			source_rules[mutants[i].state * SOURCE_EVENTS + mutants[i].event] =
				mutants[i].instead;
		expect_found(mutants[i].name);
	}
}

static void each_wrong_set_of_states_is_found(void **state)
{
	(void)state;
	source_table.committed &= ~(1u << SOURCE_COMPLETED);
	expect_found("COMPLETED does not count as committed");
	reset_tables();
	source_table.committed &= ~(1u << SOURCE_COMMITTED);
	expect_found("COMMITTED does not count as committed");
	reset_tables();
	source_table.may_run |= 1u << SOURCE_COMPLETED;
	expect_found("`cont` runs what has moved away");
}

/* Each action is there for something; sent twice, a message does no harm, and the rest is noticed. */
static void each_action_left_out_or_done_twice_is_found(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		uint32_t action;
		bool harmless_twice;
	} actions[] = {{"LOAD", ACT_LOAD, false}, {"SEND_READY", ACT_SEND_READY, true},
		{"START", ACT_START, false}, {"STOP_VM", ACT_STOP_VM, false},
		{"SEND_END", ACT_SEND_END, true}, {"SEND_GO", ACT_SEND_GO, true},
		{"PARK", ACT_PARK, true}, {"ROLL_BACK", ACT_ROLL_BACK, false},
		{"SEND_ABORT", ACT_SEND_ABORT, true}, {"SEND_DONE", ACT_SEND_DONE, true},
		{"CLEAN_UP", ACT_CLEAN_UP, true}, {"SEND_STARTING", ACT_SEND_STARTING, true},
		{"SEND_STARTED", ACT_SEND_STARTED, true}, {"SEND_REFUSED", ACT_SEND_REFUSED, true},
		{"DISCARD", ACT_DISCARD, true}, {"REPORT", ACT_REPORT, false}};
	char what[64];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(actions); i++) {
		dropped = actions[i].action;
		snprintf(what, sizeof(what), "%s is left out", actions[i].name);
		expect_found(what);
		dropped = 0;
		doubled = actions[i].action;
		snprintf(what, sizeof(what), "%s is done twice", actions[i].name);
		if (actions[i].harmless_twice)
			expect_sound(what, 1, 1000);
		else
			expect_found(what);
		doubled = 0;
	}
}

static void each_slip_of_the_engine_is_found(void **state)
{
	(void)state;
	static const struct {
		enum slip slip;
		bool shared;
		const char *name;
	} slips[] = {{GO_BEFORE_ITS_RECORD, false, "GO is sent before it is on record"},
		{GO_DESPITE_A_LOSS, false, "GO is sent although the loss came first"},
		{ANSWERS_ARE_LEFT_OUT, false, "answers are not sent"},
		{CONT_ANYWHERE, false, "`cont` is not checked"},
		{TARGET_BEGINS_ANYHOW, true, "the target begins although it is forbidden"},
		{TARGET_DOES_NOT_BEGIN, true, "the target does not record that it starts"},
		{SOURCE_TAKES_ANY_WORD, true,
			"an operator's decision counts although the target has started"},
		{SOURCE_DOES_NOT_FORBID, true, "the source looks, but does not forbid"}};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(slips); i++) {
		slip = slips[i].slip;
		shared = slips[i].shared;
		expect_found(slips[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(never_do_both_run_and_always_one_does, put_back),
		cmocka_unit_test_setup(
			with_one_memory_the_vm_runs_only_where_it_is_consistent, put_back),
		cmocka_unit_test_setup(
			a_second_migration_is_not_disturbed_by_what_is_left_of_the_first, put_back),
		cmocka_unit_test_setup(each_mutant_of_the_tables_is_found, put_back),
		cmocka_unit_test_setup(each_wrong_set_of_states_is_found, put_back),
		cmocka_unit_test_setup(each_action_left_out_or_done_twice_is_found, put_back),
		cmocka_unit_test_setup(each_slip_of_the_engine_is_found, put_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
