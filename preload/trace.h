/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace.h - messages for people, and the record of what every device did for
 * `switchover observe`. Plain writes of whole lines: several threads may.
 */
#ifndef PRELOAD_SAY_H
#define PRELOAD_SAY_H

#include "settings.h"

#include <stddef.h>

/* Opens what the settings name; what cannot be opened is said on standard error and left out. */
void trace_open(const struct settings *settings);
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

uint64_t trace_now(void); /* CLOCK_MONOTONIC, ns */

/* One line of JSON a record; nothing unless it was asked for. */
struct trace_arc {
	const char *device;
	uint32_t from, to; /* from UINT32_MAX: not known */
	uint64_t asked_ns; /* the VMM's request; 0: not asked for yet */
	uint64_t start_ns, end_ns;
	uint64_t answered_ns; /* when the VMM had its answer */
	int error;	      /* errno; 0: it went well */
	bool ahead;	      /* begun before the VMM asked */
};
bool trace_observes(void);
void trace_arc(const struct trace_arc *arc);
void trace_stream(
	const char *device, bool save, uint64_t start_ns, uint64_t end_ns, uint64_t bytes);
void trace_mark(const char *device, const char *what);

#endif
