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

/* What a failed switchover has shown counts until better is known. */
static void count_learned(struct swo_device_costs *costs, const struct swo_device_costs *learned)
{
	uint64_t *const ns[] = {
		&costs->running_to_p2p_ns, &costs->p2p_to_stop_ns, &costs->resuming_to_stop_ns};
	const uint64_t shown[] = {
		learned->running_to_p2p_ns, learned->p2p_to_stop_ns, learned->resuming_to_stop_ns};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(ns); i++)
		if (shown[i] != SWO_UNKNOWN && (*ns[i] == SWO_UNKNOWN || shown[i] > *ns[i]))
			*ns[i] = shown[i];
	if (learned->save_rate && (!costs->save_rate || learned->save_rate < costs->save_rate))
		costs->save_rate = learned->save_rate;
	if (learned->load_rate && (!costs->load_rate || learned->load_rate < costs->load_rate))
		costs->load_rate = learned->load_rate;
}

struct swo_device_costs source_device_costs(struct source *s, unsigned index)
{
	const struct source_device *sd = &s->devices[index];
	const struct swo_device_costs *target = &s->costs[index];
	struct swo_device_costs costs = swo_device_known_costs(sd->dev);

	costs.resuming_to_stop_ns = known(target->resuming_to_stop_ns, costs.resuming_to_stop_ns);
	costs.stop_to_p2p_ns = known(target->stop_to_p2p_ns, costs.stop_to_p2p_ns);
	costs.p2p_to_running_ns = known(target->p2p_to_running_ns, costs.p2p_to_running_ns);
	costs.state_bytes = sd->stop_bytes;
	costs.precopy_bytes = 0;
	/* The rate was measured while the others of its PF were active. */
	if (sd->rate) {
		costs.save_rate = sd->rate;
		costs.pf = -1;
	}
	const struct swo_device_costs learned = device_learned(sd->dev);

	count_learned(&costs, &learned);
	return costs;
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
