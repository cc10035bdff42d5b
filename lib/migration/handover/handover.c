/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handover.c - the handover's two tables, and nothing else.
 */
#include "migration/handover/handover.h"

#include "switchover/base.h"

/* A rule of a table; a missing one (next == 0, actions == 0) means: ignore the event. */
struct rule {
	uint8_t set; /* this cell holds a rule */
	uint8_t next;
	uint32_t actions;
};

#define TO(state, actions)                                                                         \
	{                                                                                          \
		1, (state), (actions)                                                              \
	}

#define UNDO TO(SOURCE_TAKE_BACK, ACT_TAKE_BACK | ACT_SEND_ABORT)

static const struct rule source_rules[SOURCE_STATES][SOURCE_EVENTS] = {
	[SOURCE_SETUP] =
		{
			[SOURCE_EV_HELLO_OK] = TO(SOURCE_PRECOPY, 0),
			[SOURCE_EV_FAIL] = UNDO,
			[SOURCE_EV_CANCEL] = UNDO,
			[SOURCE_EV_LOST] = UNDO,
			[SOURCE_EV_REFUSED] = UNDO,
		},
	[SOURCE_PRECOPY] =
		{
			[SOURCE_EV_CONVERGED] = TO(SOURCE_STOPPING, ACT_STOP_VM),
			[SOURCE_EV_FAIL] = UNDO,
			[SOURCE_EV_CANCEL] = UNDO,
			[SOURCE_EV_LOST] = UNDO,
			[SOURCE_EV_REFUSED] = UNDO,
		},
	[SOURCE_STOPPING] =
		{
			[SOURCE_EV_ALL_SENT] = TO(SOURCE_SENT, 0),
			[SOURCE_EV_FAIL] = UNDO,
			[SOURCE_EV_CANCEL] = UNDO,
			[SOURCE_EV_LOST] = UNDO,
			[SOURCE_EV_REFUSED] = UNDO,
		},
	[SOURCE_SENT] =
		{
			[SOURCE_EV_READY] = TO(SOURCE_COMMITTED, ACT_JOURNAL | ACT_SEND_GO),
			[SOURCE_EV_FAIL] = UNDO,
			[SOURCE_EV_CANCEL] = UNDO,
			[SOURCE_EV_LOST] = UNDO,
			[SOURCE_EV_REFUSED] = UNDO,
		},
	/*
	 * From here on failures at the source mean nothing for who runs: only the target's
	 * word or an operator's counts.
	 */
	[SOURCE_COMMITTED] =
		{
			[SOURCE_EV_STARTED] =
				TO(SOURCE_COMPLETED, ACT_JOURNAL | ACT_CLEAN_UP | ACT_REPORT),
			[SOURCE_EV_REFUSED] =
				TO(SOURCE_RESUMING, ACT_JOURNAL | ACT_RESUME | ACT_REPORT),
			[SOURCE_EV_LOST] = TO(SOURCE_IN_DOUBT, ACT_JOURNAL | ACT_PARK | ACT_REPORT),
			[SOURCE_EV_TIMEOUT] =
				TO(SOURCE_IN_DOUBT, ACT_JOURNAL | ACT_PARK | ACT_REPORT),
		},
	[SOURCE_IN_DOUBT] =
		{
			[SOURCE_EV_STARTED] =
				TO(SOURCE_COMPLETED, ACT_JOURNAL | ACT_CLEAN_UP | ACT_REPORT),
			[SOURCE_EV_REFUSED] =
				TO(SOURCE_RESUMING, ACT_JOURNAL | ACT_RESUME | ACT_REPORT),
			[SOURCE_EV_OPERATOR_RUN] =
				TO(SOURCE_RESUMING, ACT_JOURNAL | ACT_RESUME | ACT_REPORT),
			[SOURCE_EV_OPERATOR_GONE] =
				TO(SOURCE_GIVEN_UP, ACT_JOURNAL | ACT_CLEAN_UP | ACT_REPORT),
		},
	[SOURCE_TAKE_BACK] = {[SOURCE_EV_RESUMED] = TO(SOURCE_FAILED, ACT_REPORT)},
	[SOURCE_RESUMING] = {[SOURCE_EV_RESUMED] = TO(SOURCE_FAILED, ACT_REPORT)},
};

#define REFUSE TO(TARGET_REFUSED, ACT_JOURNAL | ACT_SEND_REFUSED | ACT_DISCARD | ACT_REPORT)

