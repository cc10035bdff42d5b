/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lab_probe.c - the conformance run against simvf.ko: a good device has no findings, and every
 * fault that can be planted is found by the check that finds it in a vfio-user device.
 */
#include "bed.h"

#include "../probe/verdicts.h"

#include <stdio.h>

#define SMALL "state_bytes = 64K\nprecopy_percent = 50\n"

static struct swo_error err;

static struct swo_probe_report *probe_fault(
	const char *fault, const struct swo_probe_params *params)
{
	/* As many costs as it takes to have them: an emulated CPU is slow. */
	struct swo_probe_params quick = params ? *params : (struct swo_probe_params){.runs = 1};
	struct swo_probe_target target = {"vf0", &swo_vfio_kernel_ops, NULL};
	struct swo_probe_report *report;

	bed_prepare(0, SMALL);
	if (fault)
		assert_int_equal(bed_put(0, "faults", fault), 0);
	if (swo_vfio_kernel_open("vf0", "/sys/devices/platform/simvf.0", NULL, &target.self, &err))
		fail_msg("%s", err.text);
	if (swo_probe_exercise(&target, 1, &quick, &report, &err))
		fail_msg("%s", err.text);
	bed_put(0, "faults", "clear");
	bed_put(0, "release", "1");
	return report;
}

static void a_good_device_has_no_findings(void **state)
{
	struct swo_probe_report *report = probe_fault(NULL, NULL);

	(void)state;
	if (report->fails || verdicts_risks(report) || report->devices[0].lost) {
		verdicts_print(report);
		fail_msg("a good device has findings");
	}
	verdicts_must_be(report, "data.identity", SWO_VERDICT_PASS, "none");
	verdicts_must_be(report, "data.truncated", SWO_VERDICT_PASS, "none");
	verdicts_must_be(report, "session.abort", SWO_VERDICT_PASS, "none");
	swo_probe_report_free(report);
}

static void every_arc_that_fails_is_named_and_recovered_from(void **state)
{
	(void)state;
	verdicts_arcs(probe_fault, "fail=EIO", true);
}

static void every_arc_that_fails_once_is_named_and_recovered_from(void **state)
{
	(void)state;
	verdicts_arcs(probe_fault, "fail=EBUSY,x1", true);
}

static void every_arc_that_ends_in_error_is_named_and_recovered_from(void **state)
{
	(void)state;
	verdicts_arcs(probe_fault, "error=EIO", true);
}

static void nothing_but_the_faulty_arc_is_blamed(void **state)
{
	(void)state;
	verdicts_nothing_else(probe_fault);
}

static void an_arc_slower_than_the_limit_is_named(void **state)
{
	(void)state;
	verdicts_slow(probe_fault);
}

static void what_a_device_does_wrong_in_silence_is_named(void **state)
{
	(void)state;
	verdicts_silent(probe_fault, false);
}

static void faults_of_the_data_are_named(void **state)
{
	(void)state;
	verdicts_data(probe_fault, false);
}

static void a_hanging_arc_is_named_and_left_behind(void **state)
{
	(void)state;
	verdicts_hang(probe_fault);
}

int main(void)
{
	/* The one that leaves a thread behind comes last. */
	const struct CMUnitTest tests[] = {
		bed_case(a_good_device_has_no_findings),
		bed_case(every_arc_that_fails_is_named_and_recovered_from),
		bed_case(every_arc_that_fails_once_is_named_and_recovered_from),
		bed_case(every_arc_that_ends_in_error_is_named_and_recovered_from),
		bed_case(nothing_but_the_faulty_arc_is_blamed),
		bed_case(an_arc_slower_than_the_limit_is_named),
		bed_case(faults_of_the_data_are_named),
		bed_case(what_a_device_does_wrong_in_silence_is_named),
		bed_case(a_hanging_arc_is_named_and_left_behind),
	};

	return cmocka_run_group_tests_name("probe with simvf", tests, NULL, NULL);
}
