/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verdicts.h - every fault that can be injected into a simulated VF, and the check that must
 * find it: the same for a device in a process and for one in the kernel.
 */
#ifndef TESTS_PROBE_VERDICTS_H
#define TESTS_PROBE_VERDICTS_H

#include "switchover/probe.h"
#include "tests/support/cm.h"

/* A conformance run of one device with this fault, none if NULL; the caller frees the report. */
typedef struct swo_probe_report *(*verdicts_probe)(
	const char *fault, const struct swo_probe_params *params);

const struct swo_probe_result *verdicts_find(
	const struct swo_probe_report *report, const char *name);
void verdicts_print(const struct swo_probe_report *report);
/* Fails the test, with all findings, unless the check of the first device has this verdict. */
void verdicts_must_be(const struct swo_probe_report *report, const char *name,
	enum swo_verdict verdict, const char *fault);

/* How a kind of device is probed; the initial state of the cases. */
struct verdicts_face {
	verdicts_probe probe;
	bool is_process; /* supports faults that only a process can have */
};

/* No findings, and the essential checks were run. */
void verdicts_must_be_clean(
	const struct verdicts_face *face, const struct swo_probe_report *report);
/* Every single arc fails `how`: it is named, and recovered from where possible. */
void verdicts_arcs(verdicts_probe probe, const char *how, bool comes_back);

/* Cases for every kind of device. */
void every_arc_that_fails_is_named_and_recovered_from(void **state);
void every_arc_that_fails_once_is_named_and_recovered_from(void **state);
void every_arc_that_ends_in_error_is_named_and_recovered_from(void **state);
void nothing_but_the_faulty_arc_is_blamed(void **state);
void every_arc_slower_than_the_limit_is_named(void **state);
void faults_of_the_data_are_named(void **state);
void what_a_device_does_wrong_in_silence_is_named(void **state);
void every_arc_that_hangs_is_named_and_left_behind(void **state);

#define VERDICTS_CASE(name, setup, teardown, face)                                                 \
	cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, face)
/* All of them; the one that leaks threads is the last. */
#define VERDICTS_CASES(setup, teardown, face)                                                      \
	VERDICTS_CASE(every_arc_that_fails_is_named_and_recovered_from, setup, teardown, face),    \
		VERDICTS_CASE(every_arc_that_fails_once_is_named_and_recovered_from, setup,        \
			teardown, face),                                                           \
		VERDICTS_CASE(every_arc_that_ends_in_error_is_named_and_recovered_from, setup,     \
			teardown, face),                                                           \
		VERDICTS_CASE(nothing_but_the_faulty_arc_is_blamed, setup, teardown, face),        \
		VERDICTS_CASE(every_arc_slower_than_the_limit_is_named, setup, teardown, face),    \
		VERDICTS_CASE(faults_of_the_data_are_named, setup, teardown, face),                \
		VERDICTS_CASE(                                                                     \
			what_a_device_does_wrong_in_silence_is_named, setup, teardown, face),      \
		VERDICTS_CASE(                                                                     \
			every_arc_that_hangs_is_named_and_left_behind, setup, teardown, face)

#endif
