/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow.c - the events of flow.h. Every engine, channel and the wire is a queue: who asks first
 * is served first, a grain at a time.
 */
#include "analysis/flow.h"

#include <errno.h>
#include <stdlib.h>

/* More grains than this are not worth their while: they are made larger. */
#define GRAINS_MAX (1u << 18)

enum event_type {
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
	uint64_t credited; /* as the source knows */
	uint64_t loading_done;
	unsigned lane; /* its own, or that of its PF */
};

struct play {
	struct flow *flow;
	struct state *states;
	struct lane *lanes;
	uint64_t grain, ahead;
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

	/* Rounded up: a thousand grains must not be faster than the wire. */
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

static void swap(struct play *p, size_t a, size_t b)
{
	struct event event = p->heap[a];

	p->heap[a] = p->heap[b];
	p->heap[b] = event;
}

static void at(struct play *p, uint64_t when, enum event_type type, unsigned who, uint64_t bytes)
{
	if (p->events == p->room) {
		size_t room = p->room ? p->room * 2 : 256;
		struct event *grown = realloc(p->heap, room * sizeof(*grown));

		if (!grown) {
			p->no_memory = true;
			return;
		}
		p->heap = grown;
		p->room = room;
	}
	size_t i = p->events++;

	p->heap[i] = (struct event){when, p->next_number++, type, who, bytes};
	for (; i && before(&p->heap[i], &p->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(p, i, (i - 1) / 2);
}

static struct event next(struct play *p)
{
	struct event first = p->heap[0];
	size_t i = 0, child;

	p->heap[0] = p->heap[--p->events];
	while ((child = 2 * i + 1) < p->events) {
		if (child + 1 < p->events && before(&p->heap[child + 1], &p->heap[child]))
			child++;
		if (!before(&p->heap[child], &p->heap[i]))
			break;
		swap(p, i, child);
		i = child;
	}
	return first;
}

/* A device:
 */

static void save_on(struct play *p, unsigned i, uint64_t now)
{
	const struct flow_device *d = &p->flow->devices[i];
	struct state *s = &p->states[i];

	if (!s->save_open || s->saving || s->granted == d->bytes)
		return;
	if (!d->save_rate) {
		s->granted = s->ready = d->bytes;
		return;
	}
	uint64_t bytes = smaller(p->grain, d->bytes - s->granted);

	if (s->granted - s->read + bytes > p->ahead)
		return;
	s->saving = true;
	s->granted += bytes;
	at(p,
		analysis_flow_reserve(&p->lanes[s->lane].save, now,
			analysis_flow_transfer_ns(bytes, d->save_rate)),
		EV_SAVED, i, bytes);
}

static void into_channel(
	struct play *p, unsigned who, unsigned channel, uint64_t now, uint64_t bytes)
{
	at(p,
		analysis_flow_reserve(&p->channel[channel], now,
			analysis_flow_transfer_ns(bytes, p->flow->channel_rate)),
		EV_IN_CHANNEL, who, bytes);
}

static void copy(struct play *p, unsigned i, uint64_t now, uint64_t bytes)
{
	uint64_t ns = analysis_flow_transfer_ns(bytes, p->flow->cpu_rate);

	if (ns)
		at(p, analysis_flow_reserve(&p->cpu, now, ns), EV_COPIED, i, bytes);
	else
		into_channel(p, i, i % p->flow->channels, now, bytes);
}

static void send_on(struct play *p, unsigned i, uint64_t now)
{
	struct flow_device *d = &p->flow->devices[i];
	struct state *s = &p->states[i];

	if (!s->stream_open || s->sending)
		return;
	if (s->read == d->bytes) {
		/* The end mark, which comes behind the data. */
		d->sent = now;
		at(p, now + p->flow->latency_ns, EV_ARRIVED, i, 0);
		return;
	}
	uint64_t bytes = smaller(p->grain, s->ready - s->read);

	if (!bytes || (p->flow->window && s->read > s->credited &&
			      s->read + bytes > s->credited + p->flow->window))
		return;
	s->sending = true;
	s->read += bytes;
	copy(p, i, now, bytes);
	save_on(p, i, now);
}

static void load_on(struct play *p, unsigned i, uint64_t now)
{
	struct flow_device *d = &p->flow->devices[i];
	struct state *s = &p->states[i];

	while (s->load_open && s->taken < s->arrived) {
		uint64_t bytes = smaller(p->grain, s->arrived - s->taken);

		if (d->load_rate && s->taken - s->loading_done + bytes > p->ahead)
			break;
		s->taken += bytes;
		at(p, now + p->flow->latency_ns, EV_CREDIT, i, bytes);
		if (!d->load_rate)
			s->loading_done = s->taken;
	}
	if (s->load_open && s->loading_done == d->bytes && d->sent != UINT64_MAX &&
		now >= d->sent + p->flow->latency_ns && d->loaded == UINT64_MAX)
		d->loaded = now;
	if (!d->load_rate || s->loading || s->loading_done == s->taken)
		return;
	uint64_t bytes = smaller(p->grain, s->taken - s->loading_done);

	s->loading = true;
	at(p,
		analysis_flow_reserve(&p->lanes[s->lane].load, now,
			analysis_flow_transfer_ns(bytes, d->load_rate)),
		EV_LOADED, i, bytes);
}

/* Guest memory:
 */

static void ram_on(struct play *p, unsigned channel, uint64_t now)
{
	uint64_t bytes = smaller(p->grain, p->ram_left[channel]);

	if (!bytes)
		return;
	p->ram_left[channel] -= bytes;
	into_channel(p, p->flow->count + channel, channel, now, bytes);
}

static void ram_begin(struct play *p)
{
	uint64_t rest = p->flow->ram_bytes;

	for (unsigned c = 0; c < p->flow->channels; c++) {
		p->ram_left[c] = rest / (p->flow->channels - c);
		rest -= p->ram_left[c];
		ram_on(p, c, 0);
	}
}

/* The whole */

static void left(struct play *p, const struct event *e)
{
	if (e->who >= p->flow->count) {
		p->flow->ram_sent = e->when;
		ram_on(p, e->who - p->flow->count, e->when);
		return;
	}
	p->states[e->who].sending = false;
	at(p, e->when + p->flow->latency_ns, EV_ARRIVED, e->who, e->bytes);
	send_on(p, e->who, e->when);
}

static void happen(struct play *p, const struct event *e)
{
	struct state *s = e->who < p->flow->count ? &p->states[e->who] : NULL;

	switch (e->type) {
	case EV_SAVE_OPEN:
		s->save_open = true;
		save_on(p, e->who, e->when);
		break;
	case EV_STREAM_DUE:
		at(p, analysis_flow_reserve(&p->cpu, e->when, p->flow->stream_ns), EV_STREAM_OPEN,
			e->who, 0);
		break;
	case EV_STREAM_OPEN:
		s->stream_open = true;
		send_on(p, e->who, e->when);
		break;
	case EV_LOAD_OPEN:
		s->load_open = true;
		load_on(p, e->who, e->when);
		break;
	case EV_SAVED:
		s->saving = false;
		s->ready += e->bytes;
		send_on(p, e->who, e->when);
		save_on(p, e->who, e->when);
		break;
	case EV_COPIED:
		into_channel(p, e->who, e->who % p->flow->channels, e->when, e->bytes);
		break;
	case EV_IN_CHANNEL:
		at(p,
			analysis_flow_reserve(&p->wire, e->when,
				analysis_flow_transfer_ns(e->bytes, p->flow->wire_rate)),
			EV_ON_WIRE, e->who, e->bytes);
		break;
	case EV_ON_WIRE:
		left(p, e);
		break;
	case EV_ARRIVED:
		if (e->bytes && !s->arrived)
			p->flow->devices[e->who].load_start = e->when;
		s->arrived += e->bytes;
		load_on(p, e->who, e->when);
		break;
	case EV_CREDIT:
		s->credited += e->bytes;
		if (s->read < p->flow->devices[e->who].bytes)
			send_on(p, e->who, e->when);
		break;
	case EV_LOADED:
		s->loading = false;
		s->loading_done += e->bytes;
		load_on(p, e->who, e->when);
		break;
	}
}

static void begin(struct play *p)
{
	uint64_t total = p->flow->ram_bytes;

	for (unsigned i = 0; i < p->flow->count; i++) {
		struct flow_device *d = &p->flow->devices[i];

		total += d->bytes;
		d->sent = d->loaded = d->load_start = UINT64_MAX;
		p->states[i].lane = analysis_flow_pf_of(p->flow->devices, i);
	}
	p->grain = FLOW_GRAIN;
	while (total / p->grain > GRAINS_MAX)
		p->grain *= 2;
	p->ahead = 2 * p->grain;
	p->flow->ram_sent = 0;
	p->cpu = p->flow->cpu_from;
	ram_begin(p);
	for (unsigned i = 0; i < p->flow->count; i++) {
		const struct flow_device *d = &p->flow->devices[i];

		at(p, d->save_from, EV_SAVE_OPEN, i, 0);
		at(p, d->stream_from > d->save_from ? d->stream_from : d->save_from,
			p->flow->stream_ns ? EV_STREAM_DUE : EV_STREAM_OPEN, i, 0);
		at(p, d->load_from, EV_LOAD_OPEN, i, 0);
	}
}

int analysis_flow_run(struct flow *flow, struct swo_error *err)
{
	struct play p = {.flow = flow,
		.states = calloc(flow->count + 1, sizeof(*p.states)),
		.lanes = calloc(flow->count + 1, sizeof(*p.lanes))};

	p.no_memory = !p.states || !p.lanes;
	if (!p.no_memory)
		begin(&p);
	while (p.events && !p.no_memory) {
		struct event e = next(&p);

		happen(&p, &e);
	}
	free(p.heap);
	free(p.lanes);
	free(p.states);
	return p.no_memory ? swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a plan of %u devices",
				     flow->count)
			   : 0;
}
