/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sized.c - see sized.h. The kernel has the same rule for structures of user space.
 */
#include "base/sized.h"

#include <string.h>

static int read_size(const char *name, const void *from, size_t *given, struct swo_error *err)
{
	memcpy(given, from, sizeof(*given));
	if (*given > sizeof(*given))
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0,
		"the size of a struct %s is %zu; set it to sizeof(struct %s)", name, *given, name);
}

int base_sized_copy(
	const char *name, void *to, size_t size, const void *from, struct swo_error *err)
{
	const uint8_t *bytes = from;
	size_t given;

	if (read_size(name, from, &given, err))
		return -1;
	for (size_t at = size; at < given; at++)
		if (bytes[at])
			return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
				"a struct %s of %zu bytes has a field that this library lacks "
				"(expected %zu bytes); use a later libswitchover",
				name, given, size);
	memset(to, 0, size);
	memcpy(to, from, given < size ? given : size);
	return 0;
}

int base_sized_give(
	const char *name, void *to, const void *from, size_t size, struct swo_error *err)
{
	size_t given;

	if (read_size(name, to, &given, err))
		return -1;
	memset(to, 0, given);
	memcpy(to, from, given < size ? given : size);
	memcpy(to, &given, sizeof(given));
	return 0;
}
