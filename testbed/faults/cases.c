/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cases.c - the fault matrix as data: each arc, stream and moment of a migration, with each of its
 * faults.
 */
#include "testbed/faults/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASES_MAX 600

struct list {
	struct fault_case *cases;
	size_t count;
};

static struct fault_case *add(
	struct list *list, enum pair_side side, const char *phase, const char *fault, int device)
{
	struct fault_case *c = &list->cases[list->count];

	if (list->count + 1 < CASES_MAX)
		list->count++;
	*c = (struct fault_case){.side = side, .phase = phase, .fault = fault};
	if (device >= 0) {
		c->device = (unsigned)device;
		snprintf(c->name, sizeof(c->name), "%s/%s/%s/vf%d", pair_side_name(side), phase,
			fault, device);
	} else {
		snprintf(c->name, sizeof(c->name), "%s/%s/%s", pair_side_name(side), phase, fault);
	}
	return c;
}

/* Arcs */

static const struct arc {
	enum pair_side side;
	const char *phase, *arc;
	unsigned ends;	     /* if the arc fails */
	const char *provoke; /* the fault that causes the arc */
	const char *option;
	bool keeps; /* an arc that fails without effect on the device */
	bool last;  /* the migration has ended for this side */
} arcs[] = {
	{PAIR_SOURCE, "setup", "RUNNING->PRE_COPY", FAULT_AT_SOURCE, NULL, NULL, true, false},
	{PAIR_SOURCE, "prepare", "PRE_COPY->PRE_COPY_P2P", FAULT_AT_SOURCE, NULL, NULL, true,
		false},
	{PAIR_SOURCE, "change", "PRE_COPY_P2P->STOP_COPY", FAULT_AT_SOURCE, NULL, NULL, true,
		false},
	{PAIR_SOURCE, "prepare-no-precopy", "RUNNING->RUNNING_P2P", FAULT_AT_SOURCE, NULL,
		"--no-pre-copy", true, false},
	{PAIR_SOURCE, "change-no-precopy", "RUNNING_P2P->STOP", FAULT_AT_SOURCE, NULL,
		"--no-pre-copy", true, false},
	{PAIR_SOURCE, "copy-no-precopy", "STOP->STOP_COPY", FAULT_AT_SOURCE, NULL, "--no-pre-copy",
		true, false},
	{PAIR_SOURCE, "clean-up", "STOP_COPY->STOP", FAULT_AT_TARGET, NULL, NULL, false, true},
	{PAIR_SOURCE, "undo-precopy", "PRE_COPY->RUNNING", FAULT_AT_SOURCE, "load:fail@0", NULL,
		false, false},
	{PAIR_SOURCE, "undo-copy", "STOP_COPY->STOP", FAULT_AT_SOURCE, "load:refuse", NULL, false,
		false},
	{PAIR_SOURCE, "undo-stop", "STOP->RUNNING_P2P", FAULT_AT_SOURCE, "load:refuse", NULL, false,
		false},
	{PAIR_SOURCE, "undo-p2p", "RUNNING_P2P->RUNNING", FAULT_AT_SOURCE, "load:refuse", NULL,
		false, false},
	{PAIR_TARGET, "setup-p2p", "RUNNING->RUNNING_P2P", FAULT_AT_SOURCE, NULL, NULL, false,
		false},
	{PAIR_TARGET, "setup-stop", "RUNNING_P2P->STOP", FAULT_AT_SOURCE, NULL, NULL, false, false},
	{PAIR_TARGET, "setup-resuming", "STOP->RESUMING", FAULT_AT_SOURCE, NULL, NULL, false,
		false},
	{PAIR_TARGET, "finalise", "RESUMING->STOP", FAULT_AT_SOURCE, NULL, NULL, false, false},
	{PAIR_TARGET, "after-go", "STOP->RUNNING_P2P", FAULT_AT_TARGET, NULL, NULL, false, false},
	{PAIR_TARGET, "start", "RUNNING_P2P->RUNNING", FAULT_AT_TARGET, NULL, NULL, false, false},
};

static const struct {
	const char *fault, *before, *behind; /* the spec, without the arc */
	bool slow, dies;
} arc_faults[] = {
	{"arc-error-stay", "arc=", ":fail", false, false},
	{"arc-error-ERROR", "arc=", ":error", false, false},
	{"arc-hang", "arc=", ":hang", false, false},
	{"arc-slow", "arc=", ":slow=150", true, false},
	{"device-dies", "die@arc=", "", false, true},
	{"socket-breaks", "socket:close@arc=", "", false, true},
};

