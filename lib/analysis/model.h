/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.h - the schedule of a switchover: the periods of each device, the end of sending, READY,
 * running. Times in ns after "vCPUs stopped".
 */
#ifndef ANALYSIS_MODEL_H
#define ANALYSIS_MODEL_H

#include "analysis/flow.h"
#include "switchover/plan.h"

#define MODEL_TIME_MAX_NS (UINT64_C(86400) * 1000000000)
#define MODEL_BYTES_MAX	  (UINT64_C(1) << 44)
#define MODEL_RATE_MIN	  UINT64_C(100000)
#define MODEL_CHUNKS_MAX  (1u << 18)

struct model {
	struct swo_plan_setup setup;	     /* with the devices below */
	struct swo_plan_device *devices;     /* nothing is unknown of them */
	struct swo_plan_schedule *schedules; /* one a device */
	unsigned *order;		     /* of the handlers */
	uint64_t *lanes;		     /* of arcs: who takes turns */
	struct flow flow;
	uint64_t cpu;		    /* busy until then, with arcs */
	uint64_t begun;		    /* the first pass */
	uint64_t quiesced, stopped; /* ends of the passes */
	uint64_t sent, machine_saved, machine_loaded;
	uint64_t ready, go_sent, go;
	uint64_t released, resumed, started;
};

/* The costs with 0 for what is unknown. */
struct swo_device_costs analysis_known(const struct swo_device_costs *costs);
/*
 * Solves the schedule. Figures beyond the limits above count as the limits. chunks_max: of state
 * and of memory, see flow.h. The only error is SWO_E_NO_MEMORY; free *m in any case.
 */
int analysis_model_run(struct model *m, const struct swo_plan_setup *setup, uint64_t chunks_max,
	struct swo_error *err);
void analysis_model_free(struct model *m);

#endif
