/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uuid.h - the form of a UUID: hexadecimal digits in groups of 8, 4, 4, 4 and 12.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>

#define BASE_UUID_LEN 36

/* True if `text` begins with one, in either case. What follows it is the caller's. */
bool base_uuid_begins(const char *text);

#endif
