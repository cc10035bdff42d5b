/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments of printed commands, as sh(1) reads them. */
#include "base/shell.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <string.h>

/* What a shell makes of it. */
static void expect_same(const char *text)
{
	char quoted[600], command[700], back[300];

	assert_true(base_shell_quote(text, quoted, sizeof(quoted)));
	snprintf(command, sizeof(command), "printf %%s %s", quoted);
	FILE *shell = popen(command, "r");

	assert_non_null(shell);
	const size_t n = fread(back, 1, sizeof(back) - 1, shell);

	back[n] = 0;
	assert_int_equal(pclose(shell), 0);
	assert_string_equal(back, text);
}

static void a_shell_reads_back_what_was_quoted(void **state)
{
	(void)state;
	static const char *const texts[] = {"/var/lib/switchover", "unix:/run/a b/c", "it's", "'",
		"''", "a\"b", "$HOME", "`id`", "$(id)", "a\\b", "\\", "*", "?[a-z]", "~", "#",
		"a;b", "a&b", "a|b", "<>", "{a,b}", "!", "-x", " ", "", "\xc3\xa4\xe2\x82\xac",
		"a=b"};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(texts); i++)
		expect_same(texts[i]);
}

static void what_needs_no_quotes_has_none(void **state)
{
	(void)state;
	char quoted[100];

	assert_true(base_shell_quote("unix:/run/vm-1.qmp", quoted, sizeof(quoted)));
	assert_string_equal(quoted, "unix:/run/vm-1.qmp");
}

static void what_does_not_fit_or_cannot_be_printed_is_not_quoted(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"a\nb", "\x1b[2J", "\x7f", "\xff", "a\xc3", "\xe2\x80\xae"};
	char quoted[100];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		assert_false(base_shell_quote(bad[i], quoted, sizeof(quoted)));
		assert_string_equal(quoted, "");
	}
	/* Each length: it is there as a whole, or not at all. */
	for (size_t room = 0; room < 20; room++) {
		memset(quoted, 'x', sizeof(quoted));
		const bool fits = base_shell_quote("it's a", quoted, room);

		assert_int_equal(fits, room > strlen("'it'\\''s a'"));
		if (fits)
			assert_string_equal(quoted, "'it'\\''s a'");
		else if (room)
			assert_string_equal(quoted, "");
		assert_int_equal(quoted[room], 'x');
	}
	assert_true(base_shell_quote("plain", quoted, 6));
	assert_false(base_shell_quote("plain", quoted, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shell_reads_back_what_was_quoted),
		cmocka_unit_test(what_needs_no_quotes_has_none),
		cmocka_unit_test(what_does_not_fit_or_cannot_be_printed_is_not_quoted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
