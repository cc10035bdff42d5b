/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate.c - the predicted downtime, from the same solver as `switchover plan`.
 */
#include "analysis/estimate.h"
#include "analysis/model.h"

/* It is also made between the passes of a stop: coarse enough for a fraction of a millisecond. */
#define CHUNKS_MAX 512

static int solve(const struct swo_plan_setup *setup, uint64_t *ns, struct swo_error *err)
{
	struct model m;
	int rc = analysis_model_run(&m, setup, CHUNKS_MAX, err);

	*ns = m.started;
	analysis_model_free(&m);
	return rc;
}

uint64_t analysis_device_ns(const struct swo_device_costs *costs, uint64_t wire_rate)
{
	const struct swo_device_costs c = analysis_known(costs);
	const uint64_t rates[] = {c.save_rate, c.load_rate, wire_rate};
	uint64_t stream = 0;

	for (size_t i = 0; i < SWO_ARRAY_SIZE(rates); i++) {
		uint64_t ns = analysis_flow_transfer_ns(c.state_bytes - c.precopy_bytes, rates[i]);

		stream = ns > stream ? ns : stream;
	}
	return c.running_to_p2p_ns + c.p2p_to_stop_ns + stream + c.load_fixed_ns +
	       c.resuming_to_stop_ns + c.stop_to_p2p_ns + c.p2p_to_running_ns;
}

int analysis_estimate_downtime(
	const struct swo_plan_setup *setup, struct estimate *out, struct swo_error *err)
{
	struct swo_plan_setup without_ram = *setup;
	uint64_t worst = 0;

	*out = (struct estimate){.bytes = setup->ram_bytes, .slowest = -1};
	without_ram.ram_bytes = 0;
	if (solve(setup, &out->downtime_ns, err) || solve(&without_ram, &out->irreducible_ns, err))
		return -1;
	for (unsigned i = 0; i < setup->count; i++) {
		const struct swo_device_costs c = analysis_known(&setup->devices[i].costs);
		uint64_t ns = analysis_device_ns(&c, setup->wire_rate);

		out->bytes += c.state_bytes - c.precopy_bytes;
		if (ns >= worst) {
			worst = ns;
			out->slowest = (int)i;
		}
	}
	return 0;
}
