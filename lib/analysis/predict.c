/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * predict.c - the interface of the model: checks its inputs, returns its schedule as a timeline of
 * both sides, and the critical path of that, found as for a real one.
 */
#include "analysis/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_NS	     UINT64_C(1000000000) /* "vCPUs stopped" in a predicted timeline */
#define SPANS_DEVICE 8
#define SPANS_BASE   16

/* Inputs */

void swo_plan_setup_init(struct swo_plan_setup *setup)
{
	*setup = (struct swo_plan_setup){.channels = SWO_DEFAULT_CHANNELS,
		.window = SWO_DEFAULT_DEVICE_WINDOW,
		.transitions = SWO_TRANSITIONS_PARALLEL,
		.join = SWO_JOIN_PASS,
		.stream = SWO_WHEN_EARLY,
		.finalise = SWO_WHEN_EARLY,
		.config = SWO_WHEN_EARLY};
}

static int bad(struct swo_error *err, const char *device, const char *what)
{
	return swo_error_set(
		err, SWO_E_INVALID, 0, "plan: %s%s%s", device, device[0] ? ": " : "", what);
}

static bool good_rate(uint64_t rate)
{
	return !rate || rate >= MODEL_RATE_MIN;
}

static int check_device(const struct swo_plan_device *d, struct swo_error *err)
{
	const struct swo_device_costs *c = &d->costs;
	const uint64_t times[] = {c->running_to_p2p_ns, c->p2p_to_stop_ns, c->resuming_to_stop_ns,
		c->stop_to_p2p_ns, c->p2p_to_running_ns, c->config_load_ns, c->load_fixed_ns};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(times); i++)
		if (times[i] > MODEL_TIME_MAX_NS && times[i] != SWO_UNKNOWN)
			return bad(err, d->name, "a time exceeds one day");
	if (c->state_bytes > MODEL_BYTES_MAX && c->state_bytes != SWO_UNKNOWN)
		return bad(err, d->name, "state exceeds 16 TiB");
	if (c->precopy_bytes > c->state_bytes && c->precopy_bytes != SWO_UNKNOWN)
		return bad(err, d->name, "the pre-copy part exceeds the state");
	if (!good_rate(c->save_rate) || !good_rate(c->load_rate))
		return bad(err, d->name, "a rate is below 0.1 MB/s; 0 means no limit");
	if (c->pf < FLOW_NOBODY)
		return bad(err, d->name, "PF: expected -1 or more");
	return 0;
}

static int check(const struct swo_plan_setup *setup, struct swo_error *err)
{
	if (setup->count > SWO_DEVICES_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"plan: too many devices: %u, at most %d", setup->count, SWO_DEVICES_MAX);
	if (setup->channels < 1 || setup->channels > FLOW_CHANNELS_MAX)
		return bad(err, "", "channels: expected 1 to 16");
	if (!good_rate(setup->wire_rate) || !good_rate(setup->channel_rate))
		return bad(err, "", "the wire's rate is below 0.1 MB/s; 0 means no limit");
	if (setup->rtt_ns > MODEL_TIME_MAX_NS || setup->machine_ns > MODEL_TIME_MAX_NS)
		return bad(err, "", "a time exceeds one day");
	if (setup->ram_bytes > MODEL_BYTES_MAX)
		return bad(err, "", "dirty memory exceeds 16 TiB");
	const struct swo_engine_overhead *overhead = &setup->overhead;

	if (overhead->fixed_ns > MODEL_TIME_MAX_NS || overhead->arc_ns > MODEL_TIME_MAX_NS ||
		overhead->stream_ns > MODEL_TIME_MAX_NS || !good_rate(overhead->state_rate))
		return bad(err, "", "engine overhead out of bounds");
	for (unsigned i = 0; i < setup->count; i++)
		if (check_device(&setup->devices[i], err))
			return -1;
	return 0;
}

/* As spans */

static struct swo_span span_of(
	enum swo_side side, enum swo_event event, uint64_t start, uint64_t end, uint64_t bytes)
{
	return (struct swo_span){.side = side,
		.event = event,
		.start_ns = ZERO_NS + start,
		.end_ns = ZERO_NS + end,
		.bytes = bytes};
}

static void put(struct swo_timeline *to, enum swo_side side, enum swo_event event, uint64_t start,
	uint64_t end, uint64_t bytes)
{
	const struct swo_span span = span_of(side, event, start, end, bytes);

	swo_timeline_add(to, &span);
}

static void put_of_device(struct swo_timeline *to, const char *device, struct swo_span span)
{
	snprintf(span.device, sizeof(span.device), "%s", device);
	swo_timeline_add(to, &span);
}

static void put_arc(struct swo_timeline *to, enum swo_side side, const char *device,
	enum swo_device_state from, enum swo_device_state state,
	const struct swo_plan_period *period)
{
	struct swo_span span = span_of(side, SWO_EVENT_ARC, period->start_ns, period->end_ns, 0);

	span.from = from;
	span.to = state;
	put_of_device(to, device, span);
}

