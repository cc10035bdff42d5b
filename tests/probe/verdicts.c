/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verdicts.c - see verdicts.h.
 */
#include "verdicts.h"

#include <stdio.h>
#include <string.h>

void verdicts_print(const struct swo_probe_report *report)
{
	for (unsigned i = 0; i < report->device_count; i++)
		for (unsigned r = 0; r < report->devices[i].result_count; r++) {
			const struct swo_probe_result *result = &report->devices[i].results[r];

			if (result->verdict >= SWO_VERDICT_RISK)
				print_message("%s %s: %s\n", swo_verdict_name(result->verdict),
					result->name, result->text);
		}
}

const struct swo_probe_result *verdicts_find(
	const struct swo_probe_report *report, const char *name)
{
	const struct swo_probe_device *device = &report->devices[0];

	for (unsigned i = 0; i < device->result_count; i++)
		if (!strcmp(device->results[i].name, name))
			return &device->results[i];
	return NULL;
}

/*
 * Of the first device, except the finding in Debian's kernels, which cannot report from a DMA
 * log.
 */
static unsigned risks(const struct verdicts_face *face, const struct swo_probe_report *report)
{
	const struct swo_probe_result *log = verdicts_find(report, "dma-log");
	bool of_kernel = !face->is_process && log && log->verdict == SWO_VERDICT_RISK &&
			 strstr(log->text, "a kernel with CONFIG_IOMMUFD can");

	return report->risks - of_kernel;
}

void verdicts_must_be(const struct swo_probe_report *report, const char *name,
	enum swo_verdict verdict, const char *fault)
{
	const struct swo_probe_result *result = verdicts_find(report, name);

	if (result && result->verdict == verdict)
		return;
	verdicts_print(report);
	fail_msg("%s: %s is %s, expected %s", fault, name,
		result ? swo_verdict_name(result->verdict) : "missing", swo_verdict_name(verdict));
}

void verdicts_must_be_clean(const struct verdicts_face *face, const struct swo_probe_report *report)
{
	if (report->fails || risks(face, report) || report->devices[0].lost) {
		verdicts_print(report);
		fail_msg("a valid device has findings");
	}
	verdicts_must_be(report, "data.identity", SWO_VERDICT_PASS, "none");
	verdicts_must_be(report, "data.truncated", SWO_VERDICT_PASS, "none");
	verdicts_must_be(report, "session.abort", SWO_VERDICT_PASS, "none");
}

static const char *const arcs[] = {"RUNNING->RUNNING_P2P", "RUNNING->PRE_COPY",
	"RUNNING_P2P->RUNNING", "RUNNING_P2P->STOP", "RUNNING_P2P->PRE_COPY_P2P",
	"PRE_COPY->RUNNING", "PRE_COPY->PRE_COPY_P2P", "PRE_COPY_P2P->RUNNING_P2P",
	"PRE_COPY_P2P->PRE_COPY", "PRE_COPY_P2P->STOP_COPY", "STOP->RUNNING_P2P", "STOP->STOP_COPY",
	"STOP->RESUMING", "STOP_COPY->STOP", "RESUMING->STOP"};

/* One cause is one failure; the rest is skipped. */
static void only_one(const struct swo_probe_report *report, const char *fault)
{
	if (report->fails == 1)
		return;
	verdicts_print(report);
	fail_msg("%s: %u failures, expected one", fault, report->fails);
}

void verdicts_arcs(verdicts_probe probe, const char *how, bool comes_back)
{
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(arcs); i++) {
		char fault[96], name[72];

		snprintf(fault, sizeof(fault), "arc=%s:%s", arcs[i], how);
		snprintf(name, sizeof(name), "arc.%s", arcs[i]);
		struct swo_probe_report *report = probe(fault, NULL);

		verdicts_must_be(report, name, SWO_VERDICT_FAIL, fault);
		only_one(report, fault);
		if (comes_back) {
			snprintf(name, sizeof(name), "recovery.%s", arcs[i]);
			verdicts_must_be(report, name, SWO_VERDICT_PASS, fault);
			assert_false(report->devices[0].lost);
		}
		swo_probe_report_free(report);
	}
}

void every_arc_that_fails_is_named_and_recovered_from(void **state)
{
	const struct verdicts_face *face = *state;

	verdicts_arcs(face->probe, "fail=EIO", true);
}

void every_arc_that_fails_once_is_named_and_recovered_from(void **state)
{
	const struct verdicts_face *face = *state;

	verdicts_arcs(face->probe, "fail=EBUSY,x1", true);
}

void every_arc_that_ends_in_error_is_named_and_recovered_from(void **state)
{
	const struct verdicts_face *face = *state;

	verdicts_arcs(face->probe, "error=EIO", true);
}

