/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qemu.h - QEMU's own trace of a migration, of a source and a target: `observe --qemu-trace`.
 */
#ifndef CMD_OBSERVE_QEMU_H
#define CMD_OBSERVE_QEMU_H

#include "switchover/timeline.h"

#include <stdio.h>

#define QEMU_RECORDS_MAX 65536
#define QEMU_LINE_MAX	 65536
#define QEMU_NAME_ROOM	 64

enum qemu_kind {
	QEMU_CHECKPOINT,
	QEMU_DATA,   /* of one object, iterable: saved on the source, loaded on the target */
	QEMU_CONFIG, /* of one object, not iterable */
	QEMU_STATE_WANTED,
	QEMU_STATE, /* reached */
	QEMU_VFIO,  /* any other of vfio_* */
	QEMU_EVENT, /* of QMP */
};

struct qemu_record {
	enum swo_side side;
	enum qemu_kind kind;
	unsigned line;
	uint64_t at_ns; /* its end; 0: without a time */
	uint64_t length_ns;
	char name[QEMU_NAME_ROOM];
	bool device;
	char object[64]; /* a device, or an idstr */
	char state[24];
};

struct qemu_unplaced {
	enum swo_side side;
	unsigned line;
	char name[96];
	const char *why;
};

struct qemu_trace {
	struct qemu_record *all;
	size_t count, room;
	struct qemu_unplaced *unplaced;
	size_t unplaced_count;
	size_t others; /* lines that are none of a migration */
	/* Of the last switchover. */
	uint64_t from_ns, to_ns;
	bool same_clock; /* the target's records lie within the hour after it */
};

int qemu_trace_read(
	struct qemu_trace *trace, const char *path, enum swo_side side, struct swo_error *err);
int qemu_trace_read_from(
	struct qemu_trace *trace, FILE *in, enum swo_side side, struct swo_error *err);
void qemu_trace_free(struct qemu_trace *trace);
/* After all were read: finds the last switchover. -1: there is none. */
int qemu_trace_window(struct qemu_trace *trace, struct swo_error *err);
/* Is it of that switchover? */
bool qemu_trace_has(const struct qemu_trace *trace, const struct qemu_record *record);
/* What has a place on the source's clock. */
void qemu_trace_spans(const struct qemu_trace *trace, struct swo_timeline *timeline);

/* qemu_out.c */
int qemu_trace_print_json(const struct qemu_trace *trace);
void qemu_trace_print(const struct qemu_trace *trace);

#endif
