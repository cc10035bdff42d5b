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

static const struct verdicts_face face = {probe_fault, false};

static void a_good_device_has_no_findings(void **state)
{
	struct swo_probe_report *report = probe_fault(NULL, NULL);

	(void)state;
	verdicts_must_be_clean(&face, report);
	swo_probe_report_free(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_case(a_good_device_has_no_findings),
		VERDICTS_CASES(NULL, bed_teardown, (void *)&face),
	};

	return cmocka_run_group_tests_name("probe with simvf", tests, NULL, NULL);
}
