/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timeline_out.c - writes and draws timelines.
 */
#include "cmd/common/timeline_out.h"
#include "cmd/common/file.h"

#include <errno.h>
#include <langinfo.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void trace_path(const char *path, char *out, size_t len)
{
	size_t stem = strlen(path);

	if (stem > 5 && !strcmp(path + stem - 5, ".json"))
		stem -= 5;
	snprintf(out, len, "%.*s.trace.json", (int)stem, path);
}

int timeline_write(struct swo_timeline *timeline, const char *path, struct swo_error *err)
{
	swo_autofree char *json = swo_timeline_to_json(timeline);
	swo_autofree char *trace = swo_timeline_to_chrome(timeline);
	char beside[4200];

	if (!json || !trace)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "--timeline");
	trace_path(path, beside, sizeof(beside));
	return write_file("--timeline", path, json, err) ||
			       write_file("--timeline", beside, trace, err)
		       ? -1
		       : 0;
}

int timeline_check(const char *path, struct swo_error *err)
{
	char beside[4200];

	trace_path(path, beside, sizeof(beside));
	return check_file("--timeline", path, err) || check_file("--timeline", beside, err) ? -1
											    : 0;
}

static unsigned terminal_columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col < 80 ? 80
	       : size.ws_col > 160					   ? 160
									   : size.ws_col;
}

void timeline_print(struct swo_timeline *timeline, uint64_t from_ns, uint64_t to_ns)
{
	const bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");

	if (to_ns > from_ns) {
		const uint64_t margin = (to_ns - from_ns) / 40;

		from_ns -= margin < from_ns ? margin : 0;
		to_ns += margin;
	}
	swo_autofree char *picture =
		swo_timeline_picture(timeline, terminal_columns(), utf8, from_ns, to_ns);
	printf("%s", picture ? picture : "(no memory for its picture)\n");
}
