/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance run over the kernel backend, against a fake kernel: verdicts that no
 * simulated VF produces, since it detects everything.
 */
#include "device/core/vfio_abi.h"
#include "switchover/probe.h"
#include "tests/device/kernel/fake_kernel.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct swo_error err;

static void quiet(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	(void)level;
	(void)text;
}

static int setup(void **state)
{
	(void)state;
	fk_init();
	swo_log_set(SWO_LOG_ERROR, quiet, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	swo_log_set(SWO_LOG_WARN, NULL, NULL);
	return fk.open_fds || fk.map_count || fk.device[0].opens || fk.device[0].logging;
}

static struct swo_probe_report *probe_with(unsigned count, const struct swo_probe_params *how)
{
	static const char *const paths[] = {"/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"};
	struct swo_vfio_kernel_params params = {.size = sizeof(struct swo_vfio_kernel_params)};
	struct swo_probe_target targets[2];
	struct swo_probe_report *report;

	for (unsigned i = 0; i < count; i++) {
		targets[i] =
			(struct swo_probe_target){i ? "vf1" : "vf0", &swo_vfio_kernel_ops, NULL};
		if (fk.no_iommufd) {
			char path[32];

			snprintf(path, sizeof(path), "/dev/vfio/%u:dev%u", 5 + i, i);
			assert_int_equal(kernel_open(&fk_sys, targets[i].name, path, &params,
						 &targets[i].self, &err),
				0);
		} else {
			assert_int_equal(kernel_open(&fk_sys, targets[i].name, paths[i], &params,
						 &targets[i].self, &err),
				0);
		}
	}
	struct swo_probe_params all = how ? *how : (struct swo_probe_params){0};

	all.hostile = true;
	assert_int_equal(swo_probe_exercise(targets, count, &all, &report, &err), 0);
	return report;
}

static struct swo_probe_report *probe(unsigned count)
{
	return probe_with(count, NULL);
}

static enum swo_verdict verdict_of(const struct swo_probe_report *report, const char *name)
{
	for (unsigned i = 0; i < report->devices[0].result_count; i++)
		if (!strcmp(report->devices[0].results[i].name, name))
			return report->devices[0].results[i].verdict;
	fail_msg("%s is missing", name);
	return SWO_VERDICT_SKIP;
}

static void must_be_clean(const struct swo_probe_report *report)
{
	for (unsigned i = 0; i < report->devices[0].result_count; i++)
		if (report->devices[0].results[i].verdict >= SWO_VERDICT_RISK)
			fail_msg("%s: %s", report->devices[0].results[i].name,
				report->devices[0].results[i].text);
}

static void a_good_kernel_device_has_no_findings(void **state)
{
	(void)state;
	struct swo_probe_report *report = probe(2);

	must_be_clean(report);
	assert_int_equal(verdict_of(report, "precopy-info"), SWO_VERDICT_PASS);
	assert_int_equal(verdict_of(report, "dma-log"), SWO_VERDICT_PASS);
	assert_int_equal(verdict_of(report, "p2p.order"), SWO_VERDICT_PASS);
	swo_probe_report_free(report);
}

static void every_set_of_flags_is_exercised(void **state)
{
	(void)state;
	static const uint64_t flags[] = {1, 3, 5};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(flags); i++) {
		fk.device[0].flags = flags[i];
		struct swo_probe_report *report = probe(1);

		must_be_clean(report);
		swo_probe_report_free(report);
	}
}

static void a_driver_that_does_not_notice_bad_states_is_a_risk(void **state)
{
	(void)state;
	fk.lax = true; /* as mlx5 and virtio with a stream that ends early */
	struct swo_probe_report *report = probe(1);

	assert_int_equal(verdict_of(report, "data.truncated"), SWO_VERDICT_RISK);
	assert_int_equal(verdict_of(report, "data.corrupted"), SWO_VERDICT_RISK);
	assert_int_equal(verdict_of(report, "data.extended"), SWO_VERDICT_RISK);
	assert_int_equal(verdict_of(report, "data.foreign"), SWO_VERDICT_RISK);
	assert_int_equal(verdict_of(report, "data.after-refusals"), SWO_VERDICT_PASS);
	assert_int_equal(report->fails, 0);
	swo_probe_report_free(report);
}

