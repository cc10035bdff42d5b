/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.c - the library's only output, with a sink that its user can replace.
 */
#include "switchover/base.h"

#include <stdio.h>

static enum swo_log_level log_level = SWO_LOG_WARN;
static swo_log_sink *log_sink;
static void *log_opaque;

void swo_log_set(enum swo_log_level most_verbose, swo_log_sink *sink, void *opaque)
{
	log_level = most_verbose;
	log_sink = sink;
	log_opaque = opaque;
}

void swo_log(enum swo_log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};

	if (level > log_level)
		return;

	char raw[1024], text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	swo_escape(raw, text, sizeof(text));
	if (log_sink)
		log_sink(log_opaque, level, text);
	else
		fprintf(stderr, "switchover: %s: %s\n", names[level], text);
}
