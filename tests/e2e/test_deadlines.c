/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_deadlines.c - slow and hung arcs, and a ceiling on the stop: independent work does not
 * wait, both monitors respond all the time, and the report names the cause.
 */
#include "e2e.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

/* The deadline of a monitor's reply; longer under tools that slow everything down. */
#define ANSWER_MS 100
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWNESS 20
#else
#define SLOWNESS 1
#endif
/* A freeze is there every time; what else runs on this machine is not. */
#define ATTEMPTS 3

static struct pair pair;

static void start(unsigned vfs)
{
	static struct pair_config config;

	config = e2e_config();
	e2e_must(&pair, pair_init(&pair, &config, vfs, "parallel", err) || pair_start(&pair, err) ||
				pair_boot(&pair, err));
}

static void tell_device(enum pair_side side, unsigned i, json_t *message)
{
	struct json_sock *sock = &pair.ends[side].controls[i];
	struct swo_error err = {0};
	json_t *answer = NULL;

	if (!json_sock_send(sock, message, swo_deadline_ms(E2E_GUARD_MS), &err))
		answer = json_sock_recv(sock, swo_deadline_ms(E2E_GUARD_MS), NULL, &err);
	json_decref(message);
	if (!answer || json_object_get(answer, "error"))
		e2e_fail(&pair, "a device's fault", &err);
	json_decref(answer);
}

static void set_fault(enum pair_side side, unsigned i, const char *spec)
{
	tell_device(side, i, json_pack("{s:s, s:s}", "cmd", "fault", "spec", spec));
}

static void release(enum pair_side side, unsigned i)
{
	tell_device(side, i, json_pack("{s:s}", "cmd", "release"));
}

static void set_ceiling(unsigned ms)
{
	e2e_must(&pair, monitor_command(&pair.ends[PAIR_SOURCE].qmp, "migrate-set-parameters",
				json_pack("{s:i}", "x-downtime-ceiling-ms", (int)ms), err));
}

/* Queries during the migration */

struct asker {
	pthread_t thread;
	char uri[128];
	atomic_bool stop;
	uint64_t longest_ns;
	unsigned answers;
	bool failed;
};

static void *keep_asking(void *opaque)
{
	static const char *const commands[] = {
		"query-migrate", "query-status", "x-query-devices", "query-migrate-parameters"};
	struct asker *asker = opaque;
	struct swo_error err = {0};
	struct qmp qmp;

	asker->failed =
		qmp_open(&qmp, asker->uri, false, swo_deadline_ms(E2E_GUARD_MS), NULL, &err);
	while (!asker->failed && !atomic_load(&asker->stop)) {
		uint64_t begun = swo_now_ns();
		json_t *answer =
			qmp_execute(&qmp, commands[asker->answers % SWO_ARRAY_SIZE(commands)], NULL,
				swo_deadline_ms(E2E_GUARD_MS), &err);
		uint64_t took = swo_now_ns() - begun;

		asker->failed = !answer;
		asker->longest_ns = took > asker->longest_ns ? took : asker->longest_ns;
		asker->answers++;
		json_decref(answer);
		usleep(3000);
	}
	qmp_close(&qmp);
	return NULL;
}

static struct asker askers[PAIR_SIDES];

static void begin_asking(void)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++) {
		struct asker *asker = &askers[side];

		memset(asker, 0, sizeof(*asker));
		snprintf(asker->uri, sizeof(asker->uri), "unix:%s/%s.qmp", pair.dir,
			pair_side_name(side));
		assert_int_equal(pthread_create(&asker->thread, NULL, keep_asking, asker), 0);
	}
}

/* Checks that each reply met its deadline. */
static bool end_asking(void)
{
	bool good = true;

	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++) {
		struct asker *asker = &askers[side];

		atomic_store(&asker->stop, true);
		pthread_join(asker->thread, NULL);
		assert_false(asker->failed);
		assert_true(asker->answers > 20);
		print_message("# the %s answered %u times, the slowest took %.1f ms\n",
			pair_side_name(side), asker->answers, (double)asker->longest_ns / 1e6);
		good = good && asker->longest_ns < UINT64_C(1000000) * ANSWER_MS * SLOWNESS;
	}
	return good;
}

/* Cases:
 */

static void expect_source_runs_on(void)
{
	char status[PAIR_STATUS_MAX];

	e2e_status(&pair, PAIR_SOURCE, status, sizeof(status));
	assert_string_equal(status, "running");
	e2e_status(&pair, PAIR_TARGET, status, sizeof(status));
	assert_string_not_equal(status, "running");
	e2e_rings_on(&pair, PAIR_SOURCE, 0);
}

