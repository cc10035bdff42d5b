/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text_in.c - see text_in.h.
 */
#include "cmd/common/text_in.h"

#include <errno.h>
#include <stdio.h>

#define TIMELINE_SPANS_MAX (1u << 18)

int text_read(const char *what, const char *path, struct swo_buf *text, struct swo_error *err)
{
	FILE *file = fopen(path, "re");
	const char *mark = *what ? ": " : "";
	char part[65536];
	size_t got;
	int rc = 0;

	if (!file)
		return swo_error_set(err, SWO_E_IO, errno, "%s%sopen '%s'", what, mark, path);
	while (!rc && (got = fread(part, 1, sizeof(part), file)))
		rc = swo_buf_append(text, part, got, err);
	if (!rc && ferror(file))
		rc = swo_error_set(err, SWO_E_IO, errno, "%s%sread '%s'", what, mark, path);
	fclose(file);
	return rc;
}

struct swo_timeline *timeline_parse(
	const struct swo_buf *text, const char *path, struct swo_error *err)
{
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, TIMELINE_SPANS_MAX);

	if (!timeline) {
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a timeline");
		return NULL;
	}
	if (!swo_timeline_add_json(timeline, (const char *)text->data, text->len, 0, err))
		return timeline;
	swo_error_prefix(err, "'%s'", path);
	swo_timeline_free(timeline);
	return NULL;
}
