/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty_native.c - writes through this process's own mapping of the guest's memory: the scan where
 * the kernel has it, else the handler.
 */
#include "dirty_native.h"

int swo_dirty_native(struct swo_ram *ram, bool force_handler, struct swo_dirty_source *out,
	struct swo_error *err)
{
	struct swo_error why = {0};

	if (!force_handler) {
		if (!memory_dirty_scan_new(ram, out, &why))
			return 0;
		if (why.code != SWO_E_UNSUPPORTED) {
			if (err)
				*err = why;
			return -1;
		}
	}
	return memory_dirty_handler_new(ram, out, err);
}
