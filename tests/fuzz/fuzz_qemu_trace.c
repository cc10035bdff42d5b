/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_qemu_trace.c - QEMU's own trace of a source and, after a line "--", of a target: read, made
 * spans, and drawn.
 */
#include "cmd/observe/qemu.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static int read_side(struct qemu_trace *trace, const uint8_t *data, size_t size, enum swo_side side)
{
	struct swo_error err = {0};

	if (!size)
		return 0;
	FILE *in = fmemopen((void *)data, size, "r");

	fuzz_check(in);
	const int rc = qemu_trace_read_from(trace, in, side, &err);

	fuzz_check(!rc == !err.text[0]);
	fclose(in);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *cut = memmem(data, size, "\n--\n", 4);
	const size_t source = cut ? (size_t)(cut - data) + 1 : size;
	const size_t target = cut ? source + 3 : size;
	struct qemu_trace trace = {0};
	struct swo_error err = {0};

	if (!read_side(&trace, data, source, SWO_SIDE_SOURCE) &&
		!read_side(&trace, data + target, size - target, SWO_SIDE_TARGET) &&
		!qemu_trace_window(&trace, &err)) {
		struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, 4096);
		struct swo_span span;

		fuzz_check(timeline && trace.to_ns >= trace.from_ns);
		qemu_trace_spans(&trace, timeline);
		for (size_t i = 0; swo_timeline_get(timeline, i, &span); i++)
			fuzz_check(span.end_ns >= span.start_ns);
		free(swo_timeline_picture(timeline, 80, true, trace.from_ns, trace.to_ns));
		swo_timeline_free(timeline);
	}
	qemu_trace_free(&trace);
	return 0;
}
