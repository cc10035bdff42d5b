/* SPDX-License-Identifier: BSD-3-Clause */
/* sample.h - a small migration of two devices with round times, for the tests of the writers. */
#ifndef TESTS_TIMELINE_SAMPLE_H
#define TESTS_TIMELINE_SAMPLE_H

#include "timeline/internal.h"

#include <stdio.h>

#define MS	    1000000ull
#define SAMPLE_ZERO 5000000000ull

static inline void sample_put(struct swo_timeline *t, enum swo_side side, enum swo_span_kind kind,
	const char *device, const char *name, unsigned from_ms, unsigned to_ms, uint64_t bytes)
{
	struct swo_span span = {.side = side,
		.kind = kind,
		.start_ns = SAMPLE_ZERO + from_ms * MS,
		.end_ns = SAMPLE_ZERO + to_ms * MS,
		.bytes = bytes};

	snprintf(span.device, sizeof(span.device), "%s", device);
	snprintf(span.name, sizeof(span.name), "%s", name);
	swo_timeline_add(t, &span);
}

/* Stop at 100 ms, GO at 190, running at 230. */
static inline struct swo_timeline *sample_timeline(void)
{
	struct swo_timeline *t = swo_timeline_new(SWO_SIDE_SOURCE, 64);
	const enum swo_side s = SWO_SIDE_SOURCE, d = SWO_SIDE_TARGET;

	if (!t)
		return NULL;
	sample_put(t, s, SWO_SPAN_RAM, "", "pass 1", 10, 90, 64 << 20);
	sample_put(t, s, SWO_SPAN_PASS, "", "stop: prepare pass", 100, 125, 0);
	sample_put(t, s, SWO_SPAN_PASS, "", "stop: change pass", 125, 165, 0);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "vf10" : "vf2";

		sample_put(
			t, s, SWO_SPAN_ARC, name, "PRE_COPY->PRE_COPY_P2P", 100, 125 - 5 * !i, 0);
		sample_put(t, s, SWO_SPAN_ARC, name, "PRE_COPY_P2P->STOP_COPY", 125, 165, 0);
		sample_put(t, s, SWO_SPAN_STREAM, name, "save", 165, 170, 65536);
		sample_put(t, d, SWO_SPAN_STREAM, name, "load", 165, 170, 65536);
		sample_put(t, d, SWO_SPAN_ARC, name, "RESUMING->STOP", 170, 190, 0);
		sample_put(t, d, SWO_SPAN_ARC, name, "STOP->RUNNING_P2P", 190, 215, 0);
		sample_put(t, d, SWO_SPAN_ARC, name, "RUNNING_P2P->RUNNING", 215, 230, 0);
	}
	sample_put(t, s, SWO_SPAN_RAM, "", "last pass", 125, 135, 1 << 20);
	sample_put(t, s, SWO_SPAN_MARK, "", "GO", 190, 190, 0);
	sample_put(t, s, SWO_SPAN_PHASE, "", "clean-up", 235, 240, 0);
	return t;
}

#endif
