/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * log.c - records which pages of guest memory the DMA engine wrote, in a hash of 64-page
 * chunks. It holds a ring of 262144 pages; beyond that every page counts as dirty.
 */
#include "internal.h"

void svf_log_start(struct svf *dev)
{
	svf_zero(&dev->log, sizeof(dev->log));
	dev->log.low = SVF_LOG_CHUNKS;
	dev->log.on = true;
}

void svf_log_stop(struct svf *dev)
{
	dev->log.on = false;
}

void svf_log_page(struct svf *dev, uint64_t addr)
{
	uint64_t page = addr / SVF_BLOCK, key = page / 64 + 1;
	uint64_t at =
		key; /* adjacent chunks get adjacent slots, so that a ring fills the table densely */

	if (!dev->log.on || dev->log.all)
		return;
	for (unsigned tries = 0; tries < SVF_LOG_CHUNKS; tries++, at++) {
		unsigned slot = (unsigned)(at % SVF_LOG_CHUNKS);

		if (dev->log.chunk[slot].key && dev->log.chunk[slot].key != key)
			continue;
		if (slot < dev->log.low)
			dev->log.low = slot;
		if (slot >= dev->log.high)
			dev->log.high = slot + 1;
		dev->log.chunk[slot].key = key;
		dev->log.chunk[slot].bits |= UINT64_C(1) << (page % 64);
		return;
	}
	dev->log.all = true;
}

int svf_log_report(
	struct svf *dev, uint64_t iova, uint64_t length, uint64_t page_size, uint64_t *bitmap)
{
	if (!dev->log.on || page_size < SVF_BLOCK || (page_size & (page_size - 1)) || !length ||
		iova + length < iova || iova % SVF_BLOCK)
		return -SVF_EINVAL;
	if (dev->log.all) {
		for (uint64_t bit = 0; bit < (length - 1) / page_size + 1; bit++)
			bitmap[bit / 64] |= UINT64_C(1) << (bit % 64);
		return 0;
	}
	for (unsigned slot = dev->log.low; slot < dev->log.high; slot++) {
		uint64_t *bits = &dev->log.chunk[slot].bits;

		for (uint64_t left = *bits; left; left &= left - 1) {
			unsigned n = (unsigned)__builtin_ctzll(left);
			uint64_t page = (dev->log.chunk[slot].key - 1) * 64 + n;
			uint64_t addr = page * SVF_BLOCK, bit = (addr - iova) / page_size;

			if (addr < iova || addr - iova >= length)
				continue;
			bitmap[bit / 64] |= UINT64_C(1) << (bit % 64);
			*bits &= ~(UINT64_C(1) << n);
		}
	}
	return 0;
}
