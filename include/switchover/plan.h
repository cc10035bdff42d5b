/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.h - where the time of a switchover went: the critical path of one that took place.
 *
 * Threads: every function may be called from any thread, each with arguments of its own.
 */
#ifndef SWITCHOVER_PLAN_H
#define SWITCHOVER_PLAN_H

#include "switchover/base.h"
#include "switchover/timeline.h"

/* ---- the critical path ---------------------------------------------------------------- */

/*
 * One piece of the chain. A gap is time that no span on the chain covers; its name says what
 * went on: "joining the prepare pass", "wire", ...
 */
struct swo_path_step {
	bool gap;
	enum swo_side side;	 /* a gap has side and device of what waited */
	enum swo_span_kind kind; /* of a gap: SWO_SPAN_WAIT */
	char name[48];
	char device[32];
	uint64_t start_ns; /* only the part that is on the path: a span may have begun earlier */
	uint64_t end_ns;
};

/* From "vCPUs stopped" to "STARTED": each step begins where the one before it ends. */
struct swo_path {
	uint64_t start_ns;
	uint64_t end_ns;
	struct swo_path_step *steps;
	size_t count;
};

#define SWO_PATH_STEPS_MAX 4096

/*
 * The chain of spans that made the last switchover in `timeline` (both sides, one clock) last as
 * long as it did: back from STARTED, at each point the span whose end enabled what follows.
 * Adds up to end_ns - start_ns exactly, whatever is missing. SWO_E_INVALID when the timeline holds
 * no completed switchover. Free *out with swo_path_free.
 */
SWO_API int swo_critical_path(
	struct swo_timeline *timeline, struct swo_path *out, struct swo_error *err);
SWO_API void swo_path_free(struct swo_path *path);

#endif
