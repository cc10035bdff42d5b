/* SPDX-License-Identifier: BSD-3-Clause */
/* dumped.h - which memory of this process core dumps have. */
#ifndef TESTS_SUPPORT_DUMPED_H
#define TESTS_SUPPORT_DUMPED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Calls `each` for every readable mapping, until it returns true. */
static inline bool dumped_walk(
	bool (*each)(void *opaque, uintptr_t from, uintptr_t to, const char *mode, bool dumped),
	void *opaque)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	uintptr_t from = 0, to = 0;
	unsigned long a, b;
	char line[512], mode[8] = "";
	bool over = false;

	while (file && !over && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx %7s", &a, &b, mode) == 3) {
			from = a;
			to = b;
		} else if (!strncmp(line, "VmFlags:", 8) && mode[0] == 'r') {
			over = each(opaque, from, to, mode, !strstr(line, " dd"));
		}
	}
	if (file)
		fclose(file);
	return over;
}

struct dumped_at {
	uintptr_t at;
	bool dumped;
};

static inline bool dumped_find(
	void *opaque, uintptr_t from, uintptr_t to, const char *mode, bool dumped)
{
	(void)mode;
	struct dumped_at *place = opaque;

	place->dumped = dumped;
	return place->at >= from && place->at < to;
}

static inline bool dumped_has(const void *address)
{
	struct dumped_at place = {.at = (uintptr_t)address};

	return dumped_walk(dumped_find, &place) && place.dumped;
}

#endif
