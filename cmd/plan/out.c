/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * out.c - predictions, critical paths and what to change, as text and as JSON.
 */
#include "cmd/common/overhead.h"
#include "cmd/plan/plan.h"

#include <string.h>

#define SMALL_NS    UINT64_C(100000) /* pieces below are summed up in one line */
#define CHANGES_MAX 5		     /* of each sort that are printed */

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* Text */

static void print_rate(FILE *out, const char *what, uint64_t rate)
{
	if (rate)
		fprintf(out, "%s %.0f MB/s", what, (double)rate / 1e6);
	else
		fprintf(out, "%s without limit", what);
}

static void print_inputs(
	FILE *out, const struct plan_request *request, const struct device_kinds *kinds)
{
	const struct swo_plan_setup *s = &request->setup;

	fprintf(out, "%s %s; ", request->probe ? "Probe" : "Profile",
		request->probe ? request->probe : request->profile);
	print_rate(out, "wire", s->wire_rate);
	if (s->channel_rate)
		print_rate(out, ", a channel", s->channel_rate);
	fprintf(out, ", %u channels, round trip %.2f ms, %.1f MB of memory dirty at the stop\n",
		s->channels, ms(s->rtt_ns), (double)s->ram_bytes / 1e6);
	if (request->costs) {
		char text[160];

		overhead_text(&s->overhead, text, sizeof(text));
		fprintf(out, "Engine overhead of %s: %s.\n", request->costs, text);
	}
	if (kinds->guesses)
		fputs("Some of the devices' figures are guesses (docs/simvf.md).\n", out);
}

static void print_table(FILE *out, const struct plan_request *request,
	const struct plan_answer *answers, unsigned count)
{
	fprintf(out,
		"\n VFs     bound    serial  parallel  pipelined%s   ms; the bound is set by\n",
		request->custom ? "     custom" : "");
	for (unsigned i = 0; i < count; i++) {
		const struct plan_answer *a = &answers[i];

		fprintf(out, "%4u %9.1f %9.1f %9.1f %10.1f", a->vfs, ms(a->bound.total_ns),
			ms(a->serial_ns), ms(a->parallel_ns), ms(a->pipelined_ns));
		if (request->custom)
			fprintf(out, " %10.1f", ms(a->result.blackout_ns));
		fprintf(out, "   %s\n", a->bound.limited_by[0] ? a->bound.limited_by : "the arcs");
	}
	fputs("serial, parallel: streams, RESUMING->STOP and config after the stop; pipelined: "
	      "switchover's defaults.\n",
		out);
}

void plan_print_path(FILE *out, const struct swo_path *path)
{
	uint64_t small = 0;
	unsigned pieces = 0;

	for (size_t i = 0; i < path->count; i++) {
		const struct swo_path_step *step = &path->steps[i];
		uint64_t ns = step->end_ns - step->start_ns;

		if (ns < SMALL_NS) {
			small += ns;
			pieces++;
			continue;
		}
		fprintf(out, "%10.2f ms  %s  %-10s %s%s%s\n", ms(ns),
			step->side == SWO_SIDE_SOURCE ? "source" : "target", step->device,
			step->gap ? "(" : "", step->name, step->gap ? ")" : "");
	}
	if (pieces)
		fprintf(out, "%10.2f ms  in %u pieces below 0.1 ms\n", ms(small), pieces);
	fprintf(out, "%10.2f ms  from \"vCPUs stopped\" to \"STARTED\"\n",
		ms(path->end_ns - path->start_ns));
}

static void print_some(FILE *out, const struct plan_answer *a, bool of_devices, const char *head)
{
	unsigned printed = 0;

	for (unsigned i = 0; i < a->change_count && printed < CHANGES_MAX; i++) {
		const struct plan_change *change = &a->changes[i];

		if (change->of_devices != of_devices)
			continue;
		fprintf(out, "%s %s: -%.1f ms (%.1f)\n", printed++ ? "             " : head,
			change->what, ms(a->result.blackout_ns - change->blackout_ns),
			ms(change->blackout_ns));
	}
}

static void print_changes(FILE *out, const struct plan_answer *a)
{
	print_some(out, a, false, "Change first:");
	print_some(out, a, true, "Of devices:  ");
	if (!a->change_count)
		fputs("No single change would make it shorter.\n", out);
}

void plan_print(FILE *out, const struct plan_request *request, const struct device_kinds *kinds,
	const struct plan_answer *answers, unsigned count)
{
	print_inputs(out, request, kinds);
	print_table(out, request, answers, count);
	for (unsigned i = 0; i < count; i++) {
		fprintf(out, "\n%u VF%s, critical path:\n", answers[i].vfs,
			answers[i].vfs == 1 ? "" : "s");
		plan_print_path(out, &answers[i].result.path);
		print_changes(out, &answers[i]);
	}
}

/* JSON */

json_t *plan_path_json(const struct swo_path *path)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < path->count; i++) {
		const struct swo_path_step *step = &path->steps[i];
		json_t *one = json_pack("{s:s, s:s, s:s, s:b, s:f, s:f}", "side",
			step->side == SWO_SIDE_SOURCE ? "source" : "target", "device", step->device,
			"name", step->name, "gap", step->gap, "start_ms",
			ms(step->start_ns - path->start_ns), "ms",
			ms(step->end_ns - step->start_ns));

		if (json_array_append_new(list, one)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *changes_json(const struct plan_answer *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < a->change_count; i++) {
		const struct plan_change *change = &a->changes[i];

		if (json_array_append_new(list,
			    json_pack("{s:s, s:b, s:f, s:f}", "what", change->what, "of_devices",
				    change->of_devices, "blackout_ms", ms(change->blackout_ns),
				    "gain_ms", ms(a->result.blackout_ns - change->blackout_ns)))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *plan_json(const struct plan_request *request, const struct plan_answer *a)
{
	json_t *path = plan_path_json(&a->result.path), *changes = changes_json(a);

	return json_pack("{s:i, s:s, s:f, s:s, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "vfs",
		(int)a->vfs, request->probe ? "probe" : "profile",
		request->probe ? request->probe : request->profile, "lower_bound_ms",
		ms(a->bound.total_ns), "limited_by", a->bound.limited_by, "serial_ms",
		ms(a->serial_ns), "parallel_ms", ms(a->parallel_ns), "pipelined_ms",
		ms(a->pipelined_ns), "blackout_ms", ms(a->result.blackout_ns), "ready_ms",
		ms(a->result.ready_ns), "critical_path", path, "changes", changes);
}
