/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * out.c - prints rows as a table, with spreads and lower bounds, and as JSON.
 */
#include "testbed/bench/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Table */

static const struct bench_row *find_row(
	const struct bench_row *rows, size_t count, unsigned vfs, const char *transitions)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].vfs == vfs && bench_row_is_full(&rows[i]) &&
			!strcmp(rows[i].transitions, transitions))
			return rows[i].count ? &rows[i] : NULL;
	return NULL;
}

/* Rows of other designs, and what was published of the original. */
static void print_others(
	FILE *out, const struct bench_config *config, const struct bench_row *rows, size_t count)
{
	static const struct {
		const char *name;
		unsigned ms[3];
	} published[] = {
		{"published, serial", {497, 758, 1385}}, {"published, parallel", {493, 653, 986}}};
	bool any = false;

	for (unsigned k = 0; k < config->like_count; k++) {
		char name[BENCH_NAME_MAX];

		snprintf(name, sizeof(name), "like %s", config->like[k]);
		fprintf(out, "%-22s", name);
		for (size_t i = 0; i < count; i++) {
			if (!rows[i].variant || strcmp(rows[i].variant, config->like[k]))
				continue;
			if (rows[i].count)
				fprintf(out, "%9.1f",
					bench_row_spread(&rows[i], BENCH_BLACKOUT).median);
			else
				fprintf(out, "%9s", "-");
		}
		putc('\n', out);
	}
	for (unsigned i = 0; i < config->vfs_count; i++)
		any |= config->vfs[i] == 1 || config->vfs[i] == 2 || config->vfs[i] == 4;
	for (size_t k = 0; any && k < SWO_ARRAY_SIZE(published); k++) {
		fprintf(out, "%-22s", published[k].name);
		for (unsigned i = 0; i < config->vfs_count; i++)
			if (config->vfs[i] == 1 || config->vfs[i] == 2 || config->vfs[i] == 4)
				fprintf(out, "%9u", published[k].ms[config->vfs[i] / 2]);
			else
				fprintf(out, "%9s", "-");
		putc('\n', out);
	}
	if (any)
		fputs("published: downtime of the original in QEMU, ConnectX-7 VFs of about "
		      "100 MiB of state; other\nhardware, so compare how it grows with the "
		      "number of VFs (profiles cx7-measured* come nearer)\n",
			out);
}

static void print_summary(
	FILE *out, const struct bench_config *config, const struct bench_row *rows, size_t count)
{
	static const char *const kinds[] = {"serial", "parallel"};

	fprintf(out, "%-22s", "");
	for (unsigned i = 0; i < config->vfs_count; i++)
		fprintf(out, "%5u VF%c", config->vfs[i], config->vfs[i] == 1 ? ' ' : 's');
	putc('\n', out);
	for (size_t k = 0; k < SWO_ARRAY_SIZE(kinds); k++) {
		bool any = false;

		for (unsigned i = 0; i < config->vfs_count; i++)
			any |= find_row(rows, count, config->vfs[i], kinds[k]) != NULL;
		if (!any)
			continue;
		fprintf(out, "%-8s transitions  ", kinds[k]);
		for (unsigned i = 0; i < config->vfs_count; i++) {
			const struct bench_row *row =
				find_row(rows, count, config->vfs[i], kinds[k]);

			if (row)
				fprintf(out, "%9.1f", bench_row_spread(row, BENCH_BLACKOUT).median);
			else
				fprintf(out, "%9s", "-");
		}
		putc('\n', out);
	}
	if (config->transitions_count < 2)
		return;
	fprintf(out, "%-22s", "improvement");
	for (unsigned i = 0; i < config->vfs_count; i++) {
		const struct bench_row *s = find_row(rows, count, config->vfs[i], kinds[0]);
		const struct bench_row *p = find_row(rows, count, config->vfs[i], kinds[1]);
		double serial = s ? bench_row_spread(s, BENCH_BLACKOUT).median : 0;

		if (p && serial > 0)
			/* + 0: print a tiny loss as "0", not "-0". */
			fprintf(out, "%7.0f %%",
				rint(100 * (serial - bench_row_spread(p, BENCH_BLACKOUT).median) /
					serial) +
					0.0);
		else
			fprintf(out, "%9s", "-");
	}
	putc('\n', out);
}

