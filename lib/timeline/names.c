/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * names.c - sides, kinds and events as text, in both directions.
 */
#include "timeline/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const sides[] = {[SWO_SIDE_SOURCE] = "source", [SWO_SIDE_TARGET] = "target"};

static const char *const kinds[] = {
	[SWO_SPAN_PHASE] = "phase",
	[SWO_SPAN_PASS] = "pass",
	[SWO_SPAN_ARC] = "arc",
	[SWO_SPAN_STREAM] = "stream",
	[SWO_SPAN_WAIT] = "wait",
	[SWO_SPAN_RAM] = "ram",
	[SWO_SPAN_WORK] = "work",
	[SWO_SPAN_MARK] = "mark",
};

/* Of an arc, a reset and a RAM pass: what the text begins with. */
static const struct {
	enum swo_span_kind kind;
	const char *text;
} events[SWO_EVENTS] = {
	[SWO_EVENT_SETUP] = {SWO_SPAN_PHASE, "setup"},
	[SWO_EVENT_PRECOPY] = {SWO_SPAN_PHASE, "pre-copy"},
	[SWO_EVENT_STOP] = {SWO_SPAN_PHASE, "stop"},
	[SWO_EVENT_ROLL_BACK] = {SWO_SPAN_PHASE, "back to running"},
	[SWO_EVENT_CLEAN_UP] = {SWO_SPAN_PHASE, "clean-up"},
	[SWO_EVENT_START] = {SWO_SPAN_PHASE, "start"},
	[SWO_EVENT_STOP_PREPARE] = {SWO_SPAN_PASS, "stop: prepare pass"},
	[SWO_EVENT_STOP_CHANGE] = {SWO_SPAN_PASS, "stop: change pass"},
	[SWO_EVENT_START_PREPARE] = {SWO_SPAN_PASS, "start: prepare pass"},
	[SWO_EVENT_START_CHANGE] = {SWO_SPAN_PASS, "start: change pass"},
	[SWO_EVENT_ARC] = {SWO_SPAN_ARC, ""},
	[SWO_EVENT_RESET] = {SWO_SPAN_WORK, "reset from "},
	[SWO_EVENT_CONFIG_LOAD] = {SWO_SPAN_WORK, "config"},
	[SWO_EVENT_PRECOPY_STREAM] = {SWO_SPAN_STREAM, "pre-copy"},
	[SWO_EVENT_SAVE] = {SWO_SPAN_STREAM, "save"},
	[SWO_EVENT_LOAD] = {SWO_SPAN_STREAM, "load"},
	[SWO_EVENT_RAM_PASS] = {SWO_SPAN_RAM, "RAM pass "},
	[SWO_EVENT_LAST_RAM_PASS] = {SWO_SPAN_RAM, "last RAM pass"},
	[SWO_EVENT_MACHINE_STATE] = {SWO_SPAN_WORK, "vCPU and board state"},
	[SWO_EVENT_JOURNAL] = {SWO_SPAN_WORK, "journal"},
	[SWO_EVENT_JOURNAL_SYNC] = {SWO_SPAN_WORK, "journal sync"},
	[SWO_EVENT_VCPUS_PAUSE] = {SWO_SPAN_WORK, "vCPUs pause"},
	[SWO_EVENT_VCPUS_RESUME] = {SWO_SPAN_WORK, "vCPUs resume"},
	[SWO_EVENT_WAIT_READY] = {SWO_SPAN_WAIT, "waiting for READY"},
	[SWO_EVENT_WAIT_STARTED] = {SWO_SPAN_WAIT, "GO to STARTED"},
	[SWO_EVENT_VCPUS_STOPPED] = {SWO_SPAN_MARK, "vCPUs stopped"},
	[SWO_EVENT_READY] = {SWO_SPAN_MARK, "READY"},
	[SWO_EVENT_GO] = {SWO_SPAN_MARK, "GO"},
	[SWO_EVENT_STARTED] = {SWO_SPAN_MARK, "STARTED"},
};

static int find(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -1;
}

const char *timeline_side_name(enum swo_side side)
{
	return (size_t)side < SWO_ARRAY_SIZE(sides) ? sides[side] : "unknown";
}

const char *timeline_kind_name(enum swo_span_kind kind)
{
	return (size_t)kind < SWO_ARRAY_SIZE(kinds) ? kinds[kind] : "unknown";
}

int timeline_side_of(const char *name)
{
	return find(sides, SWO_ARRAY_SIZE(sides), name);
}

int timeline_kind_of(const char *name)
{
	return find(kinds, SWO_ARRAY_SIZE(kinds), name);
}

/* Events */

static void print_name(const struct swo_span *span, char name[static sizeof(span->name)])
{
	const char *text = events[span->event].text, *failed = span->failed ? " failed" : "";
	const size_t size = sizeof(span->name);

	switch (span->event) {
	case SWO_EVENT_ARC:
		snprintf(name, size, "%s->%s%s", swo_device_state_name(span->from),
			swo_device_state_name(span->to), failed);
		break;
	case SWO_EVENT_RESET:
		snprintf(name, size, "%s%s%s", text, swo_device_state_name(span->from), failed);
		break;
	case SWO_EVENT_RAM_PASS:
		snprintf(name, size, "%s%" PRIu64, text, span->number);
		break;
	default:
		snprintf(name, size, "%s", text);
	}
}

void timeline_set_name(struct swo_span *span)
{
	span->kind = events[span->event].kind;
	print_name(span, span->name);
}

/* Takes the name of a state from the beginning of the text. */
static bool parse_state(const char **text, enum swo_device_state *state)
{
	const size_t len = strcspn(*text, " -");

	*state = swo_device_state_parse(*text, len);
	*text += len;
	return *state < SWO_DEVICE_STATES;
}

/* What the name would have been made of, if the event is this one; false: it is not. */
static bool parse_parts(struct swo_span *span)
{
	const char *text = span->name + strlen(events[span->event].text);

	switch (span->event) {
	case SWO_EVENT_ARC:
		if (!parse_state(&text, &span->from) || strncmp(text, "->", 2) != 0)
			return false;
		text += 2;
		if (!parse_state(&text, &span->to))
			return false;
		span->failed = *text;
		return true;
	case SWO_EVENT_RESET:
		if (!parse_state(&text, &span->from))
			return false;
		span->failed = *text;
		return true;
	case SWO_EVENT_RAM_PASS:
		return sscanf(text, "%19" SCNu64, &span->number) == 1;
	default:
		return true;
	}
}

void timeline_find_event(struct swo_span *span)
{
	char name[sizeof(span->name)];

	for (unsigned event = SWO_EVENT_OTHER + 1; event < SWO_EVENTS; event++) {
		const char *text = events[event].text;
		struct swo_span is = *span;

		if (events[event].kind != span->kind ||
			strncmp(span->name, text, strlen(text)) != 0)
			continue;
		is.event = (enum swo_event)event;
		if (!parse_parts(&is))
			continue;
		/* It is this one if its parts give that very text. */
		print_name(&is, name);
		if (!strcmp(name, span->name)) {
			*span = is;
			return;
		}
	}
}
