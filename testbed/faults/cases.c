/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cases.c - the fault matrix as data: each arc, stream and moment of a migration, with each of its
 * faults.
 */
#include "testbed/faults/faults.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASES_MAX 1600

/* A first device, one in the middle, one that shares its PF. */
static const int positions[] = {0, 1, 3};

#define POSITIONS SWO_ARRAY_SIZE(positions)

/* The parts that follow one another when a device fails, and when a peer or the link does. */
#define DEVICE_BOUND_MS (FAULT_IDLE_MS + FAULT_ARC_MS + FAULT_BACK_MS)
#define PEER_BOUND_MS	(DEVICE_BOUND_MS + FAULT_COMMIT_MS)

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
	*c = (struct fault_case){
		.side = side, .phase = phase, .fault = fault, .bound_ms = DEVICE_BOUND_MS};
	if (device >= 0) {
		c->concerns = true;
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
	bool blank; /* the device has nothing yet that a reset could take */
} arcs[] = {
	{PAIR_SOURCE, "setup", "RUNNING->PRE_COPY", FAULT_AT_SOURCE, NULL, NULL, true, false,
		false},
	{PAIR_SOURCE, "prepare", "PRE_COPY->PRE_COPY_P2P", FAULT_AT_SOURCE, NULL, NULL, true, false,
		false},
	{PAIR_SOURCE, "change", "PRE_COPY_P2P->STOP_COPY", FAULT_AT_SOURCE, NULL, NULL, true, false,
		false},
	{PAIR_SOURCE, "prepare-no-precopy", "RUNNING->RUNNING_P2P", FAULT_AT_SOURCE, NULL,
		"--no-pre-copy", true, false, false},
	{PAIR_SOURCE, "change-no-precopy", "RUNNING_P2P->STOP", FAULT_AT_SOURCE, NULL,
		"--no-pre-copy", true, false, false},
	{PAIR_SOURCE, "copy-no-precopy", "STOP->STOP_COPY", FAULT_AT_SOURCE, NULL, "--no-pre-copy",
		true, false, false},
	{PAIR_SOURCE, "clean-up", "STOP_COPY->STOP", FAULT_AT_TARGET, NULL, NULL, false, true,
		false},
	{PAIR_SOURCE, "undo-precopy", "PRE_COPY->RUNNING", FAULT_AT_SOURCE, "load:fail@0", NULL,
		false, false, false},
	{PAIR_SOURCE, "undo-copy", "STOP_COPY->STOP", FAULT_AT_SOURCE, "load:refuse", NULL, false,
		false, false},
	{PAIR_SOURCE, "undo-stop", "STOP->RUNNING_P2P", FAULT_AT_SOURCE, "load:refuse", NULL, false,
		false, false},
	{PAIR_SOURCE, "undo-p2p", "RUNNING_P2P->RUNNING", FAULT_AT_SOURCE, "load:refuse", NULL,
		false, false, false},
	{PAIR_TARGET, "setup-p2p", "RUNNING->RUNNING_P2P", FAULT_AT_SOURCE, NULL, NULL, false,
		false, true},
	{PAIR_TARGET, "setup-stop", "RUNNING_P2P->STOP", FAULT_AT_SOURCE, NULL, NULL, false, false,
		true},
	{PAIR_TARGET, "setup-resuming", "STOP->RESUMING", FAULT_AT_SOURCE, NULL, NULL, false, false,
		false},
	{PAIR_TARGET, "finalise", "RESUMING->STOP", FAULT_AT_SOURCE, NULL, NULL, false, false,
		false},
	{PAIR_TARGET, "after-go", "STOP->RUNNING_P2P", FAULT_AT_TARGET, NULL, NULL, false, false,
		false},
	{PAIR_TARGET, "start", "RUNNING_P2P->RUNNING", FAULT_AT_TARGET, NULL, NULL, false, false,
		false},
};

