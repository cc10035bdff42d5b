/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands in messages do what they are for when they are pasted into a shell, whatever the path:
 * each is run by sh(1), with a `switchover` that prints its arguments, one a line.
 */
#include "journal/write.h"
#include "stage.h"
#include "tests/support/dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID "00000000-0000-4000-8000-000000000001"

static char dir[32];
/* Each is the name of a folder in `dir`. */
static const char *const names[] = {
	"plain", "a b", "it's", "a\"b`c$d", "-x", "*;&|<>(){}#~!", "\xc3\xa4", "a\\nb"};

static int set_up(void **state)
{
	char path[64], search[4096];

	(void)state;
	if (dir_make(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/switchover", dir);
	FILE *file = fopen(path, "we");

	if (!file)
		return -1;
	fputs("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", file);
	fclose(file);
	snprintf(search, sizeof(search), "%s:%s", dir, getenv("PATH"));
	return chmod(path, 0700) || setenv("PATH", search, 1);
}

static int tear_down(void **state)
{
	(void)state;
	return dir_remove(dir);
}

/* The command is the rest of a message. */
static void run(const char *message, char *out, size_t room)
{
	const char *at = strstr(message, "run: ");

	if (!at)
		fail_msg("no command in '%s'", message);
	FILE *shell = popen(at + strlen("run: "), "r");

	assert_non_null(shell);
	const size_t n = fread(out, 1, room - 1, shell);

	out[n] = 0;
	if (pclose(shell))
		fail_msg("'%s' failed", at);
}

static void folder(unsigned i, char out[256], mode_t mode)
{
	snprintf(out, 256, "%s/%s", dir, names[i]);
	if (mkdir(out, mode) && errno != EEXIST)
		fail_msg("%s", out);
	assert_int_equal(chmod(out, mode), 0);
}

static void a_vm_that_is_not_started_has_a_command_that_shows_why(void **state)
{
	(void)state;
	char path[256], args[600], expected[600];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		folder(i, path, 0700);
		const struct swo_journal_config config = {.dir = path, .vm = "vm"};
		struct swo_error err = {0};
		struct swo_journal *journal;

		assert_int_equal(journal_create(&config, SWO_JOURNAL_SOURCE, ID, "unix:/x", NULL,
					 &journal, NULL),
			0);
		assert_int_equal(
			journal_write(journal, SWO_JOURNAL_COMMITTED, 1, NULL, NULL, NULL), 0);
		assert_int_equal(journal_write(journal, SWO_JOURNAL_DONE, 0, NULL, NULL, NULL), 0);
		assert_int_equal(swo_journal_may_boot(path, "vm", &err), -1);
		run(err.text, args, sizeof(args));
		snprintf(expected, sizeof(expected), "resolve\n--journal=%s\n", path);
		assert_string_equal(args, expected);
		journal_close(journal, true);
		assert_int_equal(rmdir(path), 0);
	}
}

static void a_journal_folder_that_others_may_write_to_has_a_command_that_mends_it(void **state)
{
	(void)state;
	char path[256], out[100];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		struct swo_error err = {0};

		folder(i, path, 0777);
		assert_int_equal(swo_journal_prepare_dir(path, false, &err), -1);
		run(err.text, out, sizeof(out));
		assert_int_equal(swo_journal_prepare_dir(path, false, NULL), 0);
		assert_int_equal(rmdir(path), 0);
	}
}

/* A relative name that begins with a dash. */
static void a_folder_is_never_taken_for_an_option(void **state)
{
	(void)state;
	struct swo_error err = {0};
	char here[512], out[100];

	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("-R", 0700), 0);
	assert_int_equal(chmod("-R", 0777), 0);
	assert_int_equal(swo_journal_prepare_dir("-R", false, &err), -1);
	run(err.text, out, sizeof(out));
	assert_int_equal(swo_journal_prepare_dir("-R", false, NULL), 0);
	assert_int_equal(rmdir("-R"), 0);
	assert_int_equal(chdir(here), 0);
}

static void credentials_that_others_may_write_to_have_a_command_that_mends_them(void **state)
{
	(void)state;
	char path[256], out[100];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		struct swo_tls_params params = {.kind = SWO_TLS_PSK};
		struct swo_error err = {0};
		struct channel_tls_creds *creds = NULL;

		folder(i, path, 0777);
		snprintf(params.creds, sizeof(params.creds), "%s", path);
		assert_int_equal(channel_tls_creds_load(&params, false, &creds, &err), -1);
		if (err.code == SWO_E_UNSUPPORTED)
			skip();
		run(err.text, out, sizeof(out));
		assert_int_equal(channel_tls_creds_load(&params, false, &creds, &err), -1);
		assert_null(strstr(err.text, "run: "));
		assert_int_equal(rmdir(path), 0);
	}
}

static void a_migration_in_doubt_has_a_command_of_its_monitor(void **state)
{
	(void)state;
	static struct stage stage;
	char uri[300], args[600], expected[600];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		snprintf(uri, sizeof(uri), "unix:%s/%s/qmp", dir, names[i]);
		stage_monitor = uri;
		stage_open(&stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
		stage_play_to_go(&stage);
		const struct swo_migration_info info = stage_await_doubt(&stage);

		run(info.error.text, args, sizeof(args));
		snprintf(expected, sizeof(expected), "resolve\n--qmp=%s\n--run-here\n--fenced\n",
			uri);
		assert_string_equal(args, expected);
		stage_close(&stage);
	}
	/* The longest one is printed completely; a longer one, or none, has no command. */
	for (unsigned i = 0; i < 3; i++) {
		memset(uri, 'x', sizeof(uri));
		uri[i ? 128 : 127] = 0;
		stage_monitor = i == 2 ? NULL : uri;
		stage_open(&stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
		stage_play_to_go(&stage);
		const struct swo_migration_info info = stage_await_doubt(&stage);

		if (i)
			assert_null(strstr(info.error.text, "run: "));
		else
			assert_non_null(strstr(info.error.text, "x --run-here --fenced"));
		stage_close(&stage);
	}
	stage_monitor = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vm_that_is_not_started_has_a_command_that_shows_why),
		cmocka_unit_test(
			a_journal_folder_that_others_may_write_to_has_a_command_that_mends_it),
		cmocka_unit_test(a_folder_is_never_taken_for_an_option),
		cmocka_unit_test(
			credentials_that_others_may_write_to_have_a_command_that_mends_them),
		cmocka_unit_test(a_migration_in_doubt_has_a_command_of_its_monitor),
	};
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
