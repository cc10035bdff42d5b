/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - one migration of the bench: the guest boots, is migrated, runs on
 * a little; then everybody is asked what they saw.
 */
#include "testbed/pair/pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIGRATE_MS 300000
#define RESUME_MS  120000
#define SETTLE_MS  300 /* the guest runs so long before and after, to show that it does */

static void look_at_files(struct lab *lab)
{
	for (enum lab_side side = LAB_SOURCE; side < LAB_SIDES; side++)
		bench_sample_files(bench_pid(lab->ends[side].vm), &lab->files_max);
}

static int migrate(struct lab *lab, struct swo_error *err)
{
	char status[LAB_STATUS_MAX];

	if (lab_start(lab, err) || lab_boot(lab, err))
		return -1;
	look_at_files(lab);
	if (bench_sleep_ms(SETTLE_MS, err) || lab_migrate(lab, err) ||
		lab_wait_end(lab, MIGRATE_MS, status, err))
		return -1;
	look_at_files(lab);
	return 0;
}

static int gather_reports(struct lab *lab, enum lab_side side, json_t **out, struct swo_error *err)
{
	*out = json_array();
	for (unsigned i = 0; i < lab->vfs; i++) {
		json_t *report = lab_report(lab, side, i, err);

		if (!report || json_array_append_new(*out, report))
			return -1;
	}
	return 0;
}

/* The target's side of a completed migration: it runs on, is stopped, and its memory checked. */
static int gather_target(struct lab *lab, struct bench_gathered *g, struct swo_error *err)
{
	if (lab_wait_for_doorbells(lab, LAB_TARGET, 0, 20, RESUME_MS, err) ||
		bench_sleep_ms(SETTLE_MS, err) ||
		!(g->target_status = lab_qmp(lab, LAB_TARGET, "query-status", NULL, err)) ||
		!(g->target_guest = lab_qmp(lab, LAB_TARGET, "x-query-guest", NULL, err)) ||
		ask_qmp_do(&lab->ends[LAB_TARGET].qmp, "stop", NULL, err) ||
		!(g->target_ram = lab_qmp(lab, LAB_TARGET, "x-check-ram", NULL, err)))
		return -1;
	return 0;
}

static int gather(struct lab *lab, struct bench_gathered *g, struct swo_error *err)
{
	g->vfs = lab->vfs;
	if (!(g->source_migrate = lab_qmp(lab, LAB_SOURCE, "query-migrate", NULL, err)) ||
		!(g->source_status = lab_qmp(lab, LAB_SOURCE, "query-status", NULL, err)) ||
		!(g->timeline = ask_timeline(&lab->ends[LAB_SOURCE].qmp, err)))
		return -1;
	/* When it did not complete, the evaluation says so: the rest is not there to be asked. */
	if (!strcmp(json_path_string(g->source_migrate, "status"), "completed") &&
		gather_target(lab, g, err))
		return -1;
	return gather_reports(lab, LAB_SOURCE, &g->source_reports, err) ||
	       gather_reports(lab, LAB_TARGET, &g->target_reports, err);
}

int bench_migrate_once(const struct bench_config *config, unsigned vfs, const char *transitions,
	struct bench_sample *sample, struct swo_error *err)
{
	struct lab *lab = malloc(sizeof(*lab));
	struct bench_gathered gathered = {0};

	*sample = (struct bench_sample){0};
	if (!lab)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a migration");
	int rc = lab_init(lab, config, vfs, transitions, err);

	lab->quiet_devices = true;
	rc = rc || migrate(lab, err) || gather(lab, &gathered, err);
	if (rc) {
		/* A process that died says more than the one that missed it. */
		bench_check_alive(err);
	} else {
		bench_evaluate(config, &gathered, sample);
		sample->threads_max = lab->threads_max;
		sample->rss_max_bytes = lab->rss_max_bytes;
		sample->files_max = lab->files_max;
		sample->start_ms = lab->start_ms;
	}
	/* Failed checks are a finding, and the logs its evidence; a failure leaves nothing. */
	lab_free(lab, config->keep || (!rc && !sample->whole && !bench_interrupted));
	bench_gathered_free(&gathered);
	free(lab);
	return rc ? -1 : 0;
}
