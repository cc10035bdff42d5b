/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * regs.c - the BARs as the guest sees them: registers, doorbells and their check, the inbox by
 * trapped accesses, the MSI-X table.
 */
#include "internal.h"

enum { HIGH = 4 };

void svf_regs_reset(struct svf *dev)
{
	svf_zero(&dev->regs, sizeof(dev->regs));
}

static uint32_t half(uint64_t value, uint64_t offset)
{
	return (uint32_t)(value >> (offset & HIGH ? 32 : 0));
}

static uint32_t read_reg(const struct svf *dev, uint64_t offset)
{
	const struct svf_regs *r = &dev->regs;

	switch (offset) {
	case SIMVF_REG_ID:
		return SIMVF_ID;
	case SIMVF_REG_VERSION:
		return 1;
	case SIMVF_REG_CONTROL:
		return r->control;
	case SIMVF_REG_IRQ_EVERY:
		return r->irq_every;
	case SIMVF_REG_DMA_PAGES:
		return r->dma_pages;
	case SIMVF_REG_DMA_RATE:
		return r->dma_rate;
	case SIMVF_REG_P2P_RATE:
		return r->p2p_rate;
	}
	if (offset >= SIMVF_DOORBELL(0) && offset < SIMVF_DOORBELL(SIMVF_DOORBELLS))
		return half(r->last[(offset - SIMVF_DOORBELL(0)) / 8], offset);
	switch (offset & ~(uint64_t)HIGH) {
	case SIMVF_REG_DMA_ADDR:
		return half(r->dma_addr, offset);
	case SIMVF_REG_P2P_ADDR:
		return half(r->p2p_addr, offset);
	case SIMVF_REG_DOORBELLS:
		return half(r->doorbells, offset);
	case SIMVF_REG_LOST:
		return half(r->lost, offset);
	case SIMVF_REG_REPEATED:
		return half(r->repeated, offset);
	case SIMVF_REG_IRQS:
		return half(r->irqs, offset);
	case SIMVF_REG_DMA_SEQ:
		return half(r->dma_seq, offset);
	case SIMVF_REG_P2P_SEQ:
		return half(r->p2p_seq, offset);
	}
	return 0;
}

static void stamp(struct svf *dev, uint64_t now)
{
	struct svf_stats *s = &dev->stats;

	if (!s->first_doorbell_ns) {
		s->first_doorbell_ns = now;
	} else if (now - s->last_doorbell_ns > s->max_gap_ns) {
		s->max_gap_ns = now - s->last_doorbell_ns;
		s->max_gap_start_ns = s->last_doorbell_ns;
	}
	s->last_doorbell_ns = now;
	s->doorbells++;
}

static void doorbell(struct svf *dev, unsigned vcpu, uint64_t number, uint64_t now)
{
	struct svf_regs *r = &dev->regs;

	if (!number)
		return;
	stamp(dev, now);
	if (svf_fault_events(dev, SVF_AT_DOORBELL, dev->stats.doorbells - 1, dev->stats.doorbells))
		return;
	r->doorbells++;
	if (number <= r->last[vcpu]) {
		r->repeated++;
		dev->stats.repeated++;
		return;
	}
	r->lost += number - r->last[vcpu] - 1;
	dev->stats.lost += number - r->last[vcpu] - 1;
	r->last[vcpu] = number;
	if (svf_state_stopped(dev->state))
		return;
	svf_blocks_touch(dev, vcpu, number);
	if (!(r->control & SIMVF_CONTROL_IRQ) || !r->irq_every || number % r->irq_every)
		return;
	if (dev->config.ops->irq(dev->config.opaque, vcpu % SIMVF_MSIX_VECTORS)) {
		r->irqs++;
		dev->stats.irqs++;
	}
}

/* A newly set ring has no content to compare with. */
static void new_ring(struct svf *dev, uint64_t now)
{
	dev->regs.dma_base = dev->regs.dma_seq;
	svf_engines_start(dev, now);
}

