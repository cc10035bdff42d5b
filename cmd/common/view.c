/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * view.c - query-migrate's answer as a progress line and as a summary.
 */
#include "cmd/common/view.h"

#include "cmd/common/cmd.h"
#include "cmd/common/qmp_client.h"

#include <stdio.h>
#include <string.h>

enum view_state view_state_of(const json_t *info)
{
	static const struct {
		const char *status;
		enum view_state state;
	} ends[] = {
		{"completed", VIEW_COMPLETED},
		{"failed", VIEW_FAILED},
		{"cancelled", VIEW_CANCELLED},
		{"in-doubt", VIEW_IN_DOUBT},
	};
	const char *status = json_path_string(info, "status");

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!strcmp(status, ends[i].status))
			return ends[i].state;
	return VIEW_RUNNING;
}

static const char *human_bytes(double bytes, char *out, size_t len)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out, len, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
	return out;
}

/* In place of the progress line: the predicted downtime does not become less. */
static void stalled_line(const json_t *info, double elapsed_s, char *out, size_t len)
{
	char throttle[32] = "";
	const double percent = json_path_number(info, "cpu-throttle-percentage");

	if (percent > 0)
		snprintf(throttle, sizeof(throttle), ", CPU -%.0f %%", percent);
	snprintf(out, len,
		"%5.0f s  does not converge: dirties %.1f, sends %.1f MB/s%s, stop %.1f s",
		elapsed_s,
		json_path_number(info, "ram.dirty-pages-rate") *
			json_path_number(info, "ram.page-size") / 1e6,
		json_path_number(info, "ram.mbps") / 8, throttle,
		json_path_number(info, "expected-downtime") / 1000);
}

void view_progress(const json_t *info, double elapsed_s, char *out, size_t len)
{
	char sent[32], left[32], expected[48] = "";
	const char *status = json_path_string(info, "status");
	/* QEMU's mbps are megabits. */
	double rate = json_path_number(info, "ram.mbps") / 8;
	double sent_bytes = json_path_number(info, "ram.transferred") +
			    json_path_number(info, "vfio.transferred");
	double left_bytes = json_path_number(info, "ram.remaining") +
			    json_path_number(info, "x-vfio-remaining");

	if (json_is_true(json_path(info, "x-stalled"))) {
		stalled_line(info, elapsed_s, out, len);
		return;
	}
	if (json_path(info, "expected-downtime"))
		snprintf(expected, sizeof(expected), ", downtime %.0f ms",
			json_path_number(info, "expected-downtime"));
	snprintf(out, len, "%-9s %5.0f s %6.1f MB/s %10s sent, %10s left%s",
		status[0] ? status : "none", elapsed_s, rate,
		human_bytes(sent_bytes, sent, sizeof(sent)),
		human_bytes(left_bytes, left, sizeof(left)), expected);
}

static void summary_completed(const json_t *info, char *out, size_t len)
{
	char ram[32], vfio[32], devices[64] = "";
	double total_ms = json_path_number(info, "total-time");
	double sent = json_path_number(info, "ram.transferred");
	const json_t *state = json_path(info, "vfio.transferred");

	if (state)
		snprintf(devices, sizeof(devices), ", %s of device state",
			human_bytes(json_number_value(state), vfio, sizeof(vfio)));
	snprintf(out, len,
		"completed: downtime %.0f ms, %.2f s in all; %s of memory in %.0f passes%s",
		json_path_number(info, "downtime"), total_ms / 1000,
		human_bytes(sent, ram, sizeof(ram)), json_path_number(info, "ram.dirty-sync-count"),
		devices);
	const size_t used = strlen(out);

	if (json_path(info, "x-over-limit"))
		snprintf(out + used, len - used, "; %.0f ms over downtime-limit: %s",
			json_path_number(info, "x-over-limit"),
			json_path_string(info, "x-over-limit-reason"));
}

void view_summary(const json_t *info, char *out, size_t len)
{
	const char *why = json_path_string(info, "error-desc");

	switch (view_state_of(info)) {
	case VIEW_COMPLETED:
		summary_completed(info, out, len);
		break;
	case VIEW_CANCELLED:
		snprintf(out, len, "cancelled: the VM stays on the source");
		break;
	case VIEW_FAILED:
		snprintf(out, len, "failed: %s; the VM stays on the source",
			why[0] ? why : "the monitor reports no reason");
		break;
	case VIEW_IN_DOUBT:
		snprintf(out, len,
			"in doubt: %s. The source is parked; see `man "
			"switchover-resolve`",
			why[0] ? why : "GO was sent and STARTED was not received");
		break;
	case VIEW_RUNNING:
		snprintf(out, len, "in progress: status %s", json_path_string(info, "status"));
		break;
	}
}

int view_exit(const json_t *info)
{
	static const int status[] = {
		[VIEW_RUNNING] = CLI_UNREACHABLE,
		[VIEW_COMPLETED] = CLI_OK,
		[VIEW_FAILED] = CLI_FAILED,
		[VIEW_CANCELLED] = CLI_FAILED,
		[VIEW_IN_DOUBT] = CLI_IN_DOUBT,
	};

	return status[view_state_of(info)];
}

void view_print_end(const json_t *info)
{
	const bool completed = view_state_of(info) == VIEW_COMPLETED;
	char raw[1024], text[1024];

	/* The reply may come from any VMM. */
	view_summary(info, raw, sizeof(raw));
	swo_escape(raw, text, sizeof(text));
	fprintf(completed ? stdout : stderr, "%s%s\n", completed ? "" : "switchover: ", text);
}

int view_unreachable(const struct swo_error *err)
{
	fprintf(stderr, "switchover: %s\n", err->text);
	return err->code == SWO_E_STATE	    ? CLI_FAILED
	       : err->code == SWO_E_INVALID ? CLI_USAGE
					    : CLI_UNREACHABLE;
}
