/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * event_record.h - a monitor's events as a record that `switchover observe` merges with those of
 * the devices.
 */
#ifndef CMD_COMMON_EVENT_RECORD_H
#define CMD_COMMON_EVENT_RECORD_H

#include "switchover/base.h"

#include <jansson.h>
#include <stdio.h>

struct event_record {
	FILE *out; /* NULL: no record */
	int64_t wall_ns;
};

int event_record_open(struct event_record *record, const char *path, struct swo_error *err);
/* An event as it came over QMP; its time is the monitor's wall clock. */
void event_record_add(const struct event_record *record, const json_t *event);
int event_record_close(struct event_record *record, struct swo_error *err);

#endif
