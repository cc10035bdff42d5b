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
/*
 * The other way: fills `to`, in which the program has set its size, from a structure of `size`
 * bytes; fields that this has not are 0.
 */
int base_sized_give(
	const char *name, void *to, const void *from, size_t size, struct swo_error *err);

#endif
