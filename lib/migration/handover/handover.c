/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handover.c - the two tables of the handover, and the dispatcher that performs their steps.
 */
#include "migration/handover/handover.h"

#include "switchover/base.h"

#define STATE(state) (1u << (state))

/* A step, its record (SWO_JOURNAL_*, if any) and its actions. */
#define STEP(state, what, actions_)                                                                \
	{                                                                                          \
		.set = true, .next = (state), .record = (what), .actions = (actions_)              \
	}
/* The step is only taken if its record was written. */
#define MUST(state, what, actions_)                                                                \
	{                                                                                          \
		.set = true, .must_record = true, .next = (state), .record = (what),               \
		.actions = (actions_)                                                              \
	}
#define NO_RECORD SWO_JOURNAL_NOTHING

/* Source */

#define UNDO STEP(SOURCE_TAKE_BACK, SWO_JOURNAL_TAKEN_BACK, ACT_ROLL_BACK | ACT_SEND_ABORT)
#define BEFORE_GO                                                                                  \
	[SOURCE_EV_FAIL] = UNDO, [SOURCE_EV_CANCEL] = UNDO, [SOURCE_EV_LOST] = UNDO,               \
	[SOURCE_EV_ABORT] = UNDO, [SOURCE_EV_REFUSED] = UNDO

static const struct handover_rule source_rules[SOURCE_STATES][SOURCE_EVENTS] = {
	[SOURCE_SETUP] =
		{
			[SOURCE_EV_HELLO_OK] = STEP(SOURCE_PRECOPY, NO_RECORD, 0),
			BEFORE_GO,
		},
	[SOURCE_PRECOPY] =
		{
			[SOURCE_EV_CONVERGED] = STEP(SOURCE_STOPPING, NO_RECORD, ACT_STOP_VM),
			BEFORE_GO,
		},
	[SOURCE_STOPPING] =
		{
			[SOURCE_EV_ALL_SENT] = STEP(SOURCE_SENT, NO_RECORD, ACT_SEND_END),
			BEFORE_GO,
		},
	[SOURCE_SENT] =
		{
			[SOURCE_EV_READY] =
				MUST(SOURCE_COMMITTED, SWO_JOURNAL_COMMITTED, ACT_SEND_GO),
			BEFORE_GO,
		},
	/*
	 * From here on failures on the source do not affect where the VM runs: only the target's
	 * reply or an operator does.
	 */
	[SOURCE_COMMITTED] =
		{
			[SOURCE_EV_STARTED] = STEP(SOURCE_COMPLETED, SWO_JOURNAL_DONE,
				ACT_SEND_DONE | ACT_CLEAN_UP | ACT_REPORT),
			[SOURCE_EV_REFUSED] =
				STEP(SOURCE_RESUMING, SWO_JOURNAL_REFUSED, ACT_ROLL_BACK),
			[SOURCE_EV_LOST] = STEP(SOURCE_IN_DOUBT, SWO_JOURNAL_IN_DOUBT, ACT_PARK),
			[SOURCE_EV_TIMEOUT] = STEP(SOURCE_IN_DOUBT, SWO_JOURNAL_IN_DOUBT, ACT_PARK),
		},
	[SOURCE_IN_DOUBT] =
		{
			[SOURCE_EV_STARTED] = STEP(SOURCE_COMPLETED, SWO_JOURNAL_DONE,
				ACT_SEND_DONE | ACT_CLEAN_UP | ACT_REPORT),
			[SOURCE_EV_REFUSED] =
				STEP(SOURCE_RESUMING, SWO_JOURNAL_REFUSED, ACT_ROLL_BACK),
			[SOURCE_EV_OPERATOR_RUN] =
				STEP(SOURCE_RESUMING, SWO_JOURNAL_RUN_HERE, ACT_ROLL_BACK),
			[SOURCE_EV_OPERATOR_GONE] = STEP(
				SOURCE_GIVEN_UP, SWO_JOURNAL_RUNS_THERE, ACT_CLEAN_UP | ACT_REPORT),
		},
	[SOURCE_TAKE_BACK] = {[SOURCE_EV_RESUMED] = STEP(SOURCE_FAILED, NO_RECORD, ACT_REPORT)},
	[SOURCE_RESUMING] = {[SOURCE_EV_RESUMED] = STEP(SOURCE_FAILED, NO_RECORD, ACT_REPORT)},
};

static const char *const source_states[SOURCE_STATES] = {"setup", "precopy", "stopping", "sent",
	"committed", "in-doubt", "take-back", "resuming", "completed", "failed", "given-up"};
static const char *const source_events[SOURCE_EVENTS] = {"hello-ok", "converged", "all-sent",
	"ready", "fail", "cancel", "lost", "abort", "started", "refused", "timeout", "resumed",
	"operator-run", "operator-gone"};

