/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * predict.c - what was predicted beside what was measured: the model of `switchover plan`
 * with the run's profile, bytes, wire and switches, and the engine's own estimate at the stop.
 */
#include "cmd/common/costs.h"
#include "testbed/bench/report.h"

#include "switchover/plan.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t whole(double value)
{
	return value > 0 ? (uint64_t)llrint(value) : 0;
}

static uint64_t ns_of(double ms)
{
	return whole(ms * 1e6);
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

/* All devices lie equally deep: how deep does not matter to the model. */
static struct swo_plan_device device_of(const struct bound_device *from, unsigned i)
{
	struct swo_plan_device d = {.to_p2p_ns = ns_of(from->quiesce_ms),
		.to_stop_copy_ns = ns_of(from->stop_ms),
		.resuming_to_stop_ns = ns_of(from->finalise_ms),
		.to_running_p2p_ns = ns_of(from->to_running_p2p_ms),
		.to_running_ns = ns_of(from->to_running_ms),
		.config_load_ns = ns_of(from->config_ms),
		.state_bytes = whole(from->bytes),
		.save_rate = whole(from->save_rate),
		.load_rate = whole(from->load_rate),
		.pf = from->pf};

	snprintf(d.name, sizeof(d.name), "vf%u", i);
	return d;
}

static void take_switches(const struct bench_row *row, struct swo_plan_setup *setup)
{
	const struct bench_config *config = row->config;

	if (is(row->transitions, "serial"))
		setup->transitions = SWO_TRANSITIONS_SERIAL;
	if (!config)
		return;
	if (config->channels)
		setup->channels = config->channels;
	if (is(config->join, "depth"))
		setup->join = SWO_JOIN_DEPTH;
	setup->stream = when_of(config->stream);
	setup->finalise = when_of(config->finalise);
	setup->config = when_of(config->config);
	setup->pf_arcs = config->pf_arcs;
	setup->costs = config->costs;
}

static int predict_run(const struct bench_row *row, const struct bench_sample *run, double *ms,
	struct swo_error *err)
{
	struct swo_plan_device *devices = calloc((size_t)row->vfs + 1, sizeof(*devices));
	struct swo_plan_setup setup;
	struct swo_plan_result result;

	if (!devices)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "a prediction of %u devices", row->vfs);
	for (unsigned i = 0; i < row->vfs; i++)
		devices[i] = device_of(&run->devices[i], i);
	swo_plan_setup_init(&setup);
	setup.devices = devices;
	setup.count = row->vfs;
	setup.wire_rate = whole(row->wire_rate);
	setup.rtt_ns = ns_of(row->rtt_ms);
	setup.ram_bytes = whole(run->ram_bytes);
	take_switches(row, &setup);
	int rc = swo_plan_run(&setup, &result, NULL, err);

	if (!rc) {
		*ms = (double)result.blackout_ns / 1e6;
		swo_plan_free(&result);
	}
	free(devices);
	return rc;
}

int bench_predict(const struct bench_row *row, double *ms, struct swo_error *err)
{
	const struct bench_sample *run = bench_median_run(row);

	*ms = 0;
	if (!run || !run->devices)
		return swo_error_set(err, SWO_E_INVALID, 0, "no run to predict");
	if (row->config && row->config->handler_cost_ms)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"the model knows no ordinary handlers (--handler-cost)");
	return predict_run(row, run, ms, err);
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

/* As text and as JSON */

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

	const char *costs = count && rows[0].config ? rows[0].config->costs_file : NULL;

	fprintf(out,
		"\nPredicted by the model of switchover plan, with%s%s, and estimated\nby the "
		"source when it stopped, each beside the median blackout:\n"
		"%-*s  %9s  %9s  %5s  %9s  %5s\n",
		costs ? " the machinery's costs of " : "out what the machinery costs (--costs)",
		costs ? costs : "", width + 5, "VFs", "measured", "predicted", "ratio", "estimated",
		"ratio");
	for (size_t i = 0; i < count; i++) {
		const struct bench_row *row = &rows[i];
		double measured = bench_blackout(row).median, predicted;
		struct swo_error err = {0};

		if (!row->count)
			continue;
		int rc = bench_predict(row, &predicted, &err);

		fprintf(out, "%4u %-*s  %9.1f", row->vfs, width, bench_row_name(row), measured);
		print_figure(out, predicted, measured);
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
	if (row->config && row->config->costs_file)
		rc |= json_object_set_new(out, "costs", costs_json(&row->config->costs));
	rc |= json_object_set_new(out, "predicted_ms", figure_json(predicted));
	rc |= json_object_set_new(
		out, "predicted_ratio", figure_json(measured > 0 ? predicted / measured : 0));
	rc |= json_object_set_new(out, "estimated_ms", figure_json(estimated));
	rc |= json_object_set_new(
		out, "estimated_ratio", figure_json(measured > 0 ? estimated / measured : 0));
	return rc ? -1 : 0;
}
