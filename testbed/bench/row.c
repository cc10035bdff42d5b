/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row.c - the figures of a row: minimum, median and maximum over its runs.
 */
#include "testbed/bench/row.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *va, const void *vb)
{
	double a = *(const double *)va, b = *(const double *)vb;

	return a < b ? -1 : a > b;
}

struct bench_spread bench_spread_of(double *values, size_t count)
{
	if (!count)
		return (struct bench_spread){0};
	qsort(values, count, sizeof(*values), compare);
	double middle =
		count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
	return (struct bench_spread){values[0], middle, values[count - 1]};
}

static uint64_t whole(double value)
{
	return value > 0 ? (uint64_t)llrint(value) : 0;
}

static bool is(const char *value, const char *word)
{
	return value && !strcmp(value, word);
}

static enum swo_when when_of(const char *value)
{
	if (is(value, "late"))
		return SWO_WHEN_LATE;
	return is(value, "ram") ? SWO_WHEN_RAM : SWO_WHEN_EARLY;
}

static void take_switches(const struct bench_row *row, struct swo_plan_setup *setup)
{
	const struct bench_config *config = row->config;

	if (is(row->transitions, "serial"))
		setup->transitions = SWO_TRANSITIONS_SERIAL;
	if (!config)
		return;
	if (config->pair.channels)
		setup->channels = config->pair.channels;
	if (is(config->pair.join, "depth"))
		setup->join = SWO_JOIN_DEPTH;
	setup->stream = when_of(config->pair.stream);
	setup->finalise = when_of(config->pair.finalise);
	setup->config = when_of(config->pair.config);
	setup->pf_arcs = config->pair.pf_arcs;
	setup->overhead = config->overhead;
}

struct swo_plan_setup bench_setup_of(const struct bench_row *row, const struct bench_sample *sample)
{
	struct swo_plan_setup setup;

	swo_plan_setup_init(&setup);
	setup.devices = sample->devices;
	setup.count = sample->devices ? row->vfs : 0;
	setup.wire_rate = whole(row->wire_rate);
	setup.rtt_ns = whole(row->rtt_ms * 1e6);
	setup.ram_bytes = sample->ram_bytes;
	setup.ram_after_stop = row->config && row->config->pair.no_dma_log;
	take_switches(row, &setup);
	return setup;
}

struct swo_plan_bound bench_bound_of(const struct bench_row *row, const struct bench_sample *sample)
{
	const struct swo_plan_setup setup = bench_setup_of(row, sample);

	return swo_plan_lower_bound(&setup);
}

struct bench_spread bench_spread_over(
	const struct bench_row *row, bench_figure_fn figure, int which)
{
	double *values = calloc(row->count + 1, sizeof(*values));
	struct bench_spread out = {0};

	for (unsigned i = 0; values && i < row->count; i++)
		values[i] = figure(row, &row->samples[i], which);
	if (values)
		out = bench_spread_of(values, row->count);
	free(values);
	return out;
}

static double bound_ms(const struct bench_row *row, const struct bench_sample *sample)
{
	return (double)bench_bound_of(row, sample).total_ns / 1e6;
}

static double figure_of(const struct bench_row *row, const struct bench_sample *sample, int figure)
{
	switch ((enum bench_figure)figure) {
	case BENCH_BLACKOUT:
		return sample->blackout_ms;
	case BENCH_GAP:
		return sample->device_gap_ms;
	case BENCH_SWITCHOVER:
		return sample->switchover_ms;
	case BENCH_BOUND:
		return bound_ms(row, sample);
	case BENCH_OVERHEAD:
		return sample->blackout_ms - bound_ms(row, sample);
	}
	return 0;
}

struct bench_spread bench_row_spread(const struct bench_row *row, enum bench_figure figure)
{
	return bench_spread_over(row, figure_of, (int)figure);
}

const struct bench_sample *bench_median_run(const struct bench_row *row)
{
	double middle = bench_row_spread(row, BENCH_BLACKOUT).median;
	const struct bench_sample *best = NULL;

	for (unsigned i = 0; i < row->count; i++) {
		const struct bench_sample *one = &row->samples[i];
		double off = one->blackout_ms - middle,
		       best_off = best ? best->blackout_ms - middle : 0;

		if (!best || off * off < best_off * best_off)
			best = one;
	}
	return best;
}

struct bench_spread bench_blackout(const struct bench_row *row)
{
	return bench_row_spread(row, BENCH_BLACKOUT);
}

const char *bench_row_name(const struct bench_row *row)
{
	return row->variant ? row->variant : row->transitions;
}

bool bench_row_is_full(const struct bench_row *row)
{
	return !row->variant || !strcmp(row->variant, BENCH_FULL);
}
