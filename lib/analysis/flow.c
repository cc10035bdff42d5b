/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow.c - the simulation. Every engine, channel and the wire is a FIFO queue of chunks.
 */
#include "analysis/flow.h"

#include <errno.h>
#include <stdlib.h>

enum event_type {
	EV_RAM_DUE,
	EV_SAVE_OPEN,
	EV_STREAM_DUE,
	EV_STREAM_OPEN,
	EV_LOAD_OPEN,
	EV_SAVED,
	EV_COPIED,     /* by the CPU, on its way to the channel */
	EV_IN_CHANNEL, /* through the channel, before the wire */
	EV_ON_WIRE,    /* left */
	EV_ARRIVED,
	EV_CREDIT,
	EV_LOADED,
};

struct event {
	uint64_t when;
	uint64_t number; /* of two at the same time, the one that was made first */
	enum event_type type;
	unsigned who; /* a device; or, beyond those, a sender of RAM */
	uint64_t bytes;
};

struct lane {
	uint64_t save, load;
};

struct state {
	bool save_open, stream_open, load_open, saving, sending, loading;
	uint64_t granted;  /* to the save engine */
	uint64_t ready;	   /* saved so far */
	uint64_t read;	   /* and handed to the channel */
	uint64_t arrived;  /* at the target */
	uint64_t taken;	   /* by the device there */
	uint64_t credited; /* as the source has received it */
	uint64_t loading_done;
	bool complete;
	uint64_t loaded; /* complete, and its fixed time is over */
	unsigned lane;	 /* its own, or that of its PF */
};

struct sim {
	struct flow *flow;
	struct state *states;
	struct lane *lanes;
	uint64_t chunk, ram_chunk, ahead;
	uint64_t channel[FLOW_CHANNELS_MAX], wire, cpu;
	uint64_t ram_left[FLOW_CHANNELS_MAX];
	struct event *heap;
	size_t events, room;
	uint64_t next_number;
	bool no_memory;
};

uint64_t analysis_flow_transfer_ns(uint64_t bytes, uint64_t rate)
{
	double ns = rate ? (double)bytes * 1e9 / (double)rate : 0;

	/* Rounded up: a thousand chunks must not be faster than the wire. */
	return (uint64_t)ns + ((double)(uint64_t)ns < ns);
}

uint64_t analysis_flow_reserve(uint64_t *busy_until, uint64_t earliest, uint64_t duration)
{
	*busy_until = (*busy_until > earliest ? *busy_until : earliest) + duration;
	return *busy_until;
}

