/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The firmware that siblings share: reservations in the order of the requests, across
 * processes.
 */
#include "server/server.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/simvf-pf-XXXXXX";

static struct srv_pf *open_pf(const char *name)
{
	struct srv_pf *pf = NULL;
	struct swo_error err;

	if (srv_pf_open(dir, name, &pf, &err))
		fail_msg("%s", err.text);
	return pf;
}

static void turns_follow_each_other_and_lanes_do_not_wait_for_lanes(void **state)
{
	(void)state;
	struct srv_pf *one = open_pf("turns"), *two = open_pf("turns");

	assert_int_equal(srv_pf_reserve(one, SVF_LANE_SAVE, 1000, 50), 1050);
	assert_int_equal(srv_pf_reserve(two, SVF_LANE_SAVE, 1010, 50), 1100);
	assert_int_equal(srv_pf_reserve(one, SVF_LANE_SAVE, 1050, 50), 1150);
	assert_int_equal(srv_pf_reserve(two, SVF_LANE_LOAD, 1000, 50), 1050);
	assert_int_equal(srv_pf_reserve(one, SVF_LANE_ARC, 1000, 5), 1005);
	/* idle time is not accumulated */
	assert_int_equal(srv_pf_reserve(two, SVF_LANE_SAVE, 9000, 50), 9050);
	srv_pf_close(one);
	srv_pf_close(two);
}

static void pfs_of_other_names_are_others(void **state)
{
	(void)state;
	struct srv_pf *source = open_pf("source"), *target = open_pf("target");

	assert_int_equal(srv_pf_reserve(source, SVF_LANE_LOAD, 1000, 50), 1050);
	assert_int_equal(srv_pf_reserve(target, SVF_LANE_LOAD, 1000, 50), 1050);
	srv_pf_close(source);
	srv_pf_close(target);
}

static void a_dead_process_blocks_no_other(void **state)
{
	(void)state;
	struct srv_pf *pf = open_pf("dies");
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct srv_pf *own = NULL;

		if (srv_pf_open(dir, "dies", &own, NULL))
			_exit(1);
		srv_pf_reserve(own, SVF_LANE_SAVE, 1000, 500);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(srv_pf_reserve(pf, SVF_LANE_SAVE, 1100, 10), 1510);
	assert_int_equal(srv_pf_reserve(pf, SVF_LANE_SAVE, 2000, 10), 2010);
	srv_pf_close(pf);
}

static void times_of_another_boot_are_ignored(void **state)
{
	(void)state;
	struct srv_pf *pf = open_pf("boot");
	char path[128];
	FILE *file;

	srv_pf_reserve(pf, SVF_LANE_SAVE, 1000, UINT64_C(1) << 60);
	srv_pf_close(pf);
	snprintf(path, sizeof(path), "%s/switchover-pf-boot", dir);
	file = fopen(path, "r+");
	assert_non_null(file);
	fputs("another", file);
	fclose(file);
	pf = open_pf("boot");
	assert_int_equal(srv_pf_reserve(pf, SVF_LANE_SAVE, 1000, 50), 1050);
	srv_pf_close(pf);
}

static void names_cannot_leave_the_directory(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "a/b", "..", "../x", "a b", "x.y"};
	struct srv_pf *pf = NULL;
	struct swo_error err;

	for (size_t i = 0; i < SWO_ARRAY_SIZE(bad); i++)
		assert_int_equal(srv_pf_open(dir, bad[i], &pf, &err), -1);
	assert_int_equal(srv_pf_open("/does/not/exist", "a", &pf, &err), -1);
}

static int tidy(void **state)
{
	static const char *const names[] = {"turns", "source", "target", "dies", "boot"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/switchover-pf-%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_follow_each_other_and_lanes_do_not_wait_for_lanes),
		cmocka_unit_test(pfs_of_other_names_are_others),
		cmocka_unit_test(a_dead_process_blocks_no_other),
		cmocka_unit_test(times_of_another_boot_are_ignored),
		cmocka_unit_test(names_cannot_leave_the_directory),
	};

	if (!mkdtemp(dir))
		return 2;
	return cmocka_run_group_tests(tests, NULL, tidy);
}
