/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - the inside of a conformance run: one session a device, whose every
 * call is made on a worker, with a deadline.
 */
#ifndef PROBE_INTERNAL_H
#define PROBE_INTERNAL_H

#include "switchover/probe.h"

#define SAMPLES_MAX 64
#define TRIES	    2 /* so often may an arc fail before it is not used any more */

enum probe_op {
	OP_GET_STATE,
	OP_SET_STATE,
	OP_RESET,
	OP_READ,      /* one read */
	OP_WRITE,     /* all of it */
	OP_READ_ALL,  /* to the end, in pieces of `piece` */
	OP_WRITE_ALL, /* in pieces of `piece` */
	OP_LOAD,      /* the same, and RESUMING->STOP: a device does the work in either */
	OP_WALK,      /* through path[] */
	OP_DATA_SIZE,
	OP_PRECOPY_INFO,
	OP_FN,
};

struct session;

/* One call, or a few in a row that are timed as one. Lives as long as the session. */
struct probe_call {
	enum probe_op op;
	enum swo_device_state state;
	enum swo_device_state path[4];
	unsigned path_len;
	const uint8_t *data; /* to write */
	size_t len;
	size_t piece;
	size_t got; /* or written */
	uint64_t a, b;
	/* Several calls that are judged as one; must not probe_note anything itself. */
	int (*fn)(struct session *s, struct probe_call *call);
	enum swo_verdict verdict; /* of an fn that fails */
	int rc;
	struct swo_error err;
	uint64_t start, end;
	struct swo_job job;
};

struct samples {
	unsigned count;
	uint64_t ns[SAMPLES_MAX];
};

struct session {
	struct swo_probe_target target;
	struct swo_probe_params params;
	struct swo_probe_device *out;
	struct swo_worker *worker;
	struct probe_call call;
	uint64_t flags;
	enum swo_device_state state; /* after the last call that ended */
	bool lost;		     /* nothing more can be asked of it, */
	bool stopped;		     /* or shall be */

	unsigned failures[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	struct samples arcs[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	uint64_t arc_max[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	struct samples resets, saves, loads;
	bool read_ahead;     /* PRE_COPY was read to its end in this session */
	uint64_t least_rest; /* bytes that were left to save after a PRE_COPY; 0: none seen */

	uint8_t *chunk; /* of chunk_len: what reads go to */
	size_t chunk_len;
	struct swo_buf stream; /* what OP_READ_ALL gathers */
	struct swo_buf back;   /* what it is to load while reads go to `stream` */
	struct swo_buf good;   /* a whole state that was seen to load */
	bool no_good;	       /* there is none to be had */
	uint8_t *bad; /* and one that must not load: the session's, as what hangs reads it */
};

/* Session.c */
int probe_session_open(struct session *s, const struct swo_probe_target *target,
	const struct swo_probe_params *params, struct swo_probe_device *out, struct swo_error *err);
/* Destroys the device, or leaves it behind. */
void probe_session_close(struct session *s);

/* Adds a result, or another one to those of its name. */
void probe_note(struct session *s, enum swo_verdict verdict, const char *name, const char *fmt, ...)
	SWO_PRINTF(4, 5);
/* "PREFIX.FROM->TO" */
const char *probe_arc_name(
	char room[72], const char *prefix, enum swo_device_state from, enum swo_device_state to);
/* The verdict probe_noted under a name, if any: PASS when there is none. */
enum swo_verdict probe_noted(const struct session *s, const char *name);

/* Makes the call set up in s->call: 0, or -1 with s->call.err. A call that hangs is probe_noted. */
int probe_perform(struct session *s, const char *what);
/* The two halves, for several devices at once. */
void probe_perform_start(struct session *s);
int probe_perform_end(struct session *s, const char *what);

int probe_get_state(struct session *s);
/* Any request, without judging it; reads the state back when it fails. */
int probe_request_state(struct session *s, enum swo_device_state to);
int probe_reset_device(struct session *s);
/* After an early end: to RUNNING, wherever it stands. */
void probe_leave_running(struct session *s);
void probe_sample(struct samples *samples, uint64_t ns);
struct swo_probe_cost probe_cost_of(const struct samples *samples);

/* Walk.c */
bool probe_is_arc(const struct session *s, enum swo_device_state from, enum swo_device_state to);
bool probe_is_legal(const struct session *s, enum swo_device_state from, enum swo_device_state to);
/* One single arc, judged; on failure the device is recovered, and that is judged, too. */
int probe_go_arc(struct session *s, enum swo_device_state to);
/* To a state, by arcs that work; a reset first where only that helps. */
int probe_reach(struct session *s, enum swo_device_state to);
/* Back to RUNNING after something failed: by arcs, else by a reset. */
int probe_recover(struct session *s, const char *name);

/* Stream.c */
/* Saves in STOP_COPY, by way of STOP, into s->stream. */
int probe_save_state(struct session *s, size_t piece);
/* To RESUMING, and in with it. 0; 1: a write was refused; -1: RESUMING cannot be reached. */
int probe_load_state(struct session *s, const uint8_t *data, size_t len, size_t piece);
/* A state that loads: saved, loaded and finalised at most twice. */
int probe_need_good(struct session *s, const char *for_check);

/* The checks */
void probe_check_arcs(struct session *s);
void probe_check_combinations(struct session *s);
void probe_check_refusals(struct session *s);
void probe_check_resets(struct session *s);
void probe_check_sessions(struct session *s);
void probe_check_data(struct session *s);
void probe_check_extras(struct session *s);
void probe_measure_costs(struct session *s);
void probe_check_siblings(
	struct session **sessions, unsigned count, struct swo_probe_report *report);

#endif
