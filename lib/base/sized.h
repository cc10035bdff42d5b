/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sized.h - structures of a program that may have been compiled with other headers.
 */
#ifndef BASE_SIZED_H
#define BASE_SIZED_H

#include "switchover/base.h"

/*
 * Copies `from`, whose first member is its size, to a structure of `size` bytes: fields that it
 * lacks are 0. `name` is the structure's, for errors.
 */
int base_sized_copy(
	const char *name, void *to, size_t size, const void *from, struct swo_error *err);

#endif
