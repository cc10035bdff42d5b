/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uuid.c - see uuid.h.
 */
#include "base/uuid.h"

#include <ctype.h>

bool base_uuid_begins(const char *text)
{
	for (unsigned i = 0; i < BASE_UUID_LEN; i++) {
		const bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}
