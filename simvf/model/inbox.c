/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * inbox.c - BAR 2, into which siblings write at any time. A write while the device is stopped
 * violates the P2P barrier, and is counted here.
 */
#include "internal.h"

void svf_inbox_get(const struct svf *dev, uint64_t *words)
{
	for (unsigned i = 0; i < SVF_INBOX_WORDS; i++)
		words[i] = __atomic_load_n(&dev->config.inbox[i], __ATOMIC_RELAXED);
}

void svf_look_at_inbox(struct svf *dev)
{
	for (unsigned slot = 0; slot < SIMVF_INBOX_SLOTS; slot++) {
		uint64_t *word = &dev->config.inbox[SIMVF_INBOX_SLOT(slot) / 8];
		uint64_t value = __atomic_load_n(word, __ATOMIC_RELAXED);

		if (value > dev->inbox_seen[slot])
			dev->stats.p2p_received += value - dev->inbox_seen[slot];
		else if (value < dev->inbox_seen[slot])
			dev->stats.p2p_backwards++;
		dev->inbox_seen[slot] = value;
	}
}

void svf_inbox_set(struct svf *dev, const uint64_t *words)
{
	for (unsigned i = 0; i < SVF_INBOX_WORDS; i++) {
		__atomic_store_n(&dev->config.inbox[i], words[i], __ATOMIC_RELAXED);
		dev->inbox_still[i] = words[i];
	}
	for (unsigned slot = 0; slot < SIMVF_INBOX_SLOTS; slot++)
		dev->inbox_seen[slot] = words[SIMVF_INBOX_SLOT(slot) / 8];
}

void svf_inbox_hold(struct svf *dev)
{
	svf_look_at_inbox(dev);
	svf_inbox_get(dev, dev->inbox_still);
}

void svf_inbox_compare(struct svf *dev)
{
	for (unsigned i = 0; i < SVF_INBOX_WORDS; i++)
		if (__atomic_load_n(&dev->config.inbox[i], __ATOMIC_RELAXED) != dev->inbox_still[i])
			dev->stats.p2p_violations++;
	svf_inbox_hold(dev);
}
