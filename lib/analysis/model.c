/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.c - solves the schedule of lib/runstate, lib/device and lib/migration: passes, barriers,
 * one worker a device, READY when all is in, GO, the start.
 */
#include "analysis/model.h"
#include "analysis/estimate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOT_YET UINT64_MAX

enum arc { ARC_QUIESCE, ARC_STOP, ARC_FINALISE, ARC_RELEASE, ARC_RUN };

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static const struct swo_device_costs *costs_of(const struct model *m, unsigned i)
{
	return &m->devices[i].costs;
}

/* Arcs */

static struct swo_plan_period *period(struct model *m, enum arc arc, unsigned i)
{
	struct swo_plan_schedule *s = &m->schedules[i];

	switch (arc) {
	case ARC_QUIESCE:
		return &s->running_to_p2p;
	case ARC_STOP:
		return &s->p2p_to_stop;
	case ARC_FINALISE:
		return &s->resuming_to_stop;
	case ARC_RELEASE:
		return &s->stop_to_p2p;
	case ARC_RUN:
		break;
	}
	return &s->p2p_to_running;
}

static uint64_t cost(const struct model *m, enum arc arc, unsigned i)
{
	const struct swo_device_costs *c = costs_of(m, i);

	switch (arc) {
	case ARC_QUIESCE:
		return c->running_to_p2p_ns;
	case ARC_STOP:
		return c->p2p_to_stop_ns;
	case ARC_FINALISE:
		return c->resuming_to_stop_ns;
	case ARC_RELEASE:
		return c->stop_to_p2p_ns;
	case ARC_RUN:
		break;
	}
	return c->p2p_to_running_ns;
}

/* One arc launched at `when`; returns its end. */
static uint64_t run_arc(struct model *m, enum arc arc, unsigned i, uint64_t when)
{
	uint64_t ns = cost(m, arc, i), end = when + ns;

	if (m->setup.pf_arcs && costs_of(m, i)->pf != FLOW_NOBODY)
		end = analysis_flow_reserve(
			&m->lanes[analysis_flow_pf_of(m->flow.devices, i)], when, ns);
	*period(m, arc, i) = (struct swo_plan_period){end - ns, end};
	return end;
}

static uint64_t arc_in_pass(struct model *m, enum arc arc, unsigned i, uint64_t when)
{
	/* That of RESUMING->STOP is in what a stream costs. */
	when = analysis_flow_reserve(&m->cpu, when, m->setup.overhead.arc_ns);
	/* One launch takes a device that was not finalised through all its arcs. */
	if (arc == ARC_RELEASE && m->setup.finalise == SWO_WHEN_LATE)
		when = run_arc(m, ARC_FINALISE, i, when);
	return run_arc(m, arc, i, when);
}

/* The handlers' order: going down the deepest first and the last added first, and back. */
static void put_in_order(struct model *m, bool down)
{
	unsigned n = m->setup.count;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = i;

		for (; at && m->devices[m->order[at - 1]].depth > m->devices[i].depth; at--)
			m->order[at] = m->order[at - 1];
		m->order[at] = i;
	}
	for (unsigned i = 0, j = n; down && i + 1 < j; i++) {
		unsigned swap = m->order[--j];

		m->order[j] = m->order[i];
		m->order[i] = swap;
	}
}

/* A pass of the run state that starts at `from`; returns its end: the barrier. */
static uint64_t pass(struct model *m, enum arc arc, uint64_t from)
{
	const struct swo_plan_setup *setup = &m->setup;
	uint64_t launch = from, end = from;

	memset(m->lanes, 0, setup->count * sizeof(*m->lanes));
	for (unsigned k = 0; k < setup->count; k++) {
		unsigned i = m->order[k];
		bool deeper = k && m->devices[i].depth != m->devices[m->order[k - 1]].depth;

		if (setup->transitions == SWO_TRANSITIONS_SERIAL ||
			(deeper && setup->join == SWO_JOIN_DEPTH))
			launch = end;
		end = larger(end, arc_in_pass(m, arc, i, launch));
	}
	return end;
}

/* Streams */

static int streams(struct model *m, struct swo_error *err)
{
	const struct swo_plan_setup *setup = &m->setup;
	struct flow *flow = &m->flow;

	for (unsigned i = 0; i < setup->count; i++) {
		struct swo_plan_schedule *s = &m->schedules[i];
		struct flow_device *f = &flow->devices[i];

		f->save_from = s->p2p_to_stop.end_ns;
		f->stream_from =
			setup->stream == SWO_WHEN_EARLY ? s->p2p_to_stop.end_ns : m->stopped;
		/* The config goes when the vCPUs stand still; the worker loads it first. */
		f->load_from = setup->config == SWO_WHEN_EARLY
				       ? 0
				       : flow->latency_ns + costs_of(m, i)->config_load_ns;
	}
	flow->cpu_from = m->cpu;
	flow->ram_from = setup->ram_after_stop ? m->stopped : 0;
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

/* RESUMING->STOP */

/* Of the devices that have not started it, the one that is loaded first. */
static unsigned next_loaded(const struct model *m)
{
	unsigned best = m->setup.count;

	for (unsigned i = 0; i < m->setup.count; i++)
		if (m->schedules[i].resuming_to_stop.end_ns == NOT_YET &&
			(best == m->setup.count ||
				m->schedules[i].load.end_ns < m->schedules[best].load.end_ns))
			best = i;
	return best;
}

static uint64_t finalise(struct model *m)
{
	const struct swo_plan_setup *setup = &m->setup;
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
		end = larger(end, run_arc(m, ARC_FINALISE, i, launch));
	}
	return end;
}

/* The whole */