void nothing_but_the_faulty_arc_is_blamed(void **state)
{
	const struct verdicts_face *face = *state;
	static const char fault[] = "arc=RUNNING->PRE_COPY:fail=EIO,x1";
	struct swo_probe_report *report = face->probe(fault, NULL);

	assert_int_equal(report->fails, 1);
	assert_int_equal(risks(face, report), 0);
	swo_probe_report_free(report);
}

void every_arc_that_hangs_is_named_and_left_behind(void **state)
{
	const struct verdicts_face *face = *state;
	static const struct swo_probe_params params = {.deadline_ms = 1000};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(arcs); i++) {
		char fault[96], name[72];

		snprintf(fault, sizeof(fault), "arc=%s:hang", arcs[i]);
		snprintf(name, sizeof(name), "arc.%s", arcs[i]);
		struct swo_probe_report *report = face->probe(fault, &params);

		verdicts_must_be(report, name, SWO_VERDICT_FAIL, fault);
		assert_non_null(strstr(verdicts_find(report, name)->text, "hangs"));
		assert_true(report->devices[0].lost);
		swo_probe_report_free(report);
	}
}

void every_arc_slower_than_the_limit_is_named(void **state)
{
	const struct verdicts_face *face = *state;
	static const struct swo_probe_params params = {.limit_ms = 200, .runs = 1};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(arcs); i++) {
		char fault[96], name[72];

		snprintf(fault, sizeof(fault), "arc=%s:slow=250,x1", arcs[i]);
		snprintf(name, sizeof(name), "cost.%s", arcs[i]);
		struct swo_probe_report *report = face->probe(fault, &params);

		verdicts_must_be(report, name, SWO_VERDICT_FAIL, fault);
		swo_probe_report_free(report);
	}
}

void faults_of_the_data_are_named(void **state)
{
	const struct verdicts_face *face = *state;
	static const struct {
		const char *fault, *name, *or_else;
		bool of_process;
	} faults[] = {
		{"save:break@5000=EIO", "save.read", NULL, false},
		{"save:break@5000=EIO,x1", "save.read", NULL, false},
		{"save:short@5000", "arc.RESUMING->STOP", NULL, false},
		{"save:short@5000,x1", "arc.RESUMING->STOP", NULL, false},
		{"save:corrupt@5000", "load.write", "arc.RESUMING->STOP", false},
		{"save:corrupt@5000,x1", "load.write", "arc.RESUMING->STOP", false},
		{"load:fail@5000=ENOMEM", "load.write", "arc.RESUMING->STOP", false},
		{"load:fail@5000=ENOMEM,x1", "load.write", "arc.RESUMING->STOP", false},
		{"load:refuse=EINVAL", "arc.RESUMING->STOP", NULL, false},
		{"load:refuse=EIO,x1", "arc.RESUMING->STOP", NULL, false},
		{"die@save=5000", "save.read", NULL, true},
		{"die@load=5000", "load.write", NULL, true},
		{"socket:close@save=5000", "save.read", NULL, true},
		{"socket:close@load=5000", "load.write", NULL, true},
		{"socket:close@arc=STOP->STOP_COPY", "arc.STOP->STOP_COPY", NULL, true},
	};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(faults); i++) {
		if (faults[i].of_process && !face->is_process)
			continue;
		struct swo_probe_report *report = face->probe(faults[i].fault, NULL);
		const struct swo_probe_result *other =
			faults[i].or_else ? verdicts_find(report, faults[i].or_else) : NULL;

		if (!other || other->verdict != SWO_VERDICT_FAIL)
			verdicts_must_be(report, faults[i].name, SWO_VERDICT_FAIL, faults[i].fault);
		only_one(report, faults[i].fault);
		swo_probe_report_free(report);
	}
}

void what_a_device_does_wrong_in_silence_is_named(void **state)
{
	const struct verdicts_face *face = *state;
	static const struct {
		const char *fault, *name;
		enum swo_verdict verdict;
		bool of_process;
	} faults[] = {
		{"load:lax", "data.truncated", SWO_VERDICT_RISK, false},
		{"load:lax", "data.corrupted", SWO_VERDICT_RISK, false},
		{"load:lax", "data.foreign", SWO_VERDICT_RISK, false},
		{"load:lax", "data.extended", SWO_VERDICT_RISK, false},
		{"load:lose", "data.identity", SWO_VERDICT_RISK, false},
		{"save:endless", "save.read", SWO_VERDICT_FAIL, false},
	};
	static const struct swo_probe_params params = {.max_state = 1 << 20, .runs = 1};
	struct swo_probe_report *report = NULL;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(faults); i++) {
		if (faults[i].of_process && !face->is_process)
			continue;
		if (!i || strcmp(faults[i].fault, faults[i - 1].fault) != 0) {
			swo_probe_report_free(report);
			report = face->probe(faults[i].fault, &params);
		}
		verdicts_must_be(report, faults[i].name, faults[i].verdict, faults[i].fault);
	}
	swo_probe_report_free(report);
}