static const struct {
	const char *fault, *before, *behind; /* the spec, without the arc */
	bool slow, dies, resets;
} arc_faults[] = {
	{"arc-error-stay", "arc=", ":fail", false, false, false},
	{"arc-error-ERROR", "arc=", ":error", false, false, false},
	{"arc-hang", "arc=", ":hang", false, false, false},
	{"arc-slow", "arc=", ":slow=150", true, false, false},
	{"device-dies", "die@arc=", "", false, true, false},
	{"socket-breaks", "socket:close@arc=", "", false, true, false},
	{"reset-inside", "reset@arc=", ",x1", false, true, true},
};

static void add_arcs(struct list *list)
{
	for (size_t a = 0; a < SWO_ARRAY_SIZE(arcs); a++)
		for (size_t f = 0; f < SWO_ARRAY_SIZE(arc_faults); f++)
			for (size_t p = 0; p < POSITIONS; p++) {
				const struct arc *arc = &arcs[a];
				bool slow = arc_faults[f].slow, resets = arc_faults[f].resets;
				bool no_matter = slow || (resets && arc->blank);
				struct fault_case *c = add(list, arc->side, arc->phase,
					arc_faults[f].fault, positions[p]);

				snprintf(c->spec, sizeof(c->spec), "%s%s%s", arc_faults[f].before,
					arc->arc, arc_faults[f].behind);
				c->provoke = arc->provoke;
				c->simvf_option = arc->option;
				c->ends = no_matter && !arc->provoke ? FAULT_AT_TARGET : arc->ends;
				/*
				 * A device that was reset in the rollback is where it should be,
				 * and one that was reset after GO is the guest's to notice.
				 */
				c->names =
					!no_matter && !arc->last &&
					!(resets && (arc->provoke || arc->ends == FAULT_AT_TARGET));
				c->sound =
					slow || (!strcmp(arc_faults[f].fault, "arc-error-stay") &&
							arc->keeps);
				if (!slow && !arc_faults[f].dies && !arc->last && !arc->provoke)
					snprintf(c->arc, sizeof(c->arc), "%s", arc->arc);
				c->quick = p == (a + f) % POSITIONS && (a + f) % 4 == 0;
			}
}

/* Streams */