static void write32(struct svf *dev, uint64_t offset, uint32_t value, uint64_t now)
{
	struct svf_regs *r = &dev->regs;

	switch (offset) {
	case SIMVF_REG_CONTROL:
		value &= SIMVF_CONTROL_DMA | SIMVF_CONTROL_P2P | SIMVF_CONTROL_IRQ;
		if (value & ~r->control & (SIMVF_CONTROL_DMA | SIMVF_CONTROL_P2P)) {
			bool dma = value & ~r->control & SIMVF_CONTROL_DMA;

			r->control = value;
			if (dma)
				new_ring(dev, now);
			else
				svf_engines_start(dev, now);
		}
		r->control = value;
		return;
	case SIMVF_REG_IRQ_EVERY:
		r->irq_every = value;
		return;
	case SIMVF_REG_DMA_PAGES:
		r->dma_pages = value;
		new_ring(dev, now);
		return;
	case SIMVF_REG_DMA_RATE:
		r->dma_rate = value;
		svf_engines_start(dev, now);
		return;
	case SIMVF_REG_P2P_RATE:
		r->p2p_rate = value;
		svf_engines_start(dev, now);
		return;
	case SIMVF_REG_DMA_ADDR:
		r->dma_addr_low = value;
		return;
	case SIMVF_REG_P2P_ADDR:
		r->p2p_addr_low = value;
		return;
	case SIMVF_REG_DMA_ADDR + HIGH:
		r->dma_addr = ((uint64_t)value << 32) | r->dma_addr_low;
		new_ring(dev, now);
		return;
	case SIMVF_REG_P2P_ADDR + HIGH:
		r->p2p_addr = ((uint64_t)value << 32) | r->p2p_addr_low;
		return;
	}
	if (offset >= SIMVF_DOORBELL(0) && offset < SIMVF_DOORBELL(SIMVF_DOORBELLS)) {
		unsigned vcpu = (unsigned)((offset - SIMVF_DOORBELL(0)) / 8);

		if (offset & HIGH)
			doorbell(dev, vcpu, ((uint64_t)value << 32) | r->low[vcpu], now);
		else
			r->low[vcpu] = value;
	}
}

/* The registers' shadow in dwords: unaligned reads work, unaligned writes are ignored. */
static void read_words(const struct svf *dev, uint64_t offset, uint8_t *out, size_t len,
	uint32_t (*read)(const struct svf *dev, uint64_t offset))
{
	for (size_t i = 0; i < len;) {
		uint64_t at = offset + i, in = at % 4;
		size_t n = svf_min(4 - in, len - i);
		uint32_t word = read(dev, at - in);

		svf_copy(out + i, (const uint8_t *)&word + in, n);
		i += n;
	}
}

static uint32_t read_msix(const struct svf *dev, uint64_t offset)
{
	return offset < SIMVF_MSIX_PBA ? dev->msix[offset / 4] : 0;
}

static uint32_t read_inbox(const struct svf *dev, uint64_t offset)
{
	return half(__atomic_load_n(&dev->config.inbox[offset / 8], __ATOMIC_RELAXED), offset);
}

static bool within(unsigned region, uint64_t offset, size_t len)
{
	uint64_t size = svf_region_size(region);

	return offset <= size && len <= size - offset;
}

/* The VMM restores MSI-X at any time; the guest must not access the rest of a stopped device. */
static void watch_quiet(struct svf *dev, unsigned region)
{
	if ((region == SIMVF_BAR_REGS || region == SIMVF_BAR_INBOX) &&
		!svf_state_moves(dev->state) && dev->state != SVF_ERROR)
		dev->stats.quiesce_violations++;
}

int svf_region_read(struct svf *dev, unsigned region, uint64_t offset, void *buf, size_t len)
{
	if (!within(region, offset, len))
		return -SVF_EINVAL;
	watch_quiet(dev, region);
	if (region == SIMVF_BAR_REGS)
		read_words(dev, offset, buf, len, read_reg);
	else if (region == SIMVF_BAR_INBOX)
		read_words(dev, offset, buf, len, read_inbox);
	else if (region == SIMVF_BAR_MSIX)
		read_words(dev, offset, buf, len, read_msix);
	else
		svf_copy(buf, dev->pci + offset, len);
	return 0;
}

static void write_inbox(struct svf *dev, uint64_t offset, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8)
		__atomic_store_n(
			&dev->config.inbox[(offset + i) / 8], svf_word(data + i), __ATOMIC_RELAXED);
}

int svf_region_write(struct svf *dev, unsigned region, uint64_t offset, const void *buf, size_t len,
	uint64_t now, uint64_t *done_ns)
{
	const uint8_t *data = buf;

	*done_ns = now;
	if (!within(region, offset, len))
		return -SVF_EINVAL;
	watch_quiet(dev, region);
	if (region == SVF_REGION_CONFIG) {
		*done_ns = svf_pci_write(dev, offset, data, len, now);
		return 0;
	}
	if (region == SIMVF_BAR_INBOX) {
		if (offset % 8 == 0)
			write_inbox(dev, offset, data, len);
		return 0;
	}
	for (size_t i = 0; offset % 4 == 0 && i + 4 <= len; i += 4) {
		uint32_t word;

		svf_copy(&word, data + i, 4);
		if (region == SIMVF_BAR_REGS)
			write32(dev, offset + i, word, now);
		else if (offset + i < SIMVF_MSIX_PBA)
			dev->msix[(offset + i) / 4] = word;
	}
	return 0;
}
