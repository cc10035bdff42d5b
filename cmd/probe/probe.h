/* SPDX-License-Identifier: BSD-3-Clause */
/* probe.h - between the parts of `switchover probe`: a device as it was named, and writers. */
#ifndef CMD_PROBE_PROBE_H
#define CMD_PROBE_PROBE_H

#include "switchover/probe.h"

#include <jansson.h>
#include <stdio.h>

struct probe_device {
	const char *spec; /* as on the command line */
	char name[32];
	const struct swo_device_ops *ops;
	void *self;
	bool described;
	struct swo_probe_info info;
	struct swo_error err; /* why it could not be opened or described */
};

/* For people. */
void probe_write_info(FILE *to, const struct probe_device *device);
void probe_write_report(FILE *to, const struct probe_device *devices,
	const struct swo_probe_report *report, bool verbose);

/* For test runners. A risk is a failure unless risks_ok. */
void probe_write_tap(FILE *to, const struct swo_probe_report *report, bool risks_ok);
void probe_write_junit(FILE *to, const struct swo_probe_report *report, bool risks_ok);

/* For programs; report may be NULL. The caller's reference. NULL: no memory. */
json_t *probe_json(
	const struct probe_device *devices, unsigned count, const struct swo_probe_report *report);

#endif
