/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * walk.c - goes from one migration state to another: the time of each arc, its effect on the
 * device, and its injected faults.
 */
#include "internal.h"

static uint64_t arc_cost(const struct svf *dev, unsigned from, unsigned to)
{
	const struct svf_profile *p = &dev->config.profile;

	if (svf_state_moves(from)) {
		if (to == SVF_RUNNING_P2P || to == SVF_PRE_COPY_P2P)
			return p->to_p2p_ns;
		if (svf_state_stopped(to)) /* a device without P2P merges both arcs */
			return p->to_p2p_ns + p->to_stop_copy_ns;
		return 0;
	}
	switch (from) {
	case SVF_PRE_COPY_P2P:
		return to == SVF_STOP_COPY  ? p->to_stop_copy_ns
		       : to == SVF_PRE_COPY ? p->to_running_ns
					    : 0;
	case SVF_RUNNING_P2P:
		return to == SVF_STOP	   ? p->to_stop_copy_ns
		       : to == SVF_RUNNING ? p->to_running_ns
					   : 0;
	case SVF_RESUMING:
		return p->resuming_to_stop_ns;
	case SVF_STOP:
		return to == SVF_RUNNING_P2P ? p->to_running_p2p_ns
		       : to == SVF_RUNNING   ? p->to_running_p2p_ns + p->to_running_ns
					     : 0;
	default:
		return 0;
	}
}

/* Called late, since the work before the arc's own (loading) may take its time. */
static void set_due(struct svf *dev, uint64_t now)
{
	struct svf_walk *walk = &dev->walk;
	const struct svf_config *c = &dev->config;

	walk->draining = false;
	if (walk->hung)
		walk->due = SVF_NEVER;
	else if (walk->cost && c->arcs_reserve && c->ops->reserve)
		walk->due = c->ops->reserve(c->opaque, SVF_LANE_ARC, now, walk->cost);
	else
		walk->due = now + walk->cost;
}

static void begin_arc(struct svf *dev, unsigned next, uint64_t now)
{
	struct svf_walk *walk = &dev->walk;
	struct svf_fault *fault;

	walk->next = (uint8_t)next;
	walk->cost = arc_cost(dev, dev->state, next);
	walk->outcome = SVF_SLOW;
	dev->stats.arcs[dev->state][next].last_start_ns = now;
	if (svf_fault_arc(dev, dev->state, next, SVF_CLOSE))
		dev->config.ops->event(dev->config.opaque, SVF_EVENT_CLOSE);
	if (svf_fault_arc(dev, dev->state, next, SVF_DIE))
		dev->config.ops->event(dev->config.opaque, SVF_EVENT_DIE);
	fault = svf_fault_arc(dev, dev->state, next, SVF_SLOW);
	if (fault)
		walk->cost += fault->arg;
	walk->hung = svf_fault_arc(dev, dev->state, next, SVF_HANG);
	fault = svf_fault_arc(dev, dev->state, next, SVF_TO_ERROR);
	if (!fault)
		fault = svf_fault_arc(dev, dev->state, next, SVF_FAIL);
	if (fault) {
		walk->outcome = fault->what;
		walk->err = fault->err;
	}
	if (svf_state_stopped(dev->state) && !svf_state_stopped(next))
		svf_inbox_compare(dev);
	if (dev->state == SVF_RESUMING && dev->load.queued) {
		walk->draining = true;
		walk->due = dev->load.engine.grant_end;
	} else {
		set_due(dev, now);
	}
}

static int arrive(struct svf *dev, unsigned next, uint64_t now)
{
	unsigned from = dev->state;

	if (from == SVF_RESUMING) {
		int ret = svf_load_finish(dev);

		if (ret)
			return ret;
	}
	if (dev->config.late_dma && !svf_state_stopped(from) && svf_state_stopped(next))
		svf_write_last(dev);
	/* It may have to wait for the client, who may reset the device meanwhile. */
	if (!dev->walk.active)
		return -SVF_EIO;
	if (svf_state_saves(from) && !svf_state_saves(next))
		svf_save_close(dev);
	dev->state = (uint8_t)next;
	if (next == SVF_RESUMING)
		svf_load_open(dev);
	if (!svf_state_saves(from) && svf_state_saves(next))
		svf_save_open(dev);
	if (svf_state_saves(next))
		svf_save_pump(dev, now);
	if (next == SVF_RESUMING) {
		dev->restoring = true;
		dev->command_seen = false;
	} else if (svf_state_moves(next)) {
		dev->restoring = false;
	}
	if (!svf_state_stopped(from) && svf_state_stopped(next))
		svf_inbox_hold(dev);
	return 0;
}

