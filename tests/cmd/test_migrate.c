/* SPDX-License-Identifier: BSD-3-Clause */
/* `switchover migrate`, the program itself, against scripted monitors: exit statuses and messages. */
#include "cmd/common/view.h"
#include "fake_monitor.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAPS                                                                                       \
	{                                                                                          \
		.command = "qmp_capabilities", .answer = "{\"return\": {}}"                        \
	}
#define START                                                                                      \
	{                                                                                          \
		.command = "migrate", .answer = "{\"return\": {}}"                                 \
	}
#define STATUS(text) "{\"return\": {\"status\": \"" text "\"}}"

struct outcome {
	int status;
	char text[4096]; /* stdout and stderr */
};

static pid_t spawn(const char *const *args, int *out)
{
	int fds[2];
	const char *argv[24] = {getenv("SWITCHOVER"), "migrate"};
	size_t n = 2;

	assert_non_null(argv[0]);
	while (*args && n < 23)
		argv[n++] = *args++;
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fds[1]);
	*out = fds[0];
	return pid;
}

static struct outcome finish(pid_t pid, int out)
{
	struct outcome outcome = {.status = -1};
	size_t used = 0;
	ssize_t got;

	while ((got = read(out, outcome.text + used, sizeof(outcome.text) - 1 - used)) > 0)
		used += (size_t)got;
	close(out);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		outcome.status = WEXITSTATUS(status);
	return outcome;
}

static struct outcome run(const struct fake_step *steps, size_t count, struct fake_monitor *fake,
	const char *const *more)
{
	const char *args[20] = {"--qmp", fake->uri};
	size_t n = 2;
	int out;

	fake_monitor_start(fake, steps, count);
	while (more && *more)
		args[n++] = *more++;
	args[n] = "unix:/target";
	pid_t pid = spawn(args, &out);
	struct outcome outcome = finish(pid, out);
	fake_monitor_stop(fake);
	assert_string_equal(fake->unexpected, "");
	return outcome;
}

static void a_completed_migration_exits_with_0_and_prints_the_downtime(void **state)
{
	(void)state;
	const struct fake_step steps[] = {CAPS, START,
		{.command = "query-migrate", .answer = STATUS("setup")},
		{.command = "query-migrate",
			.before = "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}",
			.answer = STATUS("active")},
		{.command = "query-migrate",
			.answer =
				"{\"return\": {\"status\": \"completed\", \"downtime\": 127, "
				"\"total-time\": 2500, \"ram\": {\"transferred\": 1048576, "
				"\"dirty-sync-count\": 3}, \"vfio\": {\"transferred\": 65536}}}"}};
	struct fake_monitor fake = {0};
	struct outcome outcome = run(steps, SWO_ARRAY_SIZE(steps), &fake, NULL);

	assert_int_equal(outcome.status, 0);
	assert_string_equal(outcome.text, "completed: downtime 127 ms, 2.50 s in all; 1.0 MiB of "
					  "memory in 3 passes, 64.0 KiB of device state\n");
	assert_string_equal(fake.arguments, "{\"uri\":\"unix:/target\"}\n");
}

static const char *const options[] = {"--param", "downtime-limit=500", "--param", "tls-creds=1a",
	"--param", "x-flag=true", "--capability", "events=on", NULL};

static void parameters_and_capabilities_go_with_the_migration_with_their_types(void **state)
{
	(void)state;
	const struct fake_step steps[] = {
		CAPS, START, {.command = "query-migrate", .answer = STATUS("cancelled")}};
	struct fake_monitor fake = {0};
	struct outcome outcome = run(steps, SWO_ARRAY_SIZE(steps), &fake, options);

	assert_int_equal(outcome.status, 1);
	assert_string_equal(fake.arguments,
		"{\"uri\":\"unix:/target\","
		"\"x-parameters\":{\"downtime-limit\":500,\"tls-creds\":\"1a\",\"x-flag\":true},"
		"\"x-capabilities\":[{\"capability\":\"events\",\"state\":true}]}\n");
}

#define UNKNOWN                                                                                    \
	{                                                                                          \
		.command = "migrate",                                                              \
		.answer = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Parameter "       \
			  "'x-parameters' is unexpected\"}}"                                       \
	}

