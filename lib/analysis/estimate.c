/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate.c - the predicted downtime.
 *
 * Parallel: the slowest quiesce, then the longest of the devices' pipelines (stop, send,
 * finalise) and the wire with all it must carry, a round trip, the two last arcs of
 * the slowest. Serial: the arcs add up.
 */
#include "analysis/estimate.h"

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t transfer_ns(uint64_t bytes, uint64_t bandwidth)
{
	if (!bytes)
		return 0;
	if (!bandwidth)
		return UINT64_MAX / 8;
	double ns = (double)bytes * 1e9 / (double)bandwidth;

	return ns > 1e18 ? (uint64_t)1e18 : (uint64_t)ns;
}

/* What the machinery lets through of device state. */
static uint64_t state_rate(const struct estimate_input *in)
{
	uint64_t rate = in->costs.state_rate;

	return rate && rate < in->bandwidth ? rate : in->bandwidth;
}

/* A device's own stream, which the wire or the device itself holds up. */
static uint64_t stream_ns(const struct estimate_input *in, const struct estimate_device *d)
{
	uint64_t wire = transfer_ns(d->bytes, state_rate(in));

	return d->rate ? max64(wire, transfer_ns(d->bytes, d->rate)) : wire;
}

/* So many turns of its PF as all that share it take together. */
static uint64_t turns_ns(const struct estimate_input *in, const struct estimate_device *of)
{
	const uint64_t enough = UINT64_C(1000000000000000000);
	uint64_t busy = 0;

	for (unsigned i = 0; i < in->count && busy < enough; i++)
		if (of->pf >= 0 && in->devices[i].pf == of->pf && in->devices[i].rate)
			busy += transfer_ns(in->devices[i].bytes, in->devices[i].rate);
	return busy;
}

/* The devices' streams, from the first to stop to the last to agree. */
static uint64_t pipelines_ns(const struct estimate_input *in)
{
	uint64_t longest = 0, turns = 0, bytes = 0;
	uint64_t min_stop = in->count ? UINT64_MAX : 0, min_finalise = min_stop;

	for (unsigned i = 0; i < in->count; i++) {
		const struct estimate_device *d = &in->devices[i];

		longest = max64(longest, d->stop_ns + stream_ns(in, d) + d->finalise_ns);
		turns = max64(turns, turns_ns(in, d));
		bytes += d->bytes;
		min_stop = d->stop_ns < min_stop ? d->stop_ns : min_stop;
		min_finalise = d->finalise_ns < min_finalise ? d->finalise_ns : min_finalise;
	}
	turns = max64(turns, transfer_ns(bytes, state_rate(in)));
	return max64(longest, min_stop + turns + min_finalise);
}

/* As if nothing of it could be done beside anything else. */
static uint64_t machinery_ns(const struct estimate_input *in)
{
	/* RESUMING->STOP is in what a stream costs. */
	return in->costs.fixed_ns + in->count * (4 * in->costs.arc_ns + in->costs.stream_ns);
}

static uint64_t serial_ns(const struct estimate_input *in, uint64_t ram_bytes)
{
	uint64_t arcs = 0, streams = 0, bytes = 0;

	for (unsigned i = 0; i < in->count; i++) {
		const struct estimate_device *d = &in->devices[i];

		arcs += d->quiesce_ns + d->stop_ns + d->finalise_ns + d->to_p2p_ns +
			d->to_running_ns;
		streams = max64(streams, max64(stream_ns(in, d), turns_ns(in, d)));
		bytes += d->bytes;
	}
	streams = max64(streams, transfer_ns(bytes, state_rate(in)));
	return arcs + max64(streams, transfer_ns(bytes + ram_bytes, in->bandwidth)) + in->rtt_ns +
	       machinery_ns(in);
}

static uint64_t parallel_ns(const struct estimate_input *in, uint64_t ram_bytes)
{
	uint64_t quiesce = 0, to_p2p = 0, to_running = 0, bytes = ram_bytes;

	for (unsigned i = 0; i < in->count; i++) {
		const struct estimate_device *d = &in->devices[i];

		quiesce = max64(quiesce, d->quiesce_ns);
		to_p2p = max64(to_p2p, d->to_p2p_ns);
		to_running = max64(to_running, d->to_running_ns);
		bytes += d->bytes;
	}
	/* RAM leaves from the stop of the vCPUs on, and no device waits for it. */
	return max64(quiesce + pipelines_ns(in), transfer_ns(bytes, in->bandwidth)) + in->rtt_ns +
	       to_p2p + to_running + machinery_ns(in);
}

struct estimate analysis_estimate_downtime(const struct estimate_input *in)
{
	struct estimate out = {.slowest = -1};
	uint64_t worst = 0;

	out.downtime_ns =
		in->serial ? serial_ns(in, in->ram_bytes) : parallel_ns(in, in->ram_bytes);
	out.irreducible_ns = in->serial ? serial_ns(in, 0) : parallel_ns(in, 0);
	out.bytes = in->ram_bytes;
	for (unsigned i = 0; i < in->count; i++) {
		const struct estimate_device *d = &in->devices[i];

		out.bytes += d->bytes;
		uint64_t cost = d->quiesce_ns + d->stop_ns + stream_ns(in, d) + d->finalise_ns +
				d->to_p2p_ns + d->to_running_ns;

		if (cost >= worst) {
			worst = cost;
			out.slowest = (int)i;
		}
	}
	return out;
}
