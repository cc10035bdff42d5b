/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * number.h - an option that is a number, for the yardsticks' command lines.
 */
#ifndef TESTBED_YARDSTICK_NUMBER_H
#define TESTBED_YARDSTICK_NUMBER_H

#include "base/number.h"

#include <argp.h>
#include <inttypes.h>

static inline uint64_t number(
	struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
	struct swo_error err;
	uint64_t value = min;

	if (base_number("invalid usage", text, min, max, &value, &err))
		argp_error(state, "%s", err.text);
	return value;
}

#endif
