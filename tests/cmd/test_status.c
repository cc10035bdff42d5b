/* SPDX-License-Identifier: BSD-3-Clause */
/* `switchover status` and `switchover cancel`, the program itself, against scripted monitors. */
#include "cmd/status/show.h"
#include "fake_monitor.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define CAPS                                                                                       \
	{                                                                                          \
		.command = "qmp_capabilities", .answer = "{\"return\": {}}"                        \
	}
#define ANSWER(name, text)                                                                         \
	{                                                                                          \
		.command = (name), .answer = "{\"return\": " text "}"                              \
	}
#define LOOK(status, devices)                                                                      \
	ANSWER("query-status", "{\"status\": \"running\", \"running\": true}"),                    \
		ANSWER("query-migrate", status), ANSWER("x-query-devices", devices)
#define NO_SUCH                                                                                    \
	{                                                                                          \
		.command = "x-query-devices",                                                      \
		.answer = "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}"        \
	}

static char output[4096];

/* Its exit status; stdout and stderr are in `output`. */
static int run(const char *verb, const char *options, const struct fake_step *steps, size_t count)
{
	static struct fake_monitor fake;
	char command[400];

	fake = (struct fake_monitor){0};
	fake_monitor_start(&fake, steps, count);
	snprintf(command, sizeof(command), "exec '%s' %s --qmp '%s' %s 2>&1", getenv("SWITCHOVER"),
		verb, fake.uri, options);
	FILE *out = popen(command, "re");

	assert_non_null(out);
	const size_t len = fread(output, 1, sizeof(output) - 1, out);

	output[len] = 0;
	const int status = pclose(out);

	fake_monitor_stop(&fake);
	if (fake.unexpected[0])
		fail_msg("unexpected: %s", fake.unexpected);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}
#define RUN(verb, options, steps) run(verb, options, steps, SWO_ARRAY_SIZE(steps))

static void expect(const char *words)
{
	if (!strstr(output, words))
		fail_msg("'%s' without '%s'", output, words);
}

static void a_device_shows_what_it_has_been_doing_for_how_long(void **state)
{
	(void)state;
	static const struct fake_step steps[] = {CAPS,
		LOOK("{\"status\": \"device\", \"total-time\": 3000, \"expected-downtime\": 128}",
			"[{\"id\": \"vf0\", \"state\": \"STOP_COPY\", \"health\": \"sound\"},"
			"{\"id\": \"a-long-name\\u001b[31m\", \"state\": \"PRE_COPY\", \"health\": "
			"\"lost\", \"under-way\": {\"step\": \"PRE_COPY->PRE_COPY_P2P\", \"ns\": "
			"3240000000}}]")};

	assert_int_equal(RUN("status", "", steps), 0);
	expect("VM         running\n");
	expect("migration  device        3 s");
	expect("downtime 128 ms");
	expect("STOP_COPY      sound      \n");
	expect("PRE_COPY       lost       PRE_COPY->PRE_COPY_P2P for 3.2 s\n");
	/* What comes from a monitor has no control over a terminal. */
	expect("a-long-name\\x1b[31m");
	assert_null(strchr(output, '\033'));
}

static void a_qemu_has_no_devices_and_a_vm_may_have_no_migration(void **state)
{
	(void)state;
	static const struct fake_step steps[] = {CAPS,
		ANSWER("query-status", "{\"status\": \"paused\"}"), ANSWER("query-migrate", "{}"),
		NO_SUCH};

	assert_int_equal(RUN("status", "", steps), 0);
	assert_string_equal(output, "VM         paused\nmigration  none\n");
	assert_int_equal(RUN("status", "--follow", steps), 0);
	assert_int_equal(RUN("status", "--json", steps), 0);
	assert_string_equal(
		output, "{\"vm\":{\"status\":\"paused\"},\"migration\":{},\"devices\":null}\n");
}

static void it_follows_a_migration_to_its_end_whose_status_is_its_own(void **state)
{
	(void)state;
	static const struct {
		const char *end, *words;
		int status;
	} ends[] = {
		{"{\"status\": \"completed\", \"downtime\": 128}", "completed: downtime 128 ms", 0},
		{"{\"status\": \"failed\", \"error-desc\": \"because\"}", "failed: because", 1},
		{"{\"status\": \"cancelled\"}", "cancelled", 1},
		{"{\"status\": \"in-doubt\"}", "in doubt", 3},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(ends); i++) {
		char end[200];
		const struct fake_step steps[] = {CAPS, LOOK("{\"status\": \"active\"}", "[]"),
			LOOK("{\"status\": \"active\"}", "[]"),
			ANSWER("query-status", "{\"status\": \"running\"}"),
			{.command = "query-migrate", .answer = end},
			ANSWER("x-query-devices", "[]")};

		snprintf(end, sizeof(end), "{\"return\": %s}", ends[i].end);
		assert_int_equal(RUN("status", "--follow", steps), ends[i].status);
		expect("migration  active");
		expect(ends[i].words);
		/* In a pipe it is brief: the second look was no news. */
		assert_null(strstr(strstr(output, "active") + 1, "active"));
	}
	/* Without --follow only a doubt is no success. */
	static const struct fake_step once[] = {CAPS, LOOK("{\"status\": \"failed\"}", "[]")};
	static const struct fake_step doubt[] = {CAPS, LOOK("{\"status\": \"in-doubt\"}", "[]")};

	assert_int_equal(RUN("status", "", once), 0);
	assert_int_equal(RUN("status", "", doubt), 3);
}

