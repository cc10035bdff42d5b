/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bound.h - the least time a switchover can take with these devices and this
 * link: what every measurement is printed beside. Pure arithmetic.
 *
 *   LB = max quiesce + D + round trip + max(STOP->RUNNING_P2P) + max(->RUNNING)
 *   D  = the largest of: each device's max(stop + path, cfg - max quiesce) + finalise;
 *        each shared resource's min stop + bytes/rate + min finalise over its users,
 *        where a resource is the wire, a PF's save or a PF's load;
 *        (bytes of devices and memory)/wire - max quiesce.
 *   path = bytes / min(save, load, wire)
 *
 * It has to hold for every schedule. So what needs no device to have stopped (memory, config)
 * counts from the stop of the vCPUs on; and with `finalise_late` there is no barrier between
 * RESUMING->STOP and STOP->RUNNING_P2P: neither is in D, the largest sum of the two is after it.
 */
#ifndef ANALYSIS_BOUND_H
#define ANALYSIS_BOUND_H

#include <stdbool.h>
#include <stddef.h>

struct bound_device {
	double quiesce_ms;	  /* to a P2P state */
	double stop_ms;		  /* to STOP_COPY */
	double config_ms;	  /* 0 when applied before the stop and unchanged */
	double finalise_ms;	  /* RESUMING->STOP */
	double to_running_p2p_ms; /* STOP->RUNNING_P2P */
	double to_running_ms;	  /* RUNNING_P2P->RUNNING */
	double bytes;		  /* of state really sent after the stop */
	double save_rate;	  /* bytes a second; 0: no limit */
	double load_rate;
	int pf; /* devices of one number share save and load; -1: shares with nobody */
};

struct bound_input {
	const struct bound_device *devices;
	size_t count;
	double wire_rate; /* bytes a second; 0: no limit */
	double rtt_ms;
	double ram_bytes;   /* of the last passes, after the stop of the vCPUs */
	bool finalise_late; /* RESUMING->STOP only after GO */
};

struct bound {
	double total_ms;
	double quiesce_ms, data_ms, rtt_ms, to_running_p2p_ms, to_running_ms;
	char limited_by[48]; /* what makes `data` so long: "device 3", "the wire", "PF 0's save" */
};

/* Without devices only the round trip and the memory count. */
struct bound analysis_bound(const struct bound_input *input);

#endif
