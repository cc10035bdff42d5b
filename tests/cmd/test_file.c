/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that an option names: only regular ones of this user are written, and nothing blocks. */
#include "cmd/common/file.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[96], other[96];

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/switchover-file.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/out", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	unlink(other);
	return rmdir(folder);
}

static void refused(const char *words)
{
	struct swo_error err = {0};
	FILE *out = NULL;

	assert_int_equal(create_file("--out", path, &out, &err), -1);
	assert_null(out);
	assert_int_equal(strncmp(err.text, "--out: ", 7), 0);
	if (!strstr(err.text, words))
		fail_msg("%s", err.text);
	assert_int_equal(check_file("--out", path, &err), -1);
	if (!strstr(err.text, words))
		fail_msg("%s", err.text);
}

static void a_check_changes_no_file_and_leaves_none(void **state)
{
	(void)state;
	struct stat st;
	FILE *out;

	assert_int_equal(check_file("--out", path, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(create_file("--out", path, &out, NULL), 0);
	fputs("text", out);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(check_file("--out", path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 4);
}

static void a_new_file_is_its_users_alone_and_an_old_one_is_emptied(void **state)
{
	(void)state;
	struct stat st;
	FILE *out;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(create_file("--out", path, &out, NULL), 0);
		fputs(i ? "x" : "long text", out);
		assert_int_equal(fclose(out), 0);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 1);
}

static void a_link_is_not_followed(void **state)
{
	(void)state;
	struct stat st;

	close(open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(symlink(other, path), 0);
	refused("symbolic link");
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(unlink(other), 0);
	refused("symbolic link");
	assert_int_equal(access(other, F_OK), -1);
}

static void a_fifo_does_not_block_and_is_refused_with_a_reader_too(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	refused("cannot write");
	swo_autofd int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(reader >= 0);
	refused("not a regular file");
}

static void a_file_of_another_user_is_left_as_it_is(void **state)
{
	(void)state;
	struct stat st;
	FILE *out;

	if (geteuid() != 0)
		skip();
	assert_int_equal(create_file("--out", path, &out, NULL), 0);
	fputs("theirs", out);
	fclose(out);
	assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
	refused("not a file of this user");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 6);
}

#define file_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		file_test(a_new_file_is_its_users_alone_and_an_old_one_is_emptied),
		file_test(a_check_changes_no_file_and_leaves_none),
		file_test(a_link_is_not_followed),
		file_test(a_fifo_does_not_block_and_is_refused_with_a_reader_too),
		file_test(a_file_of_another_user_is_left_as_it_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
