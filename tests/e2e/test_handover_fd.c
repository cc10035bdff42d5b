/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_handover_fd.c - RAM handed over by descriptor between real processes: the guest
 * continues in it, it is never mapped writable twice, and a killed target leaves it unchanged.
 */
#include "e2e.h"

#include <signal.h>
#include <unistd.h>

static struct pair_config config_fd(void)
{
	struct pair_config config = e2e_config();

	config.handover = "fd";
	return config;
}

static void guests_migrate_completely_one_kind_after_the_other(void **state)
{
	(void)state;
	struct pair_config config = config_fd();
	struct bench_sample sample;

	config.fill_ram = true;
	e2e_migrate_completely(&config, 4, "parallel", &sample);
	/* Nothing of RAM went over the channels. */
	assert_true(sample.ram_bytes == 0);
	bench_sample_free(&sample);
	config.finalise = "late";
	e2e_migrate_completely(&config, 2, "serial", &sample);
	bench_sample_free(&sample);
}

static void a_guest_under_kvm_migrates_completely(void **state)
{
	(void)state;
	struct pair_config config = config_fd();
	struct bench_sample sample;

	e2e_need_kvm();
	config.accel = "kvm";
	config.vcpus = 2;
	e2e_migrate_completely(&config, 2, "parallel", &sample);
	bench_sample_free(&sample);
}

/* Of the host's memory, in KiB: what of it this process has mapped, its shared files included. */
static unsigned long resident_kib(pid_t pid)
{
	char path[64], line[256];
	unsigned long kib = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmRSS: %lu kB", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

static void a_target_with_handover_fd_has_no_ram_of_its_own(void **state)
{
	(void)state;
	for (unsigned fd = 0; fd < 2; fd++) {
		struct pair_config config = fd ? config_fd() : e2e_config();
		static struct pair pair;

		config.ram = "256M";
		config.prealloc = !fd; /* otherwise RAM is sparse, and there is none yet */
		e2e_must(&pair,
			pair_init(&pair, &config, 1, "parallel", err) || pair_start(&pair, err));
		unsigned long kib = resident_kib(process_pid(pair.ends[PAIR_TARGET].vm));

		assert_int_equal(kib > 200 << 10, !fd);
		pair_free(&pair, false);
	}
}

/* Back and forth: what was handed over is handed on. */
static void ram_can_be_handed_on_again_and_again(void **state)
{
	(void)state;
	struct pair_config config = config_fd();
	char status[PAIR_STATUS_MAX];
	static struct pair pair;

	e2e_must(&pair, pair_init(&pair, &config, 2, "parallel", err) || pair_start(&pair, err) ||
				pair_boot(&pair, err));
	for (int hop = 0; hop < 4; hop++) {
		e2e_must(&pair, pair_migrate(&pair, err) ||
					pair_wait_end(&pair, E2E_GUARD_MS, status, err));
		assert_string_equal(status, "completed");
		e2e_rings_on(&pair, PAIR_TARGET, 0);
		if (hop < 3)
			e2e_must(&pair, pair_turn(&pair, err));
	}
	struct swo_error why = {0};
	json_decref(pair_qmp(&pair, PAIR_TARGET, "stop", NULL, &why));
	json_t *ram = pair_qmp(&pair, PAIR_TARGET, "x-check-ram", NULL, &why);

	assert_true(json_path_number(ram, "pages") > 0);
	assert_true(json_path_number(ram, "mismatches") == 0);
	json_decref(ram);
	/* The source has no RAM any more, and the error reports it. */
	assert_null(pair_qmp(&pair, PAIR_SOURCE, "x-check-ram", NULL, &why));
	assert_non_null(strstr(why.text, "was handed over to the target"));
	pair_free(&pair, false);
}

/* Killed */

static char *hash_of(struct pair *pair, enum pair_side side)
{
	struct swo_error err = {0};
	json_t *answer = pair_qmp(pair, side, "x-ram-hash", NULL, &err);

	if (!answer)
		e2e_fail(pair, "x-ram-hash", &err);
	char *text = strdup(json_path_string(answer, "hash"));

	json_decref(answer);
	assert_true(text && text[0]);
	return text;
}

static void a_target_that_is_killed_leaves_the_ram_of_a_paused_vm_byte_by_byte(void **state)
{
	(void)state;
	/* "finalise" is when its device is ready: READY and perhaps GO follow immediately. */
	static const char *const at[] = {
		"resuming", "resuming", "finalise", "finalise", "finalise"};
	unsigned back = 0;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(at); i++) {
		struct pair_config config = config_fd();
		char status[PAIR_STATUS_MAX];
		static struct pair pair;

		e2e_must(&pair, pair_init(&pair, &config, 1, "parallel", err) ||
					pair_start(&pair, err) || pair_boot(&pair, err));
		pair.deaths_expected = true;
		pair.parameters = json_pack(
			"{s:i, s:i}", "x-commit-deadline-ms", 1000, "x-idle-deadline-ms", 1000);
		json_decref(pair_qmp(&pair, PAIR_SOURCE, "stop", NULL, NULL));
		char *before = hash_of(&pair, PAIR_SOURCE);

		e2e_must(&pair, pair_migrate(&pair, err));
		e2e_await(&pair, at[i]);
		process_kill(pair.ends[PAIR_TARGET].vm);
		e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
		/* Never in doubt about a paused VM: nothing of it can have run. */
		if (!strcmp(status, "failed")) {
			char *after = hash_of(&pair, PAIR_SOURCE);

			assert_string_equal(before, after);
			free(after);
			back++;
			e2e_must(&pair,
				monitor_command(&pair.ends[PAIR_SOURCE].qmp, "cont", NULL, err));
			e2e_rings_on(&pair, PAIR_SOURCE, 0);
		}
		free(before);
		json_decref(pair.parameters);
		pair_free(&pair, false);
	}
	assert_true(back >= 2);
}

