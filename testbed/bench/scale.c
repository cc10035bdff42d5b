/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scale.c - `switchover-bench scale`: the growth of threads, memory, open files and times with the
 * number of VFs.
 */
#include "testbed/bench/report.h"

#include <stdio.h>

enum { THREADS, MEMORY, FILES, START, TOTAL, BLACKOUT, FIGURES };

void bench_scale_vfs(struct bench_config *config, unsigned most)
{
	unsigned n = 1;

	config->vfs_count = 0;
	for (; n < most && config->vfs_count < BENCH_LIST_MAX - 1; n *= 2)
		config->vfs[config->vfs_count++] = n;
	config->vfs[config->vfs_count++] = most;
}

void bench_scale_defaults(struct bench_config *config)
{
	bench_scale_vfs(config, 128);
	config->transitions[0] = "parallel";
	config->transitions_count = 1;
	config->runs = 1;
}

static double figure_of(const struct bench_row *row, const struct bench_sample *run, int figure)
{
	(void)row;
	switch (figure) {
	case THREADS:
		return run->threads_max;
	case MEMORY:
		return (double)run->rss_max_bytes / (1 << 20);
	case FILES:
		return run->files_max;
	case START:
		return run->start_ms;
	case TOTAL:
		return run->total_ms;
	default:
		return run->blackout_ms;
	}
}

static double median_of(const struct bench_row *row, int figure)
{
	return bench_spread_over(row, figure_of, figure).median;
}

static void print_row(FILE *out, const struct bench_row *row, const struct bench_row *before)
{
	static const int digits[FIGURES] = {0, 1, 0, 0, 0, 1};

	fprintf(out, "%4u", row->vfs);
	for (int f = 0; f < FIGURES; f++) {
		double value = median_of(row, f), old = before ? median_of(before, f) : 0;

		fprintf(out, "  %9.*f", digits[f], value);
		if (old > 0)
			fprintf(out, " x%4.2f", value / old);
		else
			fprintf(out, "%6s", "");
	}
	putc('\n', out);
}

void bench_print_scale(FILE *out, const struct bench_row *rows, size_t count)
{
	const struct bench_row *before = NULL;

	fprintf(out,
		"The larger value of both machines, and its ratio to the previous row:\n"
		"%4s  %-15s  %-15s  %-15s  %-15s  %-15s  %-15s\n",
		"VFs", "       threads", "  peak RSS, MiB", "    open files", " start-up, ms",
		" migration, ms", "  blackout, ms");
	for (size_t i = 0; i < count; i++) {
		if (!rows[i].count)
			continue;
		print_row(out, &rows[i], before);
		before = &rows[i];
	}
}

int bench_scale_json(const struct bench_row *row, json_t *out)
{
	return json_object_set_new(
		       out, "files_max", json_integer((json_int_t)median_of(row, FILES))) ||
			       json_object_set_new(
				       out, "start_ms", json_real(median_of(row, START))) ||
			       json_object_set_new(
				       out, "total_ms", json_real(median_of(row, TOTAL)))
		       ? -1
		       : 0;
}
