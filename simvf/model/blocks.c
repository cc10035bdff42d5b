/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * blocks.c - the internal state: blocks of 4 KiB whose content is a function of the device's
 * seed, the block's number and its version. Only the versions are stored, and every byte can be
 * checked on either host.
 */
#include "internal.h"

#define STEP UINT64_C(0x9e3779b97f4a7c15)

static uint64_t base_of(const struct svf *dev, uint32_t block, uint32_t version)
{
	return svf_mix(dev->seed ^ svf_mix(((uint64_t)version << 32) | block));
}

/* Short, because saving and checking depend on its speed: no word depends on another. */
static inline uint64_t content(uint64_t base, uint64_t i)
{
	uint64_t x = base + i * STEP;

	return x ^ (x >> 29) ^ (x << 17);
}

void svf_block_fill(const struct svf *dev, uint32_t block, uint32_t version, void *out)
{
	uint64_t base = base_of(dev, block, version);
	uint8_t *p = out;

	for (uint64_t i = 0; i < SVF_BLOCK / 8; i++) {
		uint64_t word = content(base, i);

		svf_copy(p + 8 * i, &word, 8);
	}
}

bool svf_block_check(const struct svf *dev, uint32_t block, uint32_t version, const void *data)
{
	uint64_t base = base_of(dev, block, version);
	const uint8_t *p = data;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < SVF_BLOCK / 8; i++)
		wrong |= content(base, i) ^ svf_word(p + 8 * i);
	return !wrong;
}

static uint64_t share(uint32_t block, uint32_t version)
{
	return version ? svf_mix(((uint64_t)block << 32) | version) : 0;
}

void svf_block_set(struct svf *dev, uint32_t block, uint32_t version)
{
	dev->version_sum -= share(block, dev->version[block]);
	dev->version[block] = version;
	dev->version_sum += share(block, version);
}

static void mark_dirty(struct svf *dev, uint32_t block)
{
	uint64_t bit = UINT64_C(1) << (block % 64);

	if (dev->dirty[block / 64] & bit)
		return;
	dev->dirty[block / 64] |= bit;
	if (block < dev->precopy_blocks)
		dev->dirty_early++;
	else
		dev->dirty_late++;
}

bool svf_block_take(struct svf *dev, uint32_t block)
{
	uint64_t bit = UINT64_C(1) << (block % 64);

	if (!(dev->dirty[block / 64] & bit))
		return false;
	dev->dirty[block / 64] &= ~bit;
	if (block < dev->precopy_blocks)
		dev->dirty_early--;
	else
		dev->dirty_late--;
	return true;
}

void svf_blocks_all_dirty(struct svf *dev)
{
	for (uint32_t block = 0; block < dev->blocks; block++)
		mark_dirty(dev, block);
}

void svf_blocks_empty(struct svf *dev)
{
	svf_zero(dev->version, dev->blocks * sizeof(dev->version[0]));
	dev->version_sum = 0;
}

void svf_blocks_fresh(struct svf *dev)
{
	svf_blocks_empty(dev);
	for (uint32_t block = 0; block < dev->blocks; block++)
		svf_block_set(dev, block, 1);
}

void svf_blocks_touch(struct svf *dev, uint64_t kind, uint64_t number)
{
	uint32_t block;

	if (!dev->blocks)
		return;
	block = (uint32_t)(svf_mix(number * STEP + kind) % dev->blocks);
	svf_block_set(dev, block, dev->version[block] + 1 ? dev->version[block] + 1 : 1);
	if (dev->save.open)
		mark_dirty(dev, block);
}
