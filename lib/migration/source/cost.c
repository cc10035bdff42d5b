/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cost.c - what each device's part of a stop will take, by what is known of it: what was
 * seen, what the target has seen, and where neither has, what somebody expects.
 */
#include "migration/source/source.h"

static uint64_t known(uint64_t told, uint64_t own)
{
	return told ? told : own;
}

struct estimate_device source_device_costs(struct source *s, unsigned index)
{
	const struct source_device *sd = &s->devices[index];
	const struct migration_hello_cost *told = &s->costs[index];
	struct swo_device *dev = sd->dev;
	struct swo_device_expected expected = swo_device_expected(dev);
	const uint64_t flags = swo_device_mig_flags(dev);
	const bool session = flags & SWO_MIG_PRE_COPY, p2p = flags & SWO_MIG_P2P;
	const enum swo_device_state runs = session ? SWO_DEVICE_PRE_COPY : SWO_DEVICE_RUNNING;
	const enum swo_device_state quiet = !p2p      ? runs
					    : session ? SWO_DEVICE_PRE_COPY_P2P
						      : SWO_DEVICE_RUNNING_P2P;
	const enum swo_device_state ready = p2p ? SWO_DEVICE_RUNNING_P2P : SWO_DEVICE_STOP;

	return (struct estimate_device){.bytes = sd->stop_bytes,
		.rate = known(sd->rate, expected.rate),
		/* A rate that was seen was seen beside the others of its PF. */
		.pf = sd->rate ? -1 : expected.pf,
		.quiesce_ns = swo_device_path_ns(dev, runs, quiet),
		.stop_ns = swo_device_path_ns(dev, quiet, SWO_DEVICE_STOP_COPY),
		.finalise_ns = known(told->finalise_ns,
			swo_device_path_ns(dev, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP)),
		.to_p2p_ns =
			known(told->to_p2p_ns, swo_device_path_ns(dev, SWO_DEVICE_STOP, ready)),
		.to_running_ns = known(
			told->to_running_ns, swo_device_path_ns(dev, ready, SWO_DEVICE_RUNNING))};
}
