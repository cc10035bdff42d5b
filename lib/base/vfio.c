/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio.c - the names of the migration states, in both directions.
 */
#include "switchover/vfio.h"

#include "base/state_names.h"

#include <string.h>

static const char *const names[SWO_DEVICE_STATES] = STATE_NAMES;

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