static const struct rule target_rules[TARGET_STATES][TARGET_EVENTS] = {
	[TARGET_SETUP] =
		{
			[TARGET_EV_HELLO] = TO(TARGET_LOADING, ACT_LOAD),
			[TARGET_EV_GO] = REFUSE,
			[TARGET_EV_BAD_GO] = TO(TARGET_SETUP, ACT_SEND_REFUSED),
			[TARGET_EV_FAIL] = REFUSE,
			[TARGET_EV_CANCEL] = REFUSE,
		},
	[TARGET_LOADING] =
		{
			[TARGET_EV_LOADED] = TO(TARGET_READY, ACT_JOURNAL | ACT_SEND_READY),
			[TARGET_EV_GO] = REFUSE,
			[TARGET_EV_BAD_GO] = REFUSE,
			[TARGET_EV_ASK] = REFUSE,
			[TARGET_EV_ABORT] = REFUSE,
			[TARGET_EV_FAIL] = REFUSE,
			[TARGET_EV_CANCEL] = REFUSE,
			/* READY was not sent, so GO cannot be under way. */
			[TARGET_EV_LOST] = REFUSE,
		},
	[TARGET_READY] =
		{
			[TARGET_EV_GO] = TO(TARGET_STARTING, ACT_JOURNAL | ACT_START),
			[TARGET_EV_BAD_GO] = REFUSE,
			/* The source has committed and asks: GO did not come and never may. */
			[TARGET_EV_ASK] = REFUSE,
			[TARGET_EV_ABORT] = REFUSE,
			[TARGET_EV_FAIL] = REFUSE,
			[TARGET_EV_CANCEL] = REFUSE,
			/* LOST: GO may have been sent; wait for ASK, or for the deadline. */
		},
	[TARGET_STARTING] =
		{
			[TARGET_EV_STARTED] =
				TO(TARGET_STARTED, ACT_JOURNAL | ACT_SEND_STARTED | ACT_REPORT),
			[TARGET_EV_START_FAILED] = REFUSE,
			[TARGET_EV_GO] = TO(TARGET_STARTING, ACT_SEND_STARTING),
			[TARGET_EV_ASK] = TO(TARGET_STARTING, ACT_SEND_STARTING),
		},
	[TARGET_STARTED] =
		{
			[TARGET_EV_GO] = TO(TARGET_STARTED, ACT_SEND_STARTED),
			[TARGET_EV_ASK] = TO(TARGET_STARTED, ACT_SEND_STARTED),
		},
	[TARGET_REFUSED] =
		{
			[TARGET_EV_GO] = TO(TARGET_REFUSED, ACT_SEND_REFUSED),
			[TARGET_EV_BAD_GO] = TO(TARGET_REFUSED, ACT_SEND_REFUSED),
			[TARGET_EV_ASK] = TO(TARGET_REFUSED, ACT_SEND_REFUSED),
		},
};

uint32_t source_step(enum source_state *state, enum source_event event)
{
	if ((unsigned)*state >= SOURCE_STATES || (unsigned)event >= SOURCE_EVENTS)
		return 0;
	const struct rule *rule = &source_rules[*state][event];

	if (!rule->set)
		return 0;
	*state = (enum source_state)rule->next;
	return rule->actions;
}

uint32_t target_step(enum target_state *state, enum target_event event)
{
	if ((unsigned)*state >= TARGET_STATES || (unsigned)event >= TARGET_EVENTS)
		return 0;
	const struct rule *rule = &target_rules[*state][event];

	if (!rule->set)
		return 0;
	*state = (enum target_state)rule->next;
	return rule->actions;
}

enum swo_journal_event source_record(enum source_state state, enum source_event event)
{
	switch (state) {
	case SOURCE_COMMITTED:
		return SWO_JOURNAL_COMMITTED;
	case SOURCE_IN_DOUBT:
		return SWO_JOURNAL_IN_DOUBT;
	case SOURCE_RESUMING:
		return event == SOURCE_EV_OPERATOR_RUN ? SWO_JOURNAL_RUN_HERE : SWO_JOURNAL_REFUSED;
	case SOURCE_COMPLETED:
		return SWO_JOURNAL_DONE;
	case SOURCE_GIVEN_UP:
		return SWO_JOURNAL_RUNS_THERE;
	default:
		return SWO_JOURNAL_NOTHING;
	}
}

enum swo_journal_event target_record(enum target_state state)
{
	switch (state) {
	case TARGET_READY:
		return SWO_JOURNAL_READY;
	case TARGET_STARTING:
		return SWO_JOURNAL_STARTING;
	case TARGET_STARTED:
		return SWO_JOURNAL_STARTED;
	case TARGET_REFUSED:
		return SWO_JOURNAL_REFUSED;
	default:
		return SWO_JOURNAL_NOTHING;
	}
}

bool source_may_run(enum source_state state)
{
	switch (state) {
	case SOURCE_SETUP:
	case SOURCE_PRECOPY:
	case SOURCE_STOPPING: /* it is on its way to a stop */
	case SOURCE_SENT:
	case SOURCE_TAKE_BACK:
	case SOURCE_RESUMING:
	case SOURCE_FAILED:
		return true;
	default:
		return false;
	}
}

bool target_may_run(enum target_state state)
{
	return state == TARGET_STARTING || state == TARGET_STARTED;
}

bool source_committed(enum source_state state)
{
	return state == SOURCE_COMMITTED || state == SOURCE_IN_DOUBT || state == SOURCE_COMPLETED ||
	       state == SOURCE_GIVEN_UP || state == SOURCE_RESUMING;
}

bool source_final(enum source_state state)
{
	return state == SOURCE_COMPLETED || state == SOURCE_FAILED || state == SOURCE_GIVEN_UP;
}

const char *source_state_name(enum source_state state)
{
	static const char *const names[SOURCE_STATES] = {"setup", "precopy", "stopping", "sent",
		"committed", "in-doubt", "take-back", "resuming", "completed", "failed",
		"given-up"};

	return (unsigned)state < SOURCE_STATES ? names[state] : "?";
}

const char *target_state_name(enum target_state state)
{
	static const char *const names[TARGET_STATES] = {
		"setup", "loading", "ready", "starting", "started", "refused"};

	return (unsigned)state < TARGET_STATES ? names[state] : "?";
}

const char *source_event_name(enum source_event event)
{
	static const char *const names[SOURCE_EVENTS] = {"hello-ok", "converged", "all-sent",
		"ready", "fail", "cancel", "lost", "starting", "started", "refused", "timeout",
		"resumed", "word-run", "word-gone"};

	return (unsigned)event < SOURCE_EVENTS ? names[event] : "?";
}

const char *target_event_name(enum target_event event)
{
	static const char *const names[TARGET_EVENTS] = {"hello", "loaded", "go", "bad-go", "ask",
		"abort", "fail", "cancel", "lost", "started", "start-failed"};

	return (unsigned)event < TARGET_EVENTS ? names[event] : "?";
}
