/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - private to the conformance run: one session per device, whose every call is made
 * on a worker, with a deadline.
 */
#ifndef PROBE_INTERNAL_H
#define PROBE_INTERNAL_H

#include "switchover/probe.h"

#define SAMPLES_MAX 64
#define TRIES	    2 /* failures after which an arc is not used any more */

enum probe_op {
	OP_GET_STATE,
	OP_SET_STATE,
	OP_RESET,
	OP_READ,      /* one read */
	OP_WRITE,     /* all of it */
	OP_READ_ALL,  /* to the end, in pieces of `piece` */
	OP_WRITE_ALL, /* in pieces of `piece` */
	OP_LOAD,      /* likewise, then RESUMING->STOP: a device may load in either */
	OP_WALK,      /* through path[] */
	OP_DATA_SIZE,
	OP_PRECOPY_INFO,
	OP_FN,
};

struct session;

/* One call, or several in a row that are timed as one. As long-lived as the session. */
struct probe_call {
	enum probe_op op;
	enum swo_device_state state;
	enum swo_device_state path[4];
	unsigned path_len;
	const uint8_t *data; /* to write */
	size_t len;
	size_t piece;
	size_t got; /* bytes read or written */
	uint64_t a, b;
	uint64_t half; /* OP_WRITE_ALL: when half of it was written; 0: it was not divided */
	/* Several calls that are judged as one; must not call probe_note. */
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
	enum swo_device_state state; /* after the last completed call */
	bool lost;		     /* no more calls are possible,*/
	bool stopped;		     /* or wanted */

	unsigned failures[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	struct samples arcs[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	uint64_t arc_max[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	struct samples resets, saves, loads, fixed;
	bool read_ahead;     /* PRE_COPY was read to its end in this session */
	uint64_t least_rest; /* least bytes to save after a PRE_COPY; 0: none measured */

	uint8_t *chunk; /* of chunk_len: the target of reads */
	size_t chunk_len;
	struct swo_buf stream; /* the result of OP_READ_ALL */
	struct swo_buf back;   /* the state to load while reads go to `stream` */
	struct swo_buf good;   /* a complete state that has loaded */
	bool no_good;	       /* there is none */
	uint8_t *bad;	       /* a state that must not load: kept, since a hung call may read it */
};

/* session.c */
int probe_session_open(struct session *s, const struct swo_probe_target *target,
	const struct swo_probe_params *params, struct swo_probe_device *out, struct swo_error *err);
/* Destroys the device, or leaks it if it hangs. */
void probe_session_close(struct session *s);

/* Adds a result, or merges it with an earlier one of that name. */
void probe_note(struct session *s, enum swo_verdict verdict, const char *name, const char *fmt, ...)
	SWO_PRINTF(4, 5);
/* Adds to a result's text, unless that has it already. */
void probe_explain(struct session *s, const char *name, const char *fmt, ...) SWO_PRINTF(3, 4);
/* "PREFIX.FROM->TO" */
const char *probe_arc_name(
	char room[72], const char *prefix, enum swo_device_state from, enum swo_device_state to);
/* The verdict that probe_note recorded under a name: PASS if there is none. */
enum swo_verdict probe_noted(const struct session *s, const char *name);

/* Makes the call set up in s->call: 0, or -1 with s->call.err. A hung call is recorded. */
int probe_perform(struct session *s, const char *what);
/* The two halves, for several devices in parallel. */
void probe_perform_start(struct session *s);
int probe_perform_end(struct session *s, const char *what);

int probe_get_state(struct session *s);
/* A request without a verdict; reads the state back if it fails. */
int probe_request_state(struct session *s, enum swo_device_state to);
int probe_reset_device(struct session *s);
/* After an early end: to RUNNING, from any state. */
void probe_leave_running(struct session *s);
void probe_sample(struct samples *samples, uint64_t ns);
struct swo_probe_cost probe_cost_of(const struct samples *samples);

/* walk.c */
bool probe_is_arc(const struct session *s, enum swo_device_state from, enum swo_device_state to);
bool probe_is_legal(const struct session *s, enum swo_device_state from, enum swo_device_state to);
/* One single arc, with a verdict; on failure the device is recovered, with a verdict too. */
int probe_go_arc(struct session *s, enum swo_device_state to);
/* Goes to a state, by arcs that work; after a reset if necessary. */
int probe_reach(struct session *s, enum swo_device_state to);
/* Back to RUNNING after a failure: by arcs, otherwise by a reset. */
int probe_recover(struct session *s, const char *name);

/* stream.c */
/* Saves in STOP_COPY, through STOP, into s->stream. */
int probe_save_state(struct session *s, size_t piece);
/*
 * Goes to RESUMING and writes the state. 0; 1: a write was refused; -1: RESUMING cannot be
 * reached.
 */
int probe_load_state(struct session *s, const uint8_t *data, size_t len, size_t piece);
/* Provides a state that loads: saved, loaded and finalised at most twice. */
int probe_need_good(struct session *s, const char *for_check);

/* The checks */
void probe_check_arcs(struct session *s);
void probe_check_combinations(struct session *s);
void probe_check_refusals(struct session *s);
void probe_check_resets(struct session *s);
void probe_check_sessions(struct session *s);
void probe_check_data(struct session *s);
void probe_check_hostile(struct session *s);
void probe_check_extras(struct session *s);
void probe_measure_costs(struct session *s);
void probe_check_siblings(
	struct session **sessions, unsigned count, struct swo_probe_report *report);

#endif
