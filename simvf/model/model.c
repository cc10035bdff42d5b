/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * model.c - creates and resets the device.
 */
#include "internal.h"

static uint64_t dirty_words(uint64_t state_bytes)
{
	return (state_bytes / SVF_BLOCK + 63) / 64;
}

size_t svf_memory_size(uint64_t state_bytes)
{
	/* one extra word, so that the pointer is valid for zero blocks */
	return (size_t)(dirty_words(state_bytes) * 8 + state_bytes / SVF_BLOCK * 4 + 8);
}

int svf_init(struct svf *dev, const struct svf_config *config, uint64_t now)
{
	const struct svf_profile *p = &config->profile;

	if (p->state_bytes % SVF_BLOCK || p->state_bytes > SVF_STATE_MAX ||
		p->precopy_percent > 100 || !config->ops || !config->inbox || !config->memory)
		return -SVF_EINVAL;
	svf_zero(dev, sizeof(*dev));
	dev->config = *config;
	dev->config.mig_flags |= SVF_MIG_STOP_COPY;
	dev->seed = config->seed;
	dev->blocks = (uint32_t)(p->state_bytes / SVF_BLOCK);
	dev->precopy_blocks = (uint32_t)((uint64_t)dev->blocks * p->precopy_percent / 100);
	dev->dirty = config->memory;
	dev->version = (uint32_t *)(dev->dirty + dirty_words(p->state_bytes));
	svf_zero(config->memory, svf_memory_size(p->state_bytes));
	svf_reset(dev, now);
	dev->stats.resets = 0;
	return 0;
}

void svf_reset(struct svf *dev, uint64_t now)
{
	static const uint64_t empty[SVF_INBOX_WORDS];

	if (svf_state_stopped(dev->state))
		svf_inbox_compare(dev);
	dev->walk.active = false;
	dev->hold = (struct svf_hold){0};
	svf_save_close(dev);
	svf_zero(&dev->load, offsetof(struct svf_load, stage));
	svf_log_stop(dev);
	dev->state = SVF_RUNNING;
	dev->seed = dev->config.seed;
	svf_regs_reset(dev);
	svf_pci_reset(dev);
	svf_inbox_set(dev, empty);
	svf_blocks_fresh(dev);
	svf_engines_start(dev, now);
	dev->stats.resets++;
}

void svf_reset_stats(struct svf *dev)
{
	svf_zero(&dev->stats, sizeof(dev->stats));
}
