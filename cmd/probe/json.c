/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json.c - what a probe found, for programs. Keys: docs/probe.md.
 */
#include "cmd/common/device_costs.h"
#include "cmd/probe/probe.h"

#define FORMAT_VERSION 1

static json_t *ms(uint64_t ns)
{
	return json_real((double)ns / 1e6);
}

static json_t *cost_json(const struct swo_probe_cost *cost)
{
	return json_pack("{s:I, s:o, s:o}", "n", (json_int_t)cost->count, "median_ms",
		ms(cost->median), "max_ms", ms(cost->max));
}

static json_t *info_json(const struct swo_probe_info *info)
{
	json_t *regions = json_array(), *irqs = json_array();

	for (unsigned i = 0; i < SWO_PROBE_REGIONS; i++)
		if (info->regions[i].size)
			json_array_append_new(
				regions, json_pack("{s:i, s:I, s:i}", "index", i, "size",
						 (json_int_t)info->regions[i].size, "flags",
						 (int)info->regions[i].flags));
	for (unsigned i = 0; i < SWO_PROBE_IRQS; i++)
		if (info->irqs[i].count)
			json_array_append_new(irqs, json_pack("{s:i, s:i}", "index", i, "count",
							    (int)info->irqs[i].count));
	return json_pack("{s:b, s:b, s:b, s:s, s:b, s:b, s:b, s:b, s:b, s:o, s:o, s:o}",
		"stop_copy", !!(info->mig_flags & SWO_MIG_STOP_COPY), "p2p",
		!!(info->mig_flags & SWO_MIG_P2P), "pre_copy",
		!!(info->mig_flags & SWO_MIG_PRE_COPY), "state", swo_device_state_name(info->state),
		"mig_data_size", !!(info->features & SWO_FEATURE_DATA_SIZE), "precopy_info",
		!!(info->features & SWO_FEATURE_PRECOPY_INFO), "precopy_info_v2",
		!!(info->features & SWO_FEATURE_PRECOPY_INFO_V2), "dma_log",
		!!(info->features & SWO_FEATURE_DMA_LOG), "reset",
		!!(info->features & SWO_FEATURE_RESET), "data_size",
		info->has_data_size ? json_integer((json_int_t)info->data_size) : json_null(),
		"regions", regions, "irqs", irqs);
}

static json_t *results_json(const struct swo_probe_device *device)
{
	json_t *results = json_array();

	for (unsigned i = 0; i < device->result_count; i++) {
		const struct swo_probe_result *r = &device->results[i];

		json_array_append_new(
			results, json_pack("{s:s, s:s, s:i, s:s, s:s}", "name", r->name, "verdict",
					 swo_verdict_name(r->verdict), "count", (int)r->count,
					 "text", r->text, "rule", swo_probe_rule(r->name)));
	}
	return results;
}

static json_t *arcs_json(const struct swo_probe_device *device)
{
	json_t *arcs = json_array();

	for (unsigned from = 0; from < SWO_DEVICE_STATES; from++)
		for (unsigned to = 0; to < SWO_DEVICE_STATES; to++) {
			if (!device->arcs[from][to].count)
				continue;
			json_t *arc = cost_json(&device->arcs[from][to]);

			json_object_set_new(arc, "from",
				json_string(swo_device_state_name((enum swo_device_state)from)));
			json_object_set_new(arc, "to",
				json_string(swo_device_state_name((enum swo_device_state)to)));
			json_array_append_new(arcs, arc);
		}
	return arcs;
}

/* What `switchover plan --probe` reads */

static uint64_t median(const struct swo_probe_device *device, enum swo_device_state from,
	enum swo_device_state to, uint64_t otherwise)
{
	const struct swo_probe_cost *cost = &device->arcs[from][to];

	return cost->count ? cost->median : otherwise;
}

/* Of what came before the arc that ends the transfer. */
static uint64_t rate(
	const struct swo_probe_device *device, const struct swo_probe_cost *cost, uint64_t fixed_ns)
{
	if (!cost->count || cost->median <= fixed_ns || !device->state_bytes)
		return SWO_UNKNOWN;
	return (uint64_t)((double)device->state_bytes * 1e9 / (double)(cost->median - fixed_ns));
}

