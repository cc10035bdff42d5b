/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calibrate.c - `switchover-bench calibrate`: measures the engine overhead with instant devices:
 * one device and N devices without state, and N devices with state.
 */
#include "cmd/common/overhead.h"
#include "cmd/common/qmp_client.h"
#include "testbed/bench/report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VFS   8
#define RUNS  9
#define SMALL (UINT64_C(4) << 10) /* smallest possible state */
#define LARGE (UINT64_C(4) << 20)
#define ARCS  4 /* arcs of a device, except RESUMING->STOP: that arc is part of its stream */

enum { ONE, SEVERAL, STATE, ROWS };

void bench_calibrate_defaults(struct bench_config *config)
{
	config->pair.profile = "instant";
	config->vfs[0] = VFS;
	config->vfs_count = 1;
	config->transitions[0] = "parallel";
	config->transitions_count = 1;
	config->runs = RUNS;
}

size_t bench_calibrate_rows(
	const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX])
{
	static const char *const names[ROWS] = {"no state", "no state", "4 MiB of state"};

	for (unsigned i = 0; i < ROWS; i++) {
		out[i] = (struct bench_variant){.transitions = "parallel", .config = *base};
		snprintf(out[i].name, sizeof(out[i].name), "%s", names[i]);
		out[i].config.vfs[0] = i == ONE ? 1 : base->vfs[0];
		out[i].config.pair.state_bytes = i == STATE ? LARGE : SMALL;
	}
	return ROWS;
}

/* Sum of both passes of the start: no other work runs in parallel. */
static double start_passes(
	const struct bench_row *row, const struct bench_sample *sample, int unused)
{
	struct swo_timeline *timeline = bench_sample_timeline(sample, NULL);
	struct swo_span span;
	uint64_t ns = 0;

	(void)row, (void)unused;
	for (size_t i = 0; swo_timeline_get(timeline, i, &span); i++)
		if (span.side == SWO_SIDE_TARGET && (span.event == SWO_EVENT_START_PREPARE ||
							    span.event == SWO_EVENT_START_CHANGE))
			ns += span.end_ns - span.start_ns;
	swo_timeline_free(timeline);
	return (double)ns / 1e6;
}

static double bytes_of(const struct bench_row *row)
{
	const struct bench_sample *run = bench_median_run(row);
	double bytes = 0;

	for (unsigned i = 0; run && run->devices && i < row->vfs; i++)
		bytes += (double)run->devices[i].costs.state_bytes;
	return bytes;
}

static double less(double a, double b)
{
	return a < b ? a : b;
}

int bench_calibrate(const struct bench_row *rows, size_t count, struct swo_engine_overhead *out,
	struct swo_error *err)
{
	*out = (struct swo_engine_overhead){0};
	if (count != ROWS || !rows[ONE].count || !rows[SEVERAL].count || !rows[STATE].count)
		return swo_error_set(err, SWO_E_STATE, 0, "calibrate: a row has no runs");
	double one = bench_blackout(&rows[ONE]).median;
	double several = bench_blackout(&rows[SEVERAL]).median;
	double more = rows[SEVERAL].vfs - rows[ONE].vfs, each = (several - one) / more;
	double arc = (bench_spread_over(&rows[SEVERAL], start_passes, 0).median -
			     bench_spread_over(&rows[ONE], start_passes, 0).median) /
		     more / 2;
	double state_ms = bench_blackout(&rows[STATE]).median - several;
	double bytes = bytes_of(&rows[STATE]) - bytes_of(&rows[SEVERAL]);

	if (each <= 0 || state_ms <= 0 || bytes <= 0)
		return swo_error_set(err, SWO_E_STATE, 0,
			"calibrate: %u devices took %.1f ms, one %.1f, and %u with state %.1f: "
			"other load disturbs the measurement; try again, or with more --runs",
			rows[SEVERAL].vfs, several, one, rows[STATE].vfs, several + state_ms);
	/* The split into arcs and stream is from the timeline, the sum from the devices. */
	arc = arc > 0 ? less(arc, each / ARCS) : 0;
	double stream = each - ARCS * arc, fixed = one - each;

	out->arc_ns = (uint64_t)(arc * 1e6);
	out->stream_ns = (uint64_t)(stream * 1e6);
	out->fixed_ns = fixed > 0 ? (uint64_t)(fixed * 1e6) : 0;
	out->state_rate = (uint64_t)(bytes * 1e3 / state_ms);
	return 0;
}

static json_t *how(const struct bench_config *config, const struct bench_row *rows)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ROWS; i++) {
		struct bench_spread s = bench_blackout(&rows[i]);

		json_array_append_new(list,
			json_pack("{s:i, s:I, s:i, s:[f, f, f]}", "vfs", (int)rows[i].vfs,
				"state_bytes", (json_int_t)rows[i].config->pair.state_bytes, "runs",
				(int)rows[i].count, "blackout_ms", s.min, s.median, s.max));
	}
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:o}", "backend", config->pair.backend,
		"accel", rows[ONE].samples[0].accel, "channel", config->pair.channel, "channels",
		(int)config->pair.channels, "vcpus", (int)config->pair.vcpus, "cpus",
		(int)sysconf(_SC_NPROCESSORS_ONLN), "rows", list);
}

static void print_row(FILE *out, const struct bench_row *row)
{
	struct bench_spread s = bench_blackout(row);

	fprintf(out, "%4u VF%c, %-16s %7.1f %7.1f %7.1f   (%u runs)\n", row->vfs,
		row->vfs == 1 ? ' ' : 's', row->variant, s.min, s.median, s.max, row->count);
}

int bench_show_calibration(FILE *out, const struct bench_config *config,
	const struct bench_row *rows, size_t count, struct swo_error *err)
{
	struct swo_engine_overhead overhead;
	char text[160];

	fprintf(out, "Blackout in ms of instant devices: min, median, max\n");
	for (size_t i = 0; i < count; i++)
		print_row(out, &rows[i]);
	if (bench_calibrate(rows, count, &overhead, err))
		return -1;
	json_t *measured = how(config, rows);
	int rc = overhead_write(config->output, &overhead, measured, err);

	json_decref(measured);
	overhead_text(&overhead, text, sizeof(text));
	if (!rc)
		fprintf(out, "The engine overhead here: %s\nWritten to %s.\n", text,
			config->output);
	return rc;
}
