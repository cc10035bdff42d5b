/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace.h - messages, and the record of each device for `switchover observe`. Plain writes of
 * complete lines: thread-safe.
 */
#ifndef PRELOAD_TRACE_H
#define PRELOAD_TRACE_H

#include "settings.h"

#include <stddef.h>

/*
 * Opens the log; the record is opened by trace_begin_record(), or by its first line: most
 * processes that inherit the settings have no devices. A file that cannot be opened is reported
 * on standard error and left out.
 */
void trace_open(const struct settings *settings);
/* Opens the log of a child of fork, which would be opened by its first message otherwise. */
void trace_open_late(void);
/* A record of a process without devices is this beginning: the clocks of the host. */
void trace_begin_record(void);
/*
 * In a child of fork: a file that is named by its process ("%p") is the parent's, and the child
 * opens its own when it has something to write. Others are shared.
 */
void trace_fork_child(void);

/*
 * The VMM did not open these descriptors, and may close or replace all but its own. Its close of
 * one does nothing, and trace_vacate() moves one out of the way of a dup2().
 */
bool trace_owns(int fd);
int trace_next_owned(int first); /* the lowest that is not below `first`; -1: none */
void trace_vacate(int fd);

void trace_message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

uint64_t trace_now(void); /* CLOCK_MONOTONIC, ns */

/* Each record is one line of JSON; nothing unless recording is on. */
struct trace_arc {
	const char *device;
	uint32_t from, to; /* from UINT32_MAX: unknown */
	uint64_t asked_ns; /* the VMM's request; 0: not requested yet */
	uint64_t start_ns, end_ns;
	uint64_t answered_ns; /* the VMM's call returned */
	int error;	      /* errno; 0: success */
	bool ahead;	      /* started before the VMM's request */
};
bool trace_observes(void);
void trace_arc(const struct trace_arc *arc);
void trace_stream(
	const char *device, bool save, uint64_t start_ns, uint64_t end_ns, uint64_t bytes);
void trace_mark(const char *device, const char *what);

#endif
