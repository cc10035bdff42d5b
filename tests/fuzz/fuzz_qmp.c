/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_qmp.c - the input of a QMP client, split anywhere: the parser continues or stops, consumes
 * every byte once, and has the same result for every split.
 */
#include "fuzz.h"
#include "vmm/qmp/parser.h"

#include <string.h>

/* How many messages and errors, feeding at most `step` bytes at a time. */
static void feed(const char *data, size_t len, size_t step, unsigned *messages, unsigned *bad)
{
	struct qmp_parser parser;
	enum qmp_parsed rc = QMP_PARSED_MORE;

	qmp_parser_init(&parser);
	*messages = *bad = 0;
	for (size_t at = 0; at < len && rc != QMP_PARSED_FATAL;) {
		size_t part = len - at < step ? len - at : step, used = 0;
		json_t *message = NULL;
		char why[256];

		rc = qmp_parser_feed(&parser, data + at, part, &used, &message, why);
		fuzz_check(used <= part && (used || rc == QMP_PARSED_FATAL));
		at += used;
		if (rc == QMP_PARSED_MESSAGE) {
			fuzz_check(json_is_object(message) || json_is_array(message));
			json_decref(message);
			++*messages;
		} else if (rc != QMP_PARSED_MORE) {
			fuzz_check(memchr(why, 0, sizeof(why)));
			++*bad;
		}
	}
	qmp_parser_free(&parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned whole[2], cut[2];

	if (!size)
		return 0;
	feed((const char *)data + 1, size - 1, size, &whole[0], &whole[1]);
	feed((const char *)data + 1, size - 1, 1 + data[0] % 17, &cut[0], &cut[1]);
	fuzz_check(whole[0] == cut[0] && whole[1] == cut[1]);
	return 0;
}
