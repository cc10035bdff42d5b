/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.c - the schedule of runstate/, device/ and migration/, in figures: passes and their
 * barriers, one worker a device, READY when all is in, GO, the start.
 */
#include "analysis/model.h"

#include <stdlib.h>
#include <string.h>

#define NOT_YET UINT64_MAX

enum arc { ARC_QUIESCE, ARC_STOP, ARC_FINALISE, ARC_RELEASE, ARC_RUN };

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static const struct swo_plan_device *device(const struct model *m, unsigned i)
{
	return &m->setup->devices[i];
}

/* Arcs */

static struct swo_plan_period *period(struct model *m, enum arc arc, unsigned i)
{
	struct swo_plan_schedule *s = &m->schedules[i];

	switch (arc) {
	case ARC_QUIESCE:
		return &s->to_p2p;
	case ARC_STOP:
		return &s->to_stop_copy;
	case ARC_FINALISE:
		return &s->resuming_to_stop;
	case ARC_RELEASE:
		return &s->to_running_p2p;
	case ARC_RUN:
		break;
	}
	return &s->to_running;
}

static uint64_t cost(const struct model *m, enum arc arc, unsigned i)
{
	const struct swo_plan_device *d = device(m, i);

	switch (arc) {
	case ARC_QUIESCE:
		return d->to_p2p_ns;
	case ARC_STOP:
		return d->to_stop_copy_ns;
	case ARC_FINALISE:
		return d->resuming_to_stop_ns;
	case ARC_RELEASE:
		return d->to_running_p2p_ns;
	case ARC_RUN:
		break;
	}
	return d->to_running_ns;
}

/* One arc that is launched at `when`; gives its end. */
static uint64_t walk(struct model *m, enum arc arc, unsigned i, uint64_t when)
{
	uint64_t ns = cost(m, arc, i), end = when + ns;

	if (m->setup->pf_arcs && device(m, i)->pf != FLOW_NOBODY)
		end = analysis_flow_reserve(
			&m->lanes[analysis_flow_pf_of(m->flow.devices, i)], when, ns);
	*period(m, arc, i) = (struct swo_plan_period){end - ns, end};
	return end;
}

static uint64_t walk_in_pass(struct model *m, enum arc arc, unsigned i, uint64_t when)
{
	/* That of RESUMING->STOP is in what a stream costs. */
	when = analysis_flow_reserve(&m->cpu, when, m->setup->costs.arc_ns);
	/* One launch takes a device that was not finalised all the way. */
	if (arc == ARC_RELEASE && m->setup->finalise == SWO_WHEN_LATE)
		when = walk(m, ARC_FINALISE, i, when);
	return walk(m, arc, i, when);
}

/* The handlers' order: going down the deepest first and the last added first, and back. */
static void put_in_order(struct model *m, bool down)
{
	unsigned n = m->setup->count;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = i;

		for (; at && device(m, m->order[at - 1])->depth > device(m, i)->depth; at--)
			m->order[at] = m->order[at - 1];
		m->order[at] = i;
	}
	for (unsigned i = 0, j = n; down && i + 1 < j; i++) {
		unsigned swap = m->order[--j];

		m->order[j] = m->order[i];
		m->order[i] = swap;
	}
}

/* A pass of the run state that begins at `from`; gives its end: the barrier. */
static uint64_t pass(struct model *m, enum arc arc, uint64_t from)
{
	const struct swo_plan_setup *setup = m->setup;
	uint64_t launch = from, end = from;

	memset(m->lanes, 0, setup->count * sizeof(*m->lanes));
	for (unsigned k = 0; k < setup->count; k++) {
		unsigned i = m->order[k];
		bool deeper = k && device(m, i)->depth != device(m, m->order[k - 1])->depth;

		if (setup->transitions == SWO_TRANSITIONS_SERIAL ||
			(deeper && setup->join == SWO_JOIN_DEPTH))
			launch = end;
		end = larger(end, walk_in_pass(m, arc, i, launch));
	}
	return end;
}

/* Streams */

