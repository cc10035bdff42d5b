/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bound.c - the lower bound of a switchover, as bound.h states it.
 */
#include "analysis/bound.h"

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

/* min stop + the time that all bytes take + min finalise, over the users of a resource. */
static double resource_ms(const struct bound_input *in, enum resource resource, int pf)
{
	double busy = 0, stop = 0, finalise = 0;
	bool any = false;

	for (size_t i = 0; i < in->count; i++) {
		const struct bound_device *d = &in->devices[i];

		if (resource != WIRE && d->pf != pf)
			continue;
		stop = any ? smaller(stop, d->stop_ms) : d->stop_ms;
		finalise = any ? smaller(finalise, d->finalise_ms) : d->finalise_ms;
		busy += transfer_ms(d->bytes, resource == WIRE	    ? in->wire_rate
					      : resource == PF_SAVE ? d->save_rate
								    : d->load_rate);
		any = true;
	}
	return any ? stop + busy + (in->finalise_late ? 0 : finalise) : 0;
}

/* Memory need not wait for any device to stop, and no device's finalise for memory. */
static double wire_with_ram_ms(const struct bound_input *in, double quiesce_ms)
{
	double bytes = in->ram_bytes;

	for (size_t i = 0; i < in->count; i++)
		bytes += in->devices[i].bytes;
	return transfer_ms(bytes, in->wire_rate) - quiesce_ms;
}

/* The target applies a config while the source's arcs are still on: only its rest counts. */
static double device_ms(
	const struct bound_input *in, const struct bound_device *d, double quiesce_ms)
{
	return larger(d->stop_ms + path_ms(in, d), d->config_ms - quiesce_ms) +
	       (in->finalise_late ? 0 : d->finalise_ms);
}

struct bound analysis_bound(const struct bound_input *in)
{
	struct bound out = {.rtt_ms = in->rtt_ms};

	for (size_t i = 0; i < in->count; i++) {
		const struct bound_device *d = &in->devices[i];

		out.quiesce_ms = larger(out.quiesce_ms, d->quiesce_ms);
		out.to_running_p2p_ms = larger(out.to_running_p2p_ms,
			d->to_running_p2p_ms + (in->finalise_late ? d->finalise_ms : 0));
		out.to_running_ms = larger(out.to_running_ms, d->to_running_ms);
	}
	for (size_t i = 0; i < in->count; i++) {
		const struct bound_device *d = &in->devices[i];

		take(&out, device_ms(in, d, out.quiesce_ms), "device", (int)i);
		if (d->pf >= 0) {
			take(&out, resource_ms(in, PF_SAVE, d->pf), "save of PF", d->pf);
			take(&out, resource_ms(in, PF_LOAD, d->pf), "load of PF", d->pf);
		}
	}
	take(&out, resource_ms(in, WIRE, -1), "the wire", -1);
	take(&out, wire_with_ram_ms(in, out.quiesce_ms), "memory on the wire", -1);
	out.total_ms = out.quiesce_ms + out.data_ms + out.rtt_ms + out.to_running_p2p_ms +
		       out.to_running_ms;
	return out;
}
