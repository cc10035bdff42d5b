/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty_native.h - the two ways to log writes through our own mapping; dirty_native.c chooses.
 */
#ifndef MEMORY_DIRTY_NATIVE_H
#define MEMORY_DIRTY_NATIVE_H

#include "ram.h"

int memory_dirty_scan_new(struct swo_ram *ram, struct swo_dirty_source *out, struct swo_error *err);
int memory_dirty_handler_new(
	struct swo_ram *ram, struct swo_dirty_source *out, struct swo_error *err);

#endif