/*
 * A device that resets itself as the arc ends has reported it as done, unless the arc is one of
 * several.
 */
static int reset_inside(struct svf *dev, unsigned from)
{
	bool last = dev->state == dev->walk.target;

	if (!svf_fault_arc(dev, from, dev->state, SVF_RESET))
		return 0;
	dev->config.ops->event(dev->config.opaque, SVF_EVENT_RESET);
	return last ? 0 : -SVF_EIO;
}

static int end_arc(struct svf *dev, uint64_t now)
{
	struct svf_walk *walk = &dev->walk;
	struct svf_arc_stats *stats = &dev->stats.arcs[dev->state][walk->next];
	unsigned from = dev->state;
	bool were_on = svf_state_moves(from);
	int ret = 0;

	stats->last_end_ns = now;
	if (walk->outcome == SVF_FAIL) {
		ret = -walk->err;
	} else if (walk->outcome == SVF_TO_ERROR) {
		svf_save_close(dev);
		dev->load.open = false;
		dev->state = SVF_ERROR;
		ret = -walk->err;
	} else {
		ret = arrive(dev, walk->next, now);
		if (!ret)
			ret = reset_inside(dev, from);
	}
	if (ret) {
		walk->active = false;
		stats->errors++;
	} else {
		stats->count++;
	}
	/* The engines are stopped during an arc out of a running state; they do not catch up. */
	if (svf_state_moves(dev->state) && (ret || !were_on))
		svf_engines_start(dev, now);
	return ret;
}

int svf_advance(struct svf *dev, uint64_t now)
{
	struct svf_walk *walk = &dev->walk;

	while (walk->active) {
		int ret;

		if (walk->draining) {
			svf_load_pump(dev, now);
			walk->due = dev->load.engine.grant_end;
			if (!dev->load.queued)
				set_due(dev, now);
		}
		if (walk->draining || now < walk->due)
			return SVF_PENDING;
		ret = end_arc(dev, now);
		if (ret || !walk->active)
			return ret;
		if (dev->state == walk->target) {
			walk->active = false;
			break;
		}
		ret = svf_next_state(dev->state, walk->target, dev->config.mig_flags);
		if (ret < 0) {
			walk->active = false;
			return ret;
		}
		begin_arc(dev, (unsigned)ret, now);
	}
	return 0;
}

int svf_set_state(struct svf *dev, unsigned state, uint64_t now)
{
	int next = svf_next_state(dev->state, state, dev->config.mig_flags);

	if (dev->walk.active)
		return -SVF_EBUSY;
	if (next < 0) {
		struct svf_fault *fault = svf_fault_at(dev, SVF_AT_ILLEGAL, SVF_FAIL);

		return fault ? -fault->err : next;
	}
	if ((unsigned)next == dev->state)
		return 0;
	svf_run(dev, now);
	dev->walk.active = true;
	dev->walk.target = (uint8_t)state;
	begin_arc(dev, (unsigned)next, now);
	return svf_advance(dev, now);
}

bool svf_walking(const struct svf *dev)
{
	return dev->walk.active;
}

void svf_release(struct svf *dev, uint64_t now)
{
	if (dev->hold.on)
		dev->hold.due = now;
	if (!dev->walk.active || !dev->walk.hung)
		return;
	dev->walk.hung = false;
	if (!dev->walk.draining)
		dev->walk.due = now;
}

void svf_abandon(struct svf *dev)
{
	dev->load.completing = false;
	dev->hold = (struct svf_hold){0};
}
