/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * predict.c - the model as others see it: its inputs checked, its schedule as a timeline of both
 * sides, and the critical path of that, found as that of a real one is.
 */
#include "analysis/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_NS	     UINT64_C(1000000000) /* "vCPUs stopped" in a predicted timeline */
#define TIME_MAX_NS  (UINT64_C(86400) * 1000000000)
#define BYTES_MAX    (UINT64_C(1) << 44)
#define RATE_MIN     UINT64_C(100000)
#define SPANS_DEVICE 8
#define SPANS_BASE   16

/* Inputs:
 */

void swo_plan_setup_init(struct swo_plan_setup *setup)
{
	struct swo_migration_params params;

	swo_migration_params_init(&params);
	*setup = (struct swo_plan_setup){.channels = params.channels,
		.window = params.device_window,
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
	return !rate || rate >= RATE_MIN;
}

static int check_device(const struct swo_plan_device *d, struct swo_error *err)
{
	const uint64_t times[] = {d->to_p2p_ns, d->to_stop_copy_ns, d->resuming_to_stop_ns,
		d->to_running_p2p_ns, d->to_running_ns, d->config_load_ns};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(times); i++)
		if (times[i] > TIME_MAX_NS)
			return bad(err, d->name, "a time is more than a day");
	if (d->state_bytes > BYTES_MAX)
		return bad(err, d->name, "state of more than 16 TiB");
	if (d->precopy_bytes > d->state_bytes)
		return bad(err, d->name, "more can be sent before the stop than there is");
	if (!good_rate(d->save_rate) || !good_rate(d->load_rate))
		return bad(err, d->name, "a rate is below 0.1 MB/s; 0 means no limit");
	if (d->pf < FLOW_NOBODY)
		return bad(err, d->name, "its PF is -1 or a number from 0 on");
	return 0;
}

static int check(const struct swo_plan_setup *setup, struct swo_error *err)
{
	if (setup->count > SWO_DEVICES_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"plan: %u devices; there can be %d at most", setup->count, SWO_DEVICES_MAX);
	if (setup->channels < 1 || setup->channels > FLOW_CHANNELS_MAX)
		return bad(err, "", "channels are 1 to 16");
	if (!good_rate(setup->wire_rate) || !good_rate(setup->channel_rate))
		return bad(err, "", "the wire's rate is below 0.1 MB/s; 0 means no limit");
	if (setup->rtt_ns > TIME_MAX_NS || setup->machine_ns > TIME_MAX_NS)
		return bad(err, "", "a time is more than a day");
	if (setup->ram_bytes > BYTES_MAX)
		return bad(err, "", "more than 16 TiB of dirty memory");
	const struct swo_costs *costs = &setup->costs;

	if (costs->fixed_ns > TIME_MAX_NS || costs->arc_ns > TIME_MAX_NS ||
		costs->stream_ns > TIME_MAX_NS || !good_rate(costs->state_rate))
		return bad(err, "", "what the machinery costs is out of bounds");
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
	const struct swo_plan_device *d = &m->setup->devices[i];
	uint64_t bytes = m->flow.devices[i].bytes, latency = m->flow.latency_ns;

	put_arc(to, src, d->name, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, &s->to_p2p);
	put_arc(to, src, d->name, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, &s->to_stop_copy);
	put_of_device(
		to, d->name, span_of(src, SWO_EVENT_SAVE, s->save.start_ns, s->save.end_ns, bytes));
	if (m->setup->config != SWO_WHEN_EARLY && d->config_load_ns)
		put_of_device(to, d->name,
			span_of(dst, SWO_EVENT_CONFIG_LOAD, latency, latency + d->config_load_ns,
				0));
	put_of_device(
		to, d->name, span_of(dst, SWO_EVENT_LOAD, s->load.start_ns, s->load.end_ns, bytes));
	put_arc(to, dst, d->name, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, &s->resuming_to_stop);
	put_arc(to, dst, d->name, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, &s->to_running_p2p);
	put_arc(to, dst, d->name, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, &s->to_running);
}

