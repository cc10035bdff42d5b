/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow.h - simulates the bytes from source to target, event by event: every device's state through
 * save, channel, wire and load, and guest memory in parallel. Without arcs.
 */
#ifndef ANALYSIS_FLOW_H
#define ANALYSIS_FLOW_H

#include "switchover/base.h"

#define FLOW_CHUNK	  (UINT64_C(1) << 20) /* what an engine, a channel, the wire do in one go */
#define FLOW_CHANNELS_MAX 16
#define FLOW_NOBODY	  (-1)

struct flow_device {
	uint64_t bytes;
	uint64_t save_rate, load_rate; /* bytes a second, 0: no limit */
	uint64_t load_fixed_ns;	       /* of a load, after its last byte */
	int pf;			       /* shares both engines with the devices of its number */
	uint64_t save_from;	       /* it has stopped: its save engine may begin */
	uint64_t stream_from;	       /* what was saved may be read and sent */
	uint64_t load_from;	       /* its target side is ready for data */
	/* out: */
	uint64_t sent;	     /* the last byte has left */
	uint64_t load_start; /* the first byte has come */
	uint64_t loaded;     /* all is loaded */
};

struct flow {
	struct flow_device *devices;
	unsigned count;
	unsigned channels;
	uint64_t channel_rate, wire_rate;
	uint64_t latency_ns; /* one way */
	uint64_t window;     /* bytes of a device sent and not taken; 0: no limit */
	uint64_t ram_bytes;  /* sent over all channels */
	uint64_t ram_from;   /* from then on */
	uint64_t chunks_max; /* of state, and of memory: rather than more, larger ones */
	uint64_t stream_ns;  /* of the CPU, to begin a device's stream */
	uint64_t cpu_rate;   /* bytes of state a second that the CPU moves; 0: no limit */
	uint64_t cpu_from;   /* it has other things to do before */
	/* out: */
	uint64_t ram_sent;
};

/* 0 without a rate. */
uint64_t analysis_flow_transfer_ns(uint64_t bytes, uint64_t rate);
/* Reserves time after earlier reservations; returns the end. */
uint64_t analysis_flow_reserve(uint64_t *busy_until, uint64_t earliest, uint64_t duration);
/* The first device on the PF of device i: its engines represent the PF's. */
unsigned analysis_flow_pf_of(const struct flow_device *devices, unsigned i);

/* The only error is SWO_E_NO_MEMORY. */
int analysis_flow_run(struct flow *flow, struct swo_error *err);

#endif
