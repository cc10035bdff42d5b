/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.c - the configuration of a measurement: the defaults of each verb.
 */
#include "testbed/bench/config.h"

void bench_defaults(struct bench_config *config)
{
	*config = (struct bench_config){
		.vfs = {1, 2, 4},
		.vfs_count = 3,
		.transitions = {"serial", "parallel"},
		.transitions_count = 2,
		.runs = 5,
	};
	pair_defaults(&config->pair);
}
