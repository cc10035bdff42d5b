/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - one migration of the bench: boots the guest, migrates it, lets it run, and collects the
 * reports of all devices and machines.
 */
#include "testbed/bench/sample.h"
#include "testbed/pair/pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIGRATE_MS 300000
#define RESUME_MS  120000
#define SETTLE_MS  300 /* the guest runs this long before and after the migration */

static void look_at_files(struct pair *pair)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		process_sample_files(process_pid(pair->ends[side].vm), &pair->files_max);
}

static int migrate(struct pair *pair, struct link **link, struct swo_error *err)
{
	char status[PAIR_STATUS_MAX];

	if (pair_start(pair, err) ||
		(pair_has_link(pair->config) && !(*link = pair_put_link(pair, err))) ||
		pair_boot(pair, err))
		return -1;
	look_at_files(pair);
	if (process_sleep_ms(SETTLE_MS, err) || pair_migrate(pair, err) ||
		pair_wait_end(pair, MIGRATE_MS, status, err))
		return -1;
	look_at_files(pair);
	return 0;
}

static int gather_reports(
	struct pair *pair, enum pair_side side, json_t **out, struct swo_error *err)
{
	*out = json_array();
	for (unsigned i = 0; i < pair->vfs; i++) {
		json_t *report = pair_report(pair, side, i, err);

		if (!report || json_array_append_new(*out, report))
			return -1;
	}
	return 0;
}

/* The target of a completed migration: lets the VM run, stops it, and checks its memory. */
static int gather_target(struct pair *pair, struct bench_gathered *g, struct swo_error *err)
{
	if (pair_wait_for_doorbells(pair, PAIR_TARGET, 0, 20, RESUME_MS, err) ||
		process_sleep_ms(SETTLE_MS, err) ||
		!(g->target_status = pair_qmp(pair, PAIR_TARGET, "query-status", NULL, err)) ||
		!(g->target_guest = pair_qmp(pair, PAIR_TARGET, "x-query-guest", NULL, err)) ||
		monitor_command(&pair->ends[PAIR_TARGET].qmp, "stop", NULL, err) ||
		!(g->target_ram = pair_qmp(pair, PAIR_TARGET, "x-check-ram", NULL, err)))
		return -1;
	return 0;
}

static int gather(struct pair *pair, struct bench_gathered *g, struct swo_error *err)
{
	g->vfs = pair->vfs;
	if (!(g->source_migrate = pair_qmp(pair, PAIR_SOURCE, "query-migrate", NULL, err)) ||
		!(g->source_status = pair_qmp(pair, PAIR_SOURCE, "query-status", NULL, err)) ||
		!(g->timeline = monitor_timeline(&pair->ends[PAIR_SOURCE].qmp, err)))
		return -1;
	/* A migration that did not complete fails a check; collect nothing more. */
	if (!strcmp(json_path_string(g->source_migrate, "status"), "completed") &&
		gather_target(pair, g, err))
		return -1;
	return gather_reports(pair, PAIR_SOURCE, &g->source_reports, err) ||
	       gather_reports(pair, PAIR_TARGET, &g->target_reports, err);
}

int bench_migrate_once(const struct bench_config *config, unsigned vfs, const char *transitions,
	struct bench_sample *sample, struct swo_error *err)
{
	struct pair *pair = malloc(sizeof(*pair));
	struct bench_gathered gathered = {0};
	struct link *link = NULL;

	*sample = (struct bench_sample){0};
	if (!pair)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a migration");
	int rc = pair_init(pair, &config->pair, vfs, transitions, err);

	pair->quiet_devices = true;
	rc = rc || migrate(pair, &link, err) || gather(pair, &gathered, err);
	if (rc) {
		/* Report the log of a dead process rather than the error of its peer. */
		process_check_alive(err);
	} else {
		bench_evaluate(config, &gathered, sample);
		sample->threads_max = pair->threads_max;
		sample->rss_max_bytes = pair->rss_max_bytes;
		sample->files_max = pair->files_max;
		sample->start_ms = pair->start_ms;
	}
	link_stop(link);
	/* Keep the logs of failed checks as evidence; a failure to run keeps none. */
	pair_free(pair, config->keep || (!rc && !sample->passed && !process_interrupted));
	bench_gathered_free(&gathered);
	free(pair);
	return rc ? -1 : 0;
}