static const struct {
	enum pair_side side;
	const char *phase, *fault, *spec;
	/* CANCELLED: nothing but the user ends it soon. */
	enum { FAILS, GOES_ON, MAY_FAIL, CANCELLED } end;
} streams[] = {
	/*
	 * The profile `even` sends the first half of its 64 KiB before the stop, the rest after it.
	 */
	{PAIR_SOURCE, "precopy", "stream-breaks-at-once", "save:break@0", FAILS},
	{PAIR_SOURCE, "precopy", "stream-breaks", "save:break@20000", FAILS},
	{PAIR_SOURCE, "streaming", "stream-breaks", "save:break@50000", FAILS},
	{PAIR_SOURCE, "precopy", "stream-short", "save:short@20000", FAILS},
	{PAIR_SOURCE, "streaming", "stream-short", "save:short@50000", FAILS},
	/* The whole state has 71160 bytes, or more if more of it changed meanwhile. */
	{PAIR_SOURCE, "streaming", "stream-lacks-end", "save:short@71100", FAILS},
	{PAIR_SOURCE, "precopy", "header-corrupt", "save:corrupt@9", FAILS},
	{PAIR_SOURCE, "precopy", "stream-corrupt", "save:corrupt@20001", FAILS},
	{PAIR_SOURCE, "streaming", "stream-corrupt", "save:corrupt@50001", FAILS},
	{PAIR_SOURCE, "streaming", "registers-corrupt", "save:corrupt@70001", FAILS},
	{PAIR_SOURCE, "precopy", "device-dies-saving", "die@save=20000", FAILS},
	{PAIR_SOURCE, "streaming", "device-dies-saving", "die@save=50000", FAILS},
	{PAIR_SOURCE, "precopy", "socket-breaks-saving", "socket:close@save=20000", FAILS},
	{PAIR_SOURCE, "streaming", "socket-breaks-saving", "socket:close@save=50000", FAILS},
	{PAIR_TARGET, "precopy", "load-fails-at-once", "load:fail@0", FAILS},
	{PAIR_TARGET, "precopy", "load-fails", "load:fail@20000", FAILS},
	{PAIR_TARGET, "streaming", "load-fails", "load:fail@50000", FAILS},
	{PAIR_TARGET, "streaming", "load-lacks-memory", "load:fail@50000=ENOMEM", FAILS},
	{PAIR_TARGET, "finalise", "state-refused", "load:refuse", FAILS},
	/*
	 * After GO a refusal can no longer bring the VM back: the reason why early is the default.
	 */
	{PAIR_TARGET, "finalise-late", "state-refused", "load:refuse", FAILS},
	/* It may be found as it is loaded, and then before GO. */
	{PAIR_SOURCE, "finalise-late", "stream-corrupt", "save:corrupt@50001", MAY_FAIL},
	{PAIR_TARGET, "precopy", "device-dies-loading", "die@load=20000", FAILS},
	{PAIR_TARGET, "streaming", "device-dies-loading", "die@load=50000", FAILS},
	{PAIR_TARGET, "precopy", "socket-breaks-loading", "socket:close@load=20000", FAILS},
	{PAIR_TARGET, "streaming", "socket-breaks-loading", "socket:close@load=50000", FAILS},
	{PAIR_SOURCE, "precopy", "read-hangs-at-once", "save:hang@0", CANCELLED},
	{PAIR_SOURCE, "precopy", "read-hangs", "save:hang@20000", CANCELLED},
	{PAIR_SOURCE, "streaming", "read-hangs", "save:hang@50000", FAILS},
	{PAIR_SOURCE, "precopy", "read-slow", "save:slow=150@20000,x1", GOES_ON},
	{PAIR_SOURCE, "streaming", "read-slow", "save:slow=150@50000,x1", GOES_ON},
	{PAIR_TARGET, "precopy", "load-hangs-at-once", "load:hang@0", CANCELLED},
	{PAIR_TARGET, "precopy", "load-hangs", "load:hang@20000", CANCELLED},
	{PAIR_TARGET, "streaming", "load-hangs", "load:hang@50000", FAILS},
	{PAIR_TARGET, "precopy", "load-slow", "load:slow=150@20000,x1", GOES_ON},
	{PAIR_TARGET, "streaming", "load-slow", "load:slow=150@50000,x1", GOES_ON},
	{PAIR_SOURCE, "precopy", "reset-inside-saving", "reset@save=20000,x1", FAILS},
	{PAIR_SOURCE, "streaming", "reset-inside-saving", "reset@save=50000,x1", FAILS},
	{PAIR_TARGET, "precopy", "reset-inside-loading", "reset@load=20000,x1", FAILS},
	{PAIR_TARGET, "streaming", "reset-inside-loading", "reset@load=50000,x1", FAILS},
	{PAIR_SOURCE, "setup", "log-hangs", "log=start:hang", FAILS},
	{PAIR_SOURCE, "precopy", "log-hangs", "log=report@PRE_COPY:hang", CANCELLED},
	{PAIR_SOURCE, "streaming", "log-hangs", "log=report@STOP_COPY:hang", FAILS},
	{PAIR_SOURCE, "setup", "log-fails", "log=start:fail", MAY_FAIL},
	{PAIR_SOURCE, "precopy", "log-fails", "log=report@PRE_COPY:fail", MAY_FAIL},
	{PAIR_SOURCE, "streaming", "log-fails", "log=report@STOP_COPY:fail", MAY_FAIL},
	{PAIR_SOURCE, "setup", "log-slow", "log=start:slow=150", GOES_ON},
	{PAIR_SOURCE, "precopy", "log-slow", "log=report@PRE_COPY:slow=150,x1", GOES_ON},
	{PAIR_SOURCE, "streaming", "log-slow", "log=report@STOP_COPY:slow=150", GOES_ON},
	/* Stopped when the migration is over: it can no longer change the end. */
	{PAIR_SOURCE, "clean-up", "log-hangs", "log=stop:hang", MAY_FAIL},
	{PAIR_SOURCE, "clean-up", "log-fails", "log=stop:fail", MAY_FAIL},
};

