/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device_costs.h - the costs of devices: from profiles, and from and in the file of a probe
 * (docs/plan.md).
 */
#ifndef CMD_COMMON_DEVICE_COSTS_H
#define CMD_COMMON_DEVICE_COSTS_H

#include "switchover/plan.h"

#include <jansson.h>

#define DEVICE_KINDS_MAX 256

struct device_kinds {
	struct swo_plan_device kinds[DEVICE_KINDS_MAX];
	unsigned count;
	bool guesses; /* some figures are not measured */
};

/* What the file of a probe may have of the link; SWO_UNKNOWN: it has not. */
struct probe_link {
	uint64_t wire_rate, channel_rate, channels, rtt_ns, ram_bytes;
};

/* Names of profiles or files of that form, separated by commas; "mixed": four kinds. */
int device_costs_read_profiles(const char *names, struct device_kinds *out, struct swo_error *err);
/* A figure that is left out is unknown. link may be NULL. SWO_E_INVALID names the figure. */
int device_costs_read_probe(
	const char *path, struct device_kinds *out, struct probe_link *link, struct swo_error *err);
/* A device for the file of a probe, with what is known of it; a new reference, NULL: no memory. */
json_t *device_costs_json(const struct swo_plan_device *device);

#endif
