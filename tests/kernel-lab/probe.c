/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - the conformance run against simvf.ko: a valid device has no findings, and every
 * injected fault is found by the check that finds it in a vfio-user device.
 */
#include "bed.h"

#include "tests/probe/verdicts.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define SMALL "state_bytes = 64K\nprecopy_percent = 50\n"

static struct swo_error err;

static void path_of(unsigned index, char path[64])
{
	snprintf(path, 64, "/sys/devices/platform/simvf.%u", index);
}

static struct swo_probe_report *probe_fault(
	const char *fault, const struct swo_probe_params *params)
{
	/* As many costs as it takes to have them: an emulated CPU is slow. */
	struct swo_probe_params quick = params ? *params : (struct swo_probe_params){.runs = 1};

	quick.hostile = true;
	struct swo_probe_target target = {"vf0", &swo_vfio_kernel_ops, NULL};
	struct swo_probe_report *report;
	static unsigned hung;
	unsigned index = fault && strstr(fault, ":hang") ? ++hung : 0;
	char path[64];

	/* A hung device is leaked, and stays open. */
	path_of(index, path);
	bed_prepare(index, SMALL);
	if (fault)
		assert_int_equal(bed_put(index, "faults", fault), 0);
	if (swo_vfio_kernel_open("vf0", path, NULL, &target.self, &err))
		fail_msg("%s", err.text);
	if (swo_probe_exercise(&target, 1, &quick, &report, &err))
		fail_msg("%s", err.text);
	bed_put(index, "faults", "clear");
	bed_put(index, "release", "1");
	return report;
}

static const struct verdicts_face face = {probe_fault, false};

static void a_good_device_has_no_findings(void **state)
{
	struct swo_probe_report *report = probe_fault(NULL, NULL);

	(void)state;
	verdicts_must_be_clean(&face, report);
	swo_probe_report_free(report);
}

/* The command */

static json_t *run_command(const char *arguments, int *status)
{
	char command[512];

	snprintf(command, sizeof(command), "/lab/bin/switchover probe --json %s 2>/dev/null",
		arguments);
	FILE *out = popen(command, "re");

	assert_non_null(out);
	json_t *json = json_loadf(out, 0, NULL);

	*status = WEXITSTATUS(pclose(out));
	return json;
}

static const char *verdict_in(const json_t *json, unsigned device, const char *name)
{
	const json_t *results = json_object_get(
		json_array_get(json_object_get(json, "devices"), device), "results");
	json_t *result;
	size_t i;

	json_array_foreach (results, i, result)
		if (!strcmp(json_string_value(json_object_get(result, "name")), name))
			return json_string_value(json_object_get(result, "verdict"));
	return "missing";
}

static void the_command_names_what_is_planted_in_either_of_two_devices(void **state)
{
	char arguments[256], first[64], second[64];
	int status;

	(void)state;
	path_of(0, first);
	path_of(1, second);
	bed_prepare(0, SMALL);
	bed_prepare(1, SMALL);
	assert_int_equal(bed_put(0, "faults", "arc=STOP->STOP_COPY:fail=EIO,x1"), 0);
	assert_int_equal(bed_put(1, "faults", "load:lax"), 0);
	snprintf(arguments, sizeof(arguments), "--exercise --yes --hostile --runs 1 %s %s", first,
		second);
	json_t *json = run_command(arguments, &status);

	assert_int_equal(status, 1);
	assert_string_equal(verdict_in(json, 0, "arc.STOP->STOP_COPY"), "fail");
	assert_string_equal(verdict_in(json, 0, "recovery.STOP->STOP_COPY"), "pass");
	assert_string_equal(verdict_in(json, 0, "data.truncated"), "pass");
	assert_string_equal(verdict_in(json, 1, "arc.STOP->STOP_COPY"), "pass");
	assert_string_equal(verdict_in(json, 1, "data.truncated"), "risk");
	assert_string_equal(verdict_in(json, 1, "p2p.order"), "pass");
	assert_int_equal(json_integer_value(json_object_get(json, "fails")), 1);
	json_decref(json);
	bed_put(0, "faults", "clear");
	bed_put(1, "faults", "clear");
}

static void what_the_command_measures_plan_reads(void **state)
{
	char arguments[256], path[64];
	int status;

	(void)state;
	path_of(0, path);
	bed_prepare(0, "even");
	snprintf(arguments, sizeof(arguments), "--exercise --yes --runs 1 --risks-ok %s", path);
	json_t *json = run_command(arguments, &status);
	const json_t *figures =
		json_object_get(json_array_get(json_object_get(json, "devices"), 0), "figures");

	assert_int_equal(status, 0);
	assert_true(json_number_value(json_object_get(figures, "to_stop_copy_ms")) >= 40);
	assert_int_equal(json_dump_file(json, "/tmp/probe.json", 0), 0);
	json_decref(json);
	assert_int_equal(system("/lab/bin/switchover plan --probe /tmp/probe.json --vfs 1,4 "
				"--json >/tmp/plan.json"),
		0);
	json = json_load_file("/tmp/plan.json", JSON_DISABLE_EOF_CHECK, NULL);
	assert_non_null(json);
	json_decref(json);
}

static void a_device_that_is_open_is_left_alone_and_reported_in_use(void **state)
{
	char arguments[256], path[64];
	struct bed_device user;
	int status;

	(void)state;
	bed_open(&user, 0, SMALL);
	path_of(0, path);
	snprintf(arguments, sizeof(arguments), "--exercise --yes %s", path);
	json_t *json = run_command(arguments, &status);
	const char *why = json_string_value(
		json_object_get(json_array_get(json_object_get(json, "devices"), 0), "error"));

	assert_int_equal(status, 4);
	assert_non_null(why);
	assert_non_null(strstr(why, "in use"));
	assert_int_equal(bed_counter(0, "resets"), 0);
	json_decref(json);
	bed_close(&user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_case(a_good_device_has_no_findings),
		bed_case(the_command_names_what_is_planted_in_either_of_two_devices),
		bed_case(what_the_command_measures_plan_reads),
		bed_case(a_device_that_is_open_is_left_alone_and_reported_in_use),
		VERDICTS_CASES(NULL, bed_teardown, (void *)&face),
	};

	return cmocka_run_group_tests_name("probe with simvf", tests, NULL, NULL);
}