static int streams(struct model *m, struct swo_error *err)
{
	const struct swo_plan_setup *setup = m->setup;
	struct flow *flow = &m->flow;

	for (unsigned i = 0; i < setup->count; i++) {
		const struct swo_plan_device *d = device(m, i);
		struct swo_plan_schedule *s = &m->schedules[i];
		struct flow_device *f = &flow->devices[i];

		f->save_from = s->to_stop_copy.end_ns;
		f->stream_from =
			setup->stream == SWO_WHEN_EARLY ? s->to_stop_copy.end_ns : m->stopped;
		/* The config goes when the vCPUs stand still; the worker loads it first. */
		f->load_from =
			setup->config == SWO_WHEN_EARLY ? 0 : flow->latency_ns + d->config_load_ns;
	}
	flow->cpu_from = m->cpu;
	if (analysis_flow_run(flow, err))
		return -1;
	m->sent = larger(flow->ram_sent, m->machine_saved);
	for (unsigned i = 0; i < setup->count; i++) {
		const struct flow_device *f = &flow->devices[i];
		struct swo_plan_schedule *s = &m->schedules[i];

		s->save.start_ns = f->stream_from;
		s->save.end_ns = f->sent;
		s->load.end_ns = f->loaded;
		s->load.start_ns = f->load_start < f->loaded ? f->load_start : f->loaded;
		m->sent = larger(m->sent, f->sent);
	}
	return 0;
}

/* RESUMING->STOP:
 */

/* The one of those not yet begun that is loaded first. */
static unsigned next_loaded(const struct model *m)
{
	unsigned best = m->setup->count;

	for (unsigned i = 0; i < m->setup->count; i++)
		if (m->schedules[i].resuming_to_stop.end_ns == NOT_YET &&
			(best == m->setup->count ||
				m->schedules[i].load.end_ns < m->schedules[best].load.end_ns))
			best = i;
	return best;
}

static uint64_t finalise(struct model *m)
{
	const struct swo_plan_setup *setup = m->setup;
	uint64_t all_in = m->sent + m->flow.latency_ns, end = 0;
	unsigned i;

	for (i = 0; i < setup->count; i++)
		end = larger(end, m->schedules[i].load.end_ns);
	if (setup->finalise == SWO_WHEN_LATE)
		return end;
	memset(m->lanes, 0, setup->count * sizeof(*m->lanes));
	for (i = 0; i < setup->count; i++)
		m->schedules[i].resuming_to_stop.end_ns = NOT_YET;
	end = 0;
	while ((i = next_loaded(m)) < setup->count) {
		uint64_t launch = m->schedules[i].load.end_ns;

		if (setup->finalise == SWO_WHEN_RAM)
			launch = larger(launch, all_in);
		if (setup->transitions == SWO_TRANSITIONS_SERIAL)
			launch = larger(launch, end);
		end = larger(end, walk(m, ARC_FINALISE, i, launch));
	}
	return end;
}

/* The whole:
 */

int analysis_model_run(struct model *m, struct swo_error *err)
{
	const struct swo_plan_setup *setup = m->setup;
	uint64_t latency = m->flow.latency_ns;

	/* Half of what comes once is before the passes, half behind them. */
	m->begun = setup->costs.fixed_ns / 2;
	put_in_order(m, true);
	m->quiesced = pass(m, ARC_QUIESCE, m->begun);
	m->stopped = pass(m, ARC_STOP, m->quiesced);
	m->machine_saved = m->stopped + setup->machine_ns / 2;
	m->machine_loaded = m->machine_saved + latency + setup->machine_ns / 2;
	if (streams(m, err))
		return -1;
	m->ready = larger(finalise(m), larger(m->sent + latency, m->machine_loaded));
	m->go_sent = m->ready + latency;
	m->go = m->go_sent + latency;
	put_in_order(m, false);
	m->released = pass(m, ARC_RELEASE, m->go);
	m->resumed = pass(m, ARC_RUN, m->released);
	m->started = m->resumed + setup->costs.fixed_ns - m->begun;
	return 0;
}
