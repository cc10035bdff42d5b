/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.c - the measuring verbs: run the rows of migrations, and print the results as a table, JSON
 * or a timeline.
 */
#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/timeline_out.h"
#include "testbed/bench/report.h"
#include "testbed/process.h"
#include "testbed/verbs.h"

#include "base/fd.h"
#include "switchover/timeline.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct bench {
	const char *name; /* for messages */
	struct bench_config config;
	struct bench_variant variants[BENCH_VARIANTS_MAX]; /* of ablate, calibrate, --like */
	struct bench_row rows[BENCH_VARIANTS_MAX * BENCH_LIST_MAX];
	size_t count;
	unsigned done, broken; /* migrations */
};

static int add_row(struct bench *bench, const struct bench_config *config, unsigned vfs,
	const char *transitions, const char *variant)
{
	struct bench_row *row = &bench->rows[bench->count++];

	*row = (struct bench_row){.config = config,
		.vfs = vfs,
		.transitions = transitions,
		.variant = variant,
		.doorbell_period_us = pair_doorbell_period_us(&config->pair, vfs),
		.doorbell_turns = pair_doorbell_turns(&config->pair, vfs)};
	row->samples = calloc(config->runs, sizeof(row->samples[0]));
	return row->samples ? 0 : -1;
}

static int make_rows(struct bench *bench)
{
	const struct bench_config *config = &bench->config;
	bool calibrates = config->kind == BENCH_CALIBRATE;
	size_t variants = calibrates ? bench_calibrate_rows(config, bench->variants)
			  : config->kind == BENCH_ABLATE ? bench_variants(config, bench->variants)
							 : 0;
	const size_t likes = config->kind == BENCH_RUN ? bench_like(config, bench->variants) : 0;
	int rc = 0;

	for (unsigned v = 0; v < config->vfs_count; v++) {
		for (size_t i = 0; i < variants; i++)
			rc |= add_row(bench, &bench->variants[i].config,
				calibrates ? bench->variants[i].config.vfs[0] : config->vfs[v],
				bench->variants[i].transitions, bench->variants[i].name);
		for (unsigned t = 0; !variants && t < config->transitions_count; t++)
			rc |= add_row(bench, config, config->vfs[v], config->transitions[t], NULL);
		for (size_t i = 0; i < likes; i++)
			rc |= add_row(bench, &bench->variants[i].config, config->vfs[v],
				bench->variants[i].transitions, bench->variants[i].name);
	}
	return rc;
}

static void free_rows(struct bench *bench)
{
	for (size_t r = 0; r < bench->count; r++) {
		for (unsigned i = 0; i < bench->rows[r].count; i++)
			bench_sample_free(&bench->rows[r].samples[i]);
		free(bench->rows[r].samples);
	}
}

static void progress(const struct bench *bench, unsigned run, const struct bench_row *row)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%u of %u migrations done; run %u: %u VF%s, %s    ", bench->done,
			bench->config.runs * (unsigned)bench->count, run + 1, row->vfs,
			row->vfs == 1 ? "" : "s", bench_row_name(row));
}

static void clear_progress(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%70s\r", "");
}

static int run_one(struct bench *bench, struct bench_row *row, struct swo_error *err)
{
	struct bench_sample *sample = &row->samples[row->count];

	if (bench_migrate_once(row->config, row->vfs, row->transitions, sample, err))
		return swo_error_prefix(err, "%u VF%s, %s", row->vfs, row->vfs == 1 ? "" : "s",
			bench_row_name(row));
	bench->done++;
	if (!sample->passed) {
		bench->broken++;
		clear_progress();
		fprintf(stderr, "%s: %u VF%s, %s: failed checks: %s\n", bench->name, row->vfs,
			row->vfs == 1 ? "" : "s", bench_row_name(row), sample->failed_checks);
	}
	if (bench->config.pair.verbose)
		fprintf(stderr, "%u %s: blackout %.1f ms, gap %.1f ms\n", row->vfs,
			bench_row_name(row), sample->blackout_ms, sample->device_gap_ms);
	/* Exclude a migration without a blackout: it did not take place. */
	if (sample->blackout_ms > 0)
		row->count++;
	else
		bench_sample_free(sample);
	return 0;
}

/* Interleaves the rows, so that other load on the host affects all of them equally. */
static int run_all(struct bench *bench, struct swo_error *err)
{
	for (unsigned run = 0; run < bench->config.runs; run++)
		for (size_t r = 0; r < bench->count; r++) {
			progress(bench, run, &bench->rows[r]);
			if (run_one(bench, &bench->rows[r], err))
				return -1;
		}
	for (size_t r = 0; bench->config.kind != BENCH_CALIBRATE && r < bench->count; r++)
		if (bench->rows[r].count &&
			bench_measure_wire(bench->rows[r].config, &bench->rows[r], err))
			return -1;
	return 0;
}

static int write_json(const struct bench *bench, struct swo_error *err)
{
	const char *path = bench->config.json;
	FILE *out = fopen(path, "we");

	if (!out)
		return swo_error_set(err, SWO_E_IO, errno, "--json: open '%s'", path);
	int rc = 0;
	for (size_t r = 0; r < bench->count; r++) {
		json_t *row = bench_row_json(&bench->config, &bench->rows[r]);

		rc |= !row || bench_worth_json(bench->rows, bench->count, &bench->rows[r], row) ||
		      json_dumpf(row, out, JSON_COMPACT | JSON_REAL_PRECISION(12)) ||
		      putc('\n', out) == EOF;
		json_decref(row);
	}
	rc |= fclose(out);
	return rc ? swo_error_set(err, SWO_E_IO, errno, "--json: write '%s'", path) : 0;
}

