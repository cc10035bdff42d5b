/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stubs.c - what every harness has instead of the functions of lib/base with an effect outside:
 * the texts of errors are not formatted. Their arguments are for the fuzzers.
 */
#include "prove.h"
#include "switchover/base.h"

int swo_error_set(
	struct swo_error *err, enum swo_error_code code, int os_errno, const char *fmt, ...)
{
	must_be_readable(fmt, 1);
	if (err) {
		err->code = code;
		err->os_errno = os_errno;
		err->text[0] = 0;
	}
	return -1;
}

/* CBMC 6.6 has no model of these. */
void *memchr(const void *at, int c, size_t size)
{
	const unsigned char *bytes = at;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] == (unsigned char)c)
			return (void *)(bytes + i);
	return NULL;
}
