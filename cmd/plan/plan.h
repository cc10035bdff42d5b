/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.h - shared by the files of `switchover plan`: the request, the devices, the predictions for
 * one number of them.
 */
#ifndef CMD_PLAN_PLAN_H
#define CMD_PLAN_PLAN_H

#include "cmd/common/device_costs.h"

#include <jansson.h>
#include <stdio.h>

#define PLAN_LIST_MAX	 16
#define PLAN_CHANGES_MAX 32

struct plan_request {
	const char *profile, *probe, *timeline; /* one of them */
	const char *costs;			/* file of the engine's overhead; NULL: none */
	const char *save_timeline;		/* NULL: do not */
	unsigned vfs[PLAN_LIST_MAX];
	unsigned vfs_count; /* 0: as many as the probe has, or 1,4,16 */
	unsigned pfs;	    /* spread over so many; 0: as profile or probe have it */
	bool json;
	const char *json_file;	     /* NULL: stdout */
	struct swo_plan_setup setup; /* links, switches; no devices */
	bool custom;		     /* a parameter differs from its default */
	struct {		     /* what the command line set, which a probe does not */
		bool wire_rate, channel_rate, channels, rtt, ram;
	} given;
};

/* Exits on an invalid command line. */
void plan_parse_args(int argc, char **argv, struct plan_request *request);
/* Takes what the command line has not set. */
void plan_take_link(struct plan_request *request, const struct probe_link *link);

/* Predictions (advise.c) */

/* Fills count devices, kind after kind in turn. */
void plan_make_devices(const struct device_kinds *kinds, const struct plan_request *request,
	struct swo_plan_device *devices, unsigned count);

struct plan_change {
	char what[128];
	bool of_devices;      /* a change of the devices; else a parameter, or the host's layout */
	uint64_t blackout_ns; /* with it */
};

struct plan_answer {
	unsigned vfs;
	struct swo_plan_bound bound;
	uint64_t serial_ns, parallel_ns, pipelined_ns;
	struct swo_plan_result result; /* with the given parameters */
	struct plan_change changes[PLAN_CHANGES_MAX];
	unsigned
		change_count; /* that gain something: settings and host, then devices; best first */
};

/*
 * setup has its devices. serial and parallel: everything after the stop, as VMMs do it today;
 * pipelined: the engine's defaults. timeline (may be NULL) takes the prediction.
 */
int plan_answer(const struct swo_plan_setup *setup, struct plan_answer *answer,
	struct swo_timeline *timeline, struct swo_error *err);
void plan_answer_free(struct plan_answer *answer);

/* What is printed (out.c) */

void plan_print(FILE *out, const struct plan_request *request, const struct device_kinds *kinds,
	const struct plan_answer *answers, unsigned count);
void plan_print_path(FILE *out, const struct swo_path *path);
/* New references; NULL: no memory. */
json_t *plan_json(const struct plan_request *request, const struct plan_answer *answer);
json_t *plan_path_json(const struct swo_path *path);

#endif
