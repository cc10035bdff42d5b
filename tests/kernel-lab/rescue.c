/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rescue.c - two machines with kernel devices, whose migration fails: the source's devices must
 * continue to run, with nothing lost, by their own counters.
 */
#include "tests/e2e/e2e.h"

#include <string.h>
#include <unistd.h>

#define VFS 2

static const struct pair_config *config(void)
{
	static struct pair_config shared;

	shared = e2e_config();
	shared.backend = "kernel";
	shared.ram = "16M";
	shared.dirty_rate = 50;
	shared.dma_pages = 8;
	shared.doorbell_period_us = 5000;
	return &shared;
}

static void begin(struct pair *pair)
{
	e2e_must(pair, pair_init(pair, config(), VFS, "parallel", err));
	e2e_must(pair, pair_start(pair, err) || pair_boot(pair, err));
}

/* No reset, no lost doorbell, and it is rung on. */
static void source_runs_on(struct pair *pair)
{
	char status[PAIR_STATUS_MAX];

	e2e_must(pair, pair_wait_end(pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "failed");
	e2e_rings_on(pair, PAIR_SOURCE, 0);
	e2e_status(pair, PAIR_SOURCE, status, sizeof(status));
	assert_string_equal(status, "running");
	for (unsigned i = 0; i < VFS; i++) {
		struct swo_error err = {0};
		json_t *report = pair_report(pair, PAIR_SOURCE, i, &err);

		if (!report)
			e2e_fail(pair, "report", &err);
		assert_string_equal(json_path_string(report, "state"), "RUNNING");
		assert_true(json_path_number(report, "resets") == 0);
		json_decref(report);
	}
	pair_free(pair, false);
}

static void kill_target_at(const char *moment)
{
	static struct pair pair;

	begin(&pair);
	e2e_must(&pair, pair_migrate(&pair, err));
	pair.deaths_expected = true;
	e2e_await(&pair, moment);
	process_kill(pair.ends[PAIR_TARGET].vm);
	source_runs_on(&pair);
}

static void source_runs_on_when_the_target_is_killed_in_precopy(void **state)
{
	(void)state;
	kill_target_at("enter-precopy");
}

static void source_runs_on_when_the_target_is_killed_after_the_stop(void **state)
{
	(void)state;
	kill_target_at("prepare");
}

static void fail_arc(enum pair_side side, const char *fault)
{
	static struct pair pair;

	begin(&pair);
	e2e_must(&pair, pair_kernel_put(&pair, side, 1, "faults", fault, err));
	e2e_must(&pair, pair_migrate(&pair, err));
	source_runs_on(&pair);
}

static void source_runs_on_when_its_device_refuses_precopy(void **state)
{
	(void)state;
	fail_arc(PAIR_SOURCE, "arc=RUNNING->PRE_COPY:fail=EIO,x1");
}

static void source_runs_on_when_its_device_does_not_quiesce(void **state)
{
	(void)state;
	fail_arc(PAIR_SOURCE, "arc=PRE_COPY->PRE_COPY_P2P:fail=EIO,x1");
}

static void source_runs_on_when_its_device_does_not_stop(void **state)
{
	(void)state;
	fail_arc(PAIR_SOURCE, "arc=PRE_COPY_P2P->STOP_COPY:fail=EIO,x1");
}

static void source_runs_on_when_the_targets_device_refuses_the_state(void **state)
{
	(void)state;
	fail_arc(PAIR_TARGET, "arc=RESUMING->STOP:fail=EIO,x1");
}

static void source_runs_on_when_the_saved_state_is_corrupt(void **state)
{
	(void)state;
	fail_arc(PAIR_SOURCE, "save:corrupt@50000");
}

/* Not even SIGKILL ends it: the arc has a deadline, and the guest runs without that device. */
static void the_guest_runs_on_beside_an_arc_that_nothing_ends(void **state)
{
	(void)state;
	static struct pair pair;
	char text[PAIR_STATUS_MAX];
	swo_deadline guard;

	e2e_must(&pair, pair_init(&pair, config(), VFS, "parallel", err));
	pair.device_options = ",arc-deadline=1500";
	/* A driver's rules change while its device is closed. */
	e2e_must(&pair, pair_kernel_put(&pair, PAIR_SOURCE, 1, "rules",
				"full-size increments uninterruptible", err));
	e2e_must(&pair, pair_start(&pair, err) || pair_boot(&pair, err));
	e2e_must(&pair, pair_kernel_put(&pair, PAIR_SOURCE, 1, "faults",
				"arc=PRE_COPY->PRE_COPY_P2P:hang,x1", err));
	e2e_must(&pair, pair_migrate(&pair, err));
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, text, err));
	assert_string_equal(text, "failed");
	e2e_rings_on(&pair, PAIR_SOURCE, 1u << 1);
	e2e_status(&pair, PAIR_SOURCE, text, sizeof(text));
	assert_string_equal(text, "running");
	json_t *devices = pair_qmp(&pair, PAIR_SOURCE, "x-query-devices", NULL, NULL);
	const json_t *device = json_array_get(devices, 1);

	assert_string_equal(json_path_string(device, "health"), "lost");
	assert_string_equal(json_path_string(device, "under-way.step"), "PRE_COPY->PRE_COPY_P2P");
	json_decref(devices);
	/* When it ends the device goes back by itself. */
	e2e_must(&pair, pair_kernel_put(&pair, PAIR_SOURCE, 1, "release", "1", err));
	guard = swo_deadline_ms(E2E_GUARD_MS);
	for (bool runs = false; !runs;) {
		json_t *report = pair_report(&pair, PAIR_SOURCE, 1, NULL);

		runs = report && !strcmp(json_path_string(report, "state"), "RUNNING");
		json_decref(report);
		assert_false(swo_deadline_passed(guard));
		usleep(20000);
	}
	pair_free(&pair, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		e2e_test(source_runs_on_when_the_target_is_killed_in_precopy),
		e2e_test(source_runs_on_when_the_target_is_killed_after_the_stop),
		e2e_test(source_runs_on_when_its_device_refuses_precopy),
		e2e_test(source_runs_on_when_its_device_does_not_quiesce),
		e2e_test(source_runs_on_when_its_device_does_not_stop),
		e2e_test(source_runs_on_when_the_targets_device_refuses_the_state),
		e2e_test(source_runs_on_when_the_saved_state_is_corrupt),
		e2e_test(the_guest_runs_on_beside_an_arc_that_nothing_ends),
	};

	process_init();
	return cmocka_run_group_tests_name("rescue with simvf", tests, NULL, NULL);
}