static void a_log_that_cannot_be_read_is_a_risk(void **state)
{
	(void)state;
	fk.no_iommufd = true;
	struct swo_probe_report *report = probe(1);

	assert_int_equal(verdict_of(report, "dma-log"), SWO_VERDICT_RISK);
	assert_int_equal(report->fails, 0);
	swo_probe_report_free(report);
}

static void a_driver_without_a_reset_fails(void **state)
{
	(void)state;
	fk.no_reset = true;
	struct swo_probe_report *report = probe(1);

	assert_int_equal(verdict_of(report, "reset.RUNNING"), SWO_VERDICT_FAIL);
	swo_probe_report_free(report);
}

/* As some vfio-user servers do: the fault is reported, and the rest of the run goes on. */
static void a_reset_that_leaves_resuming_fails_and_the_run_goes_on(void **state)
{
	(void)state;
	fk.reset_keeps_resuming = fk.lax = true;
	struct swo_probe_report *report = probe(1);

	assert_int_equal(verdict_of(report, "reset.RESUMING"), SWO_VERDICT_FAIL);
	assert_int_equal(verdict_of(report, "reset.STOP_COPY"), SWO_VERDICT_PASS);
	assert_int_equal(verdict_of(report, "load.finalise"), SWO_VERDICT_PASS);
	assert_false(report->devices[0].lost);
	assert_true(report->devices[0].load.count > 0);
	swo_probe_report_free(report);
}

static void what_a_driver_refuses_with_another_errno_is_named(void **state)
{
	(void)state;
	fk.wrong_errno = EBUSY;
	struct swo_probe_report *report = probe(1);

	assert_int_equal(verdict_of(report, "illegal.STOP_COPY->PRE_COPY"), SWO_VERDICT_RISK);
	swo_probe_report_free(report);
}

static void a_forbidden_arc_that_is_walked_is_named(void **state)
{
	(void)state;
	fk.allows_stop_copy_to_pre_copy = true;
	struct swo_probe_report *report = probe(1);

	assert_int_equal(verdict_of(report, "illegal.STOP_COPY->PRE_COPY"), SWO_VERDICT_FAIL);
	swo_probe_report_free(report);
}

static void no_fails(const struct swo_probe_device *device)
{
	for (unsigned i = 0; i < device->result_count; i++)
		if (device->results[i].verdict == SWO_VERDICT_FAIL)
			fail_msg("%s: %s: %s", device->name, device->results[i].name,
				device->results[i].text);
}

static bool count_down(void *opaque)
{
	unsigned *left = opaque;

	return !*left || !--*left;
}

/* After the first call, the fourteenth, ...: at any point of the run. */
static void an_interrupted_run_leaves_every_device_running(void **state)
{
	(void)state;
	bool interrupted = true;
	unsigned runs = 0;

	for (unsigned calls = 1; interrupted; calls += 13, runs++) {
		unsigned left = calls;
		struct swo_probe_params how = {.runs = 1, .stop = count_down, .opaque = &left};
		struct swo_probe_report *report = probe_with(2, &how);

		interrupted = report->interrupted;
		for (unsigned i = 0; i < 2; i++) {
			no_fails(&report->devices[i]);
			assert_false(report->devices[i].lost);
			assert_int_equal(fk.device[i].state, SWO_DEVICE_RUNNING);
			assert_int_equal(fk.device[i].opens, 0);
		}
		swo_probe_report_free(report);
	}
	assert_true(runs > 20);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_good_kernel_device_has_no_findings),
		CASE(every_set_of_flags_is_exercised),
		CASE(a_driver_that_does_not_notice_bad_states_is_a_risk),
		CASE(a_log_that_cannot_be_read_is_a_risk),
		CASE(a_driver_without_a_reset_fails),
		CASE(a_reset_that_leaves_resuming_fails_and_the_run_goes_on),
		CASE(what_a_driver_refuses_with_another_errno_is_named),
		CASE(a_forbidden_arc_that_is_walked_is_named),
		CASE(an_interrupted_run_leaves_every_device_running),
	};

	return cmocka_run_group_tests_name("probe_kernel", tests, NULL, NULL);
}
