/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spans.c - what a recorded span means for the switchover, told by its side, kind and name.
 */
#include "analysis/internal.h"

#include <string.h>

/* "A->B": is B one of these? A walk that failed says so behind it, and enabled nothing. */
static bool arc_to(const char *name, const char *state)
{
	const char *to = strstr(name, "->");

	return to && !strcmp(to + 2, state);
}

static enum plan_stage arc_stage(const struct swo_span *span)
{
	if (span->side == SWO_SIDE_SOURCE) {
		if (arc_to(span->name, "PRE_COPY_P2P") || arc_to(span->name, "RUNNING_P2P"))
			return PLAN_QUIESCE;
		if (arc_to(span->name, "STOP_COPY") || arc_to(span->name, "STOP"))
			return PLAN_STOP;
		return PLAN_OTHER;
	}
	if (arc_to(span->name, "STOP"))
		return PLAN_FINALISE;
	if (arc_to(span->name, "RUNNING_P2P"))
		return PLAN_RELEASE;
	return arc_to(span->name, "RUNNING") ? PLAN_RUN : PLAN_OTHER;
}

static enum plan_stage named(const struct swo_span *span)
{
	static const struct {
		enum swo_side side;
		enum swo_span_kind kind;
		const char *name;
		enum plan_stage stage;
	} table[] = {
		{SWO_SIDE_SOURCE, SWO_SPAN_MARK, PLAN_MARK_STOPPED, PLAN_STOPPED},
		{SWO_SIDE_SOURCE, SWO_SPAN_MARK, PLAN_MARK_GO, PLAN_GO_SENT},
		{SWO_SIDE_SOURCE, SWO_SPAN_STREAM, PLAN_SAVE, PLAN_SAVED},
		{SWO_SIDE_SOURCE, SWO_SPAN_WORK, PLAN_MACHINE, PLAN_MACHINE_SAVED},
		{SWO_SIDE_SOURCE, SWO_SPAN_WAIT, PLAN_WAIT_READY, PLAN_SENT},
		{SWO_SIDE_TARGET, SWO_SPAN_WORK, PLAN_CONFIG, PLAN_CONFIGURED},
		{SWO_SIDE_TARGET, SWO_SPAN_STREAM, PLAN_LOAD, PLAN_LOADED},
		{SWO_SIDE_TARGET, SWO_SPAN_WORK, PLAN_MACHINE, PLAN_MACHINE_LOADED},
		{SWO_SIDE_TARGET, SWO_SPAN_MARK, PLAN_MARK_READY, PLAN_READY},
		{SWO_SIDE_TARGET, SWO_SPAN_MARK, PLAN_MARK_GO, PLAN_GO},
		{SWO_SIDE_TARGET, SWO_SPAN_WORK, PLAN_RESUME, PLAN_RESUMED},
		{SWO_SIDE_TARGET, SWO_SPAN_MARK, PLAN_MARK_STARTED, PLAN_STARTED},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(table); i++)
		if (table[i].side == span->side && table[i].kind == span->kind &&
			!strcmp(table[i].name, span->name))
			return table[i].stage;
	return PLAN_OTHER;
}

enum plan_stage analysis_stage_of(const struct swo_span *span)
{
	if (span->kind == SWO_SPAN_ARC)
		return arc_stage(span);
	if (span->kind == SWO_SPAN_RAM && span->side == SWO_SIDE_SOURCE)
		return PLAN_RAM;
	return named(span);
}