static void add_arcs(struct list *list)
{
	for (size_t a = 0; a < SWO_ARRAY_SIZE(arcs); a++)
		for (size_t f = 0; f < SWO_ARRAY_SIZE(arc_faults); f++)
			for (int vf = 0; vf < FAULT_VFS; vf++) {
				const struct arc *arc = &arcs[a];
				bool slow = arc_faults[f].slow;
				struct fault_case *c =
					add(list, arc->side, arc->phase, arc_faults[f].fault, vf);

				snprintf(c->spec, sizeof(c->spec), "%s%s%s", arc_faults[f].before,
					arc->arc, arc_faults[f].behind);
				c->provoke = arc->provoke;
				c->simvf_option = arc->option;
				c->ends = slow && !arc->provoke ? FAULT_AT_TARGET : arc->ends;
				c->names = !slow && !arc->last;
				c->sound =
					slow || (!strcmp(arc_faults[f].fault, "arc-error-stay") &&
							arc->keeps);
				if (!slow && !arc_faults[f].dies && !arc->last && !arc->provoke)
					snprintf(c->arc, sizeof(c->arc), "%s", arc->arc);
				c->quick = vf == (int)((a + f) % 2) && (a + f) % 3 == 0;
			}
}

/* Streams */

static const struct {
	enum pair_side side;
	const char *phase, *fault, *spec;
} streams[] = {
	/*
	 * The profile `even` sends the first half of its 64 KiB before the stop, the rest after it.
	 */
	{PAIR_SOURCE, "precopy", "stream-breaks-at-once", "save:break@0"},
	{PAIR_SOURCE, "precopy", "stream-breaks", "save:break@20000"},
	{PAIR_SOURCE, "streaming", "stream-breaks", "save:break@50000"},
	{PAIR_SOURCE, "precopy", "stream-short", "save:short@20000"},
	{PAIR_SOURCE, "streaming", "stream-short", "save:short@50000"},
	/* The whole state has 71160 bytes, or more if more of it changed meanwhile. */
	{PAIR_SOURCE, "streaming", "stream-lacks-end", "save:short@71100"},
	{PAIR_SOURCE, "precopy", "header-corrupt", "save:corrupt@9"},
	{PAIR_SOURCE, "precopy", "stream-corrupt", "save:corrupt@20001"},
	{PAIR_SOURCE, "streaming", "stream-corrupt", "save:corrupt@50001"},
	{PAIR_SOURCE, "streaming", "registers-corrupt", "save:corrupt@70001"},
	{PAIR_SOURCE, "precopy", "device-dies-saving", "die@save=20000"},
	{PAIR_SOURCE, "streaming", "device-dies-saving", "die@save=50000"},
	{PAIR_SOURCE, "precopy", "socket-breaks-saving", "socket:close@save=20000"},
	{PAIR_SOURCE, "streaming", "socket-breaks-saving", "socket:close@save=50000"},
	{PAIR_TARGET, "precopy", "load-fails-at-once", "load:fail@0"},
	{PAIR_TARGET, "precopy", "load-fails", "load:fail@20000"},
	{PAIR_TARGET, "streaming", "load-fails", "load:fail@50000"},
	{PAIR_TARGET, "streaming", "load-lacks-memory", "load:fail@50000=ENOMEM"},
	{PAIR_TARGET, "finalise", "state-refused", "load:refuse"},
	/*
	 * After GO a refusal can no longer bring the VM back: the reason why early is the default.
	 */
	{PAIR_TARGET, "finalise-late", "state-refused", "load:refuse"},
	{PAIR_SOURCE, "finalise-late", "stream-corrupt", "save:corrupt@50001"},
	{PAIR_TARGET, "precopy", "device-dies-loading", "die@load=20000"},
	{PAIR_TARGET, "streaming", "device-dies-loading", "die@load=50000"},
	{PAIR_TARGET, "precopy", "socket-breaks-loading", "socket:close@load=20000"},
	{PAIR_TARGET, "streaming", "socket-breaks-loading", "socket:close@load=50000"},
};

