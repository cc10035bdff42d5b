/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate.h - how long the stop would last: from bandwidth *and* from what the devices'
 * arcs have cost so far. Pure arithmetic.
 */
#ifndef ANALYSIS_ESTIMATE_H
#define ANALYSIS_ESTIMATE_H

#include "switchover/migration.h"

/* Times in ns; 0 where nothing was learned yet. */
struct estimate_device {
	uint64_t quiesce_ns;  /* ->P2P on the source */
	uint64_t stop_ns;     /* ->STOP_COPY */
	uint64_t bytes;	      /* to be sent after it has stopped */
	uint64_t rate;	      /* at which its stream goes, bytes a second; 0: as the wire's */
	int pf;		      /* devices of one number take turns in that; -1: with nobody */
	uint64_t finalise_ns; /* RESUMING->STOP on the target */
	uint64_t to_p2p_ns;   /* STOP->RUNNING_P2P */
	uint64_t to_running_ns;
};

struct estimate_input {
	const struct estimate_device *devices;
	unsigned count;
	uint64_t ram_bytes; /* dirty now */
	uint64_t bandwidth; /* bytes a second, all channels */
	uint64_t rtt_ns;
	bool serial; /* arcs one device after another */
	struct swo_costs costs;
};

struct estimate {
	uint64_t downtime_ns;
	uint64_t irreducible_ns; /* of it: what no further pass of RAM can make shorter */
	uint64_t bytes;		 /* to be sent after the stop: RAM that is dirty now, and devices */
	int slowest;		 /* index of the device that costs most; -1: none */
};

struct estimate analysis_estimate_downtime(const struct estimate_input *in);

#endif