unsigned analysis_flow_pf_of(const struct flow_device *devices, unsigned i)
{
	for (unsigned k = 0; devices[i].pf != FLOW_NOBODY && k < i; k++)
		if (devices[k].pf == devices[i].pf)
			return k;
	return i;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Events in order */

static bool before(const struct event *a, const struct event *b)
{
	return a->when != b->when ? a->when < b->when : a->number < b->number;
}

static void swap(struct sim *sim, size_t a, size_t b)
{
	struct event event = sim->heap[a];

	sim->heap[a] = sim->heap[b];
	sim->heap[b] = event;
}

static void event_push(
	struct sim *sim, uint64_t when, enum event_type type, unsigned who, uint64_t bytes)
{
	if (sim->events == sim->room) {
		size_t room = sim->room ? sim->room * 2 : 256;
		struct event *grown = realloc(sim->heap, room * sizeof(*grown));

		if (!grown) {
			sim->no_memory = true;
			return;
		}
		sim->heap = grown;
		sim->room = room;
	}
	size_t i = sim->events++;

	sim->heap[i] = (struct event){when, sim->next_number++, type, who, bytes};
	for (; i && before(&sim->heap[i], &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(sim, i, (i - 1) / 2);
}

static struct event event_pop(struct sim *sim)
{
	struct event first = sim->heap[0];
	size_t i = 0, child;

	sim->heap[0] = sim->heap[--sim->events];
	while ((child = 2 * i + 1) < sim->events) {
		if (child + 1 < sim->events && before(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (!before(&sim->heap[child], &sim->heap[i]))
			break;
		swap(sim, i, child);
		i = child;
	}
	return first;
}

/* Devices */

static void save_on(struct sim *sim, unsigned i, uint64_t now)
{
	const struct flow_device *d = &sim->flow->devices[i];
	struct state *s = &sim->states[i];

	if (!s->save_open || s->saving || s->granted == d->bytes)
		return;
	if (!d->save_rate) {
		s->granted = s->ready = d->bytes;
		return;
	}
	uint64_t bytes = smaller(sim->chunk, d->bytes - s->granted);

	if (s->granted - s->read + bytes > sim->ahead)
		return;
	s->saving = true;
	s->granted += bytes;
	event_push(sim,
		analysis_flow_reserve(&sim->lanes[s->lane].save, now,
			analysis_flow_transfer_ns(bytes, d->save_rate)),
		EV_SAVED, i, bytes);
}

static void into_channel(
	struct sim *sim, unsigned who, unsigned channel, uint64_t now, uint64_t bytes)
{
	event_push(sim,
		analysis_flow_reserve(&sim->channel[channel], now,
			analysis_flow_transfer_ns(bytes, sim->flow->channel_rate)),
		EV_IN_CHANNEL, who, bytes);
}

static void copy(struct sim *sim, unsigned i, uint64_t now, uint64_t bytes)
{
	uint64_t ns = analysis_flow_transfer_ns(bytes, sim->flow->cpu_rate);

	if (ns)
		event_push(sim, analysis_flow_reserve(&sim->cpu, now, ns), EV_COPIED, i, bytes);
	else
		into_channel(sim, i, i % sim->flow->channels, now, bytes);
}

static void send_on(struct sim *sim, unsigned i, uint64_t now)
{
	struct flow_device *d = &sim->flow->devices[i];
	struct state *s = &sim->states[i];

	if (!s->stream_open || s->sending)
		return;
	if (s->read == d->bytes) {
		/* The end mark, after the data. */
		d->sent = now;
		event_push(sim, now + sim->flow->latency_ns, EV_ARRIVED, i, 0);
		return;
	}
	uint64_t bytes = smaller(sim->chunk, s->ready - s->read);

	if (!bytes || (sim->flow->window && s->read > s->credited &&
			      s->read + bytes > s->credited + sim->flow->window))
		return;
	s->sending = true;
	s->read += bytes;
	copy(sim, i, now, bytes);
	save_on(sim, i, now);
}

static void load_on(struct sim *sim, unsigned i, uint64_t now)
{
	struct flow_device *d = &sim->flow->devices[i];
	struct state *s = &sim->states[i];

	while (s->load_open && s->taken < s->arrived) {
		uint64_t bytes = smaller(sim->chunk, s->arrived - s->taken);

		if (d->load_rate && s->taken - s->loading_done + bytes > sim->ahead)
			break;
		s->taken += bytes;
		event_push(sim, now + sim->flow->latency_ns, EV_CREDIT, i, bytes);
		if (!d->load_rate)
			s->loading_done = s->taken;
	}
	const bool end_in = d->sent != UINT64_MAX && now >= d->sent + sim->flow->latency_ns;

	/* The last byte completes the image; the end mark follows. */
	if (s->load_open && s->loading_done == d->bytes && (d->bytes || end_in) && !s->complete) {
		s->complete = true;
		s->loaded = now + d->load_fixed_ns;
	}
	if (s->complete && end_in && d->loaded == UINT64_MAX)
		d->loaded = now > s->loaded ? now : s->loaded;
	if (!d->load_rate || s->loading || s->loading_done == s->taken)
		return;
	uint64_t bytes = smaller(sim->chunk, s->taken - s->loading_done);

	s->loading = true;
	event_push(sim,
		analysis_flow_reserve(&sim->lanes[s->lane].load, now,
			analysis_flow_transfer_ns(bytes, d->load_rate)),
		EV_LOADED, i, bytes);
}

/* Guest memory */

static void ram_on(struct sim *sim, unsigned channel, uint64_t now)
{
	uint64_t bytes = smaller(sim->ram_chunk, sim->ram_left[channel]);

	if (!bytes)
		return;
	sim->ram_left[channel] -= bytes;
	into_channel(sim, sim->flow->count + channel, channel, now, bytes);
}

static void ram_begin(struct sim *sim, uint64_t now)
{
	uint64_t rest = sim->flow->ram_bytes;

	for (unsigned c = 0; c < sim->flow->channels; c++) {
		sim->ram_left[c] = rest / (sim->flow->channels - c);
		rest -= sim->ram_left[c];
		ram_on(sim, c, now);
	}
}

/* The whole */

static void left(struct sim *sim, const struct event *e)
{
	if (e->who >= sim->flow->count) {
		sim->flow->ram_sent = e->when;
		ram_on(sim, e->who - sim->flow->count, e->when);
		return;
	}
	sim->states[e->who].sending = false;
	event_push(sim, e->when + sim->flow->latency_ns, EV_ARRIVED, e->who, e->bytes);
	send_on(sim, e->who, e->when);
}

static void event_dispatch(struct sim *sim, const struct event *e)
{
	struct state *s = e->who < sim->flow->count ? &sim->states[e->who] : NULL;

	switch (e->type) {
	case EV_RAM_DUE:
		ram_begin(sim, e->when);
		break;
	case EV_SAVE_OPEN:
		s->save_open = true;
		save_on(sim, e->who, e->when);
		break;
	case EV_STREAM_DUE:
		event_push(sim, analysis_flow_reserve(&sim->cpu, e->when, sim->flow->stream_ns),
			EV_STREAM_OPEN, e->who, 0);
		break;
	case EV_STREAM_OPEN:
		s->stream_open = true;
		send_on(sim, e->who, e->when);
		break;
	case EV_LOAD_OPEN:
		s->load_open = true;
		load_on(sim, e->who, e->when);
		break;
	case EV_SAVED:
		s->saving = false;
		s->ready += e->bytes;
		send_on(sim, e->who, e->when);
		save_on(sim, e->who, e->when);
		break;
	case EV_COPIED:
		into_channel(sim, e->who, e->who % sim->flow->channels, e->when, e->bytes);
		break;
	case EV_IN_CHANNEL:
		event_push(sim,
			analysis_flow_reserve(&sim->wire, e->when,
				analysis_flow_transfer_ns(e->bytes, sim->flow->wire_rate)),
			EV_ON_WIRE, e->who, e->bytes);
		break;
	case EV_ON_WIRE:
		left(sim, e);
		break;
	case EV_ARRIVED:
		if (e->bytes && !s->arrived)
			sim->flow->devices[e->who].load_start = e->when;
		s->arrived += e->bytes;
		load_on(sim, e->who, e->when);
		break;
	case EV_CREDIT:
		s->credited += e->bytes;
		if (s->read < sim->flow->devices[e->who].bytes)
			send_on(sim, e->who, e->when);
		break;
	case EV_LOADED:
		s->loading = false;
		s->loading_done += e->bytes;
		load_on(sim, e->who, e->when);
		break;
	}
}

static uint64_t chunk_of(uint64_t bytes, uint64_t chunks_max)
{
	uint64_t chunk = FLOW_CHUNK;

	while (bytes / chunk > chunks_max)
		chunk *= 2;
	return chunk;
}

static void begin(struct sim *sim)
{
	const struct flow *flow = sim->flow;
	uint64_t total = 0;

	for (unsigned i = 0; i < sim->flow->count; i++) {
		struct flow_device *d = &sim->flow->devices[i];

		total += d->bytes;
		d->sent = d->loaded = d->load_start = UINT64_MAX;
		sim->states[i].lane = analysis_flow_pf_of(sim->flow->devices, i);
	}
	sim->chunk = chunk_of(total, flow->chunks_max);
	sim->ram_chunk = chunk_of(flow->ram_bytes, flow->chunks_max);
	sim->ahead = 2 * sim->chunk;
	sim->flow->ram_sent = 0;
	sim->cpu = sim->flow->cpu_from;
	event_push(sim, flow->ram_from, EV_RAM_DUE, 0, 0);
	for (unsigned i = 0; i < sim->flow->count; i++) {
		const struct flow_device *d = &sim->flow->devices[i];

		event_push(sim, d->save_from, EV_SAVE_OPEN, i, 0);
		event_push(sim, d->stream_from > d->save_from ? d->stream_from : d->save_from,
			sim->flow->stream_ns ? EV_STREAM_DUE : EV_STREAM_OPEN, i, 0);
		event_push(sim, d->load_from, EV_LOAD_OPEN, i, 0);
	}
}

int analysis_flow_run(struct flow *flow, struct swo_error *err)
{
	struct sim sim = {.flow = flow,
		.states = calloc(flow->count + 1, sizeof(*sim.states)),
		.lanes = calloc(flow->count + 1, sizeof(*sim.lanes))};

	sim.no_memory = !sim.states || !sim.lanes;
	if (!sim.no_memory)
		begin(&sim);
	while (sim.events && !sim.no_memory) {
		struct event e = event_pop(&sim);

		event_dispatch(&sim, &e);
	}
	free(sim.heap);
	free(sim.lanes);
	free(sim.states);
	return sim.no_memory ? swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a plan of %u devices",
				       flow->count)
			     : 0;
}