static void add_streams(struct list *list)
{
	for (size_t s = 0; s < SWO_ARRAY_SIZE(streams); s++)
		for (int vf = 0; vf < FAULT_VFS; vf++) {
			struct fault_case *c =
				add(list, streams[s].side, streams[s].phase, streams[s].fault, vf);

			snprintf(c->spec, sizeof(c->spec), "%s", streams[s].spec);
			bool late = !strcmp(streams[s].phase, "finalise-late");

			c->finalise = late ? "late" : NULL;
			c->ends = late ? FAULT_AT_TARGET : FAULT_AT_SOURCE;
			c->names = true;
			c->quick = vf == (int)(s % 2) && s % 4 == 1;
		}
}

/* Moments */

#define AWHILE_MS 300

static const struct {
	enum pair_side side;
	const char *fault;
	struct strike strike;
	unsigned ends;
} strikes[] = {
	{PAIR_SOURCE, "killed", {STRIKE_KILL_VM, 0, 0}, 0},
	{PAIR_TARGET, "killed", {STRIKE_KILL_VM, 0, 0}, 0},
	{PAIR_SOURCE, "device-killed", {STRIKE_KILL_DEVICE, 0, 0}, 0},
	{PAIR_TARGET, "device-killed", {STRIKE_KILL_DEVICE, 0, 0}, 0},
	{PAIR_SOURCE, "channel-cut", {STRIKE_LINK, LINK_CUT, 0}, 0},
	{PAIR_SOURCE, "channel-cut-awhile", {STRIKE_LINK, LINK_CUT, AWHILE_MS}, 0},
	{PAIR_SOURCE, "channel-stalls", {STRIKE_LINK, LINK_STALL, 0}, 0},
	{PAIR_SOURCE, "channel-stalls-awhile", {STRIKE_LINK, LINK_STALL, AWHILE_MS},
		FAULT_AT_TARGET},
	{PAIR_SOURCE, "control-byte-flipped", {STRIKE_LINK, LINK_FLIP_CONTROL, 0}, 0},
	{PAIR_SOURCE, "data-byte-flipped", {STRIKE_LINK, LINK_FLIP_DATA, 0}, 0},
	{PAIR_SOURCE, "channels-reordered", {STRIKE_LINK, LINK_REORDER, AWHILE_MS},
		FAULT_AT_TARGET},
	{PAIR_SOURCE, "cancelled", {STRIKE_CANCEL, 0, 0}, 0},
	{PAIR_TARGET, "cancelled", {STRIKE_CANCEL, 0, 0}, 0},
	{PAIR_SOURCE, "out-of-memory", {STRIKE_NO_MEMORY, 0, AWHILE_MS}, 0},
	{PAIR_TARGET, "out-of-memory", {STRIKE_NO_MEMORY, 0, AWHILE_MS}, 0},
	{PAIR_SOURCE, "frozen-awhile", {STRIKE_FREEZE, 0, AWHILE_MS}, FAULT_AT_TARGET},
	{PAIR_TARGET, "frozen-awhile", {STRIKE_FREEZE, 0, AWHILE_MS}, FAULT_AT_TARGET},
};

static void add_moments(struct list *list)
{
	for (size_t s = 0; s < SWO_ARRAY_SIZE(strikes); s++)
		for (size_t m = 0; m < MOMENTS; m++) {
			bool device = strikes[s].strike.kind == STRIKE_KILL_DEVICE;
			struct fault_case *c = add(list, strikes[s].side, moments[m].name,
				strikes[s].fault, device ? (int)(m % FAULT_VFS) : -1);

			c->strike = strikes[s].strike;
			c->moment = &moments[m];
			c->ends = strikes[s].ends;
			c->quick = (s + m) % 16 == 0;
		}
}

/* Cases that have found a bug before */
static bool found_once(const char *name)
{
	static const char *const names[] = {"source/undo-precopy/arc-hang/vf0",
		"target/after-go/arc-error-stay/vf0", "target/start/arc-error-stay/vf1",
		"target/finalise/arc-hang/vf0", "target/resuming/out-of-memory"};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

struct fault_case *fault_cases(size_t *count)
{
	struct list list = {.cases = calloc(CASES_MAX, sizeof(*list.cases))};

	if (!list.cases)
		return NULL;
	add_arcs(&list);
	add_streams(&list);
	add_moments(&list);
	for (size_t i = 0; i < list.count; i++)
		list.cases[i].quick |= found_once(list.cases[i].name);
	*count = list.count;
	return list.cases;
}
