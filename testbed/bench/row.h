/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row.h - the migrations of one number of devices and kind of transitions, their figures, and the
 * wire that they are compared with.
 */
#ifndef TESTBED_BENCH_ROW_H
#define TESTBED_BENCH_ROW_H

#include "testbed/bench/sample.h"

struct bench_row {
	const struct bench_config *config; /* its own with ablate */
	unsigned vfs;
	const char *transitions;
	const char *variant; /* what ablate has switched; NULL: this is no such row */
	struct bench_sample *samples;
	unsigned count;
	double wire_rate, rtt_ms; /* of testbed/yardstick/chain */
	unsigned doorbell_period_us, doorbell_turns;
};

struct bench_spread {
	double min, median, max;
};
/* Sorts `values`. All zero when there are none. */
struct bench_spread bench_spread_of(double *values, size_t count);
/* One figure of every run of a row; `which` is passed on. All zero when there is no memory. */
typedef double (*bench_figure_fn)(
	const struct bench_row *row, const struct bench_sample *sample, int which);
struct bench_spread bench_spread_over(
	const struct bench_row *row, bench_figure_fn figure, int which);
/* The run as the model and the bound take it: its devices, bytes, wire and switches. */
struct swo_plan_setup bench_setup_of(
	const struct bench_row *row, const struct bench_sample *sample);
struct swo_plan_bound bench_bound_of(
	const struct bench_row *row, const struct bench_sample *sample);
/* The run whose blackout is the median one; NULL without runs. */
const struct bench_sample *bench_median_run(const struct bench_row *row);

enum bench_figure {
	BENCH_BLACKOUT,
	BENCH_GAP,
	BENCH_SWITCHOVER,
	BENCH_BOUND,
	BENCH_OVERHEAD, /* of the blackout over the bound */
};
struct bench_spread bench_row_spread(const struct bench_row *row, enum bench_figure figure);
struct bench_spread bench_blackout(const struct bench_row *row);
/* What distinguishes it from the other rows of so many VFs: "parallel", "--stream late". */
const char *bench_row_name(const struct bench_row *row);
#define BENCH_FULL "full pipeline" /* the variant that ablate compares with */
/* True of every row but the other variants of ablate. */
bool bench_row_is_full(const struct bench_row *row);

/* The wire (wire.c) */

/* The path of the yardstick; NULL: it is not there. */
const char *bench_find_chain(struct swo_error *err);
/* Runs testbed/yardstick/chain with the row's devices and bytes; fills wire_rate and rtt_ms. */
int bench_measure_wire(
	const struct bench_config *config, struct bench_row *row, struct swo_error *err);

#endif