static void a_monitor_without_options_for_one_migration_gets_its_own_back(void **state)
{
	(void)state;
	const struct fake_step steps[] = {CAPS, UNKNOWN,
		{.command = "query-migrate-capabilities",
			.answer = "{\"return\": [{\"capability\": \"xbzrle\", \"state\": false}, "
				  "{\"capability\": \"events\", \"state\": false}]}"},
		{.command = "migrate-set-capabilities", .answer = "{\"return\": {}}"},
		{.command = "query-migrate-parameters",
			.answer = "{\"return\": {\"downtime-limit\": 300, \"tls-creds\": \"\", "
				  "\"max-bandwidth\": 7}}"},
		{.command = "migrate-set-parameters", .answer = "{\"return\": {}}"}, START,
		{.command = "query-migrate", .answer = STATUS("failed")},
		{.command = "migrate-set-parameters", .answer = "{\"return\": {}}"},
		{.command = "migrate-set-capabilities", .answer = "{\"return\": {}}"}};
	struct fake_monitor fake = {0};
	struct outcome outcome = run(steps, SWO_ARRAY_SIZE(steps), &fake, options);

	assert_int_equal(outcome.status, 1);
	assert_int_equal(fake.taken, SWO_ARRAY_SIZE(steps));
	assert_non_null(strstr(fake.arguments,
		"{\"downtime-limit\":500,\"tls-creds\":\"1a\",\"x-flag\":true}\n"
		"{\"uri\":\"unix:/target\"}\n"
		"{\"downtime-limit\":300,\"tls-creds\":\"\"}\n"
		"{\"capabilities\":[{\"capability\":\"events\",\"state\":false}]}\n"));
}

static void failed_cancelled_and_in_doubt_have_their_own_ends(void **state)
{
	(void)state;
	const struct {
		const char *answer;
		int status;
		const char *text;
	} ends[] = {
		{"{\"return\": {\"status\": \"failed\", \"error-desc\": \"vf0 refused\"}}", 1,
			"failed: vf0 refused; the VM stays on the source"},
		{STATUS("cancelled"), 1, "cancelled"},
		{STATUS("in-doubt"), 3, "parked"},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(ends); i++) {
		const struct fake_step steps[] = {
			CAPS, START, {.command = "query-migrate", .answer = ends[i].answer}};
		struct fake_monitor fake = {0};
		struct outcome outcome = run(steps, SWO_ARRAY_SIZE(steps), &fake, NULL);

		assert_int_equal(outcome.status, ends[i].status);
		assert_non_null(strstr(outcome.text, ends[i].text));
	}
}

static void a_refused_start_fails_and_a_lost_monitor_is_unreachable(void **state)
{
	(void)state;
	const struct fake_step refused[] = {CAPS,
		{.command = "migrate",
			.answer =
				"{\"error\": {\"class\": \"GenericError\", \"desc\": \"busy\"}}"}};
	const struct fake_step lost[] = {
		CAPS, START, {.command = "query-migrate", .close_after = true}};
	struct fake_monitor fake = {0};
	struct outcome outcome = run(refused, SWO_ARRAY_SIZE(refused), &fake, NULL);

	assert_int_equal(outcome.status, 1);
	assert_string_equal(outcome.text, "switchover: migrate: busy\n");
	fake = (struct fake_monitor){0};
	outcome = run(lost, SWO_ARRAY_SIZE(lost), &fake, NULL);
	assert_int_equal(outcome.status, 4);
	assert_non_null(strstr(outcome.text, "query the target"));
}

static void json_output_is_the_monitors_last_answer(void **state)
{
	(void)state;
	const struct fake_step steps[] = {
		CAPS, START, {.command = "query-migrate", .answer = STATUS("completed")}};
	const char *const more[] = {"--json", NULL};
	struct fake_monitor fake = {0};
	struct outcome outcome = run(steps, SWO_ARRAY_SIZE(steps), &fake, more);

	assert_int_equal(outcome.status, 0);
	assert_string_equal(outcome.text, "{\"status\":\"completed\"}\n");
}

static void a_timeout_cancels_and_waits_for_the_end(void **state)
{
	(void)state;
	const struct fake_step steps[] = {CAPS, START,
		{.command = "query-migrate", .answer = STATUS("active"), .repeat = true},
		{.command = "migrate_cancel", .answer = "{\"return\": {}}"},
		{.command = "query-migrate", .answer = STATUS("cancelling")},
		{.command = "query-migrate", .answer = STATUS("cancelled")}};
	const char *const more[] = {"--timeout", "0.05", NULL};
	struct fake_monitor fake = {0};
	struct outcome outcome = run(steps, SWO_ARRAY_SIZE(steps), &fake, more);

	assert_int_equal(outcome.status, 1);
	assert_non_null(strstr(outcome.text, "timed out: cancelling"));
	assert_int_equal(fake.taken, SWO_ARRAY_SIZE(steps));
}

