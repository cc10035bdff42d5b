/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of `switchover resolve` ends with a command, which a shell takes as it was meant. */
#include "journal/write.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID	"00000000-0000-4000-8000-00000000000a"
#define LOUD_ID "00000000-0000-4000-8000-00000000000A"

static int run(const char *command, char *out, size_t room)
{
	FILE *shell = popen(command, "r");

	assert_non_null(shell);
	const size_t n = fread(out, 1, room - 1, shell);

	out[n] = 0;
	return WEXITSTATUS(pclose(shell));
}

static void the_command_of_the_list_resolves_this_migration(void **state)
{
	(void)state;
	static const char *const names[] = {"plain", "a b", "it's", "a\"b`c$d"};
	char parent[32], dir[128], first[512], out[8192], again[8192], search[4096];
	const char *exe = getenv("SWITCHOVER");

	assert_non_null(exe);
	snprintf(search, sizeof(search), "%.*s:%s", (int)(strrchr(exe, '/') - exe), exe,
		getenv("PATH"));
	assert_int_equal(setenv("PATH", search, 1), 0);
	assert_int_equal(dir_make(parent), 0);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		snprintf(dir, sizeof(dir), "%s/%s", parent, names[i]);
		assert_int_equal(mkdir(dir, 0700), 0);
		assert_int_equal(setenv("DIR", dir, 1), 0);
		const struct swo_journal_config config = {.dir = dir, .vm = "vm"};
		struct swo_journal *journal;

		assert_int_equal(journal_create(&config, SWO_JOURNAL_SOURCE, ID,
					 "unix:/nonexistent/socket", NULL, &journal, NULL),
			0);
		assert_int_equal(
			journal_write(journal, SWO_JOURNAL_COMMITTED, 1, NULL, NULL, NULL), 0);
		journal_close(journal, false);

		run("switchover resolve --journal=\"$DIR\" 2>&1", out, sizeof(out));
		char *command = strstr(out, "\n  switchover resolve ");

		if (!command)
			fail_msg("no command in '%s'", out);
		/* As if it had been typed; the target does not answer. */
		snprintf(first, sizeof(first),
			"switchover resolve --journal=\"$DIR\" " ID " >/dev/null 2>&1");
		const int status = run(first, again, sizeof(again));

		assert_true(status != 2 && status != 127);
		assert_int_equal(run(command + 3, again, sizeof(again)), status);
		assert_non_null(strstr(again, "nonexistent"));
		/* Any form of a UUID is the same ID. */
		assert_int_equal(run("switchover resolve --journal=\"$DIR\" {" LOUD_ID "} 2>&1",
					 again, sizeof(again)),
			status);
		assert_non_null(strstr(again, "nonexistent"));
		assert_int_equal(dir_remove(dir), 0);
	}
	assert_int_equal(rmdir(parent), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_command_of_the_list_resolves_this_migration),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