static void print_spread(FILE *out, struct bench_spread s)
{
	fprintf(out, "  %7.1f %7.1f %7.1f", s.min, s.median, s.max);
}

static void print_details(FILE *out, const struct bench_row *rows, size_t count)
{
	/* Names of variants need more space. */
	int width = count && rows[0].variant ? 18 : 8;

	fprintf(out,
		"\n%-*s  %-23s  %-23s  %7s  %-23s\n%-*s  %7s %7s %7s  %7s %7s %7s  %7s  %7s %7s "
		"%7s\n",
		width + 5, "ms", "       blackout", "      device gap", "lower",
		"    over the bound", width + 5, "VFs", "min", "median", "max", "min", "median",
		"max", "bound", "min", "median", "max");
	for (size_t i = 0; i < count; i++) {
		const struct bench_row *row = &rows[i];

		if (!row->count)
			continue;
		fprintf(out, "%4u %-*s", row->vfs, width, bench_row_name(row));
		print_spread(out, bench_row_spread(row, BENCH_BLACKOUT));
		print_spread(out, bench_row_spread(row, BENCH_GAP));
		fprintf(out, "  %7.1f", bench_row_spread(row, BENCH_BOUND).median);
		print_spread(out, bench_row_spread(row, BENCH_OVERHEAD));
		putc('\n', out);
	}
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/*
 * Prints the terms of the lower bound for the median run of each number of VFs; they depend on
 * nothing else.
 */
static void print_bounds(
	FILE *out, const struct bench_config *config, const struct bench_row *rows, size_t count)
{
	bool guesses = false;

	fputs("\nlower bound = quiesce + data (limited by) + 1.5 round trips + to RUNNING_P2P + to "
	      "RUNNING\n",
		out);
	for (unsigned v = 0; v < config->vfs_count; v++) {
		const struct bench_row *row = find_row(rows, count, config->vfs[v],
			config->transitions[config->transitions_count - 1]);
		const struct bench_sample *run = row ? bench_median_run(row) : NULL;
		double bytes = 0;

		if (!run || !run->devices)
			continue;
		struct swo_plan_bound b = bench_bound_of(row, run);
		for (unsigned i = 0; i < row->vfs; i++)
			bytes += (double)run->devices[i].costs.state_bytes;
		guesses |= run->guesses;
		fprintf(out, "%4u  %.1f = %.1f + %.1f (%s) + %.2f + %.1f + %.1f; ", row->vfs,
			ms(b.total_ns), ms(b.quiesce_ns), ms(b.data_ns), b.limited_by, ms(b.rtt_ns),
			ms(b.start_ns), ms(b.run_ns));
		fprintf(out,
			"after the stop %.0f KiB of devices, %.0f KiB of memory; wire %.0f MB/s\n",
			bytes / 1024, (double)run->ram_bytes / 1024, row->wire_rate / 1e6);
	}
	fprintf(out, "Profile %s: simulated%s.\n", config->pair.profile,
		guesses ? "; some of its figures are guesses (docs/simvf.md)" : "");
}

/* Prints the settings that differ from the defaults. */
static void print_switches(FILE *out, const struct bench_config *config)
{
	const struct {
		const char *name, *value;
	} words[] = {{"join", config->pair.join}, {"stream", config->pair.stream},
		{"finalise", config->pair.finalise}, {"config", config->pair.config},
		{"PF", config->pair.pf}};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(words); i++)
		if (words[i].value)
			fprintf(out, "%s: %s\n", words[i].name, words[i].value);
	if (config->pair.pfs)
		fprintf(out, "PFs: %u\n", config->pair.pfs);
	if (config->pair.pf_arcs)
		fputs("PFs serialise arcs\n", out);
	if (config->pair.late_dma)
		fputs("devices write memory until they have stopped\n", out);
	if (config->pair.no_dma_log)
		fputs("devices without a log of their writes: all memory is sent in the stop\n",
			out);
	if (config->pair.link_rtt_ms > 0)
		fprintf(out, "a link with a round trip of %g ms\n", config->pair.link_rtt_ms);
	if (config->pair.link_rate)
		fprintf(out, "a link of %g Mbit/s\n", (double)config->pair.link_rate * 8 / 1e6);
	if (config->pair.root_ports)
		fprintf(out, "root ports: %u\n", config->pair.root_ports);
	if (config->pair.handler_cost_ms && config->kind != BENCH_ABLATE)
		fprintf(out, "an ordinary handler at each depth: %u ms\n",
			config->pair.handler_cost_ms);
	if (config->pair.stop_writes)
		fprintf(out, "pages written in the stop: %u\n", config->pair.stop_writes);
}

