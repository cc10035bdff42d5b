/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verdicts.h - every fault that can be planted in a simulated VF, and the check that must find it:
 * the same for a device that is a process and for one that is the kernel's.
 */
#ifndef TESTS_PROBE_VERDICTS_H
#define TESTS_PROBE_VERDICTS_H

#include "../cm.h"
#include "switchover/probe.h"

/* A conformance run of one device with this fault, none if NULL; the caller frees the report. */
typedef struct swo_probe_report *(*verdicts_probe)(
	const char *fault, const struct swo_probe_params *params);

const struct swo_probe_result *verdicts_find(
	const struct swo_probe_report *report, const char *name);
/* Of the first device, without that of Debian's kernels, which cannot report from a DMA log. */
unsigned verdicts_risks(const struct swo_probe_report *report);
void verdicts_print(const struct swo_probe_report *report);
/* Fails the test, with all findings, unless the first device's check came out so. */
void verdicts_must_be(const struct swo_probe_report *report, const char *name,
	enum swo_verdict verdict, const char *fault);

/* Every single arc fails `how`: it is named, and where it comes back, recovered from. */
void verdicts_arcs(verdicts_probe probe, const char *how, bool comes_back);
/* What goes wrong with the data; without those faults that only a process can have. */
void verdicts_data(verdicts_probe probe, bool is_process);
/* What a device does wrong without failing: it takes a bad state, loses some of a good one, has no
   end, or refuses with another errno. */
void verdicts_silent(verdicts_probe probe, bool is_process);
/* One fault, once, is one finding. */
void verdicts_nothing_else(verdicts_probe probe);
void verdicts_hang(verdicts_probe probe);
void verdicts_slow(verdicts_probe probe);

#endif
