/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - what the path and the model share: spans told apart by what they mean, and a
 * path over an array of them.
 */
#ifndef ANALYSIS_INTERNAL_H
#define ANALYSIS_INTERNAL_H

#include "switchover/plan.h"

#define PLAN_MARK_STOPPED "vCPUs stopped"
#define PLAN_MARK_READY	  "READY"
#define PLAN_MARK_GO	  "GO"
#define PLAN_MARK_STARTED "STARTED"
#define PLAN_SAVE	  "save"
#define PLAN_LOAD	  "load"
#define PLAN_CONFIG	  "config"
#define PLAN_MACHINE	  "vCPU and board state"
#define PLAN_RESUME	  "vCPUs resume"
#define PLAN_WAIT_READY	  "waiting for READY"

/* What a span is to the switchover. The names are those that migration/ and device/ record. */
enum plan_stage {
	PLAN_OTHER,
	PLAN_STOPPED,	    /* source, mark */
	PLAN_QUIESCE,	    /* source, arcs to a P2P state */
	PLAN_STOP,	    /* source, arcs to STOP and STOP_COPY */
	PLAN_SAVED,	    /* source, a device's stream */
	PLAN_RAM,	    /* source */
	PLAN_MACHINE_SAVED, /* source */
	PLAN_SENT,	    /* source: all is sent; the wait for READY begins */
	PLAN_CONFIGURED,    /* target */
	PLAN_LOADED,	    /* target, a device's stream */
	PLAN_MACHINE_LOADED,
	PLAN_FINALISE, /* target, RESUMING->STOP */
	PLAN_READY,    /* target, mark */
	PLAN_GO_SENT,  /* source, mark */
	PLAN_GO,       /* target, mark */
	PLAN_RELEASE,  /* target, STOP->RUNNING_P2P */
	PLAN_RUN,      /* target, arcs to RUNNING */
	PLAN_RESUMED,  /* target */
	PLAN_STARTED,  /* target, mark */
};

enum plan_stage analysis_stage_of(const struct swo_span *span);

/* swo_critical_path, over spans that are anybody's. */
int analysis_path(
	const struct swo_span *spans, size_t count, struct swo_path *out, struct swo_error *err);

#endif
