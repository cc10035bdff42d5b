/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e2e.c - helpers of the end-to-end tests.
 */
#include "e2e.h"

#include <fcntl.h>
#include <unistd.h>

int e2e_teardown(void **state)
{
	(void)state;
	process_kill_all();
	return 0;
}

struct pair_config e2e_config(void)
{
	struct pair_config config;

	pair_defaults(&config);
	config.accel = "native";
	config.ram = "64M";
	config.vcpus = 1;
	config.doorbell_period_us = 1000;
	return config;
}

void e2e_fail(struct pair *pair, const char *what, const struct swo_error *err)
{
	char text[600];

	snprintf(text, sizeof(text), "%.150s: %s", what, err->text);
	pair_free(pair, true);
	fail_msg("%s", text);
	abort(); /* not reached; fail_msg does not return */
}

void e2e_need_kvm(void)
{
	swo_autofd int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		skip();
}

void e2e_migrate_completely(const struct pair_config *config, unsigned vfs, const char *transitions,
	struct bench_sample *sample)
{
	const struct bench_config whole = {.pair = *config};
	struct swo_error err = {0};

	if (bench_migrate_once(&whole, vfs, transitions, sample, &err))
		fail_msg("%s", err.text);
	if (!sample->passed)
		fail_msg("failed checks: %s", sample->failed_checks);
}

void e2e_await(struct pair *pair, const char *moment)
{
	e2e_must(pair, moment_await(pair, moment_named(moment), E2E_GUARD_MS, err));
}

void e2e_status(struct pair *pair, enum pair_side side, char *out, size_t len)
{
	json_t *answer = pair_qmp(pair, side, "query-status", NULL, NULL);

	snprintf(out, len, "%s", json_path_string(answer, "status"));
	json_decref(answer);
}

bool e2e_runs(struct pair *pair, enum pair_side side)
{
	char status[PAIR_STATUS_MAX];

	e2e_status(pair, side, status, sizeof(status));
	return !strcmp(status, "running");
}

bool e2e_comes_to_run(struct pair *pair, enum pair_side side, uint64_t within_ms)
{
	swo_deadline deadline = swo_deadline_ms(within_ms);

	while (!e2e_runs(pair, side)) {
		if (swo_deadline_passed(deadline))
			return false;
		usleep(10000);
	}
	return true;
}

void e2e_rings_on(struct pair *pair, enum pair_side side, unsigned except)
{
	static const char *const never[] = {"doorbells_lost", "doorbells_repeated",
		"quiesce_violations", "p2p_violations", "state_mismatches", "ram_mismatches"};

	e2e_must(pair, pair_wait_for_doorbells(pair, side, except, 20, E2E_GUARD_MS, err));
	for (unsigned i = 0; i < pair->vfs; i++) {
		if (except >> i & 1)
			continue;
		struct swo_error err = {0};
		json_t *report = pair_report(pair, side, i, &err);

		if (!report)
			e2e_fail(pair, "report", &err);
		for (size_t k = 0; k < SWO_ARRAY_SIZE(never); k++)
			if (json_path_number(report, never[k]) != 0) {
				swo_error_set(&err, SWO_E_CORRUPT, 0, "%s's vf%u: %s %.0f",
					pair_side_name(side), i, never[k],
					json_path_number(report, never[k]));
				json_decref(report);
				e2e_fail(pair, "the counters", &err);
			}
		json_decref(report);
	}
}
