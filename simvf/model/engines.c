/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * engines.c - what the device does without a request while it runs: it writes pages of guest
 * RAM, and numbers into a sibling's inbox. Events missed while it was stopped are dropped.
 */
#include "internal.h"

#define SECOND	UINT64_C(1000000000)
#define AT_ONCE 64 /* the most events one call processes, to bound its time */

enum { TOUCH_DMA = 1000, TOUCH_P2P = 1001 };

static bool moving(const struct svf *dev)
{
	return svf_state_moves(dev->state) &&
	       !(dev->walk.active && !svf_state_moves(dev->walk.next));
}

/* As a driver that suspends P2P alone in the P2P states: the uAPI allows it DMA to RAM until STOP. */
static bool writes(const struct svf *dev)
{
	return moving(dev) ||
	       (dev->config.late_dma && !svf_state_stopped(dev->state) && dev->state != SVF_ERROR);
}

static uint64_t dma_period(const struct svf *dev)
{
	const struct svf_regs *r = &dev->regs;

	if (!(r->control & SIMVF_CONTROL_DMA) || !r->dma_pages || !r->dma_rate)
		return 0;
	return SECOND / r->dma_rate ? SECOND / r->dma_rate : 1;
}

static uint64_t p2p_period(const struct svf *dev)
{
	const struct svf_regs *r = &dev->regs;

	if (!(r->control & SIMVF_CONTROL_P2P) || !r->p2p_rate)
		return 0;
	return SECOND / r->p2p_rate ? SECOND / r->p2p_rate : 1;
}

void svf_engines_start(struct svf *dev, uint64_t now)
{
	dev->dma_next = now + dma_period(dev);
	dev->p2p_next = now + p2p_period(dev);
}

static uint64_t page_word(const struct svf *dev, uint64_t number, uint64_t i)
{
	if (i == 0)
		return number + 1;
	if (i == 1)
		return dev->seed;
	return SIMVF_DMA_WORD(dev->seed, number, i);
}

static bool page_holds(const struct svf *dev, uint64_t number)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < SVF_BLOCK / 8; i++)
		wrong |= dev->page[i] ^ page_word(dev, number, i);
	return !wrong;
}

/* false: an access failed. */
static bool dma_page(struct svf *dev)
{
	uint64_t errors = dev->stats.dma_errors;
	const struct svf_config *c = &dev->config;
	struct svf_regs *r = &dev->regs;
	uint64_t number = r->dma_seq, pages = r->dma_pages; /* the guest may change it meanwhile */
	uint64_t addr = r->dma_addr + number % pages * SVF_BLOCK;

	/* The page's previous number is in RAM that may have moved to another host since. */
	if (number - r->dma_base >= pages) {
		if (c->ops->dma_read(c->opaque, addr, dev->page, SVF_BLOCK))
			dev->stats.dma_errors++;
		else if (!page_holds(dev, number - pages))
			dev->stats.ram_mismatches++;
	}
	for (uint64_t i = 0; i < SVF_BLOCK / 8; i++)
		dev->page[i] = page_word(dev, number, i);
	/* Logged before the write, since a failed write may have written a part. */
	svf_log_page(dev, addr);
	if (addr % SVF_BLOCK)
		svf_log_page(dev, addr + SVF_BLOCK - 1);
	if (c->ops->dma_write(c->opaque, addr, dev->page, SVF_BLOCK)) {
		dev->stats.dma_errors++;
		r->dma_base = number + 1;
	}
	r->dma_seq++;
	dev->stats.dma_pages++;
	svf_blocks_touch(dev, TOUCH_DMA, number);
	return dev->stats.dma_errors == errors;
}

static bool p2p_number(struct svf *dev)
{
	const struct svf_config *c = &dev->config;
	struct svf_regs *r = &dev->regs;

	if (c->ops->p2p_write(c->opaque, r->p2p_addr, r->p2p_seq + 1)) {
		dev->stats.dma_errors++;
		return false;
	}
	r->p2p_seq++;
	dev->stats.p2p_writes++;
	svf_blocks_touch(dev, TOUCH_P2P, r->p2p_seq);
	return true;
}

/* Processes the events that are due; the rest of what is overdue is dropped. */
static unsigned due(uint64_t *next, uint64_t period, uint64_t now)
{
	uint64_t events;

	if (!period || now < *next)
		return 0;
	events = (now - *next) / period + 1;
	if (events > AT_ONCE) {
		*next = now + period;
		return AT_ONCE;
	}
	*next += events * period;
	return (unsigned)events;
}

/* Each event may let the guest in, which may turn the engine off; a failure ends the turn. */
static void run_engine(struct svf *dev, uint64_t *next, uint64_t (*period)(const struct svf *dev),
	bool (*event)(struct svf *dev), uint64_t now)
{
	for (unsigned n = due(next, period(dev), now); n && period(dev); n--)
		if (!event(dev))
			return;
}

void svf_write_last(struct svf *dev)
{
	if (writes(dev) && dma_period(dev))
		dma_page(dev);
}

void svf_run(struct svf *dev, uint64_t now)
{
	if (writes(dev))
		run_engine(dev, &dev->dma_next, dma_period, dma_page, now);
	if (moving(dev))
		run_engine(dev, &dev->p2p_next, p2p_period, p2p_number, now);
	svf_save_pump(dev, now);
	svf_load_pump(dev, now);
}

uint64_t svf_next(const struct svf *dev)
{
	uint64_t next = SVF_NEVER;

	if (writes(dev) && dma_period(dev))
		next = svf_min(next, dev->dma_next);
	if (moving(dev) && p2p_period(dev))
		next = svf_min(next, dev->p2p_next);
	if (dev->walk.active)
		next = svf_min(next, dev->walk.due);
	if (dev->save.engine.grant_bytes)
		next = svf_min(next, dev->save.engine.grant_end);
	if (dev->load.engine.grant_bytes)
		next = svf_min(next, dev->load.engine.grant_end);
	if (dev->hold.on)
		next = svf_min(next, dev->hold.due);
	return next;
}
