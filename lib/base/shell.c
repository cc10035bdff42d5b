/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shell.c - see shell.h.
 */
#include "base/shell.h"

#include <stdlib.h>
#include <string.h>

/* Every byte as it is; only then can a person copy it. */
static bool is_printable(const char *text)
{
	const size_t room = strlen(text) + 1;
	swo_autofree char *escaped = malloc(room);

	if (!escaped)
		return false;
	swo_escape(text, escaped, room);
	return !strcmp(text, escaped);
}

static bool append(char *out, size_t room, size_t *used, const char *part, size_t len)
{
	if (len >= room - *used)
		return false;
	memcpy(out + *used, part, len);
	out[ *used += len] = 0;
	return true;
}

/* In single quotes nothing is special but the quote itself. */
static bool quote(const char *text, char *out, size_t room)
{
	size_t used = 0;
	bool fits = append(out, room, &used, "'", 1);

	for (; fits && *text; text++)
		fits = *text == '\'' ? append(out, room, &used, "'\\''", 4)
				     : append(out, room, &used, text, 1);
	return fits && append(out, room, &used, "'", 1);
}

bool base_shell_quote(const char *text, char *out, size_t room)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "/._-+,:@%";
	size_t used = 0;

	if (!room)
		return false;
	out[0] = 0;
	const bool fits = *text && !text[strspn(text, plain)]
				  ? append(out, room, &used, text, strlen(text))
				  : quote(text, out, room);

	if (fits && is_printable(text))
		return true;
	out[0] = 0;
	return false;
}