static int solve(struct model *m, struct swo_error *err)
{
	const struct swo_plan_setup *setup = &m->setup;
	uint64_t latency = m->flow.latency_ns;

	/* Half of what comes once is before the passes, half behind them. */
	m->begun = setup->overhead.fixed_ns / 2;
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
	m->started = m->resumed + setup->overhead.fixed_ns - m->begun;
	return 0;
}

/* Inputs */

static uint64_t time_of(uint64_t ns)
{
	return ns == SWO_UNKNOWN ? 0 : ns < MODEL_TIME_MAX_NS ? ns : MODEL_TIME_MAX_NS;
}

static uint64_t bytes_of(uint64_t bytes)
{
	return bytes == SWO_UNKNOWN ? 0 : bytes < MODEL_BYTES_MAX ? bytes : MODEL_BYTES_MAX;
}

static uint64_t rate_of(uint64_t rate)
{
	if (!rate || rate == SWO_UNKNOWN)
		return 0;
	return larger(rate, MODEL_RATE_MIN);
}

struct swo_device_costs analysis_known(const struct swo_device_costs *c)
{
	const uint64_t state = bytes_of(c->state_bytes), precopy = bytes_of(c->precopy_bytes);

	return (struct swo_device_costs){.running_to_p2p_ns = time_of(c->running_to_p2p_ns),
		.p2p_to_stop_ns = time_of(c->p2p_to_stop_ns),
		.resuming_to_stop_ns = time_of(c->resuming_to_stop_ns),
		.stop_to_p2p_ns = time_of(c->stop_to_p2p_ns),
		.p2p_to_running_ns = time_of(c->p2p_to_running_ns),
		.config_load_ns = time_of(c->config_load_ns),
		.state_bytes = state,
		.precopy_bytes = precopy < state ? precopy : state,
		.save_rate = rate_of(c->save_rate),
		.load_rate = rate_of(c->load_rate),
		.load_fixed_ns = time_of(c->load_fixed_ns),
		.pf = c->pf};
}

/*
 * What is under way lies in the source's caches, and in the target's: with more of it, each byte is
 * fetched from memory once more on either side, which costs more than a window that is full at
 * times.
 */
uint64_t analysis_window(uint64_t window, unsigned large)
{
	const uint64_t share = large ? window / large : window;

	if (share > ANALYSIS_SHARED_WINDOW)
		return share;
	return window < ANALYSIS_SHARED_WINDOW ? window : ANALYSIS_SHARED_WINDOW;
}

#define LONG_RTT_NS UINT64_C(500000) /* less is a host's or a rack's, with other work on it */

/* 10 Gbit/s, and a quarter more, as credit comes in quarters. */
uint64_t analysis_link_need(uint64_t rtt_ns)
{
	return rtt_ns < LONG_RTT_NS ? 0 : rtt_ns + rtt_ns / 2 + rtt_ns / 16;
}

static uint64_t window_of_each(const struct swo_plan_setup *setup)
{
	unsigned large = 0;

	for (unsigned i = 0; i < setup->count; i++)
		large += setup->devices[i].costs.state_bytes > ANALYSIS_SHARED_WINDOW;
	const uint64_t window = setup->window ? analysis_window(setup->window, large) : 0;
	const uint64_t need = analysis_link_need(setup->rtt_ns);
	const uint64_t share = SWO_DEFAULT_LINK_WINDOW / (large ? large : 1);
	const uint64_t far = need < share ? need : share;

	return window && window < far ? far : window;
}

static void set_flow(struct model *m, uint64_t chunks_max)
{
	const struct swo_plan_setup *setup = &m->setup;
	struct flow_device *devices = m->flow.devices;

	m->flow = (struct flow){.devices = devices,
		.count = setup->count,
		.channels = setup->channels,
		.channel_rate = rate_of(setup->channel_rate),
		.wire_rate = rate_of(setup->wire_rate),
		.latency_ns = time_of(setup->rtt_ns) / 2,
		.window = window_of_each(setup),
		.ram_bytes = bytes_of(setup->ram_bytes),
		.chunks_max = chunks_max,
		.stream_ns = setup->overhead.stream_ns,
		.cpu_rate = rate_of(setup->overhead.state_rate)};
	for (unsigned i = 0; i < setup->count; i++) {
		const struct swo_device_costs *c = costs_of(m, i);

		devices[i] = (struct flow_device){.bytes = c->state_bytes - c->precopy_bytes,
			.save_rate = c->save_rate,
			.load_rate = c->load_rate,
			.load_fixed_ns = c->load_fixed_ns,
			.pf = c->pf};
	}
}

int analysis_model_run(struct model *m, const struct swo_plan_setup *setup, uint64_t chunks_max,
	struct swo_error *err)
{
	const size_t n = (size_t)setup->count + 1;

	*m = (struct model){.setup = *setup,
		.devices = calloc(n, sizeof(*m->devices)),
		.schedules = calloc(n, sizeof(*m->schedules)),
		.order = calloc(n, sizeof(*m->order)),
		.lanes = calloc(n, sizeof(*m->lanes)),
		.flow = {.devices = calloc(n, sizeof(*m->flow.devices))}};
	if (!m->devices || !m->schedules || !m->order || !m->lanes || !m->flow.devices)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "a plan of %u devices", setup->count);
	for (unsigned i = 0; i < setup->count; i++) {
		m->devices[i] = setup->devices[i];
		m->devices[i].costs = analysis_known(&setup->devices[i].costs);
	}
	m->setup.devices = m->devices;
	set_flow(m, chunks_max);
	return solve(m, err);
}

void analysis_model_free(struct model *m)
{
	free(m->devices);
	free(m->schedules);
	free(m->order);
	free(m->lanes);
	free(m->flow.devices);
	*m = (struct model){0};
}
