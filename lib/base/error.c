/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * error.c - errors as values: a code for programs, a text for people.
 */
#include "switchover/base.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The text of an errno; for a limit that can be raised also the limit, and how to raise it. */
static const char *reason_of(int os_errno, char *room, size_t len)
{
	struct rlimit limit;

	if (os_errno != EMFILE || getrlimit(RLIMIT_NOFILE, &limit))
		return strerror_r(os_errno, room, len);
	snprintf(room, len,
		"no more than %llu open files for this process; raise the limit (ulimit -Hn)",
		(unsigned long long)limit.rlim_cur);
	return room;
}

int swo_error_set(
	struct swo_error *err, enum swo_error_code code, int os_errno, const char *fmt, ...)
{
	if (!err)
		return -1;

	/* Format aside first: the arguments may point into err->text itself. */
	char text[sizeof(err->text)];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	err->code = code;
	err->os_errno = os_errno;
	char reason[128];
	swo_escape(text, err->text, os_errno ? sizeof(text) - 130 : sizeof(text));
	if (os_errno) {
		size_t used = strlen(err->text);

		snprintf(err->text + used, sizeof(err->text) - used, ": %s",
			reason_of(os_errno, reason, sizeof(reason)));
	}
	return -1;
}

int swo_error_prefix(struct swo_error *err, const char *fmt, ...)
{
	if (!err)
		return -1;

	char head[sizeof(err->text) / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(head, sizeof(head), fmt, ap);
	va_end(ap);

	char text[2 * sizeof(err->text)];
	snprintf(text, sizeof(text), "%s: %s", head, err->text);
	swo_escape(text, err->text, sizeof(err->text));
	return -1;
}

const char *swo_error_code_name(enum swo_error_code code)
{
	static const char *const names[] = {
		[SWO_E_NONE] = "none",
		[SWO_E_INVALID] = "invalid",
		[SWO_E_NO_MEMORY] = "no-memory",
		[SWO_E_IO] = "io",
		[SWO_E_TIMEOUT] = "timeout",
		[SWO_E_PROTOCOL] = "protocol",
		[SWO_E_STATE] = "state",
		[SWO_E_CANCELLED] = "cancelled",
		[SWO_E_PEER_LOST] = "peer-lost",
		[SWO_E_DEVICE] = "device",
		[SWO_E_UNSUPPORTED] = "unsupported",
		[SWO_E_CORRUPT] = "corrupt",
	};
	if ((size_t)code >= SWO_ARRAY_SIZE(names))
		return "unknown";
	return names[code];
}