static void put_all(struct swo_timeline *to, const struct model *m)
{
	const enum swo_side src = SWO_SIDE_SOURCE, dst = SWO_SIDE_TARGET;

	put_mark(to, src, SWO_EVENT_VCPUS_STOPPED, 0);
	put(to, src, SWO_EVENT_STOP_PREPARE, m->begun, m->quiesced, 0);
	put(to, src, SWO_EVENT_STOP_CHANGE, m->quiesced, m->stopped, 0);
	if (m->setup->ram_bytes)
		put(to, src, SWO_EVENT_LAST_RAM_PASS, 0, m->flow.ram_sent, m->setup->ram_bytes);
	for (unsigned i = 0; i < m->setup->count; i++)
		put_device(to, m, i);
	if (m->setup->machine_ns) {
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

static int predict(struct model *m, struct swo_plan_result *out, struct swo_timeline *timeline,
	struct swo_error *err)
{
	const size_t room = (size_t)m->setup->count * SPANS_DEVICE + SPANS_BASE;
	struct swo_timeline *spans = swo_timeline_new(SWO_SIDE_SOURCE, room);

	if (!spans)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "a plan of %u devices", m->setup->count);
	int rc = analysis_model_run(m, err);

	if (!rc) {
		put_all(spans, m);
		copy_side(timeline, spans, SWO_SIDE_SOURCE);
		copy_side(timeline, spans, SWO_SIDE_TARGET);
		rc = swo_critical_path(spans, &out->path, err);
	}
	swo_timeline_free(spans);
	out->blackout_ns = m->started;
	out->ready_ns = m->ready;
	return rc;
}

static uint64_t window_of_each(const struct swo_plan_setup *setup)
{
	unsigned large = 0;

	for (unsigned i = 0; i < setup->count; i++)
		large += setup->devices[i].state_bytes > SWO_SHARED_WINDOW;
	return setup->window ? swo_migration_window(setup->window, large) : 0;
}

static void set_flow(struct model *m)
{
	const struct swo_plan_setup *setup = m->setup;
	struct flow_device *devices = m->flow.devices;

	m->flow = (struct flow){.devices = devices,
		.count = setup->count,
		.channels = setup->channels,
		.channel_rate = setup->channel_rate,
		.wire_rate = setup->wire_rate,
		.latency_ns = setup->rtt_ns / 2,
		.window = window_of_each(setup),
		.ram_bytes = setup->ram_bytes,
		.stream_ns = setup->costs.stream_ns,
		.cpu_rate = setup->costs.state_rate};
	for (unsigned i = 0; i < setup->count; i++) {
		const struct swo_plan_device *d = &setup->devices[i];

		devices[i] = (struct flow_device){.bytes = d->state_bytes - d->precopy_bytes,
			.save_rate = d->save_rate,
			.load_rate = d->load_rate,
			.pf = d->pf};
	}
}

int swo_plan_run(const struct swo_plan_setup *setup, struct swo_plan_result *out,
	struct swo_timeline *timeline, struct swo_error *err)
{
	*out = (struct swo_plan_result){0};
	if (check(setup, err))
		return -1;
	size_t n = (size_t)setup->count + 1;
	struct model m = {.setup = setup,
		.schedules = calloc(n, sizeof(*m.schedules)),
		.order = calloc(n, sizeof(*m.order)),
		.lanes = calloc(n, sizeof(*m.lanes)),
		.flow = {.devices = calloc(n, sizeof(*m.flow.devices))}};
	int rc;

	out->schedules = m.schedules;
	out->count = setup->count;
	if (!m.schedules || !m.order || !m.lanes || !m.flow.devices) {
		rc = swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "a plan of %u devices", setup->count);
	} else {
		set_flow(&m);
		rc = predict(&m, out, timeline, err);
	}
	free(m.order);
	free(m.lanes);
	free(m.flow.devices);
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