static void a_timeout_that_forces_is_the_vmms_and_with_auto_converge_for_this_migration(
	void **state)
{
	(void)state;
	const struct fake_step steps[] = {
		CAPS, START, {.command = "query-migrate", .answer = STATUS("completed")}};
	const char *const more[] = {
		"--auto-converge", "--timeout", "7.5", "--timeout-strategy", "force", NULL};
	struct fake_monitor fake = {0};
	struct outcome outcome = run(steps, SWO_ARRAY_SIZE(steps), &fake, more);

	assert_int_equal(outcome.status, 0);
	assert_non_null(strstr(fake.arguments,
		"\"x-parameters\":{\"x-timeout-ms\":7500,\"x-timeout-strategy\":\"force\"}"));
	assert_non_null(strstr(fake.arguments,
		"\"x-capabilities\":[{\"capability\":\"auto-converge\",\"state\":true}]"));
}

static void a_migration_that_does_not_converge_is_shown_with_both_rates(void **state)
{
	(void)state;
	json_t *info = json_pack("{s:s, s:b, s:i, s:i, s:{s:i, s:i, s:f, s:i, s:i}}", "status",
		"active", "x-stalled", 1, "expected-downtime", 6400, "cpu-throttle-percentage", 40,
		"ram", "dirty-pages-rate", 5000, "page-size", 4096, "mbps", 38.4, "transferred",
		1000, "remaining", 2000);
	char line[128];

	view_progress(info, 23, line, sizeof(line));
	assert_string_equal(line,
		"   23 s  does not converge: dirties 20.5, sends 4.8 MB/s, CPU -40 %, stop 6.4 s");
	json_object_set_new(info, "x-stalled", json_false());
	view_progress(info, 23, line, sizeof(line));
	assert_non_null(strstr(line, "2.0 KiB left"));
	json_decref(info);
}

static void ctrl_c_cancels_and_a_second_one_leaves(void **state)
{
	(void)state;
	const struct fake_step steps[] = {CAPS, START,
		{.command = "query-migrate", .answer = STATUS("active"), .repeat = true},
		{.command = "migrate_cancel", .answer = "{\"return\": {}}"},
		{.command = "query-migrate", .answer = STATUS("cancelling"), .repeat = true}};
	struct fake_monitor fake = {0};
	char text[64] = "";
	int out;

	fake_monitor_start(&fake, steps, SWO_ARRAY_SIZE(steps));
	const char *const args[] = {"--qmp", fake.uri, "unix:/target", NULL};
	pid_t pid = spawn(args, &out);
	/* Once it has queried the status, its signal handlers are installed. */
	while (__atomic_load_n(&fake.taken, __ATOMIC_ACQUIRE) < 2)
		usleep(1000);
	kill(pid, SIGINT);
	assert_true(read(out, text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "interrupted"));
	kill(pid, SIGINT);
	assert_int_equal(finish(pid, out).status, 130);
	fake_monitor_stop(&fake);
}

static void a_senseless_command_line_exits_with_2(void **state)
{
	(void)state;
	const char *const lines[][8] = {
		{"unix:/target"},
		{"--qmp", "unix:/x"},
		{"--qmp", "unix:/x", "--param", "novalue", "unix:/target"},
		{"--qmp", "unix:/x", "--capability", "events=maybe", "unix:/target"},
		{"--qmp", "unix:/x", "--timeout", "soon", "unix:/target"},
		{"--qmp", "unix:/x", "--timeout", "1", "--timeout-strategy", "no", "unix:/target"},
		{"--qmp", "unix:/x", "--timeout-strategy", "force", "unix:/target"},
		{"--qmp", "unix:/x", "unix:/target", "unix:/other"},
		{"--qmp", "nonsense", "unix:/target"},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(lines); i++) {
		const char *args[9] = {0};
		int out;

		memcpy(args, lines[i], sizeof(lines[i]));
		pid_t pid = spawn(args, &out);
		assert_int_equal(finish(pid, out).status, 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_completed_migration_exits_with_0_and_prints_the_downtime),
		cmocka_unit_test(
			parameters_and_capabilities_go_with_the_migration_with_their_types),
		cmocka_unit_test(a_monitor_without_options_for_one_migration_gets_its_own_back),
		cmocka_unit_test(failed_cancelled_and_in_doubt_have_their_own_ends),
		cmocka_unit_test(a_refused_start_fails_and_a_lost_monitor_is_unreachable),
		cmocka_unit_test(json_output_is_the_monitors_last_answer),
		cmocka_unit_test(a_timeout_cancels_and_waits_for_the_end),
		cmocka_unit_test(
			a_timeout_that_forces_is_the_vmms_and_with_auto_converge_for_this_migration),
		cmocka_unit_test(a_migration_that_does_not_converge_is_shown_with_both_rates),
		cmocka_unit_test(ctrl_c_cancels_and_a_second_one_leaves),
		cmocka_unit_test(a_senseless_command_line_exits_with_2),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
