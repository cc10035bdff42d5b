/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * costs.c - measures the costs of each arc, of saving and of loading: several complete
 * migrations of the device to itself, with new samples.
 */
#include "probe/internal.h"

#include <stdio.h>
#include <string.h>

static bool has(const struct session *s, enum swo_device_state state)
{
	return swo_device_state_supported(state, s->flags);
}

/* Reads all of PRE_COPY: the rest is saved during the blackout. */
static void read_ahead(struct session *s)
{
	s->stream.len = 0;
	s->call.op = OP_READ_ALL;
	s->call.piece = 0;
	s->read_ahead = !probe_perform(s, "save.read");
}

static void read_rest(struct session *s)
{
	s->stream.len = 0;
	s->call.op = OP_READ_ALL;
	s->call.piece = 0;
	if (s->read_ahead && !probe_perform(s, "save.read") && s->stream.len &&
		(!s->least_rest || s->stream.len < s->least_rest))
		s->least_rest = s->stream.len;
	s->read_ahead = false;
}

/* The arcs of a source and of a target, and both roll-backs. */
static void run_once(struct session *s)
{
	static const enum swo_device_state source[] = {SWO_DEVICE_RUNNING, SWO_DEVICE_PRE_COPY,
		SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, SWO_DEVICE_STOP,
		SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(source) && !s->lost; i++) {
		if (!has(s, source[i]))
			continue;
		if (probe_reach(s, source[i]))
			return;
		if (source[i] == SWO_DEVICE_PRE_COPY)
			read_ahead(s);
		else if (source[i] == SWO_DEVICE_STOP_COPY)
			read_rest(s);
	}
	if (s->lost || probe_save_state(s, 0) ||
		probe_load_state(s, s->good.data, s->good.len, 0) ||
		probe_go_arc(s, SWO_DEVICE_STOP))
		return;
	if (!has(s, SWO_DEVICE_RUNNING_P2P) || !probe_reach(s, SWO_DEVICE_RUNNING_P2P))
		probe_reach(s, SWO_DEVICE_RUNNING);
}

static void judge_limit(struct session *s)
{
	char name[72];
	uint64_t limit = s->params.limit_ms * 1000000;

	for (unsigned from = 0; limit && from < SWO_DEVICE_STATES; from++)
		for (unsigned to = 0; to < SWO_DEVICE_STATES; to++)
			if (s->arc_max[from][to] > limit)
				probe_note(s, SWO_VERDICT_FAIL,
					probe_arc_name(name, "cost", (enum swo_device_state)from,
						(enum swo_device_state)to),
					"%.1f ms, limit %llu ms",
					(double)s->arc_max[from][to] / 1e6,
					(unsigned long long)s->params.limit_ms);
}

/* Arcs outside a migration keep the samples of the checks. */
static void gather(struct session *s)
{
	for (unsigned from = 0; from < SWO_DEVICE_STATES; from++)
		for (unsigned to = 0; to < SWO_DEVICE_STATES; to++)
			if (s->arcs[from][to].count)
				s->out->arcs[from][to] = probe_cost_of(&s->arcs[from][to]);
}

void probe_measure_costs(struct session *s)
{
	gather(s);
	memset(s->arcs, 0, sizeof(s->arcs));
	s->saves.count = s->loads.count = s->fixed.count = s->resets.count = 0;
	if (!probe_need_good(s, "costs"))
		for (unsigned i = 0; i < s->params.runs && !s->lost; i++)
			run_once(s);
	gather(s);
	if (s->least_rest && s->least_rest < s->out->state_bytes)
		s->out->precopy_bytes = s->out->state_bytes - s->least_rest;
	s->out->save = probe_cost_of(&s->saves);
	s->out->load = probe_cost_of(&s->loads);
	s->out->load_fixed = probe_cost_of(&s->fixed);
	if (!s->lost && !probe_reach(s, SWO_DEVICE_RUNNING))
		for (unsigned i = 0; i < s->params.runs && !s->lost; i++)
			probe_reset_device(s);
	s->out->reset = probe_cost_of(&s->resets);
	judge_limit(s);
}