static void print_picture(struct swo_timeline *timeline, const struct bench_row *row)
{
	uint64_t from = 0, to = 0;

	swo_timeline_switchover(timeline, &from, &to);
	printf("\nThe median run of %u VF%s, %s:\n\n", row->vfs, row->vfs == 1 ? "" : "s",
		bench_row_name(row));
	timeline_print(timeline, from, to);
}

/* "x.json" of the last row is "x-4-serial.json" of the row of 4 VFs, serial. */
static void name_of_row(const char *path, const struct bench_row *row, char *out, size_t room)
{
	const char *end = strrchr(path, '.');
	const int stem = end && !strchr(end, '/') ? (int)(end - path) : (int)strlen(path);

	snprintf(out, room, "%.*s-%u-%s%s", stem, path, row->vfs, bench_row_name(row), path + stem);
	for (char *c = out + stem; *c; c++)
		if (*c == ' ' || *c == '/')
			*c = '-';
}

/* Of ours: rows of other designs stand behind it. */
static const struct bench_row *last_row(const struct bench *bench)
{
	return &bench->rows[bench->count - 1 - bench->config.like_count];
}

/* The median runs of the other rows, for `switchover report`. */
static int write_others(const struct bench *bench, struct swo_error *err)
{
	for (unsigned i = 0; i < bench->count; i++) {
		if (&bench->rows[i] == last_row(bench))
			continue;
		const struct bench_sample *run = bench_median_run(&bench->rows[i]);
		char path[4096];

		name_of_row(bench->config.timeline, &bench->rows[i], path, sizeof(path));
		if (run && run->timeline && write_file("--timeline", path, run->timeline, err))
			return -1;
	}
	return 0;
}

/* Writes the median run of the last row that has one: two files and the printed timeline. */
static int write_timeline(const struct bench *bench, struct swo_error *err)
{
	const struct bench_row *row = last_row(bench);
	const struct bench_sample *run = bench_median_run(row);

	if (!run || !run->timeline)
		return swo_error_set(
			err, SWO_E_STATE, 0, "--timeline: the last row has no run to write");
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, 65536);
	int rc = timeline ? swo_timeline_add_json(
				    timeline, run->timeline, strlen(run->timeline), 0, err)
			  : swo_error_set(err, SWO_E_NO_MEMORY, 0, "--timeline");
	if (!rc)
		rc = timeline_write(timeline, bench->config.timeline, err) ||
		     write_others(bench, err);
	if (!rc)
		print_picture(timeline, row);
	swo_timeline_free(timeline);
	return rc ? -1 : 0;
}

/* Called after an interrupt too: prints the rows measured so far. */
static int show(const struct bench *bench, struct swo_error *err)
{
	if (bench->config.kind == BENCH_CALIBRATE)
		return bench_show_calibration(
			stdout, &bench->config, bench->rows, bench->count, err);
	bench_print_table(stdout, &bench->config, bench->rows, bench->count);
	if (bench->config.json && write_json(bench, err))
		return -1;
	if (bench->config.timeline && write_timeline(bench, err))
		return -1;
	return 0;
}

static int measure(struct bench *bench, struct swo_error *err)
{
	const struct bench_config *config = &bench->config;
	int rc = make_rows(bench) ? swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for rows")
				  : run_all(bench, err);

	clear_progress();
	if (rc)
		fprintf(stderr, "%s: %s\n", bench->name, err->text);
	/* Write no partial calibration: programs read the file. */
	if (bench->done && !(rc && config->kind == BENCH_CALIBRATE) && show(bench, err)) {
		fprintf(stderr, "%s: %s\n", bench->name, err->text);
		rc = -1;
	}
	if (bench->broken)
		fprintf(stderr, "%s: %u of %u migrations failed checks\n", bench->name,
			bench->broken, bench->done);
	free_rows(bench);
	return rc;
}

static int run_verb(enum bench_kind kind, int argc, char **argv)
{
	static struct bench bench;
	struct swo_error err = {0};

	setlocale(LC_CTYPE, "");
	bench.name = argv[0];
	bench_parse_args(kind, argc, argv, &bench.config);
	/* calibrate has no lower bound. */
	if (bench_check(&bench.config, &err) ||
		(kind != BENCH_CALIBRATE && !bench_find_chain(&err))) {
		fprintf(stderr, "%s: %s\n", bench.name, err.text);
		return err.code == SWO_E_INVALID ? CLI_USAGE : CLI_FAILED;
	}
	base_raise_open_files();
	process_init();
	int rc = measure(&bench, &err);

	if (process_interrupted)
		return 128 + process_interrupted;
	return rc || bench.broken ? CLI_FAILED : CLI_OK;
}

int bench_cmd_run(int argc, char **argv)
{
	return run_verb(BENCH_RUN, argc, argv);
}

int bench_cmd_ablate(int argc, char **argv)
{
	return run_verb(BENCH_ABLATE, argc, argv);
}

int bench_cmd_scale(int argc, char **argv)
{
	return run_verb(BENCH_SCALE, argc, argv);
}

int bench_cmd_calibrate(int argc, char **argv)
{
	return run_verb(BENCH_CALIBRATE, argc, argv);
}
