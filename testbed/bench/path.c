/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path.c - the critical path of a measured run, from doorbell to doorbell: the engine's chain of
 * spans, extended to the doorbells that the devices recorded.
 */
#include "testbed/bench/report.h"

#include "switchover/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_MS 0.05 /* pieces below this are summed in one line of the text */

static void add(struct bench_path *out, const char *side, const char *span, const char *device,
	uint64_t from, uint64_t to)
{
	struct bench_step *step = &out->steps[out->count];

	if (to <= from)
		return;
	*step = (struct bench_step){.side = side, .ms = (double)(to - from) / 1e6};
	snprintf(step->span, sizeof(step->span), "%s", span);
	snprintf(step->device, sizeof(step->device), "%s", device);
	out->sum_ms += step->ms;
	out->count++;
}

/* Clips steps to [from, to]: the ends of the engine's chain differ from the doorbells. */
static void place(struct bench_path *out, const struct swo_path *path, uint64_t from, uint64_t to)
{
	uint64_t head = path->start_ns < to ? path->start_ns : to;
	uint64_t tail = path->end_ns > from ? path->end_ns : from;

	add(out, "source", "last doorbell to vCPUs stopped", "", from, head);
	for (size_t i = 0; i < path->count; i++) {
		const struct swo_path_step *step = &path->steps[i];
		uint64_t start = step->start_ns > from ? step->start_ns : from;
		uint64_t end = step->end_ns < to ? step->end_ns : to;

		add(out, step->side == SWO_SIDE_SOURCE ? "source" : "target", step->name,
			step->device, start, end);
	}
	add(out, "target", "STARTED to first doorbell", "", tail, to);
}

int bench_path_of(const struct bench_sample *sample, struct bench_path *out, struct swo_error *err)
{
	struct swo_timeline *timeline = bench_sample_timeline(sample, err);
	struct swo_path path = {0};

	*out = (struct bench_path){0};
	if (!timeline)
		return -1;
	int rc = swo_critical_path(timeline, &path, err);

	swo_timeline_free(timeline);
	if (rc)
		return -1;
	out->steps = calloc(path.count + 2, sizeof(out->steps[0]));
	if (out->steps)
		place(out, &path, sample->last_doorbell_ns, sample->first_doorbell_ns);
	else
		rc = swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a critical path");
	swo_path_free(&path);
	return rc;
}

void bench_path_free(struct bench_path *path)
{
	free(path->steps);
	*path = (struct bench_path){0};
}

static void print_path(FILE *out, const struct bench_path *path)
{
	double small = 0;
	unsigned pieces = 0;

	for (size_t i = 0; i < path->count; i++) {
		const struct bench_step *step = &path->steps[i];

		if (step->ms < SMALL_MS) {
			small += step->ms;
			pieces++;
			continue;
		}
		fprintf(out, "%10.2f  %s  %-8s %s\n", step->ms, step->side, step->device,
			step->span);
	}
	if (pieces)
		fprintf(out, "%10.2f  in %u pieces below %g ms\n", small, pieces, SMALL_MS);
}

void bench_print_paths(FILE *out, const struct bench_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct bench_sample *run = bench_median_run(&rows[i]);
		struct bench_path path;
		struct swo_error err = {0};

		if (!run || !bench_row_is_full(&rows[i]))
			continue;
		fprintf(out, "\nCritical path in ms, median run of %u VF%s, %s:\n", rows[i].vfs,
			rows[i].vfs == 1 ? "" : "s", bench_row_name(&rows[i]));
		if (bench_path_of(run, &path, &err)) {
			fprintf(out, "  none: %s\n", err.text);
			continue;
		}
		print_path(out, &path);
		fprintf(out, "%10.2f  in all; blackout %.2f\n", path.sum_ms, run->blackout_ms);
		bench_path_free(&path);
	}
}

int bench_path_json(const struct bench_row *row, json_t *out)
{
	const struct bench_sample *run = bench_median_run(row);
	struct bench_path path = {0};
	json_t *steps = json_array();
	struct swo_error err = {0};
	bool none;

	/* Without a timeline the chain is empty and its sum is 0; the row records the reason. */
	if (run)
		none = bench_path_of(run, &path, &err) != 0;
	else
		none = swo_error_set(&err, SWO_E_INVALID, 0, "no run was measured") != 0;
	for (size_t i = 0; i < path.count; i++) {
		const struct bench_step *step = &path.steps[i];

		json_array_append_new(
			steps, json_pack("{s:s, s:s, s:s, s:f}", "span", step->span, "device",
				       step->device, "side", step->side, "ms", step->ms));
	}
	int rc = json_object_set_new(out, "critical_path", steps) ||
		 json_object_set_new(out, "critical_path_sum_ms", json_real(path.sum_ms)) ||
		 (none && json_object_set_new(out, "critical_path_error", json_string(err.text)));

	bench_path_free(&path);
	return rc ? -1 : 0;
}