static void add_streams(struct list *list)
{
	for (size_t s = 0; s < SWO_ARRAY_SIZE(streams); s++)
		for (size_t p = 0; p < POSITIONS; p++) {
			struct fault_case *c = add(list, streams[s].side, streams[s].phase,
				streams[s].fault, positions[p]);

			snprintf(c->spec, sizeof(c->spec), "%s", streams[s].spec);
			bool late = !strcmp(streams[s].phase, "finalise-late");

			c->finalise = late ? "late" : NULL;
			c->ends = streams[s].end == MAY_FAIL	      ? 0
				  : late || streams[s].end == GOES_ON ? FAULT_AT_TARGET
								      : FAULT_AT_SOURCE;
			c->cancels = streams[s].end == CANCELLED;
			c->names = streams[s].end == FAILS || late;
			c->sound = streams[s].end == GOES_ON;
			c->copy_only = !strncmp(streams[s].spec, "log=", 4);
			/* No shorter deadline ends the wait for a device that saves or loads. */
			if (strstr(c->spec, ":hang"))
				c->bound_ms = FAULT_SWITCHOVER_MS + FAULT_ARC_MS + FAULT_BACK_MS;
			if (c->copy_only)
				c->bound_ms = FAULT_COMMAND_MS + FAULT_ARC_MS + FAULT_BACK_MS;
			c->quick = p == s % POSITIONS && s % 4 == 1;
		}
}

/* Moments */

#define AWHILE_MS 300

#define COMMAND(name)                                                                              \
	{                                                                                          \
		.kind = STRIKE_COMMAND, .command = name                                            \
	}
#define SIGNAL(number)                                                                             \
	{                                                                                          \
		.kind = STRIKE_SIGNAL, .signo = number                                             \
	}
#define LINK(how, for_ms)                                                                          \
	{                                                                                          \
		.kind = STRIKE_LINK, .mode = how, .ms = for_ms                                     \
	}
#define FOR(what, for_ms)                                                                          \
	{                                                                                          \
		.kind = what, .ms = for_ms                                                         \
	}
#define KILL                                                                                       \
	{                                                                                          \
		.kind = STRIKE_KILL_VM                                                             \
	}

#define ON_BOTH	 PAIR_SIDES
#define AFTER_GO 8 /* of the moments: that, and what follows */

