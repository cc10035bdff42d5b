/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * number.c - numbers and sizes in options, fields and URIs: any text.
 *
 * Sources: lib/base/number.c
 * Bound: any text of up to 24 bytes, which is more digits than 64 bits have
 * Flags: --unwind 26 --unsigned-overflow-check
 * Mutant: lib/base/number.c s/value > (UINT64_MAX - digit) \/ radix/value > UINT64_MAX \/ radix/
 * Mutant: lib/base/number.c s/bytes >= min \&\& //
 */
#include "base/number.h"

#include "prove.h"

#define SIZE 25

void prove(void)
{
	struct swo_error err;
	char *text = any_bytes(SIZE);
	const char *end = text;
	uint64_t value, min = nondet_u64(), max = nondet_u64();

	text[SIZE - 1] = 0;
	if (!base_digits(&end, nondet_bool() ? 10 : 16, &value))
		__CPROVER_assert(end > text && end < text + SIZE, "it ends within the text");
	if (!base_number("number", text, min, max, &value, &err))
		__CPROVER_assert(value >= min && value <= max, "it is in the range");
	if (!base_size("size", text, min, max, &value, &err))
		__CPROVER_assert(value >= min && value <= max, "it is in the range");
}