static void expect_report(const char *device, const char *words)
{
	json_t *info = pair_qmp(&pair, PAIR_SOURCE, "query-migrate", NULL, NULL);
	const char *why = json_path_string(info, "error-desc");

	if (!strstr(why, words) || !strstr(why, device))
		fail_msg("error '%s' without '%s' of %s", why, words, device);
	assert_string_equal(json_path_string(info, "x-slowest-device"), device);
	assert_true(json_path_number(info, "x-projected-downtime") > 0);
	json_decref(info);
}

static bool a_slow_and_a_hung_device(void)
{
	char status[PAIR_STATUS_MAX];

	start(3);
	set_fault(PAIR_SOURCE, 0, "arc=PRE_COPY_P2P->STOP_COPY:slow=400");
	set_fault(PAIR_TARGET, 1, "arc=RESUMING->STOP:hang");
	set_ceiling(2500);
	begin_asking();
	e2e_must(
		&pair, pair_migrate(&pair, err) || pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "failed");
	/* The target still has its hung arc, and the guest runs on. */
	usleep(500000);
	expect_source_runs_on();
	bool good = end_asking();
	expect_report("vf1", "downtime-ceiling of 2500 ms");
	release(PAIR_TARGET, 1);
	pair_free(&pair, false);
	return good;
}

static void both_monitors_answer_in_time_whatever_hangs_and_the_ceiling_ends_it(void **state)
{
	(void)state;
	for (int i = 0; !a_slow_and_a_hung_device(); i++)
		assert_true(i + 1 < ATTEMPTS);
}

static bool a_hung_arc_that_ends_after_all(void)
{
	char status[PAIR_STATUS_MAX];

	start(2);
	set_fault(PAIR_SOURCE, 1, "arc=PRE_COPY->PRE_COPY_P2P:hang");
	begin_asking();
	e2e_must(&pair, pair_migrate(&pair, err));
	sleep(2);
	release(PAIR_SOURCE, 1);
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "completed");
	bool good = end_asking();
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	pair_free(&pair, false);
	return good;
}

static void both_monitors_answer_in_time_while_the_stop_waits_for_a_device(void **state)
{
	(void)state;
	for (int i = 0; !a_hung_arc_that_ends_after_all(); i++)
		assert_true(i + 1 < ATTEMPTS);
}

static void a_stop_that_has_lasted_too_long_for_a_slow_device_is_taken_back(void **state)
{
	(void)state;
	char status[PAIR_STATUS_MAX];

	start(3);
	set_fault(PAIR_SOURCE, 2, "arc=PRE_COPY_P2P->STOP_COPY:slow=3000");
	set_ceiling(2000);
	e2e_must(
		&pair, pair_migrate(&pair, err) || pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "failed");
	expect_report("vf2", "the stop had lasted");
	expect_source_runs_on();
	pair_free(&pair, false);
}

/* More than its socket has room for: the guest, whose one vCPU rings all, comes to it. */
#define RUNG_WITHOUT 8000

static void a_device_that_is_frozen_holds_up_its_guest_once(void **state)
{
	(void)state;
	start(3);
	const pid_t frozen = process_pid(pair.ends[PAIR_SOURCE].devs[1]);

	assert_int_equal(kill(frozen, SIGSTOP), 0);
	e2e_must(&pair, pair_wait_for_doorbells(
				&pair, PAIR_SOURCE, 1 << 1, RUNG_WITHOUT, E2E_GUARD_MS, err));
	assert_int_equal(kill(frozen, SIGCONT), 0);
	/* It is rung again, and the others have lost nothing. */
	e2e_must(&pair, pair_wait_for_doorbells(
				&pair, PAIR_SOURCE, 0, RUNG_WITHOUT / 2, E2E_GUARD_MS, err));
	e2e_rings_on(&pair, PAIR_SOURCE, 1 << 1);
	pair_free(&pair, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		e2e_test(both_monitors_answer_in_time_whatever_hangs_and_the_ceiling_ends_it),
		e2e_test(both_monitors_answer_in_time_while_the_stop_waits_for_a_device),
		e2e_test(a_stop_that_has_lasted_too_long_for_a_slow_device_is_taken_back),
		e2e_test(a_device_that_is_frozen_holds_up_its_guest_once),
	};
	process_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
