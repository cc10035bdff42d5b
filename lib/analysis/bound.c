/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bound.c - the lower bound of a switchover, as plan.h states it.
 */
#include "analysis/model.h"

#include <stdio.h>

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static double smaller(double a, double b)
{
	return a < b ? a : b;
}

/* A rate of 0 is no limit. */
static double slower(double a, double b)
{
	return a > 0 && b > 0 ? smaller(a, b) : larger(a, b);
}

static double transfer_ns(double bytes, double rate)
{
	return rate > 0 ? bytes / rate * 1e9 : 0;
}

static double after_stop(const struct swo_device_costs *c)
{
	return (double)(c->state_bytes - c->precopy_bytes);
}

/* The terms, in ns. */
struct terms {
	const struct swo_plan_setup *setup;
	double quiesce, data, start, run;
	char limited_by[sizeof(((struct swo_plan_bound *)0)->limited_by)];
};

static struct swo_device_costs device(const struct terms *t, unsigned i)
{
	return analysis_known(&t->setup->devices[i].costs);
}

static double finalise(const struct terms *t, const struct swo_device_costs *c)
{
	return t->setup->finalise == SWO_WHEN_LATE ? 0 : (double)c->resuming_to_stop_ns;
}

/* After its last byte has been moved. */
static double after_data(const struct terms *t, const struct swo_device_costs *c)
{
	return (double)c->load_fixed_ns + finalise(t, c);
}

static void take(struct terms *t, double ns, const char *what, int number)
{
	if (ns <= t->data)
		return;
	t->data = ns;
	if (number >= 0)
		snprintf(t->limited_by, sizeof(t->limited_by), "%s %d", what, number);
	else
		snprintf(t->limited_by, sizeof(t->limited_by), "%s", what);
}

enum resource { WIRE, PF_SAVE, PF_LOAD };

/* Its first user must have stopped before, and its last user has to finalise afterwards. */
static double resource_ns(const struct terms *t, enum resource resource, int pf)
{
	double stop = 0, last = 0, busy = 0;
	bool any = false;

	for (unsigned i = 0; i < t->setup->count; i++) {
		const struct swo_device_costs c = device(t, i);

		if (resource != WIRE && c.pf != pf)
			continue;
		stop = any ? smaller(stop, (double)c.p2p_to_stop_ns) : (double)c.p2p_to_stop_ns;
		last = any ? smaller(last, after_data(t, &c)) : after_data(t, &c);
		busy += transfer_ns(after_stop(&c), (double)(resource == WIRE ? t->setup->wire_rate
							     : resource == PF_SAVE ? c.save_rate
										   : c.load_rate));
		any = true;
	}
	return any ? stop + busy + last : 0;
}

/* Memory need not wait for any device to stop, and no device's finalise for memory. */
static double wire_with_ram_ns(const struct terms *t)
{
	double bytes = (double)t->setup->ram_bytes;

	for (unsigned i = 0; i < t->setup->count; i++) {
		const struct swo_device_costs c = device(t, i);

		bytes += after_stop(&c);
	}
	return transfer_ns(bytes, (double)t->setup->wire_rate) - t->quiesce;
}

/* The target applies a config while the source's arcs are still on: only its rest counts. */
static double device_ns(const struct terms *t, const struct swo_device_costs *c)
{
	const double rate = slower(
		slower((double)c->save_rate, (double)c->load_rate), (double)t->setup->wire_rate);
	const double config =
		t->setup->config == SWO_WHEN_EARLY ? 0 : (double)c->config_load_ns - t->quiesce;

	return larger((double)c->p2p_to_stop_ns + transfer_ns(after_stop(c), rate) +
			       (double)c->load_fixed_ns,
		       config) +
	       finalise(t, c);
}

static uint64_t whole(double ns)
{
	return ns > 0 ? (uint64_t)(ns + 0.5) : 0;
}

struct swo_plan_bound swo_plan_lower_bound(const struct swo_plan_setup *setup)
{
	struct terms t = {.setup = setup};

	for (unsigned i = 0; i < setup->count; i++) {
		const struct swo_device_costs c = device(&t, i);
		const double late = (double)c.resuming_to_stop_ns - finalise(&t, &c);

		t.quiesce = larger(t.quiesce, (double)c.running_to_p2p_ns);
		t.start = larger(t.start, (double)c.stop_to_p2p_ns + late);
		t.run = larger(t.run, (double)c.p2p_to_running_ns);
	}
	for (unsigned i = 0; i < setup->count; i++) {
		const struct swo_device_costs c = device(&t, i);

		take(&t, device_ns(&t, &c), "device", (int)i);
		if (c.pf >= 0) {
			take(&t, resource_ns(&t, PF_SAVE, c.pf), "save of PF", c.pf);
			take(&t, resource_ns(&t, PF_LOAD, c.pf), "load of PF", c.pf);
		}
	}
	take(&t, resource_ns(&t, WIRE, -1), "the wire", -1);
	take(&t, wire_with_ram_ns(&t), "memory on the wire", -1);

	struct swo_plan_bound out = {.quiesce_ns = whole(t.quiesce),
		.data_ns = whole(t.data),
		/* Half of one for the last bytes, one for READY and GO. */
		.rtt_ns = setup->rtt_ns + setup->rtt_ns / 2,
		.start_ns = whole(t.start),
		.run_ns = whole(t.run)};

	snprintf(out.limited_by, sizeof(out.limited_by), "%s", t.limited_by);
	out.total_ns = out.quiesce_ns + out.data_ns + out.rtt_ns + out.start_ns + out.run_ns;
	return out;
}
