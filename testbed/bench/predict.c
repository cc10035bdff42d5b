/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * predict.c - compares the measured blackout with two predictions: the model of `switchover plan`
 * with the run's profile, bytes, wire and options, and the engine's estimate at the stop.
 */
#include "cmd/common/overhead.h"
#include "testbed/bench/report.h"

#include "switchover/plan.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bench_predict(const struct bench_row *row, double *ms, struct swo_error *err)
{
	const struct bench_sample *run = bench_median_run(row);

	*ms = 0;
	if (!run || !run->devices)
		return swo_error_set(err, SWO_E_INVALID, 0, "no run to predict");
	if (row->config && row->config->pair.handler_cost_ms)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"the model has no ordinary handlers (--handler-cost)");

	const struct swo_plan_setup setup = bench_setup_of(row, run);
	struct swo_plan_result result;

	if (swo_plan_run(&setup, &result, NULL, err))
		return -1;
	*ms = (double)result.blackout_ns / 1e6;
	swo_plan_free(&result);
	return 0;
}

static double estimate_of(const struct bench_row *row, const struct bench_sample *run, int which)
{
	(void)row, (void)which;
	return run->estimate_ms;
}

double bench_estimate(const struct bench_row *row)
{
	return bench_spread_over(row, estimate_of, 0).median;
}

/* Output as text and JSON */

static void print_figure(FILE *out, double ms, double measured)
{
	if (ms > 0 && measured > 0)
		fprintf(out, "  %9.1f  %5.2f", ms, ms / measured);
	else
		fprintf(out, "  %9s  %5s", "-", "-");
}

void bench_print_predictions(FILE *out, const struct bench_row *rows, size_t count)
{
	int width = count && rows[0].variant ? 18 : 8;

	const struct bench_config *config = count ? rows[0].config : NULL;
	const char *costs = config ? config->pair.costs_file : NULL;
	/* Without the costs of its devices the source estimates what is left to send, and no more. */
	const bool estimated = config && (config->pair.probed || config->pair.no_dma_log);

	fprintf(out,
		"\nPredicted by the model of switchover plan, with%s%s%s,\n"
		"beside the median blackout:\n%-*s  %9s  %9s  %5s",
		costs ? " the engine overhead of " : "out the engine overhead (--costs)",
		costs ? costs : "",
		estimated ? ", and estimated by the source when it stopped" : "", width + 5, "VFs",
		"measured", "predicted", "ratio");
	if (estimated)
		fprintf(out, "  %9s  %5s", "estimated", "ratio");
	putc('\n', out);
	for (size_t i = 0; i < count; i++) {
		const struct bench_row *row = &rows[i];
		double measured = bench_blackout(row).median, predicted;
		struct swo_error err = {0};

		if (!row->count)
			continue;
		int rc = bench_predict(row, &predicted, &err);

		fprintf(out, "%4u %-*s  %9.1f", row->vfs, width, bench_row_name(row), measured);
		print_figure(out, predicted, measured);
		if (estimated)
			print_figure(out, bench_estimate(row), measured);
		fprintf(out, "%s%s\n", rc ? "  " : "", rc ? err.text : "");
	}
}

static json_t *figure_json(double value)
{
	return value > 0 ? json_real(rint(value * 1000) / 1000) : json_null();
}

int bench_prediction_json(const struct bench_row *row, json_t *out)
{
	double measured = bench_blackout(row).median, predicted, estimated = bench_estimate(row);
	struct swo_error err = {0};
	int rc = 0;

	if (bench_predict(row, &predicted, &err))
		rc |= json_object_set_new(out, "predicted_error", json_string(err.text));
	if (row->config && row->config->pair.costs_file)
		rc |= json_object_set_new(out, "costs", overhead_json(&row->config->overhead));
	rc |= json_object_set_new(out, "predicted_ms", figure_json(predicted));
	rc |= json_object_set_new(
		out, "predicted_ratio", figure_json(measured > 0 ? predicted / measured : 0));
	rc |= json_object_set_new(out, "estimated_ms", figure_json(estimated));
	rc |= json_object_set_new(
		out, "estimated_ratio", figure_json(measured > 0 ? estimated / measured : 0));
	return rc ? -1 : 0;
}
