/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.h - the results: rows as a table and as JSON, and a part of the report each for the
 * critical path, the predictions, ablate, scale and calibrate.
 */
#ifndef TESTBED_BENCH_REPORT_H
#define TESTBED_BENCH_REPORT_H

#include "testbed/bench/row.h"

#include <stdio.h>

/* Table and JSON (out.c) */

void bench_print_table(
	FILE *out, const struct bench_config *config, const struct bench_row *rows, size_t count);
/* One object, a new reference; NULL: no memory. */
json_t *bench_row_json(const struct bench_config *config, const struct bench_row *row);

/* Where the time went (path.c) */

struct bench_step {
	const char *side;
	char span[48], device[32];
	double ms;
};
/* From the last doorbell on the source to the first on the target, without a hole. */
struct bench_path {
	struct bench_step *steps;
	size_t count;
	double sum_ms;
};
int bench_path_of(const struct bench_sample *sample, struct bench_path *out, struct swo_error *err);
void bench_path_free(struct bench_path *path);
/* Of the median run of each row. */
void bench_print_paths(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "critical_path" and "critical_path_sum_ms" to a row; "critical_path_error" when there is
   none. */
int bench_path_json(const struct bench_row *row, json_t *out);

/* What was predicted (predict.c) */

/* The model's blackout for the median run: with its profile, wire and the bytes that it sent
   after the stop. -1: there is no such run, or the model does not cover the row's options. */
int bench_predict(const struct bench_row *row, double *ms, struct swo_error *err);
/* The source's own estimate when it stopped, median of the runs; 0: none. */
double bench_estimate(const struct bench_row *row);
void bench_print_predictions(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "predicted_ms", "predicted_ratio", "estimated_ms", "estimated_ratio" (null where there is
   none), and "predicted_error" when the model could not. */
int bench_prediction_json(const struct bench_row *row, json_t *out);

/* What each part is worth (ablate.c) */

#define BENCH_NAME_MAX	   32
#define BENCH_VARIANTS_MAX 9

struct bench_variant {
	char name[BENCH_NAME_MAX];
	const char *transitions;
	struct bench_config config;
};
/* The full pipeline first, then each with one thing changed; how many. */
size_t bench_variants(
	const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX]);
/* The rows of --like; how many. */
size_t bench_like(const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX]);
/* How much longer the median blackout is than that of the full pipeline with as many VFs. */
struct bench_worth {
	double ms, percent;
};
/* False when there is nothing to compare. */
bool bench_worth(const struct bench_row *rows, size_t count, const struct bench_row *row,
	struct bench_worth *out);
void bench_print_ablation(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "variant" to a row of ablate or --like, "worth_ms" and "worth_percent" to one of ablate. */
int bench_worth_json(
	const struct bench_row *rows, size_t count, const struct bench_row *row, json_t *out);

/* The engine overhead (calibrate.c) */

void bench_calibrate_defaults(struct bench_config *config);
/* The rows that it takes; how many. */
size_t bench_calibrate_rows(
	const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX]);
/* SWO_E_STATE when the runs of these rows contradict each other. */
int bench_calibrate(const struct bench_row *rows, size_t count, struct swo_engine_overhead *out,
	struct swo_error *err);
/* Prints it, and writes config->output. */
int bench_show_calibration(FILE *out, const struct bench_config *config,
	const struct bench_row *rows, size_t count, struct swo_error *err);

/* How it grows (scale.c) */

void bench_scale_defaults(struct bench_config *config);
/* 1, 2, 4 ... up to `most`, into config->vfs. */
void bench_scale_vfs(struct bench_config *config, unsigned most);
/* What grows with the number of VFs, of each row, and by how much since the row before. */
void bench_print_scale(FILE *out, const struct bench_row *rows, size_t count);
/* Adds "files_max", "start_ms" and "total_ms". */
int bench_scale_json(const struct bench_row *row, json_t *out);

#endif
