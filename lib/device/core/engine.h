/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine.h - what a migration sets and reads of a device, and an embedder does not.
 */
#ifndef DEVICE_CORE_ENGINE_H
#define DEVICE_CORE_ENGINE_H

#include "switchover/device.h"

/* The page size of the device's DMA log, for reports; 0: no log is active. */
void device_set_dma_log_page(struct swo_device *dev, uint64_t page_size);
uint64_t device_dma_log_page(struct swo_device *dev);
/*
 * A buffer of `words` zero words for the bitmap of a report: for one thread at a time, which
 * leaves them all 0. Kept until more are requested. NULL: no memory.
 */
uint64_t *device_dma_log_bits(struct swo_device *dev, size_t words);

/* The state for a device whose hung arc ends after all: RUNNING (source) or reset (target). */
enum device_settle { DEVICE_SETTLE_RUN, DEVICE_SETTLE_RESET };
void device_set_settle(struct swo_device *dev, enum device_settle settle);

#endif