const struct handover_table handover_source = {
	.rules = &source_rules[0][0],
	.states = SOURCE_STATES,
	.events = SOURCE_EVENTS,
	.fail = SOURCE_EV_FAIL,
	.cancel = SOURCE_EV_CANCEL,
	.lost = SOURCE_EV_LOST,
	/* In STOPPING the vCPUs may still run. */
	.may_run = STATE(SOURCE_SETUP) | STATE(SOURCE_PRECOPY) | STATE(SOURCE_STOPPING) |
		   STATE(SOURCE_SENT) | STATE(SOURCE_TAKE_BACK) | STATE(SOURCE_RESUMING) |
		   STATE(SOURCE_FAILED),
	.committed = STATE(SOURCE_COMMITTED) | STATE(SOURCE_IN_DOUBT) | STATE(SOURCE_COMPLETED) |
		     STATE(SOURCE_GIVEN_UP) | STATE(SOURCE_RESUMING),
	.final = STATE(SOURCE_COMPLETED) | STATE(SOURCE_FAILED) | STATE(SOURCE_GIVEN_UP),
	.state_names = source_states,
	.event_names = source_events,
};

/* Target */

#define REFUSE                                                                                     \
	STEP(TARGET_REFUSED, SWO_JOURNAL_REFUSED, ACT_SEND_REFUSED | ACT_DISCARD | ACT_REPORT)

static const struct handover_rule target_rules[TARGET_STATES][TARGET_EVENTS] = {
	[TARGET_SETUP] =
		{
			[TARGET_EV_HELLO] = STEP(TARGET_LOADING, NO_RECORD, ACT_LOAD),
			[TARGET_EV_FAIL] = REFUSE,
			[TARGET_EV_CANCEL] = REFUSE,
		},
	[TARGET_LOADING] =
		{
			[TARGET_EV_LOADED] = MUST(TARGET_READY, SWO_JOURNAL_READY, ACT_SEND_READY),
			[TARGET_EV_BAD_GO] = REFUSE,
			[TARGET_EV_ASK] = REFUSE,
			[TARGET_EV_ABORT] = REFUSE,
			[TARGET_EV_FAIL] = REFUSE,
			[TARGET_EV_CANCEL] = REFUSE,
			/* READY was not sent, so GO cannot be in flight. */
			[TARGET_EV_LOST] = REFUSE,
		},
	[TARGET_READY] =
		{
			[TARGET_EV_GO] = MUST(TARGET_STARTING, SWO_JOURNAL_STARTING, ACT_START),
			[TARGET_EV_BAD_GO] = REFUSE,
			/*
			 * The source has committed and sends ASK: a GO that arrives later must be
			 * refused.
			 */
			[TARGET_EV_ASK] = REFUSE,
			[TARGET_EV_ABORT] = REFUSE,
			[TARGET_EV_FAIL] = REFUSE,
			[TARGET_EV_CANCEL] = REFUSE,
			/* LOST: GO may have been sent; wait for ASK, or for the deadline. */
		},
	[TARGET_STARTING] =
		{
			[TARGET_EV_STARTED] = STEP(
				TARGET_STARTED, SWO_JOURNAL_STARTED, ACT_SEND_STARTED | ACT_REPORT),
			[TARGET_EV_START_FAILED] = REFUSE,
			[TARGET_EV_GO] = STEP(TARGET_STARTING, NO_RECORD, ACT_SEND_STARTING),
			[TARGET_EV_ASK] = STEP(TARGET_STARTING, NO_RECORD, ACT_SEND_STARTING),
		},
	[TARGET_STARTED] =
		{
			[TARGET_EV_GO] = STEP(TARGET_STARTED, NO_RECORD, ACT_SEND_STARTED),
			[TARGET_EV_ASK] = STEP(TARGET_STARTED, NO_RECORD, ACT_SEND_STARTED),
			[TARGET_EV_DONE] = STEP(TARGET_SETTLED, SWO_JOURNAL_DONE, 0),
		},
	[TARGET_SETTLED] =
		{
			[TARGET_EV_GO] = STEP(TARGET_SETTLED, NO_RECORD, ACT_SEND_STARTED),
			[TARGET_EV_ASK] = STEP(TARGET_SETTLED, NO_RECORD, ACT_SEND_STARTED),
		},
	[TARGET_REFUSED] =
		{
			[TARGET_EV_GO] = STEP(TARGET_REFUSED, NO_RECORD, ACT_SEND_REFUSED),
			[TARGET_EV_BAD_GO] = STEP(TARGET_REFUSED, NO_RECORD, ACT_SEND_REFUSED),
			[TARGET_EV_ASK] = STEP(TARGET_REFUSED, NO_RECORD, ACT_SEND_REFUSED),
		},
};

static const char *const target_states[TARGET_STATES] = {
	"setup", "loading", "ready", "starting", "started", "settled", "refused"};
