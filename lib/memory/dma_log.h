/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma_log.h - the pages that a device writes.
 */
#ifndef MEMORY_DMA_LOG_H
#define MEMORY_DMA_LOG_H

#include "switchover/memory.h"

/*
 * The tracking of one device's writes to `ram`, by the best means that its backend has: start
 * enables it (and clears it), collect marks the pages. What was started is in
 * swo_device_dirty_tracking().
 *
 * -1: there is none, from now on, for the reason in *err (start: SWO_E_UNSUPPORTED if the backend
 * offers none). Then the device can write to all of `ram` until it has stopped.
 */
int memory_dma_log_start(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err);
/* Only if device_dma_log_page() is not 0. */
int memory_dma_log_collect(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err);
void memory_dma_log_stop(struct swo_device *dev);

#endif