static void print_setting(
	FILE *out, const struct bench_config *config, const struct bench_row *rows, size_t count)
{
	const char *accel = count && rows[0].count ? rows[0].samples[0].accel : config->pair.accel;

	fprintf(out,
		"Blackout in ms, measured by the devices: last doorbell on the source to first on the "
		"target.\n"
		"Median of %u; %s, %u vCPUs, %s of memory%s%s, %u pages dirtied per second and vCPU, "
		"%s%s%s%s, %u channel%s%s;\na doorbell every ",
		config->runs, accel, config->pair.vcpus, config->pair.ram,
		config->pair.prealloc ? ", preallocated" : "",
		config->pair.fill_ram ? ", all of it written" : "", config->pair.dirty_rate,
		config->pair.channel, config->pair.tls ? " with TLS (" : "",
		config->pair.tls ? config->pair.tls : "", config->pair.tls ? ")" : "",
		config->pair.channels, config->pair.channels == 1 ? "" : "s",
		pair_hands_over(&config->pair) ? ", RAM handed over by descriptor" : "");
	unsigned last = 0;
	for (unsigned v = 0; v < config->vfs_count; v++) {
		unsigned period = pair_doorbell_period_us(&config->pair, config->vfs[v]);
		unsigned turns = pair_doorbell_turns(&config->pair, config->vfs[v]);

		if (period != last)
			fprintf(out, "%s%g ms", v ? ", " : "", period / 1000.0);
		if (period != last && turns > 1)
			fprintf(out, " (in %u turns)", turns);
		last = period;
	}
	fputs(" per vCPU and device.\n", out);
	print_switches(out, config);
	putc('\n', out);
}

static void print_faults(FILE *out, const struct bench_row *rows, size_t count)
{
	uint64_t lost = 0, repeated = 0, p2p = 0, quiesce = 0, state = 0, ram = 0;
	unsigned runs = 0;

	for (size_t r = 0; r < count; r++)
		for (unsigned i = 0; i < rows[r].count; i++, runs++) {
			const struct bench_sample *s = &rows[r].samples[i];

			lost += s->doorbells_lost;
			repeated += s->doorbells_repeated;
			p2p += s->p2p_violations;
			quiesce += s->quiesce_violations;
			state += s->state_mismatches;
			ram += s->ram_mismatches;
		}
	fprintf(out,
		"\n%u migrations: doorbells lost %llu, repeated %llu; violations of P2P %llu, of "
		"quiescence %llu;\nmismatches in device state %llu, in memory %llu\n",
		runs, (unsigned long long)lost, (unsigned long long)repeated,
		(unsigned long long)p2p, (unsigned long long)quiesce, (unsigned long long)state,
		(unsigned long long)ram);
}

