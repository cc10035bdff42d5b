/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - stores the first mismatch and disables speculation.
 */
#include "check.h"

#include "trace.h"

#include <stdarg.h>
#include <stdio.h>

static char reason[256];
static atomic_bool failed;

void check_mismatch(const char *fmt, const struct tracked_device *device, ...)
{
	va_list args;

	if (check_failed())
		return;
	int len = device ? snprintf(reason, sizeof(reason), "device %s: ", device->name) : 0;

	va_start(args, device);
	vsnprintf(reason + len, sizeof(reason) - (size_t)len, fmt, args);
	va_end(args);
	atomic_store_explicit(&failed, true, memory_order_release);
	trace_message("%s: speculation is disabled: each device now changes state only when the "
		      "VMM requests it. Report this, with the version of the VMM",
		reason);
}

bool check_failed(void)
{
	return atomic_load_explicit(&failed, memory_order_acquire);
}

const char *check_reason(void)
{
	return check_failed() ? reason : NULL;
}

void check_reset(void)
{
	atomic_store_explicit(&failed, false, memory_order_release);
}
