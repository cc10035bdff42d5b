/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sample.h - one migration and what it gave: run.c starts, migrates and collects, gather.c
 * evaluates.
 */
#ifndef TESTBED_BENCH_SAMPLE_H
#define TESTBED_BENCH_SAMPLE_H

#include "testbed/bench/config.h"

#include "switchover/plan.h"

#include <jansson.h>

struct bench_sample {
	bool passed; /* all checks */
	char failed_checks[600];
	char accel[16];
	double blackout_ms, device_gap_ms, switchover_ms;
	double estimate_ms;			      /* the source's, when it stopped; 0: none */
	uint64_t last_doorbell_ns, first_doorbell_ns; /* the ends of the blackout */
	uint64_t doorbells_lost, doorbells_repeated, p2p_violations, quiesce_violations;
	uint64_t state_mismatches, ram_mismatches, resets;
	unsigned threads_max;
	uint64_t rss_max_bytes;
	unsigned files_max; /* open files of either machine, before and after */
	double start_ms;    /* of the slower machine: from its start until its monitor answers */
	double total_ms;    /* query-migrate's total-time */
	struct swo_plan_device
		*devices;   /* vfs of them; their state: what was sent after the stop */
	uint64_t ram_bytes; /* sent after the stop */
	bool guesses;	    /* the profile contains some */
	char *timeline;	    /* JSON, or NULL */
};

/* Starts everything, migrates, gathers, checks, ends everything. -1: it could not be done or was
   interrupted; a migration that failed checks is 0 with sample->passed false. */
int bench_migrate_once(const struct bench_config *config, unsigned vfs, const char *transitions,
	struct bench_sample *sample, struct swo_error *err);
void bench_sample_free(struct bench_sample *sample);
/* Its timeline, to be freed by the caller; NULL: there is none, it is malformed, or no memory. */
struct swo_timeline *bench_sample_timeline(
	const struct bench_sample *sample, struct swo_error *err);

/* Turns what was gathered (arrays of device reports of both sides, QMP answers) into figures. Pure.
 */
struct bench_gathered {
	unsigned vfs;
	json_t *source_reports, *target_reports; /* arrays, in order of devices */
	json_t *source_migrate;			 /* query-migrate of the source */
	json_t *source_status, *target_status;	 /* query-status */
	json_t *target_guest;			 /* x-query-guest */
	json_t *target_ram;			 /* x-check-ram */
	json_t *timeline;			 /* x-query-timeline, parsed; NULL: none */
};
void bench_gathered_free(struct bench_gathered *gathered);
void bench_evaluate(const struct bench_config *config, const struct bench_gathered *gathered,
	struct bench_sample *sample);

#endif
