/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * observe.h - what the records of `switchover exec` contain: spans for a timeline, and
 * where the outage of a switchover went.
 */
#ifndef CMD_OBSERVE_OBSERVE_H
#define CMD_OBSERVE_OBSERVE_H

#include "switchover/timeline.h"

#include <jansson.h>

#define OBSERVE_SPANS_MAX 65536
#define OBSERVE_NAME_ROOM                                                                          \
	sizeof(((struct swo_span *)0)->device) /* of a device; what a span holds */

struct observed_arc {
	enum swo_side side;
	char device[OBSERVE_NAME_ROOM];
	enum swo_device_state from, to;
	char name[40]; /* "A->B"; of an unknown state, its only name */
	uint64_t asked_ns, start_ns, end_ns, answered_ns; /* asked_ns 0: never requested */
	int error;
	bool ahead;
};

struct observed {
	struct swo_timeline *timeline; /* everything, on the first file's clock */
	struct observed_arc *arcs;
	size_t count, room;
	bool has_clock;
	int64_t wall_ns; /* of the first file: its wall clock minus its CLOCK_MONOTONIC */
};

int observed_init(struct observed *observed, struct swo_error *err);
void observed_free(struct observed *observed);
/* side NULL: by what its devices do. A line that was cut at the end, by the death of its writer, is
 * left out. */
int observed_read(struct observed *observed, const char *path, const enum swo_side *side,
	struct swo_error *err);

/* One pass of a VMM over its devices, or their data. */
struct observed_pass {
	enum swo_side side;
	char name[40];
	enum swo_device_state to;
	uint64_t from_ns, to_ns;
	unsigned arcs, ahead, failed;
	uint64_t sum_ns;    /* of its arcs, as if one after another */
	uint64_t waited_ns; /* what the VMM waited for them */
};

#define OBSERVED_PASSES_MAX 64

struct observed_outage {
	uint64_t from_ns,
		to_ns; /* first arc into P2P to last arc to RUNNING, or as much as was seen */
	unsigned devices;
	unsigned count;
	struct observed_pass passes[OBSERVED_PASSES_MAX];
};

/* The last switchover on record; -1: there is none. */
int observed_outage(
	const struct observed *observed, struct observed_outage *out, struct swo_error *err);

#endif
