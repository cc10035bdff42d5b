/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_timeline.c - timelines from a file or a peer: parsed, written again, drawn, and searched for
 * their critical path.
 */
#include "fuzz.h"
#include "switchover/plan.h"
#include "switchover/timeline.h"

#include <stdlib.h>
#include <string.h>

static void look_at(struct swo_timeline *timeline)
{
	uint64_t from = 0, to = 0;
	struct swo_path path;

	free(swo_timeline_to_chrome(timeline));
	free(swo_timeline_picture(timeline, 80, true, 0, 0));
	if (swo_timeline_switchover(timeline, &from, &to)) {
		fuzz_check(from <= to);
		free(swo_timeline_picture(timeline, 61, false, from, to));
	}
	if (swo_critical_path(timeline, &path, NULL))
		return;
	/* It adds up for every input. */
	uint64_t at = path.start_ns;
	for (size_t i = 0; i < path.count; i++) {
		fuzz_check(path.steps[i].start_ns == at);
		at = path.steps[i].end_ns;
	}
	fuzz_check(!path.count || at == path.end_ns);
	swo_path_free(&path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, 256);
	struct swo_timeline *again = swo_timeline_new(SWO_SIDE_SOURCE, 256);
	int64_t offset = 0;

	fuzz_take(&data, &size, &offset, sizeof(offset));
	if (!swo_timeline_add_json(timeline, (const char *)data, size, offset, NULL)) {
		char *text = swo_timeline_to_json(timeline);

		look_at(timeline);
		/* The written text can be parsed. */
		fuzz_check(text);
		fuzz_check(!swo_timeline_add_json(again, text, strlen(text), 0, NULL));
		fuzz_check(swo_timeline_count(again, NULL) == swo_timeline_count(timeline, NULL));
		free(text);
	}
	swo_timeline_free(again);
	swo_timeline_free(timeline);
	return 0;
}
