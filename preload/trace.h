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
 * Opens the files of the settings. A file that cannot be opened is reported on standard error
 * and left out.
 */
void trace_open(const struct settings *settings);
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
