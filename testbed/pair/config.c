/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.c - the defaults of a pair, and values derived from its settings.
 */
#include "testbed/pair/config.h"

#include "simvf/profiles/named.h"

#include <string.h>

void pair_defaults(struct pair_config *config)
{
	*config = (struct pair_config){
		.profile = "even",
		.backend = "vfio-user",
		.accel = "auto",
		.channel = "unix",
		.channels = 2,
		.ram = "256M",
		.vcpus = 2,
		.dirty_rate = 200,
		.dma_pages = 64,
		.dma_rate = 100,
		.p2p_rate = 100,
		.irq_every = 16,
		.link_buffer = 1 << 20,
	};
}

bool pair_has_link(const struct pair_config *config)
{
	return config->link_rtt_ms > 0 || config->link_rate;
}

bool pair_hands_over(const struct pair_config *config)
{
	return config->handover && !strcmp(config->handover, "fd");
}

unsigned pair_doorbell_period_us(const struct pair_config *config, unsigned vfs)
{
	if (config->doorbell_period_us)
		return config->doorbell_period_us;
	/*
	 * Each doorbell is a VM exit and a message to another process: increase the period with the
	 * number of devices.
	 */
	return vfs <= 4 ? 1000 : 250 * vfs;
}

unsigned pair_doorbell_turns(const struct pair_config *config, unsigned vfs)
{
	return config->doorbell_period_us ? 1 : (vfs + 3) / 4;
}

const char *pair_profile_of(const struct pair_config *config, unsigned i)
{
	static const char *const mixed[] = {
		"mixed-mlx5", "mixed-qat", "mixed-big", "mixed-instant"};

	return strcmp(config->profile, "mixed") ? config->profile
						: mixed[i % SWO_ARRAY_SIZE(mixed)];
}

int pair_pf_of(const struct pair_config *config, unsigned i)
{
	if (config->pf_from)
		return i < config->pf_from ? -1 : 0;
	if (config->pfs)
		return (int)(i % config->pfs);
	return config->pf || svf_profile_shares_pf(config->profile) ? 0 : -1;
}
