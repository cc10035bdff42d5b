/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * number.h - an option that is a number, for the yardsticks' command lines.
 */
#ifndef TESTBED_YARDSTICK_NUMBER_H
#define TESTBED_YARDSTICK_NUMBER_H

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>

static inline uint64_t number(
	struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end || text[0] < '0' || text[0] > '9' || value < min || value > max)
		argp_error(
			state, "'%s' is not a number from %" PRIu64 " to %" PRIu64, text, min, max);
	return value;
}

#endif
