/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uri.c - the address of a migration or a monitor: any text. base_digits() is stubbed by what the
 * harness `number` proves of it: it ends within the text.
 *
 * Sources: lib/base/uri.c
 * Bound: any text of up to 120 bytes, so the limit of a host (255) is not reached
 * Flags: --unwind 122
 * Mutant: lib/base/uri.c s/len >= sizeof(out->path)/len > sizeof(out->path)/
 * Mutant: lib/base/uri.c s/strlen(colon + 1) >= sizeof(out->port)/strlen(colon + 1) > sizeof(out->port)/
 */
#include "base/uri.h"

#include "base/number.h"
#include "prove.h"

#include <string.h>

#define SIZE 121

int base_digits(const char **at, unsigned radix, uint64_t *out)
{
	const size_t digits = any_up_to(strlen(*at));

	if (!digits)
		return -1;
	*at += digits;
	*out = nondet_u64();
	return 0;
}

void prove(void)
{
	struct base_uri uri;
	struct swo_error err;
	char text[SIZE];

	text[SIZE - 1] = 0;
	if (base_uri_parse(text, &uri, &err))
		return;
	__CPROVER_assert(!uri.path[sizeof(uri.path) - 1], "the path ends");
	__CPROVER_assert(!uri.host[sizeof(uri.host) - 1], "the host ends");
	__CPROVER_assert(!uri.port[sizeof(uri.port) - 1], "the port ends");
}