static const char *const target_events[TARGET_EVENTS] = {"hello", "loaded", "go", "bad-go", "ask",
	"abort", "fail", "cancel", "lost", "started", "start-failed", "done"};

const struct handover_table handover_target = {
	.rules = &target_rules[0][0],
	.states = TARGET_STATES,
	.events = TARGET_EVENTS,
	.fail = TARGET_EV_FAIL,
	.cancel = TARGET_EV_CANCEL,
	.lost = TARGET_EV_LOST,
	.may_run = STATE(TARGET_STARTING) | STATE(TARGET_STARTED) | STATE(TARGET_SETTLED),
	.committed = STATE(TARGET_STARTING) | STATE(TARGET_STARTED) | STATE(TARGET_SETTLED),
	.final = STATE(TARGET_SETTLED) | STATE(TARGET_REFUSED),
	.state_names = target_states,
	.event_names = target_events,
};

/* The dispatcher */

void handover_init(struct handover *h, const struct handover_table *table,
	const struct handover_ops *ops, void *opaque)
{
	h->table = table;
	h->ops = ops;
	h->opaque = opaque;
	pthread_mutex_init(&h->lock, NULL);
	atomic_init(&h->state, 0);
	atomic_init(&h->due, 0);
	atomic_init(&h->coming, 0);
}

void handover_fini(struct handover *h)
{
	pthread_mutex_destroy(&h->lock);
}

static const struct handover_rule *find_rule(const struct handover *h, unsigned event)
{
	return &h->table->rules[atomic_load(&h->state) * h->table->events + event];
}

/* True if another event that this state handles arrived while the record was written. */
static bool is_overtaken(const struct handover *h, unsigned event)
{
	const unsigned coming = atomic_load(&h->coming) & ~(1u << event);

	for (unsigned other = 0; other < h->table->events; other++)
		if ((coming >> other & 1) && find_rule(h, other)->set)
			return true;
	return false;
}

/* With the lock held. */
static enum handover_outcome take_step(struct handover *h, unsigned event,
	const struct handover_cause *cause, uint32_t *answers, struct swo_error *err)
{
	const struct handover_rule *rule = find_rule(h, event);
	const unsigned before = atomic_load(&h->state);

	if (!rule->set)
		return HANDOVER_IGNORED;
	h->raised = event;
	const bool failed = rule->record && h->ops->record(h->opaque, rule->record, cause, err);

	if (rule->must_record && is_overtaken(h, event))
		return HANDOVER_GAVE_WAY;
	if (failed && rule->must_record) {
		take_step(h, h->table->fail, &(struct handover_cause){.why = err}, answers,
			&(struct swo_error){0});
		return HANDOVER_UNRECORDED;
	}
	*answers = cause && cause->answer_to ? rule->actions & HANDOVER_ANSWERS : 0;
	atomic_fetch_or(&h->due, rule->actions & ~*answers);
	atomic_store(&h->state, rule->next);
	if (rule->next != before || rule->actions & ~*answers)
		h->ops->entered(h->opaque, rule->next, event, cause);
	return HANDOVER_TAKEN;
}

enum handover_outcome handover_raise(struct handover *h, unsigned event,
	const struct handover_cause *cause, struct swo_error *err)
{
	struct swo_error unheeded = {0};
	uint32_t answers = 0;

	if (event >= h->table->events)
		return HANDOVER_IGNORED;
	atomic_fetch_or(&h->coming, 1u << event);
	pthread_mutex_lock(&h->lock);
	atomic_fetch_and(&h->coming, ~(1u << event));
	enum handover_outcome outcome = take_step(h, event, cause, &answers, err ? err : &unheeded);
	pthread_mutex_unlock(&h->lock);

	for (unsigned i = 0; i < HANDOVER_ACTIONS; i++)
		if (answers >> i & 1)
			h->ops->perform(h->opaque, 1u << i, cause->answer_to);
	return outcome;
}

bool handover_perform(struct handover *h)
{
	pthread_mutex_lock(&h->lock);
	const unsigned due = atomic_load(&h->due), first = due & -due;

	atomic_fetch_and(&h->due, ~first);
	pthread_mutex_unlock(&h->lock);
	if (first)
		h->ops->perform(h->opaque, first, NULL);
	return first;
}

bool handover_must_record(const struct handover *h)
{
	return find_rule(h, h->raised)->must_record;
}

bool handover_gives_way(const struct handover *h)
{
	return is_overtaken(h, h->raised);
}

bool handover_may_run(const struct handover *h)
{
	return h->table->may_run >> atomic_load(&h->state) & 1;
}

bool handover_committed(const struct handover *h)
{
	return h->table->committed >> atomic_load(&h->state) & 1;
}

bool handover_final(const struct handover *h)
{
	return h->table->final >> atomic_load(&h->state) & 1;
}
