/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.h - the critical path of a switchover that took place, and a model of the same schedule
 * for one that has not.
 *
 * Threads: every function may be called from any thread, with separate arguments.
 */
#ifndef SWITCHOVER_PLAN_H
#define SWITCHOVER_PLAN_H

#include "switchover/base.h"
#include "switchover/device.h"
#include "switchover/migration.h"
#include "switchover/runstate.h"
#include "switchover/timeline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The critical path */

/*
 * One step of the path. A gap is time that no span on the path covers; its name is its cause:
 * "joining the prepare pass", "wire", ...
 */
struct swo_path_step {
	bool gap;
	enum swo_side side;	 /* of a gap: side and device of the waiter */
	enum swo_span_kind kind; /* of a gap: SWO_SPAN_WAIT */
	char name[48];
	char device[64];
	uint64_t start_ns; /* only the part on the path: the span may have started earlier */
	uint64_t end_ns;
};

/* From "vCPUs stopped" to "STARTED": each step starts where the one before it ends. */
struct swo_path {
	uint64_t start_ns;
	uint64_t end_ns;
	struct swo_path_step *steps;
	size_t count;
};

#define SWO_PATH_STEPS_MAX 4096

/*
 * The path of spans that determined the length of the last switchover in `timeline` (both
 * sides, one clock): back from STARTED, at each point the span whose end enabled what follows.
 * Adds up to end_ns - start_ns exactly, even if spans are missing. SWO_E_INVALID if the
 * timeline has no completed switchover. Free *out with swo_path_free.
 */
SWO_API int swo_critical_path(
	struct swo_timeline *timeline, struct swo_path *out, struct swo_error *err);
SWO_API void swo_path_free(struct swo_path *path);

/* The model */

/* Unknown costs take no time and set no limit. */
struct swo_plan_device {
	char name[32];
	struct swo_device_costs costs;
	int depth; /* in the device tree; 0 is the root */
};

struct swo_plan_setup {
	const struct swo_plan_device *devices;
	unsigned count;	       /* at most SWO_DEVICES_MAX */
	uint64_t wire_rate;    /* of all channels together; bytes/s, 0: no limit */
	uint64_t channel_rate; /* of one channel; 0: no limit of its own */
	unsigned channels;     /* 1..16 */
	uint64_t rtt_ns;       /* of the link */
	uint64_t ram_bytes;    /* dirty when the vCPUs stop */
	uint64_t window;       /* device-window; 0: no limit */
	uint64_t machine_ns;   /* saving and loading vCPU and board state */
	enum swo_transitions transitions;
	enum swo_join join;
	enum swo_when stream, finalise, config; /* as in struct swo_migration_params */
	bool pf_arcs;				/* devices of one PF also run arcs one at a time */
	struct swo_engine_overhead overhead;	/* of both sides together */
	bool ram_after_stop; /* ram_bytes are sent from when all devices have stopped, not before */
};
/*
 * Parallel and early for all parameters, 2 channels and the engine's window; no devices, no
 * limits.
 */
SWO_API void swo_plan_setup_init(struct swo_plan_setup *setup);

struct swo_plan_period {
	uint64_t start_ns, end_ns;
};

/* The periods of one device, in ns after "vCPUs stopped". */
struct swo_plan_schedule {
	struct swo_plan_period running_to_p2p, p2p_to_stop;
	struct swo_plan_period save; /* read and sent */
	struct swo_plan_period load;
	struct swo_plan_period resuming_to_stop, stop_to_p2p, p2p_to_running;
};

struct swo_plan_result {
	uint64_t blackout_ns;		     /* "vCPUs stopped" to "STARTED" */
	uint64_t ready_ns;		     /* READY, on the same scale */
	struct swo_plan_schedule *schedules; /* one per device */
	unsigned count;
	struct swo_path path; /* adds up to blackout_ns */
};

/*
 * Simulates the schedule of lib/migration with these costs: arcs, streams in chunks of 1 MiB
 * through save, channel, wire and load, the last RAM pass in parallel, READY and GO. Pure: no
 * clock, no randomness. timeline may be NULL; otherwise a prediction is added to it, both
 * sides, times from 1 s on. Free *out with swo_plan_free.
 */
SWO_API int swo_plan_run(const struct swo_plan_setup *setup, struct swo_plan_result *out,
	struct swo_timeline *timeline, struct swo_error *err);
SWO_API void swo_plan_free(struct swo_plan_result *result);

/* The lower bound */

struct swo_plan_bound {
	uint64_t total_ns; /* the sum of the next five */
	uint64_t quiesce_ns, data_ns, rtt_ns, start_ns, run_ns;
	char limited_by[48]; /* the largest term of data_ns: "device 3", "save of PF 0" */
};

/*
 * The least time that a switchover can take with these devices and this link:
 *
 *   LB = max running_to_p2p + D + 1.5 round trips + max stop_to_p2p + max p2p_to_running
 *   D  = the largest of: each device's max(p2p_to_stop + path + load_fixed,
 *        config - max running_to_p2p) + resuming_to_stop;
 *        each shared resource's min p2p_to_stop + bytes/rate + min (load_fixed +
 *        resuming_to_stop) over its users; a resource is the wire, a PF's save or a PF's load;
 *        (bytes of devices and memory)/wire - max running_to_p2p.
 *   path = bytes / min(save, load, wire); bytes: of state sent after the stop
 *
 * A formula, not a run of the model: it holds for every schedule, also for those that the model
 * does not have. So memory and a late config, which need no stopped device, count from the stop of
 * the vCPUs on. With a late finalise there is no barrier between RESUMING->STOP and
 * STOP->RUNNING_P2P: neither is in D, and start_ns is the largest sum of the two. Overhead,
 * channels, window and the other switches do not count. Without devices only the round trip and
 * the memory do.
 */
SWO_API struct swo_plan_bound swo_plan_lower_bound(const struct swo_plan_setup *setup);

#ifdef __cplusplus
}
#endif

#endif
