/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * show.c - see show.h.
 */
#include "cmd/status/show.h"

#include "cmd/common/qmp_client.h"
#include "cmd/common/view.h"

#include <string.h>

static void put(FILE *out, const char *raw, bool clear)
{
	char text[600];

	swo_escape(raw, text, sizeof(text));
	fprintf(out, "%s%s\n", text, clear ? "\033[K" : "");
}

static void migration(FILE *out, const json_t *info, bool clear)
{
	char text[512], line[560];

	if (!json_path_string(info, "status")[0])
		snprintf(text, sizeof(text), "none");
	else if (view_state_of(info) == VIEW_RUNNING)
		view_progress(
			info, json_path_number(info, "total-time") / 1000, text, sizeof(text));
	else
		view_summary(info, text, sizeof(text));
	snprintf(line, sizeof(line), "migration  %s", text);
	put(out, line, clear);
}

static void device(FILE *out, const json_t *info, int width, bool clear)
{
	char line[300], step[120] = "";

	if (json_path(info, "under-way"))
		snprintf(step, sizeof(step), "%s for %.1f s",
			json_path_string(info, "under-way.step"),
			json_path_number(info, "under-way.ns") / 1e9);
	snprintf(line, sizeof(line), "%-*s  %-13s  %-9s  %s", width, json_path_string(info, "id"),
		json_path_string(info, "state"), json_path_string(info, "health"), step);
	put(out, line, clear);
}

unsigned status_show(FILE *out, const json_t *all, bool clear)
{
	const json_t *devices = json_path(all, "devices"), *one;
	char line[80];
	unsigned lines = 2;
	int width = 6;
	size_t i;

	snprintf(line, sizeof(line), "VM         %s", json_path_string(all, "vm.status"));
	put(out, line, clear);
	migration(out, json_path(all, "migration"), clear);
	if (!json_array_size(devices))
		return lines;
	json_array_foreach (devices, i, one) {
		const int len = (int)strlen(json_path_string(one, "id"));

		width = len > width ? len : width;
	}
	snprintf(line, sizeof(line), "%-*.60s  %-13s  %-9s  %s", width, "device", "state", "health",
		"under way");
	put(out, line, clear);
	json_array_foreach (devices, i, one)
		device(out, one, width, clear);
	return lines + 1 + (unsigned)i;
}