void bench_print_table(
	FILE *out, const struct bench_config *config, const struct bench_row *rows, size_t count)
{
	print_setting(out, config, rows, count);
	if (config->kind == BENCH_SCALE)
		bench_print_scale(out, rows, count);
	else if (config->kind == BENCH_ABLATE)
		bench_print_ablation(out, rows, count);
	else
		print_summary(out, config, rows, count);
	if (config->kind == BENCH_RUN)
		print_others(out, config, rows, count);
	print_details(out, rows, count);
	print_bounds(out, config, rows, count);
	bench_print_predictions(out, rows, count);
	bench_print_paths(out, rows, count);
	print_faults(out, rows, count);
}

/* JSON */

/* The clock has a resolution of microseconds: further digits are noise. */
static json_t *ms_json(double value)
{
	return json_real((double)(long long)(value * 1000 + (value < 0 ? -0.5 : 0.5)) / 1000);
}

static json_t *spread_json(struct bench_spread s)
{
	return json_pack("{s:o, s:o, s:o}", "min", ms_json(s.min), "median", ms_json(s.median),
		"max", ms_json(s.max));
}

json_t *bench_row_json(const struct bench_config *config, const struct bench_row *row)
{
	uint64_t lost = 0, repeated = 0, p2p = 0, state = 0, ram = 0, rss = 0;
	unsigned threads = 0;

	for (unsigned i = 0; i < row->count; i++) {
		const struct bench_sample *s = &row->samples[i];

		lost += s->doorbells_lost;
		repeated += s->doorbells_repeated;
		p2p += s->p2p_violations;
		state += s->state_mismatches;
		ram += s->ram_mismatches;
		threads = s->threads_max > threads ? s->threads_max : threads;
		rss = s->rss_max_bytes > rss ? s->rss_max_bytes : rss;
	}
	json_t *out = json_pack(
		"{s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:f, s:i, s:o, s:o, s:o, s:o, s:o,"
		" s:I, s:I, s:I, s:I, s:I, s:i, s:I}",
		"vfs", (int)row->vfs, "transitions", row->transitions, "profile",
		config->pair.profile, "vmm", "switchover", "backend", config->pair.backend, "accel",
		row->count ? row->samples[0].accel : config->pair.accel, "runs", (int)row->count,
		"doorbell_period_ms", row->doorbell_period_us / 1000.0, "doorbell_turns",
		(int)row->doorbell_turns, "blackout_ms",
		spread_json(bench_row_spread(row, BENCH_BLACKOUT)), "device_gap_ms",
		spread_json(bench_row_spread(row, BENCH_GAP)), "switchover_ms",
		spread_json(bench_row_spread(row, BENCH_SWITCHOVER)), "lower_bound_ms",
		ms_json(bench_row_spread(row, BENCH_BOUND).median), "overhead_ms",
		spread_json(bench_row_spread(row, BENCH_OVERHEAD)), "doorbells_lost",
		(json_int_t)lost, "doorbells_repeated", (json_int_t)repeated, "p2p_violations",
		(json_int_t)p2p, "state_mismatches", (json_int_t)state, "ram_mismatches",
		(json_int_t)ram, "threads_max", (int)threads, "rss_max_bytes", (json_int_t)rss);
	if (out)
		json_object_set_new(out, "handover",
			json_string(pair_hands_over(&config->pair) ? "fd" : "copy"));
	if (out && config->pair.prealloc)
		json_object_set_new(out, "prealloc", json_true());
	if (out && config->pair.fill_ram)
		json_object_set_new(out, "fill_ram", json_true());
	if (out && config->pair.tls)
		json_object_set_new(out, "tls", json_string(config->pair.tls));
	if (out && (bench_path_json(row, out) || bench_prediction_json(row, out) ||
			   bench_scale_json(row, out))) {
		json_decref(out);
		return NULL;
	}
	return out;
}
