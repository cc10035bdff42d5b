/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.h - what a measurement is of: machines, devices, the migration, the rows, the files. Read
 * from the options, completed by defaults, checked before anything is started.
 */
#ifndef TESTBED_BENCH_CONFIG_H
#define TESTBED_BENCH_CONFIG_H

#include "testbed/pair/config.h"

#include "switchover/migration.h"

#define BENCH_LIST_MAX 16

enum bench_kind { BENCH_RUN, BENCH_ABLATE, BENCH_SCALE, BENCH_CALIBRATE };

struct bench_config {
	enum bench_kind kind;
	unsigned vfs[BENCH_LIST_MAX];
	unsigned vfs_count;
	const char *transitions[2]; /* "serial", "parallel" */
	unsigned transitions_count;
	const char *like[2]; /* "seed", "qemu": rows of other designs */
	unsigned like_count;
	struct pair_config pair;
	unsigned runs;
	const char *output;		     /* of calibrate: the file for the engine overhead */
	struct swo_engine_overhead overhead; /* from pair.costs_file */
	bool keep;
	const char *json, *timeline; /* files to write; NULL: none */
};

void bench_defaults(struct bench_config *config);
/* Fills *config with a verb's defaults and the command line; ends the program on invalid usage. */
void bench_parse_args(enum bench_kind kind, int argc, char **argv, struct bench_config *config);
/*
 * Everything that can be known before a process is started: options that exclude each other,
 * profiles, sizes, files to read and to write, programs and devices. Reads config->costs.
 * SWO_E_INVALID is invalid usage. The error names the option. Leaves no file behind.
 */
int bench_check(struct bench_config *config, struct swo_error *err);
/* SWO_E_IO, naming the option, when this file cannot be written; it is not changed. NULL: fine. */
int bench_check_output(const char *option, const char *path, struct swo_error *err);

#endif
