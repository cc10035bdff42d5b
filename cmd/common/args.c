/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - reads numbers: digits only, nothing behind them, and within bounds.
 */
#include "cmd/common/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t args_number(
	struct argp_state *state, const char *name, const char *text, uint64_t min, uint64_t max)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || errno || value < min || value > max)
		argp_error(state, "--%s: expected a number from %llu to %llu, got '%s'", name,
			(unsigned long long)min, (unsigned long long)max, text);
	return value;
}

bool args_size_of(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (*text < '0' || *text > '9' || errno || (*end && (!unit || end[1])) ||
		value > UINT64_MAX >> shift)
		return false;
	*out = (uint64_t)value << shift;
	return true;
}
