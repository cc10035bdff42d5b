/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * names.c - sides and kinds of spans as words, in both directions.
 */
#include "timeline/internal.h"

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