static json_t *figures_json(const struct swo_probe_device *device, bool shared)
{
	struct swo_plan_device d = {0};
	struct swo_device_costs *c = &d.costs;
	const enum swo_device_state run = SWO_DEVICE_RUNNING, p2p = SWO_DEVICE_RUNNING_P2P,
				    stop = SWO_DEVICE_STOP, pre_copy = SWO_DEVICE_PRE_COPY,
				    pre_copy_p2p = SWO_DEVICE_PRE_COPY_P2P;

	/* A migration goes by PRE_COPY where there is one. */
	swo_device_costs_init(c);
	c->running_to_p2p_ns =
		median(device, pre_copy, pre_copy_p2p, median(device, run, p2p, SWO_UNKNOWN));
	c->p2p_to_stop_ns = median(device, pre_copy_p2p, SWO_DEVICE_STOP_COPY,
		median(device, p2p, stop, median(device, run, stop, SWO_UNKNOWN)));
	c->resuming_to_stop_ns = median(device, SWO_DEVICE_RESUMING, stop, SWO_UNKNOWN);
	c->stop_to_p2p_ns = median(device, stop, p2p, SWO_UNKNOWN);
	c->p2p_to_running_ns = median(device, p2p, run, median(device, stop, run, SWO_UNKNOWN));
	c->state_bytes = device->state_bytes;
	c->precopy_bytes = device->precopy_bytes;
	c->save_rate = rate(device, &device->save, 0);
	c->load_fixed_ns = device->load_fixed.count ? device->load_fixed.median : 0;
	c->load_rate = rate(device, &device->load, c->load_fixed_ns);
	c->pf = shared ? 0 : -1;
	return device_costs_json(&d);
}

static bool is_shared(const struct swo_probe_report *report)
{
	return report->save.sharing == SWO_SHARING_SERIALISED ||
	       report->load.sharing == SWO_SHARING_SERIALISED;
}

static void add_exercise(json_t *to, const struct swo_probe_device *device)
{
	json_object_set_new(to, "lost", json_boolean(device->lost));
	json_object_set_new(to, "results", results_json(device));
	json_object_set_new(to, "arcs", arcs_json(device));
	json_object_set_new(to, "reset", cost_json(&device->reset));
	json_object_set_new(to, "state_bytes", json_integer((json_int_t)device->state_bytes));
	json_object_set_new(to, "precopy_bytes", json_integer((json_int_t)device->precopy_bytes));
	json_object_set_new(to, "save", cost_json(&device->save));
	json_object_set_new(to, "load", cost_json(&device->load));
	json_object_set_new(to, "load_fixed", cost_json(&device->load_fixed));
}

static json_t *sibling_json(const struct swo_probe_siblings *sib)
{
	return json_pack("{s:s, s:o, s:o, s:o}", "sharing", swo_sharing_name(sib->sharing),
		"alone_max_ms", ms(sib->alone_max), "alone_sum_ms", ms(sib->alone_sum),
		"parallel_ms", ms(sib->parallel));
}

json_t *probe_json(
	const struct probe_device *devices, unsigned count, const struct swo_probe_report *report)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++) {
		const struct probe_device *d = &devices[i];
		json_t *device = json_pack("{s:s, s:s, s:s}", "name", d->name, "device", d->spec,
			"backend", d->ops->name);

		if (d->described)
			json_object_set_new(device, "offers", info_json(&d->info));
		else
			json_object_set_new(device, "error", json_string(d->err.text));
		if (report) {
			add_exercise(device, &report->devices[i]);
			json_object_set_new(device, "figures",
				figures_json(&report->devices[i], is_shared(report)));
		}
		json_array_append_new(list, device);
	}
	json_t *out = json_pack("{s:s, s:i, s:o}", "format", "switchover-probe", "version",
		FORMAT_VERSION, "devices", list);

	if (!out || !report)
		return out;
	json_object_set_new(out, "interrupted", json_boolean(report->interrupted));
	json_object_set_new(out, "fails", json_integer(report->fails));
	json_object_set_new(out, "risks", json_integer(report->risks));
	if (report->device_count > 1)
		json_object_set_new(out, "siblings",
			json_pack("{s:o, s:o, s:o}", "quiesce", sibling_json(&report->quiesce),
				"save", sibling_json(&report->save), "load",
				sibling_json(&report->load)));
	return out;
}
