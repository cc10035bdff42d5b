/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate.h - the expected length of a stop: the model's schedule with a source's measurements.
 */
#ifndef ANALYSIS_ESTIMATE_H
#define ANALYSIS_ESTIMATE_H

#include "switchover/plan.h"

struct estimate {
	uint64_t downtime_ns;
	uint64_t irreducible_ns; /* of it: what no further pass of RAM can make shorter */
	uint64_t bytes;		 /* to be sent after the stop: RAM that is dirty now, and devices */
	int slowest;		 /* index of the device that costs most; -1: none */
};

/* Figures out of bounds count as the bound. The only error is SWO_E_NO_MEMORY. */
int analysis_estimate_downtime(
	const struct swo_plan_setup *setup, struct estimate *out, struct swo_error *err);
/* What the device alone would take, with this wire (bytes a second, 0: no limit). */
uint64_t analysis_device_ns(const struct swo_device_costs *costs, uint64_t wire_rate);

/* Large devices share a device-window, but for 1 MiB each: what each of so many has. */
#define ANALYSIS_SHARED_WINDOW (UINT64_C(1) << 20) /* a device with more state is large */
uint64_t analysis_window(uint64_t device_window, unsigned large);
/* What a link with this round trip needs in flight; 0: device windows do. */
uint64_t analysis_link_need(uint64_t rtt_ns);

#endif