static void put_mark(
	struct swo_timeline *to, enum swo_side side, enum swo_event event, uint64_t when)
{
	put(to, side, event, when, when, 0);
}

static void put_device(struct swo_timeline *to, const struct model *m, unsigned i)
{
	const enum swo_side src = SWO_SIDE_SOURCE, dst = SWO_SIDE_TARGET;
	const struct swo_plan_schedule *s = &m->schedules[i];
	const struct swo_plan_device *d = &m->devices[i];
	uint64_t bytes = m->flow.devices[i].bytes, latency = m->flow.latency_ns;

	put_arc(to, src, d->name, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, &s->running_to_p2p);
	put_arc(to, src, d->name, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, &s->p2p_to_stop);
	put_of_device(
		to, d->name, span_of(src, SWO_EVENT_SAVE, s->save.start_ns, s->save.end_ns, bytes));
	if (m->setup.config != SWO_WHEN_EARLY && d->costs.config_load_ns)
		put_of_device(to, d->name,
			span_of(dst, SWO_EVENT_CONFIG_LOAD, latency,
				latency + d->costs.config_load_ns, 0));
	put_of_device(
		to, d->name, span_of(dst, SWO_EVENT_LOAD, s->load.start_ns, s->load.end_ns, bytes));
	put_arc(to, dst, d->name, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, &s->resuming_to_stop);
	put_arc(to, dst, d->name, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, &s->stop_to_p2p);
	put_arc(to, dst, d->name, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, &s->p2p_to_running);
}

static void put_all(struct swo_timeline *to, const struct model *m)
{
	const enum swo_side src = SWO_SIDE_SOURCE, dst = SWO_SIDE_TARGET;

	put_mark(to, src, SWO_EVENT_VCPUS_STOPPED, 0);
	put(to, src, SWO_EVENT_STOP_PREPARE, m->begun, m->quiesced, 0);
	put(to, src, SWO_EVENT_STOP_CHANGE, m->quiesced, m->stopped, 0);
	if (m->setup.ram_bytes)
		put(to, src, SWO_EVENT_LAST_RAM_PASS, 0, m->flow.ram_sent, m->setup.ram_bytes);
	for (unsigned i = 0; i < m->setup.count; i++)
		put_device(to, m, i);
	if (m->setup.machine_ns) {
		put(to, src, SWO_EVENT_MACHINE_STATE, m->stopped, m->machine_saved, 0);
		put(to, dst, SWO_EVENT_MACHINE_STATE, m->machine_saved + m->flow.latency_ns,
			m->machine_loaded, 0);
	}
	put(to, src, SWO_EVENT_WAIT_READY, m->sent, m->go_sent, 0);
	put_mark(to, dst, SWO_EVENT_READY, m->ready);
	put_mark(to, src, SWO_EVENT_GO, m->go_sent);
	put_mark(to, dst, SWO_EVENT_GO, m->go);
	put(to, dst, SWO_EVENT_START_PREPARE, m->go, m->released, 0);
	put(to, dst, SWO_EVENT_START_CHANGE, m->released, m->resumed, 0);
	if (m->started > m->resumed)
		put(to, dst, SWO_EVENT_VCPUS_RESUME, m->resumed, m->started, 0);
	put_mark(to, dst, SWO_EVENT_STARTED, m->started);
}

/* The whole */

static void copy_side(struct swo_timeline *to, struct swo_timeline *from, enum swo_side side)
{
	struct swo_span span;

	for (size_t i = 0; swo_timeline_get(from, i, &span); i++)
		if (span.side == side)
			swo_timeline_add(to, &span);
}

static int put_path(struct model *m, struct swo_plan_result *out, struct swo_timeline *timeline,
	struct swo_error *err)
{
	const size_t room = (size_t)m->setup.count * SPANS_DEVICE + SPANS_BASE;
	struct swo_timeline *spans = swo_timeline_new(SWO_SIDE_SOURCE, room);

	if (!spans)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "a plan of %u devices", m->setup.count);
	put_all(spans, m);
	copy_side(timeline, spans, SWO_SIDE_SOURCE);
	copy_side(timeline, spans, SWO_SIDE_TARGET);
	int rc = swo_critical_path(spans, &out->path, err);

	swo_timeline_free(spans);
	return rc;
}

int swo_plan_run(const struct swo_plan_setup *setup, struct swo_plan_result *out,
	struct swo_timeline *timeline, struct swo_error *err)
{
	struct model m;

	*out = (struct swo_plan_result){0};
	if (check(setup, err))
		return -1;
	int rc = analysis_model_run(&m, setup, MODEL_CHUNKS_MAX, err);

	if (!rc)
		rc = put_path(&m, out, timeline, err);
	out->blackout_ns = m.started;
	out->ready_ns = m.ready;
	out->count = setup->count;
	/* The schedules are the result's from here on. */
	out->schedules = m.schedules;
	m.schedules = NULL;
	analysis_model_free(&m);
	if (rc)
		swo_plan_free(out);
	return rc;
}

void swo_plan_free(struct swo_plan_result *result)
{
	free(result->schedules);
	swo_path_free(&result->path);
	*result = (struct swo_plan_result){0};
}
