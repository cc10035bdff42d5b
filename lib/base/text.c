/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text.c - makes untrusted text safe to print: escapes terminal control sequences, line breaks that
 * forge log lines, and invalid UTF-8.
 */
#include "switchover/base.h"

#include <stdio.h>
#include <string.h>

/* The length of the UTF-8 sequence at `in`: 0: invalid; -1: truncated by the end of the text. */
static int sequence_length(const unsigned char *in)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	int len = in[0] < 0x80	     ? 1
		  : in[0] >> 5 == 6  ? 2
		  : in[0] >> 4 == 14 ? 3
		  : in[0] >> 3 == 30 ? 4
				     : 0;

	if (len < 2)
		return len;
	unsigned code = in[0] & (0x7fu >> len);

	for (int i = 1; i < len; i++) {
		if (!in[i])
			return -1;
		if ((in[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (in[i] & 0x3f);
	}
	/* Overlong forms, surrogates, and code points beyond Unicode. */
	if (code < least[len] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
		return 0;
	/* C1 controls, which some terminals execute, and marks that reverse the order of a line. */
	if (code < 0xa0 || (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
		return 0;
	return len;
}

void swo_escape(const char *text, char *out, size_t room)
{
	const unsigned char *in = (const unsigned char *)text;
	size_t n = 0;

	if (!room)
		return;
	while (*in) {
		int len = *in < 0x20 || *in == 0x7f ? 0 : sequence_length(in);

		if (len < 0)
			break; /* the sender truncated the text here */
		if (n + (len ? (size_t)len : 4) >= room)
			break;
		if (len) {
			memcpy(out + n, in, (size_t)len);
			n += (size_t)len;
			in += len;
		} else {
			n += (size_t)snprintf(out + n, room - n, "\\x%02x", *in++);
		}
	}
	out[n] = 0;
}
