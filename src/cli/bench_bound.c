/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_bound.c - the lower bound of a switchover, as bench_bound.h states it.
 */
#include "cli/bench_bound.h"

#include <stdbool.h>
#include <stdio.h>

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static double smaller(double a, double b)
{
	return a < b ? a : b;
}

/* Rates of 0 know no limit. */
static double slower(double a, double b)
{
	if (a <= 0 || b <= 0)
		return larger(a, b);
	return smaller(a, b);
}

static double transfer_ms(double bytes, double rate)
{
	return rate > 0 ? bytes / rate * 1e3 : 0;
}

static double path_ms(const struct bound_input *in, const struct bound_device *d)
{
	return transfer_ms(d->bytes, slower(slower(d->save_rate, d->load_rate), in->wire_rate));
}

static void take(struct bound *out, double ms, const char *what, int number)
{
	if (ms <= out->data_ms)
		return;
	out->data_ms = ms;
	if (number < 0)
		snprintf(out->limited_by, sizeof(out->limited_by), "%s", what);
	else
		snprintf(out->limited_by, sizeof(out->limited_by), "%s %d", what, number);
}

enum resource { WIRE, PF_SAVE, PF_LOAD };

/* min stop + bytes/rate + min finalise over the users of a resource. */
static double resource_ms(const struct bound_input *in, enum resource resource, int pf)
{
	double bytes = 0, rate = 0, stop = 0, finalise = 0;
	bool any = false;

	for (size_t i = 0; i < in->count; i++) {
		const struct bound_device *d = &in->devices[i];

		if (resource != WIRE && d->pf != pf)
			continue;
		stop = any ? smaller(stop, d->stop_ms) : d->stop_ms;
		finalise = any ? smaller(finalise, d->finalise_ms) : d->finalise_ms;
		bytes += d->bytes;
		rate = resource == WIRE	     ? in->wire_rate
		       : resource == PF_SAVE ? d->save_rate
					     : d->load_rate;
		any = true;
	}
	if (resource == WIRE)
		bytes += in->ram_bytes;
	return any ? stop + transfer_ms(bytes, rate) + finalise : 0;
}

struct bound bound_of(const struct bound_input *in)
{
	struct bound out = {.rtt_ms = in->rtt_ms};

	for (size_t i = 0; i < in->count; i++) {
		const struct bound_device *d = &in->devices[i];

		out.quiesce_ms = larger(out.quiesce_ms, d->quiesce_ms);
		out.to_running_p2p_ms = larger(out.to_running_p2p_ms, d->to_running_p2p_ms);
		out.to_running_ms = larger(out.to_running_ms, d->to_running_ms);
		take(&out, d->stop_ms + d->config_ms + path_ms(in, d) + d->finalise_ms, "device",
			(int)i);
		if (d->pf >= 0) {
			take(&out, resource_ms(in, PF_SAVE, d->pf), "save of PF", d->pf);
			take(&out, resource_ms(in, PF_LOAD, d->pf), "load of PF", d->pf);
		}
	}
	take(&out, resource_ms(in, WIRE, -1), "the wire", -1);
	out.total_ms = out.quiesce_ms + out.data_ms + out.rtt_ms + out.to_running_p2p_ms +
		       out.to_running_ms;
	return out;
}
