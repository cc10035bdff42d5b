/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio.c - the names of the migration states, in both directions.
 */
#include "switchover/vfio.h"

#include <string.h>

static const char *const names[SWO_DEVICE_STATES] = {
	[SWO_DEVICE_ERROR] = "ERROR",
	[SWO_DEVICE_STOP] = "STOP",
	[SWO_DEVICE_RUNNING] = "RUNNING",
	[SWO_DEVICE_STOP_COPY] = "STOP_COPY",
	[SWO_DEVICE_RESUMING] = "RESUMING",
	[SWO_DEVICE_RUNNING_P2P] = "RUNNING_P2P",
	[SWO_DEVICE_PRE_COPY] = "PRE_COPY",
	[SWO_DEVICE_PRE_COPY_P2P] = "PRE_COPY_P2P",
};

const char *swo_device_state_name(enum swo_device_state state)
{
	return (size_t)state < SWO_DEVICE_STATES ? names[state] : "unknown";
}

enum swo_device_state swo_device_state_parse(const char *text, size_t len)
{
	unsigned state = 0;

	while (state < SWO_DEVICE_STATES &&
		(strlen(names[state]) != len || memcmp(names[state], text, len) != 0))
		state++;
	return (enum swo_device_state)state;
}
