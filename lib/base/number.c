/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * number.c - strtoull and strtod accept signs, spaces and trailing text; options and fields do
 * not.
 */
#include "base/number.h"

#include <stdlib.h>
#include <string.h>

static int digit_of(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : 16;
}

int base_digits(const char **at, unsigned radix, uint64_t *out)
{
	const char *text = *at;
	uint64_t value = 0;

	for (; digit_of(*text) < (int)radix; text++) {
		unsigned digit = (unsigned)digit_of(*text);

		if (value > (UINT64_MAX - digit) / radix)
			return -1;
		value = value * radix + digit;
	}
	if (text == *at)
		return -1;
	*at = text;
	*out = value;
	return 0;
}

int base_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	struct swo_error *err)
{
	const char *end = text;
	uint64_t value;

	if (base_digits(&end, 10, &value) || *end || value < min || value > max)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%s: expected a number from %llu to %llu, got '%.100s'", what,
			(unsigned long long)min, (unsigned long long)max, text);
	*out = value;
	return 0;
}

/* Up to nine digits after a point, of 2^shift bytes. -1: none. */
static int take_fraction(const char **at, uint64_t *part, uint64_t *of)
{
	const char *from = ++*at;

	*part = 0;
	*of = 1;
	for (; **at >= '0' && **at <= '9' && *at - from < 9; ++*at) {
		*part = *part * 10 + (uint64_t)(**at - '0');
		*of *= 10;
	}
	return *at > from ? 0 : -1;
}

int base_size(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	struct swo_error *err)
{
	static const char units[] = "KMGT";
	const char *end = text, *unit = NULL;
	uint64_t value, part = 0, of = 1;
	bool good = !base_digits(&end, 10, &value);
	const bool point = good && *end == '.';

	if (point)
		good = !take_fraction(&end, &part, &of);
	if (good && *end)
		unit = strchr(units, *end);
	good = good && !end[unit ? 1 : 0] && (unit || !point);

	const unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (good && value <= UINT64_MAX >> shift) {
		/* A part of a unit fits into the bits that the shift has left. */
		const uint64_t bytes =
			(value << shift) + (uint64_t)(((unsigned __int128)part << shift) / of);

		if (bytes >= min && bytes <= max) {
			*out = bytes;
			return 0;
		}
	}
	return swo_error_set(err, SWO_E_INVALID, 0,
		"%s: expected a size such as 256M or 1.5G, from %llu to %llu bytes, got '%.100s'",
		what, (unsigned long long)min, (unsigned long long)max, text);
}

int base_real(const char *what, const char *text, double min, double max, double *out,
	struct swo_error *err)
{
	/* Checks the characters first: strtod would also accept " 1", "0x1p3", "nan" and "inf". */
	const size_t len = strspn(text, "0123456789.eE+-");
	char *end;
	double value = strtod(text, &end);

	if (!len || text[len] || *end || !(value >= min && value <= max))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%s: expected a number from %g to %g, got '%.100s'", what, min, max, text);
	*out = value;
	return 0;
}
