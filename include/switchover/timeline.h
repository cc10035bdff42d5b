/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timeline.h - spans and marks on CLOCK_MONOTONIC, of both sides of a migration on one clock.
 * Written as JSON (an own format, readable by people and programs), as a Chrome trace
 * (chrome://tracing, Perfetto), and as a picture for the terminal.
 *
 * Threads: every function may be called from any thread. Recording takes one short lock and no
 * allocation up to the capacity given at creation, so it can be used between stop and start;
 * further spans are counted, not stored.
 */
#ifndef SWITCHOVER_TIMELINE_H
#define SWITCHOVER_TIMELINE_H

#include "switchover/base.h"
#include "switchover/vfio.h"

#ifdef __cplusplus
extern "C" {
#endif

enum swo_side { SWO_SIDE_SOURCE, SWO_SIDE_TARGET };

enum swo_span_kind {
	SWO_SPAN_PHASE,	 /* setup, pre-copy, stop, commit, ... */
	SWO_SPAN_PASS,	 /* a runstate pass (prepare, change) */
	SWO_SPAN_ARC,	 /* one arc of one device: "PRE_COPY->PRE_COPY_P2P" */
	SWO_SPAN_STREAM, /* device state: save on the source, load on the target */
	SWO_SPAN_WAIT,	 /* a barrier, a join, a round trip */
	SWO_SPAN_RAM,	 /* guest memory */
	SWO_SPAN_WORK,	 /* anything else that takes time: config load, vCPU state */
	SWO_SPAN_MARK,	 /* a point in time: start_ns == end_ns */
};

/*
 * What a span or a mark records. Kind and text of each are in one table (lib/timeline/names.c);
 * the text is the JSON's, and parsing it yields the same event.
 */
enum swo_event {
	SWO_EVENT_OTHER, /* free text: of another version or another program */
	/* Phases */
	SWO_EVENT_SETUP,
	SWO_EVENT_PRECOPY,
	SWO_EVENT_STOP,
	SWO_EVENT_ROLL_BACK,
	SWO_EVENT_CLEAN_UP,
	SWO_EVENT_START,
	/* Passes over the handlers of the run state */
	SWO_EVENT_STOP_PREPARE,
	SWO_EVENT_STOP_CHANGE,
	SWO_EVENT_START_PREPARE,
	SWO_EVENT_START_CHANGE,
	/* Of one device */
	SWO_EVENT_ARC,	 /* with from, to, failed */
	SWO_EVENT_RESET, /* with from, failed */
	SWO_EVENT_CONFIG_LOAD,
	SWO_EVENT_PRECOPY_STREAM,
	SWO_EVENT_SAVE,
	SWO_EVENT_LOAD,
	/* Of the migration */
	SWO_EVENT_RAM_PASS, /* with number */
	SWO_EVENT_LAST_RAM_PASS,
	SWO_EVENT_MACHINE_STATE, /* vCPU and board state */
	SWO_EVENT_JOURNAL,
	SWO_EVENT_JOURNAL_SYNC,
	SWO_EVENT_VCPUS_PAUSE,
	SWO_EVENT_VCPUS_RESUME,
	SWO_EVENT_WAIT_READY,
	SWO_EVENT_WAIT_STARTED,
	/* Marks */
	SWO_EVENT_VCPUS_STOPPED,
	SWO_EVENT_READY,
	SWO_EVENT_GO,
	SWO_EVENT_STARTED,
};
#define SWO_EVENTS (SWO_EVENT_STARTED + 1)

struct swo_span {
	enum swo_side side;
	enum swo_span_kind kind;
	enum swo_event event;
	enum swo_device_state from, to; /* of an arc; from: of a reset, too */
	bool failed;			/* an arc or a reset */
	uint64_t number;		/* of a RAM pass */
	char name[48];			/* the text */
	char device[64];		/* "" for none; a mediated device's is a UUID of 36 */
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t bytes; /* bytes moved; 0 if not applicable */
};

struct swo_timeline;

/* capacity: spans kept. NULL: no memory. */
SWO_API struct swo_timeline *swo_timeline_new(enum swo_side side, size_t capacity);
/* A migration that it was given to keeps its memory for as long as one of its jobs may record. */
SWO_API void swo_timeline_free(struct swo_timeline *timeline);
/* Removes all spans; keeps the memory. */
SWO_API void swo_timeline_clear(struct swo_timeline *timeline);

/* A NULL timeline is allowed everywhere below and records nothing. */

/* device may be NULL: none. Events with more members are recorded with the call below. */
SWO_API void swo_timeline_span(struct swo_timeline *timeline, enum swo_event event,
	const char *device, uint64_t start_ns, uint64_t end_ns, uint64_t bytes);
/* Now. */
SWO_API void swo_timeline_mark(struct swo_timeline *timeline, enum swo_event event);
/*
 * Any span. Its side is the timeline's, its kind and its text those of its event; of
 * SWO_EVENT_OTHER both are the span's own, and are looked up in the table first.
 */
SWO_API void swo_timeline_record(struct swo_timeline *timeline, const struct swo_span *span);
/* The same, of the side that the span has: what was recorded elsewhere, or predicted. */
SWO_API void swo_timeline_add(struct swo_timeline *timeline, const struct swo_span *span);

/* Spans recorded so far; *dropped (may be NULL) how many did not fit. */
SWO_API size_t swo_timeline_count(struct swo_timeline *timeline, size_t *dropped);
/* Copies span i (in order of recording); false when there is none. */
SWO_API bool swo_timeline_get(struct swo_timeline *timeline, size_t i, struct swo_span *out);

/*
 * As JSON: {"version":1,"clock":"CLOCK_MONOTONIC","dropped":N,"spans":[{"side":"source",
 * "kind":"arc","name":"...","device":"vf0","start_ns":...,"end_ns":...,"bytes":N},...]}.
 * Returned text is malloc'ed; NULL: no memory. The parser adds what it reads to
 * `timeline`, each time shifted by offset_ns (the clock of the writer minus ours is
 * -offset_ns); it takes at most the timeline's capacity and trusts nothing.
 */
SWO_API char *swo_timeline_to_json(struct swo_timeline *timeline);
SWO_API int swo_timeline_add_json(struct swo_timeline *timeline, const char *text, size_t len,
	int64_t offset_ns, struct swo_error *err);

/* The Chrome trace event format; one process per side, one row per device. */
SWO_API char *swo_timeline_to_chrome(struct swo_timeline *timeline);

/*
 * A picture for a terminal `columns` wide (>= 60): one line per (side, device) row,
 * time from the first to the last span inside [from_ns, to_ns] (0, 0: the whole), a
 * scale in ms, and a legend. Plain ASCII unless utf8. Malloc'ed text.
 */
SWO_API char *swo_timeline_picture(struct swo_timeline *timeline, unsigned columns, bool utf8,
	uint64_t from_ns, uint64_t to_ns);

/*
 * Where the switchover lies, for a picture of just that: from the beginning of the
 * source's last stop to the end of the target's last arc to a running state. False when
 * it did not get that far.
 */
SWO_API bool swo_timeline_switchover(
	struct swo_timeline *timeline, uint64_t *from_ns, uint64_t *to_ns);

#ifdef __cplusplus
}
#endif

#endif
