/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma_log.h - the pages that a device writes.
 */
#ifndef MEMORY_DMA_LOG_H
#define MEMORY_DMA_LOG_H

#include "switchover/memory.h"

/*
 * The DMA log of one device: start enables it for all of `ram` (and clears it); collect marks
 * the device's writes. If a report fails, everything is marked dirty, a warning is logged once,
 * and the device counts as one without a log from then on (device_dma_log_page returns 0).
 *
 * *logged false: the device has no log, or one that cannot be started or is unusable (then with
 * a warning). It can write to everything that is mapped for it, which is all of `ram`, and a
 * collect marks all of that. So a caller excludes such a device from the collects between
 * passes (they would never converge) and collects from it once, after it has stopped.
 */
int memory_dma_log_start(
	struct swo_device *dev, struct swo_ram *ram, bool *logged, struct swo_error *err);
int memory_dma_log_collect(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err);
void memory_dma_log_stop(struct swo_device *dev);

#endif
