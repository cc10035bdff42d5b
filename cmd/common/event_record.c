/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * event_record.c - writes marks, in the form of the preload library's record
 * (docs/preload.md).
 */
#include "cmd/common/event_record.h"
#include "cmd/common/file.h"

#include "cmd/common/qmp_client.h"

#include <errno.h>
#include <string.h>
#include <time.h>

int event_record_open(struct event_record *record, const char *path, struct swo_error *err)
{
	struct timespec wall;

	if (create_file("--record", path, &record->out, err))
		return -1;
	const uint64_t now = swo_now_ns();

	clock_gettime(CLOCK_REALTIME, &wall);
	const int64_t wall_ns = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec;

	record->wall_ns = wall_ns - (int64_t)now;
	fprintf(record->out, "{\"kind\":\"clock\",\"monotonic_ns\":%llu,\"realtime_ns\":%lld}\n",
		(unsigned long long)now, (long long)wall_ns);
	return 0;
}

void event_record_add(const struct event_record *record, const json_t *event)
{
	const char *name = json_path_string(event, "event");
	const char *status = json_path_string(event, "data.status");
	const int64_t seconds = (int64_t)json_path_number(event, "timestamp.seconds");
	const int64_t micros = (int64_t)json_path_number(event, "timestamp.microseconds");
	int64_t at = seconds * 1000000000 + micros * 1000 - record->wall_ns;
	char text[48];

	if (!record->out || !*name || seconds <= 0 || seconds > INT64_MAX / 4000000000)
		return;
	if (at < 0)
		at = 0;
	snprintf(text, sizeof(text), "%s%s%s", name, *status ? " " : "", status);
	json_t *line = json_pack(
		"{s:s, s:s, s:I}", "kind", "mark", "name", text, "start_ns", (json_int_t)at);

	if (line) {
		json_dumpf(line, record->out, JSON_COMPACT);
		fputc('\n', record->out);
	}
	json_decref(line);
}

int event_record_close(struct event_record *record, struct swo_error *err)
{
	if (!record->out)
		return 0;
	const bool bad = ferror(record->out);

	if (fclose(record->out) || bad)
		return swo_error_set(err, SWO_E_IO, errno, "--record: write");
	return 0;
}
