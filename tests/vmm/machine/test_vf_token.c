/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the token of a VF comes from, and that no message has it. */
#include "tests/support/dir.h"
#include "tests/support/must.h"
#include "vmm/machine/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"

static struct swo_error err;
static char out[MACHINE_TOKEN_ROOM];
static char dir[DIR_PATH_MAX];

static int make_dir(void **state)
{
	(void)state;
	return dir_make(dir);
}

static int remove_dir(void **state)
{
	(void)state;
	return dir_remove(dir);
}

static void a_device_without_a_token_has_none(void **state)
{
	struct vmm_device_config config = {.path = "/dev/vfio/5"};

	(void)state;
	MUST(machine_vf_token(&config, "vf0", out, &err));
	assert_string_equal(out, "");
}

static void a_file_that_only_its_owner_reads_has_it(void **state)
{
	struct vmm_device_config config = {0}, other = {0};
	FILE *file;

	(void)state;
	snprintf(config.token_file, sizeof(config.token_file), "%s/token", dir);
	FAILS(machine_vf_token(&config, "vf0", out, &err), SWO_E_INVALID);
	file = fopen(config.token_file, "w");
	fputs(TOKEN "\n", file);
	fclose(file);
	chmod(config.token_file, 0600);
	MUST(machine_vf_token(&config, "vf0", out, &err));
	assert_string_equal(out, TOKEN);

	snprintf(other.token_file, sizeof(other.token_file), "%s/link", dir);
	assert_int_equal(symlink("token", other.token_file), 0);
	FAILS(machine_vf_token(&other, "vf0", out, &err), SWO_E_INVALID);

	chmod(config.token_file, 0640);
	FAILS(machine_vf_token(&config, "vf0", out, &err), SWO_E_INVALID);
	assert_non_null(strstr(err.text, "mode 0600"));
	snprintf(other.token_file, sizeof(other.token_file), "%s/fifo", dir);
	assert_int_equal(mkfifo(other.token_file, 0600), 0);
	FAILS(machine_vf_token(&other, "vf0", out, &err), SWO_E_INVALID);
}

static void a_descriptor_is_read_to_its_end(void **state)
{
	struct vmm_device_config config = {0};
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	config.token_fd = pipe_fds[0];
	assert_int_equal(write(pipe_fds[1], TOKEN, 20), 20);
	assert_int_equal(write(pipe_fds[1], &TOKEN[20], 16), 16);
	close(pipe_fds[1]);
	MUST(machine_vf_token(&config, "vf0", out, &err));
	assert_string_equal(out, TOKEN);
	FAILS(machine_vf_token(&config, "vf0", out, &err), SWO_E_INVALID);
	assert_non_null(strstr(err.text, "no VF token in its descriptor"));
	close(pipe_fds[0]);
	FAILS(machine_vf_token(&config, "vf0", out, &err), SWO_E_IO);
}

static void longer_text_is_not_cut_to_a_token(void **state)
{
	struct vmm_device_config config = {0};
	int pipe_fds[2];
	char text[200];

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(pipe(pipe_fds), 0);
	config.token_fd = pipe_fds[0];
	assert_int_equal(write(pipe_fds[1], text, sizeof(text)), sizeof(text));
	close(pipe_fds[1]);
	MUST(machine_vf_token(&config, "vf0", out, &err));
	assert_int_equal(strlen(out), MACHINE_TOKEN_ROOM - 1); /* which is no UUID */
	close(pipe_fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_without_a_token_has_none),
		cmocka_unit_test(a_file_that_only_its_owner_reads_has_it),
		cmocka_unit_test(a_descriptor_is_read_to_its_end),
		cmocka_unit_test(longer_text_is_not_cut_to_a_token),
	};

	return cmocka_run_group_tests_name("vf_token", tests, make_dir, remove_dir);
}
