/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parser.h - JSON objects out of a stream of bytes that may be cut anywhere.
 * Trusts nothing; holds at most QMP_REQUEST_MAX bytes.
 */
#ifndef VMM_QMP_PARSER_H
#define VMM_QMP_PARSER_H

#include "qmp.h"

struct qmp_parser {
	struct swo_buf buf;
	unsigned depth; /* of { and [ that are open */
	bool in_string;
	bool escaped;  /* the last byte was a backslash in a string */
	bool skipping; /* garbage, to the end of the line */
};

enum qmp_parsed {
	QMP_PARSED_MORE,    /* all bytes taken, no object complete yet */
	QMP_PARSED_MESSAGE, /* *message is a new reference */
	QMP_PARSED_BAD,	    /* `why` says what was wrong; one may go on */
	QMP_PARSED_FATAL,   /* the same, but where the next request begins is unknown */
};

void qmp_parser_init(struct qmp_parser *parser);
void qmp_parser_free(struct qmp_parser *parser);
/* Takes bytes up to the end of one object and says how many: call again with the rest. */
enum qmp_parsed qmp_parser_feed(struct qmp_parser *parser, const char *data, size_t len,
	size_t *used, json_t **message, char why[256]);

#endif
