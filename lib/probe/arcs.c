/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * arcs.c - every legal arc and combination, illegal requests, requests for the present state,
 * and resets.
 */
#include "probe/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EACH_STATE(state)                                                                          \
	for (enum swo_device_state state = SWO_DEVICE_STOP; (unsigned)state < SWO_DEVICE_STATES;   \
		state = (enum swo_device_state)(state + 1))

static bool has(const struct session *s, enum swo_device_state state)
{
	return swo_device_state_supported(state, s->flags);
}

/* Goes into `from`, with a complete state loaded if that is RESUMING. */
static int prepare(struct session *s, enum swo_device_state from, const char *name)
{
	if (from == SWO_DEVICE_RESUMING) {
		if (probe_need_good(s, name))
			return -1;
		if (!probe_load_state(s, s->good.data, s->good.len, 0))
			return 0;
	} else if (!probe_reach(s, from)) {
		return 0;
	}
	if (!s->lost)
		probe_note(s, SWO_VERDICT_SKIP, name, "%s cannot be reached",
			swo_device_state_name(from));
	return -1;
}

void probe_check_arcs(struct session *s)
{
	char name[72];

	EACH_STATE(from)
	EACH_STATE(to)
	{
		if (s->lost || !probe_is_arc(s, from, to))
			continue;
		probe_arc_name(name, "arc", from, to);
		if (!prepare(s, from, name) && s->failures[from][to] < TRIES)
			probe_go_arc(s, to);
	}
}

/* True if the path of a combination has an arc that fails. */
static bool goes_over_bad(
	const struct session *s, enum swo_device_state from, enum swo_device_state to)
{
	enum swo_device_state next;

	while (from != to && !swo_device_next_state(from, to, s->flags, &next)) {
		if (s->failures[from][next] >= TRIES)
			return true;
		from = next;
	}
	return false;
}

/* Requests without effect. */
static void check_same(struct session *s)
{
	EACH_STATE(from)
	{
		char name[72];

		snprintf(name, sizeof(name), "same.%s", swo_device_state_name(from));
		if (s->lost || !has(s, from) || probe_reach(s, from))
			continue;
		if (!probe_request_state(s, from))
			probe_note(s, SWO_VERDICT_PASS, name, "ok");
		else if (!s->lost)
			probe_note(s, SWO_VERDICT_FAIL, name,
				"a request for the present state must be a no-op: %s",
				s->call.err.text);
	}
}

void probe_check_combinations(struct session *s)
{
	char name[72];

	EACH_STATE(from)
	EACH_STATE(to)
	{
		if (s->lost || from == to || !probe_is_legal(s, from, to) ||
			probe_is_arc(s, from, to))
			continue;
		probe_arc_name(name, "combination", from, to);
		if (goes_over_bad(s, from, to)) {
			probe_note(s, SWO_VERDICT_SKIP, name, "an arc of its path fails");
			continue;
		}
		if (prepare(s, from, name))
			continue;
		if (!probe_request_state(s, to)) {
			probe_note(s, SWO_VERDICT_PASS, name, "ok");
		} else if (!s->lost) {
			probe_note(s, SWO_VERDICT_FAIL, name, "%s (the device is in %s)",
				s->call.err.text, swo_device_state_name(s->state));
			probe_recover(s, probe_arc_name(name, "recovery", from, to));
		}
	}
	check_same(s);
}

/* Illegal requests */

static void must_refuse(struct session *s, enum swo_device_state from, enum swo_device_state to)
{
	char name[72];

	probe_arc_name(name, "illegal", from, to);
	if (probe_reach(s, from)) {
		if (!s->lost)
			probe_note(s, SWO_VERDICT_SKIP, name, "%s cannot be reached",
				swo_device_state_name(from));
		return;
	}
	s->call.op = OP_SET_STATE;
	s->call.state = to;
	int rc = probe_perform(s, name);
	int why = s->call.err.os_errno;

	if (s->lost || probe_get_state(s))
		return;
	if (!rc)
		probe_note(s, SWO_VERDICT_FAIL, name, "accepted; the device is in %s",
			swo_device_state_name(s->state));
	else if (s->state != from)
		probe_note(s, SWO_VERDICT_FAIL, name, "refused, but the device went from %s to %s",
			swo_device_state_name(from), swo_device_state_name(s->state));
	else if (why != EINVAL)
		probe_note(s, SWO_VERDICT_RISK, name, "refused with errno %d (%s), expected EINVAL",
			why, strerror(why));
	else
		probe_note(s, SWO_VERDICT_PASS, name, "EINVAL");
}

void probe_check_refusals(struct session *s)
{
	EACH_STATE(from)
	{
		if (!has(s, from))
			continue;
		must_refuse(s, from, SWO_DEVICE_ERROR);
		must_refuse(s, from, (enum swo_device_state)SWO_DEVICE_STATES);
		EACH_STATE(to)
		{
			if (from != to && !s->lost && !probe_is_legal(s, from, to))
				must_refuse(s, from, to);
		}
	}
}

void probe_check_resets(struct session *s)
{
	EACH_STATE(from)
	{
		char name[72];

		snprintf(name, sizeof(name), "reset.%s", swo_device_state_name(from));
		if (s->lost || !has(s, from))
			continue;
		if (probe_reach(s, from)) {
			if (!s->lost)
				probe_note(s, SWO_VERDICT_SKIP, name, "%s cannot be reached",
					swo_device_state_name(from));
			continue;
		}
		probe_reset_device(s);
	}
}
