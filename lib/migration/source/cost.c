/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cost.c - the expected time of each device's part of a stop: measured here, measured by the
 * target, or the expected costs; and the complete stop, for the solver.
 */
#include "migration/source/source.h"

#include "device/core/engine.h"

static uint64_t known(uint64_t target, uint64_t own)
{
	return target == SWO_UNKNOWN ? own : target;
}

struct swo_device_costs source_device_costs(struct source *s, unsigned index)
{
	const struct source_device *sd = &s->devices[index];
	const struct swo_device_costs *target = &s->costs[index];
	struct swo_device_costs costs = swo_device_known_costs(sd->dev);

	costs.resuming_to_stop_ns = known(target->resuming_to_stop_ns, costs.resuming_to_stop_ns);
	costs.load_fixed_ns = known(target->load_fixed_ns, costs.load_fixed_ns);
	costs.stop_to_p2p_ns = known(target->stop_to_p2p_ns, costs.stop_to_p2p_ns);
	costs.p2p_to_running_ns = known(target->p2p_to_running_ns, costs.p2p_to_running_ns);
	costs.state_bytes = sd->stop_bytes;
	costs.precopy_bytes = 0;
	/* The rate was measured while the others of its PF were active. */
	if (sd->rate) {
		costs.save_rate = sd->rate;
		costs.pf = -1;
	}
	/* What a failed switchover has shown counts until better is known. */
	const struct swo_device_costs learned = device_learned(sd->dev);

	device_costs_worsen(&costs, &learned);
	return costs;
}

bool source_arcs_unknown(const struct swo_device_costs *c)
{
	return c->running_to_p2p_ns == SWO_UNKNOWN || c->p2p_to_stop_ns == SWO_UNKNOWN ||
	       c->resuming_to_stop_ns == SWO_UNKNOWN || c->stop_to_p2p_ns == SWO_UNKNOWN ||
	       c->p2p_to_running_ns == SWO_UNKNOWN;
}

struct swo_plan_setup source_plan(
	struct source *s, struct swo_plan_device *devices, uint64_t wire_rate)
{
	const struct swo_migration *m = &s->m;

	for (unsigned i = 0; i < m->vm.device_count; i++)
		devices[i].costs = source_device_costs(s, i);
	return (struct swo_plan_setup){.devices = devices,
		.count = m->vm.device_count,
		.wire_rate = wire_rate,
		.channels = m->params.channels,
		.rtt_ns = s->rtt_ns,
		.window = m->params.device_window,
		.transitions = m->vm.transitions,
		.join = SWO_JOIN_PASS,
		.stream = m->params.stream,
		.finalise = m->params.finalise,
		.config = m->params.config,
		.overhead = m->params.overhead};
}
