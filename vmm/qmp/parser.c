/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parser.c - finds the end of an object by its brackets, one byte at a time, and passes it to
 * jansson.
 */
#include "parser.h"

#include <stdio.h>
#include <string.h>

#define PARSER_FLUSH '\xff' /* QMP: a client may send this to begin afresh */

void qmp_parser_init(struct qmp_parser *parser)
{
	*parser = (struct qmp_parser){.buf = SWO_BUF_INIT(QMP_REQUEST_MAX)};
}

void qmp_parser_free(struct qmp_parser *parser)
{
	swo_buf_free(&parser->buf);
}

static void begin_afresh(struct qmp_parser *parser)
{
	parser->buf.len = 0;
	parser->depth = 0;
	parser->in_string = parser->escaped = parser->skipping = false;
}

/* true if `c` closed the outermost bracket. */
static bool scan(struct qmp_parser *parser, char c)
{
	if (parser->in_string) {
		if (parser->escaped)
			parser->escaped = false;
		else if (c == '\\')
			parser->escaped = true;
		else if (c == '"')
			parser->in_string = false;
		return false;
	}
	switch (c) {
	case '"':
		parser->in_string = true;
		return false;
	case '{':
	case '[':
		parser->depth++;
		return false;
	case '}':
	case ']':
		return --parser->depth == 0;
	default:
		return false;
	}
}

static enum qmp_parsed judge(struct qmp_parser *parser, json_t **message, char why[256])
{
	json_error_t error;
	json_t *value = json_loadb(
		(const char *)parser->buf.data, parser->buf.len, JSON_REJECT_DUPLICATES, &error);

	begin_afresh(parser);
	if (!value) {
		snprintf(why, 256, "invalid JSON: %.160s (byte %d)", error.text, error.position);
		return QMP_PARSED_BAD;
	}
	*message = value;
	return QMP_PARSED_MESSAGE;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One byte; true if there is a result in *parsed. */
static bool take(
	struct qmp_parser *parser, char c, enum qmp_parsed *parsed, json_t **message, char why[256])
{
	struct swo_error err;

	if (c == PARSER_FLUSH || (parser->skipping && c == '\n')) {
		begin_afresh(parser);
		return false;
	}
	if (parser->skipping || (!parser->depth && is_space(c)))
		return false;
	if (!parser->depth && c != '{' && c != '[') {
		parser->skipping = true;
		snprintf(why, 256, "expected a JSON object; ignoring the rest of the line");
		*parsed = QMP_PARSED_BAD;
		return true;
	}
	if (swo_buf_append(&parser->buf, &c, 1, &err)) {
		snprintf(why, 256, "request longer than %u bytes", QMP_REQUEST_MAX);
		*parsed = QMP_PARSED_FATAL;
		return true;
	}
	if (scan(parser, c)) {
		*parsed = judge(parser, message, why);
		return true;
	}
	if (parser->depth > QMP_DEPTH_MAX) {
		snprintf(why, 256, "request nested more than %d levels deep", QMP_DEPTH_MAX);
		*parsed = QMP_PARSED_FATAL;
		return true;
	}
	return false;
}

enum qmp_parsed qmp_parser_feed(struct qmp_parser *parser, const char *data, size_t len,
	size_t *used, json_t **message, char why[256])
{
	enum qmp_parsed parsed = QMP_PARSED_MORE;

	*message = NULL;
	for (*used = 0; *used < len;)
		if (take(parser, data[(*used)++], &parsed, message, why))
			break;
	return parsed;
}