static void a_guest_that_started_on_a_target_that_died_cannot_run_on_the_source(void **state)
{
	(void)state;
	struct pair_config config = config_fd();
	char status[PAIR_STATUS_MAX];
	struct swo_error why = {0};
	static struct pair pair;

	e2e_must(&pair, pair_init(&pair, &config, 2, "parallel", err) || pair_start(&pair, err) ||
				pair_boot(&pair, err));
	pair.deaths_expected = true;
	e2e_must(&pair, pair_migrate(&pair, err));
	/* In the arcs to RUNNING, which take 15 ms more: STARTING, not yet STARTED. */
	e2e_await(&pair, "after-go");
	process_kill(pair.ends[PAIR_TARGET].vm);
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "in-doubt");
	assert_null(pair_qmp(
		&pair, PAIR_SOURCE, "x-migrate-resolve", json_pack("{s:b}", "run-here", 1), &why));
	if (!strstr(why.text, "has started the VM in the RAM that both share"))
		fail_msg("%s", why.text);
	assert_null(pair_qmp(&pair, PAIR_SOURCE, "cont", NULL, &why));
	json_decref(pair_qmp(
		&pair, PAIR_SOURCE, "x-migrate-resolve", json_pack("{s:b}", "run-here", 0), &why));
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "failed");
	assert_null(pair_qmp(&pair, PAIR_SOURCE, "cont", NULL, &why));
	pair_free(&pair, false);
}

static void a_target_that_is_frozen_before_go_and_thawed_later_does_not_run(void **state)
{
	(void)state;
	struct pair_config config = config_fd();
	char status[PAIR_STATUS_MAX];
	static struct pair pair;

	e2e_must(&pair, pair_init(&pair, &config, 1, "parallel", err) || pair_start(&pair, err) ||
				pair_boot(&pair, err));
	pair.parameters =
		json_pack("{s:i, s:i}", "x-commit-deadline-ms", 300, "x-idle-deadline-ms", 1000);
	e2e_must(&pair, pair_migrate(&pair, err));
	e2e_await(&pair, "finalise");
	kill(process_pid(pair.ends[PAIR_TARGET].vm), SIGSTOP);
	/* Before its READY, after it, or in STARTING. */
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	kill(process_pid(pair.ends[PAIR_TARGET].vm), SIGCONT);
	if (!strcmp(status, "in-doubt"))
		e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	e2e_rings_on(&pair, strcmp(status, "completed") ? PAIR_SOURCE : PAIR_TARGET, 0);
	char source[PAIR_STATUS_MAX], target[PAIR_STATUS_MAX];

	e2e_status(&pair, PAIR_TARGET, target, sizeof(target));
	e2e_status(&pair, PAIR_SOURCE, source, sizeof(source));
	assert_int_not_equal(!strcmp(source, "running"), !strcmp(target, "running"));
	json_decref(pair.parameters);
	pair_free(&pair, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		e2e_test(guests_migrate_completely_one_kind_after_the_other),
		e2e_test(a_guest_under_kvm_migrates_completely),
		e2e_test(a_target_with_handover_fd_has_no_ram_of_its_own),
		e2e_test(ram_can_be_handed_on_again_and_again),
		e2e_test(a_target_that_is_killed_leaves_the_ram_of_a_paused_vm_byte_by_byte),
		e2e_test(a_guest_that_started_on_a_target_that_died_cannot_run_on_the_source),
		e2e_test(a_target_that_is_frozen_before_go_and_thawed_later_does_not_run),
	};

	process_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
