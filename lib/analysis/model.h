/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.h - the schedule of a switchover: when each device does what, when all is sent, READY,
 * running. Times in ns after "vCPUs stopped".
 */
#ifndef ANALYSIS_MODEL_H
#define ANALYSIS_MODEL_H

#include "analysis/flow.h"
#include "switchover/plan.h"

struct model {
	const struct swo_plan_setup *setup;
	struct swo_plan_schedule *schedules; /* one a device; the caller's */
	unsigned *order;		     /* room for one a device; the caller's */
	uint64_t *lanes;		     /* the same: who takes turns in arcs */
	struct flow flow;		     /* devices: one a device; the caller's */
	uint64_t cpu;			     /* busy until then, with arcs */
	/* out: */
	uint64_t begun;		    /* the first pass */
	uint64_t quiesced, stopped; /* ends of the passes */
	uint64_t sent, machine_saved, machine_loaded;
	uint64_t ready, go_sent, go;
	uint64_t released, resumed, started;
};

int analysis_model_run(struct model *m, struct swo_error *err);

#endif
