/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * walk.c - brings a device to the state that a check needs, by arcs that are known to work;
 * judges each arc of the path; and recovers after a failure.
 */
#include "probe/internal.h"

#include <stdio.h>
#include <string.h>

bool probe_is_legal(const struct session *s, enum swo_device_state from, enum swo_device_state to)
{
	enum swo_device_state next;

	return !swo_device_next_state(from, to, s->flags, &next);
}

bool probe_is_arc(const struct session *s, enum swo_device_state from, enum swo_device_state to)
{
	enum swo_device_state next;

	return from != to && !swo_device_next_state(from, to, s->flags, &next) && next == to;
}

/* Runs and judges an arc; does not recover. */
static int try_arc(struct session *s, enum swo_device_state to)
{
	enum swo_device_state from = s->state;
	char name[72];

	probe_arc_name(name, "arc", from, to);
	if (probe_request_state(s, to)) {
		s->failures[from][to]++;
		if (!s->lost)
			probe_note(s, SWO_VERDICT_FAIL, name, "%s (the device is in %s)",
				s->call.err.text, swo_device_state_name(s->state));
		return -1;
	}
	uint64_t took = s->call.end - s->call.start;

	probe_sample(&s->arcs[from][to], took);
	if (took > s->arc_max[from][to])
		s->arc_max[from][to] = took;
	probe_note(s, SWO_VERDICT_PASS, name, "ok");
	return 0;
}

static bool usable(const struct session *s, enum swo_device_state from, enum swo_device_state to)
{
	/* Out of RESUMING without data is a separate check, and not part of a path. */
	return probe_is_arc(s, from, to) && from != SWO_DEVICE_RESUMING &&
	       s->failures[from][to] < TRIES;
}

/* The next arc of a shortest path, or ERROR if there is none. */
static enum swo_device_state next_on_way(const struct session *s, enum swo_device_state to)
{
	unsigned reached = 1u << to;

	for (unsigned ring = 0; ring < SWO_DEVICE_STATES; ring++) {
		unsigned grown = reached;

		for (unsigned a = 0; a < SWO_DEVICE_STATES; a++)
			for (unsigned b = 0; b < SWO_DEVICE_STATES; b++) {
				if (!(reached & (1u << b)) || !usable(s, (enum swo_device_state)a,
								      (enum swo_device_state)b))
					continue;
				if (a == s->state)
					return (enum swo_device_state)b;
				/* RESUMING is entered only to load. */
				if (a != SWO_DEVICE_RESUMING)
					grown |= 1u << a;
			}
		reached = grown;
	}
	return SWO_DEVICE_ERROR;
}

int probe_recover(struct session *s, const char *name)
{
	enum swo_device_state from = s->state, next;

	if (s->lost)
		return -1;
	while (s->state != SWO_DEVICE_RUNNING && s->state != SWO_DEVICE_ERROR &&
		s->state != SWO_DEVICE_RESUMING) {
		next = next_on_way(s, SWO_DEVICE_RUNNING);
		if (next == SWO_DEVICE_ERROR)
			break;
		if (try_arc(s, next) && s->lost)
			break;
	}
	if (!s->lost && s->state == SWO_DEVICE_RUNNING) {
		probe_note(
			s, SWO_VERDICT_PASS, name, "from %s by arcs", swo_device_state_name(from));
		return 0;
	}
	if (!s->lost && !probe_reset_device(s)) {
		probe_note(s, SWO_VERDICT_PASS, name, "from %s by a reset",
			swo_device_state_name(from));
		return 0;
	}
	if (!s->stopped)
		probe_note(s, SWO_VERDICT_FAIL, name,
			"neither arcs nor a reset lead from %s to RUNNING",
			swo_device_state_name(from));
	return -1;
}

int probe_go_arc(struct session *s, enum swo_device_state to)
{
	char name[72];

	probe_arc_name(name, "recovery", s->state, to);
	if (!try_arc(s, to))
		return 0;
	if (!s->lost)
		probe_recover(s, name);
	return -1;
}

int probe_reach(struct session *s, enum swo_device_state to)
{
	/* Every failure uses up one try of one arc, so this terminates. */
	while (!s->lost) {
		if (s->state == to)
			return 0;
		if (s->state == SWO_DEVICE_ERROR || s->state == SWO_DEVICE_RESUMING) {
			if (probe_reset_device(s))
				return -1;
			continue;
		}
		enum swo_device_state next = next_on_way(s, to);

		if (next == SWO_DEVICE_ERROR)
			return -1;
		probe_go_arc(s, next);
	}
	return -1;
}
