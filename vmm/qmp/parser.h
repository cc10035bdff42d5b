/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parser.h - extracts JSON objects from a byte stream that may be split anywhere. The input is
 * not trusted; at most QMP_REQUEST_MAX bytes are buffered.
 */
#ifndef VMM_QMP_PARSER_H
#define VMM_QMP_PARSER_H

#include "qmp.h"

struct qmp_parser {
	struct swo_buf buf;
	unsigned depth; /* open { and [ */
	bool in_string;
	bool escaped;  /* the last byte was a backslash in a string */
	bool skipping; /* skipping garbage to the end of the line */
};

enum qmp_parsed {
	QMP_PARSED_MORE,    /* all bytes consumed, no complete object yet */
	QMP_PARSED_MESSAGE, /* *message is a new reference */
	QMP_PARSED_BAD,	    /* `why` has the reason; the parser can continue */
	QMP_PARSED_FATAL,   /* the same, but the start of the next request is unknown */
};

void qmp_parser_init(struct qmp_parser *parser);
void qmp_parser_free(struct qmp_parser *parser);
/* Consumes bytes up to the end of one object and returns how many: call again with the rest. */
enum qmp_parsed qmp_parser_feed(struct qmp_parser *parser, const char *data, size_t len,
	size_t *used, json_t **message, char why[256]);

#endif