static const struct strike_row {
	enum pair_side side; /* ON_BOTH: a case each */
	const char *fault;
	struct strike strike;
	unsigned ends;
	enum { NO_DEVICE, A_DEVICE, A_SOUND_DEVICE } device;
	enum fault_then then;
} strikes[] = {
	{ON_BOTH, "killed", KILL, 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "killed-then-again", KILL, 0, NO_DEVICE, FAULT_THEN_AGAIN},
	{ON_BOTH, "device-killed", {.kind = STRIKE_KILL_DEVICE}, 0, A_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "device-frozen-within", FOR(STRIKE_FREEZE_DEVICE, FAULT_FROZEN_WITHIN_MS),
		FAULT_AT_TARGET, A_SOUND_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "device-frozen-past", FOR(STRIKE_FREEZE_DEVICE, FAULT_FROZEN_MS), 0, A_DEVICE,
		FAULT_THEN_NOTHING},
	{ON_BOTH, "device-reset", {.kind = STRIKE_RESET_DEVICE}, 0, A_DEVICE, FAULT_THEN_NOTHING},
	{PAIR_SOURCE, "channel-cut", LINK(LINK_CUT, 0), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{PAIR_SOURCE, "channel-cut-awhile", LINK(LINK_CUT, AWHILE_MS), 0, NO_DEVICE,
		FAULT_THEN_NOTHING},
	{PAIR_SOURCE, "channel-cut-then-again", LINK(LINK_CUT, AWHILE_MS), 0, NO_DEVICE,
		FAULT_THEN_AGAIN},
	{PAIR_SOURCE, "channel-stalls", LINK(LINK_STALL, 0), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{PAIR_SOURCE, "channel-stalls-awhile", LINK(LINK_STALL, AWHILE_MS), FAULT_AT_TARGET,
		NO_DEVICE, FAULT_THEN_NOTHING},
	{PAIR_SOURCE, "control-byte-flipped", LINK(LINK_FLIP_CONTROL, 0), 0, NO_DEVICE,
		FAULT_THEN_NOTHING},
	{PAIR_SOURCE, "data-byte-flipped", LINK(LINK_FLIP_DATA, 0), 0, NO_DEVICE,
		FAULT_THEN_NOTHING},
	{PAIR_SOURCE, "channels-reordered", LINK(LINK_REORDER, AWHILE_MS), FAULT_AT_TARGET,
		NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "cancelled", COMMAND("migrate_cancel"), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "cancelled-then-again", COMMAND("migrate_cancel"), 0, NO_DEVICE,
		FAULT_THEN_AGAIN},
	/* While one runs, another is refused. */
	{PAIR_SOURCE, "migrated-meanwhile", COMMAND("migrate"), FAULT_AT_TARGET, NO_DEVICE,
		FAULT_THEN_NOTHING},
	{PAIR_TARGET, "migrated-meanwhile", COMMAND("migrate-incoming"), FAULT_AT_TARGET, NO_DEVICE,
		FAULT_THEN_NOTHING},
	{ON_BOTH, "stop", COMMAND("stop"), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "cont", COMMAND("cont"), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "quit", COMMAND("quit"), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "SIGTERM", SIGNAL(SIGTERM), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "SIGHUP", SIGNAL(SIGHUP), 0, NO_DEVICE, FAULT_THEN_NOTHING},
	{ON_BOTH, "out-of-memory", FOR(STRIKE_NO_MEMORY, AWHILE_MS), 0, NO_DEVICE,
		FAULT_THEN_NOTHING},
	{ON_BOTH, "frozen-awhile", FOR(STRIKE_FREEZE, AWHILE_MS), FAULT_AT_TARGET, NO_DEVICE,
		FAULT_THEN_NOTHING},
};

static bool is_command(const struct strike *strike, const char *command)
{
	return strike->kind == STRIKE_COMMAND && !strcmp(strike->command, command);
}

static void add_strike(
	struct list *list, const struct strike_row *row, enum pair_side side, size_t m, int device)
{
	struct fault_case *c = add(list, side, moments[m].name, row->fault, device);

	c->strike = row->strike;
	c->moment = &moments[m];
	c->ends = row->ends;
	c->then = row->then;
	c->bound_ms = PEER_BOUND_MS + row->strike.ms;
	c->sound = row->device == A_SOUND_DEVICE;
	c->pauses = is_command(&row->strike, "stop");
	c->ends_machine = is_command(&row->strike, "quit") || row->strike.kind == STRIKE_SIGNAL;
}

static void add_moments(struct list *list)
{
	for (size_t s = 0; s < SWO_ARRAY_SIZE(strikes); s++)
		for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
			for (size_t m = 0; m < MOMENTS; m++) {
				const struct strike_row *row = &strikes[s];
				size_t first = list->count;

				if (row->side != ON_BOTH && row->side != side)
					continue;
				/* By then no data passes any more. */
				if (row->strike.mode == LINK_FLIP_DATA && m >= AFTER_GO)
					continue;
				for (size_t p = 0; p < (row->device ? POSITIONS : 1); p++)
					add_strike(list, row, side, m,
						row->device ? positions[p] : -1);
				if (list->count > first && (s + side + m) % 16 == 0)
					list->cases[first + m % (list->count - first)].quick = true;
			}
}

/* Cases that have found a bug before */
static bool found_once(const char *name)
{
	static const char *const names[] = {"source/undo-precopy/arc-hang/vf0",
		"target/after-go/arc-error-stay/vf0", "target/start/arc-error-stay/vf1",
		"target/finalise/arc-hang/vf0", "target/resuming/out-of-memory",
		"target/streaming/load-hangs/vf1"};

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
