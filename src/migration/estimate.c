/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate.c - the predicted downtime.
 *
 * Parallel: the slowest quiesce, then the longest of the devices' pipelines (stop, send,
 * finalise) and the wire with all it must carry, a round trip, the two last arcs of
 * the slowest. Serial: the arcs add up.
 */
#include "migration/estimate.h"

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

/* A device's own stream, which the wire or the device itself holds up. */
static uint64_t stream_ns(const struct estimate_input *in, const struct estimate_device *d)
{
	uint64_t wire = transfer_ns(d->bytes, in->bandwidth);

	return d->rate ? max64(wire, transfer_ns(d->bytes, d->rate)) : wire;
}

static uint64_t serial_ns(const struct estimate_input *in, uint64_t ram_bytes)
{
	uint64_t arcs = 0, streams = 0, bytes = ram_bytes;

	for (unsigned i = 0; i < in->count; i++) {
		const struct estimate_device *d = &in->devices[i];

		arcs += d->quiesce_ns + d->stop_ns + d->finalise_ns + d->to_p2p_ns +
			d->to_running_ns;
		streams = max64(streams, stream_ns(in, d));
		bytes += d->bytes;
	}
	return arcs + max64(streams, transfer_ns(bytes, in->bandwidth)) + in->rtt_ns;
}

static uint64_t parallel_ns(const struct estimate_input *in, uint64_t ram_bytes)
{
	uint64_t quiesce = 0, pipeline = 0, to_p2p = 0, to_running = 0, bytes = 0;
	uint64_t min_stop = in->count ? UINT64_MAX : 0, min_finalise = min_stop;

	for (unsigned i = 0; i < in->count; i++) {
		const struct estimate_device *d = &in->devices[i];

		quiesce = max64(quiesce, d->quiesce_ns);
		pipeline = max64(pipeline, d->stop_ns + stream_ns(in, d) + d->finalise_ns);
		to_p2p = max64(to_p2p, d->to_p2p_ns);
		to_running = max64(to_running, d->to_running_ns);
		bytes += d->bytes;
		if (d->stop_ns < min_stop)
			min_stop = d->stop_ns;
		if (d->finalise_ns < min_finalise)
			min_finalise = d->finalise_ns;
	}
	pipeline = max64(pipeline, min_stop + transfer_ns(bytes, in->bandwidth) + min_finalise);
	/* RAM leaves from the stop of the vCPUs on, and no device waits for it. */
	uint64_t until_ready =
		max64(quiesce + pipeline, transfer_ns(bytes + ram_bytes, in->bandwidth));

	return until_ready + in->rtt_ns + to_p2p + to_running;
}

struct estimate estimate_downtime(const struct estimate_input *in)
{
	struct estimate out = {.slowest = -1};
	uint64_t worst = 0;

	out.downtime_ns =
		in->serial ? serial_ns(in, in->ram_bytes) : parallel_ns(in, in->ram_bytes);
	out.irreducible_ns = in->serial ? serial_ns(in, 0) : parallel_ns(in, 0);
	for (unsigned i = 0; i < in->count; i++) {
		const struct estimate_device *d = &in->devices[i];
		uint64_t cost = d->quiesce_ns + d->stop_ns + stream_ns(in, d) + d->finalise_ns +
				d->to_p2p_ns + d->to_running_ns;

		if (cost >= worst) {
			worst = cost;
			out.slowest = (int)i;
		}
	}
	return out;
}
