/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * text.c - numbers and words of profiles and faults, parsed without a C library.
 */
#include "text.h"

bool svf_text_number(const char **text, uint64_t *out)
{
	const char *p = *text;
	uint64_t value = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*text = p;
	*out = value;
	return true;
}

bool svf_text_is(const char *text, size_t len, const char *word)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!word[i] || text[i] != word[i])
			return false;
	return !word[i];
}

bool svf_text_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}