static void a_monitor_that_goes_away_is_reported(void **state)
{
	(void)state;
	static const struct fake_step steps[] = {
		CAPS, {.command = "query-status", .close_after = true}};

	assert_int_equal(RUN("status", "--follow", steps), 4);
	assert_int_equal(RUN("cancel", "",
				 ((const struct fake_step[]){
					 CAPS, {.command = "query-migrate", .close_after = true}})),
		4);
}

static void a_cancel_waits_for_the_end(void **state)
{
	(void)state;
	static const struct fake_step steps[] = {CAPS,
		ANSWER("query-migrate", "{\"status\": \"active\"}"), ANSWER("migrate_cancel", "{}"),
		ANSWER("query-migrate", "{\"status\": \"cancelling\"}"),
		ANSWER("query-migrate", "{\"status\": \"cancelled\"}")};

	assert_int_equal(RUN("cancel", "", steps), 0);
	assert_string_equal(output, "cancelled: the VM stays on the source\n");
}

static void what_was_not_cancelled_is_no_success(void **state)
{
	(void)state;
	static const struct fake_step none[] = {CAPS, ANSWER("query-migrate", "{}")};
	static const struct fake_step over[] = {
		CAPS, ANSWER("query-migrate", "{\"status\": \"completed\"}")};
	static const struct fake_step refused[] = {CAPS,
		ANSWER("query-migrate", "{\"status\": \"device\"}"),
		{.command = "migrate_cancel",
			.answer = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"past the "
				  "point of no return\"}}"}};
	static const struct fake_step late[] = {CAPS,
		ANSWER("query-migrate", "{\"status\": \"device\"}"), ANSWER("migrate_cancel", "{}"),
		ANSWER("query-migrate", "{\"status\": \"completed\"}")};
	static const struct fake_step slow[] = {CAPS,
		ANSWER("query-migrate", "{\"status\": \"active\"}"), ANSWER("migrate_cancel", "{}"),
		{.command = "query-migrate",
			.answer = "{\"return\": {\"status\": \"cancelling\"}}",
			.repeat = true}};

	assert_int_equal(RUN("cancel", "", none), 1);
	expect("no migration is under way");
	assert_int_equal(RUN("cancel", "", over), 1);
	expect("no migration is under way");
	assert_int_equal(RUN("cancel", "", refused), 1);
	expect("past the point of no return");
	assert_int_equal(RUN("cancel", "", late), 1);
	expect("not cancelled: the migration has completed");
	assert_int_equal(RUN("cancel", "--timeout 0.3", slow), 1);
	expect("has not ended yet (cancelling)");
}

/* Over what was there before; each line clears the rest of an older one. */
static void on_a_terminal_lines_clear_what_was_longer(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	json_t *all = json_pack("{s:{s:s}, s:{}, s:[{s:s, s:s, s:s}]}", "vm", "status", "running",
		"migration", "devices", "id", "vf0", "state", "RUNNING", "health", "sound");

	assert_non_null(out);
	assert_int_equal(status_show(out, all, true), 4);
	fclose(out);
	unsigned lines = 0, cleared = 0;

	for (const char *c = text; *c; c++)
		lines += *c == '\n';
	for (const char *c = text; (c = strstr(c, "\033[K\n")); c++)
		cleared++;
	assert_int_equal(lines, 4);
	assert_int_equal(cleared, 4);
	free(text);
	json_decref(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_shows_what_it_has_been_doing_for_how_long),
		cmocka_unit_test(a_qemu_has_no_devices_and_a_vm_may_have_no_migration),
		cmocka_unit_test(it_follows_a_migration_to_its_end_whose_status_is_its_own),
		cmocka_unit_test(a_monitor_that_goes_away_is_reported),
		cmocka_unit_test(a_cancel_waits_for_the_end),
		cmocka_unit_test(what_was_not_cancelled_is_no_success),
		cmocka_unit_test(on_a_terminal_lines_clear_what_was_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
