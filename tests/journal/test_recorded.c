/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Journals as released versions have written them: they are read for ever. In recorded/ nothing is
 * changed, only added to; each name begins with the version.
 */
#include "switchover/journal.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID   "11111111-1111-4111-8111-111111111111"
#define UUID "0a0b0c0d-1111-4222-8333-00000000abcd"

static char dir[64];

static const char *path_of(const char *side)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/" ID ".%s", dir, side);
	return path;
}

/* Into a folder of its own, as it was there. */
static void put(const char *side)
{
	static char bytes[64 << 10];
	char from[512];

	snprintf(from, sizeof(from), "%s/0.1.0.%s", getenv("SWITCHOVER_TEST_RECORDED"), side);
	swo_autofd int in = open(from, O_RDONLY | O_CLOEXEC);
	swo_autofd int out = open(path_of(side), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ssize_t len = read(in, bytes, sizeof(bytes));

	assert_true(len > 0);
	assert_int_equal(write(out, bytes, (size_t)len), len);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/switchover-recorded.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	put("source");
	put("target");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path_of("source"));
	unlink(path_of("target"));
	return rmdir(dir);
}

static struct swo_journal_info look(const char *side)
{
	struct swo_journal_info info;
	struct swo_error err = {0};

	if (swo_journal_read(path_of(side), &info, &err))
		fail_msg("%s", err.text);
	if (info.damage.code != SWO_E_NONE)
		fail_msg("%s", info.damage.text);
	assert_string_equal(info.id, ID);
	assert_string_equal(info.vm, UUID);
	assert_string_equal(info.uri, "tcp:192.0.2.7:4444");
	assert_false(info.live);
	return info;
}

static void journals_of_0_1_are_read(void **state)
{
	(void)state;
	struct swo_journal_info source = look("source"), target = look("target");

	assert_int_equal(source.side, SWO_JOURNAL_SOURCE);
	assert_int_equal(source.last, SWO_JOURNAL_IN_DOUBT);
	assert_true(source.nonce == UINT64_C(0x1122334455667788));
	assert_int_equal(target.side, SWO_JOURNAL_TARGET);
	assert_int_equal(target.last, SWO_JOURNAL_STARTED);
	assert_true(target.nonce == UINT64_C(0x8877665544332211));
}

static void a_journal_of_0_1_guards_its_vm_and_can_be_settled(void **state)
{
	(void)state;
	struct swo_error err = {0};

	assert_int_equal(unlink(path_of("target")), 0);
	assert_int_equal(swo_journal_may_boot(dir, UUID, &err), -1);
	assert_non_null(strstr(err.text, "in doubt"));
	assert_int_equal(
		swo_journal_settle(path_of("source"), SWO_JOURNAL_REFUSED, "decided", &err), 0);
	assert_int_equal(look("source").last, SWO_JOURNAL_REFUSED);
	assert_string_equal(look("source").text, "decided");
}

#define recorded_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		recorded_test(journals_of_0_1_are_read),
		recorded_test(a_journal_of_0_1_guards_its_vm_and_can_be_settled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
