/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * observe.c - `switchover observe RECORD...`: the records of a source and a target,
 * whatever VMM wrote them, as one picture, with the passes in which the time went.
 */
#include "cmd/observe/observe.h"
#include "cmd/observe/qemu.h"

#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/timeline_out.h"
#include "cmd/common/verbs.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_JSON = 256, OPT_TIMELINE, OPT_ALL, OPT_QEMU_TRACE };

#define FILES_MAX 16

struct request {
	struct observed observed;
	const char *timeline;
	bool json, all, qemu_trace;
	const char *json_file; /* NULL: stdout */
	const char *file[FILES_MAX];
	unsigned files;
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, "FILE", OPTION_ARG_OPTIONAL,
		"Print the figures as JSON, without a picture, to standard output or to FILE", 0},
	{"timeline", OPT_TIMELINE, "FILE", 0,
		"Write the timeline to FILE, and for chrome://tracing to FILE.trace.json (none)",
		0},
	{"all", OPT_ALL, NULL, 0, "Draw all records, also without a switchover", 0},
	{"qemu-trace", OPT_QEMU_TRACE, NULL, 0,
		"The two files are QEMU's own trace and QMP events: first the source's, then the "
		"target's",
		0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case OPT_JSON:
		r->json = true;
		r->json_file = arg;
		return 0;
	case OPT_TIMELINE:
		r->timeline = arg;
		return 0;
	case OPT_ALL:
		r->all = true;
		return 0;
	case OPT_QEMU_TRACE:
		r->qemu_trace = true;
		return 0;
	case ARGP_KEY_ARG:
		if (r->files == FILES_MAX)
			argp_error(state, "more than %d records", FILES_MAX);
		r->file[r->files++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!r->files)
			argp_error(state, "missing records: those of the source and of the target");
		if (r->qemu_trace && r->files != 2)
			argp_error(state,
				"--qemu-trace: expected 2 files, the traces of the source "
				"and of the target");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int read_file(struct request *r, const char *name, struct swo_error *err)
{
	static const enum swo_side source = SWO_SIDE_SOURCE, target = SWO_SIDE_TARGET;

	if (!strncmp(name, "source=", 7))
		return observed_read(&r->observed, name + 7, &source, err);
	if (!strncmp(name, "target=", 7))
		return observed_read(&r->observed, name + 7, &target, err);
	return observed_read(&r->observed, name, NULL, err);
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static const char *side_name(enum swo_side side)
{
	return side == SWO_SIDE_SOURCE ? "source" : "target";
}

static int print_json(const struct observed_outage *o)
{
	json_t *passes = json_array();

	for (unsigned i = 0; i < o->count; i++) {
		const struct observed_pass *p = &o->passes[i];

		json_array_append_new(
			passes, json_pack("{s:s, s:s, s:f, s:f, s:i, s:i, s:i, s:f, s:f}", "side",
					side_name(p->side), "pass", p->name, "from_ms",
					ms(p->from_ns - o->from_ns), "to_ms",
					ms(p->to_ns - o->from_ns), "arcs", (int)p->arcs, "ahead",
					(int)p->ahead, "failed", (int)p->failed, "arcs_sum_ms",
					ms(p->sum_ns), "waited_ms", ms(p->waited_ns)));
	}
	json_t *all = json_pack("{s:f, s:i, s:o}", "outage_ms", ms(o->to_ns - o->from_ns),
		"devices", (int)o->devices, "passes", passes);
	char *text = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

	if (text)
		puts(text);
	else
		fputs("switchover observe: no memory for its JSON\n", stderr);
	free(text);
	json_decref(all);
	return text ? CLI_OK : CLI_FAILED;
}

static void print_passes(const struct observed_outage *o)
{
	uint64_t sum = 0, waited = 0;
	unsigned arcs = 0, ahead = 0;

	printf("The devices were out for %.1f ms: %u device%s, first arc into P2P to last arc to "
	       "RUNNING.\n\n"
	       "            ms from      to   arcs   one after another   the VMM waited\n",
		ms(o->to_ns - o->from_ns), o->devices, o->devices == 1 ? "" : "s");
	for (unsigned i = 0; i < o->count; i++) {
		const struct observed_pass *p = &o->passes[i];

		printf("  %-6s %10.1f %7.1f %6u %16.1f ms %13.1f ms   %s%s\n", side_name(p->side),
			ms(p->from_ns - o->from_ns), ms(p->to_ns - o->from_ns), p->arcs,
			ms(p->sum_ns), ms(p->waited_ns), p->name,
			p->failed ? "   FAILED on some" : "");
		sum += p->sum_ns;
		waited += p->waited_ns;
		arcs += p->arcs;
		ahead += p->ahead;
	}
	printf("\n%u arcs, %.1f ms of them one after another; the VMM waited %.1f ms for them; %u "
	       "were started before its request.\n",
		arcs, ms(sum), ms(waited), ahead);
	if (!ahead && o->devices > 1)
		printf("All were done in turn. `switchover exec` without --observe runs them in "
		       "parallel.\n");
	printf("\n");
}

static int show(struct request *r, struct swo_error *err)
{
	struct observed_outage outage;
	const int rc = observed_outage(&r->observed, &outage, err);

	if (r->timeline && timeline_write(r->observed.timeline, r->timeline, err))
		return CLI_FAILED;
	if (rc && (!r->all || r->json))
		return CLI_FAILED;
	if (r->json)
		return print_json(&outage);
	if (!rc)
		print_passes(&outage);
	else
		printf("There is no switchover in the records.\n\n");
	if (r->all)
		timeline_print(r->observed.timeline, 0, 0);
	else
		timeline_print(r->observed.timeline, outage.from_ns, outage.to_ns);
	return CLI_OK;
}

/* QEMU's own trace */

static int show_qemu(struct request *r, const struct qemu_trace *trace, struct swo_error *err)
{
	struct swo_timeline *timeline = r->observed.timeline;

	qemu_trace_spans(trace, timeline);
	if (r->timeline && timeline_write(timeline, r->timeline, err))
		return CLI_FAILED;
	if (r->json)
		return qemu_trace_print_json(trace);
	qemu_trace_print(trace);
	timeline_print(timeline, r->all ? 0 : trace->from_ns, r->all ? 0 : trace->to_ns);
	return CLI_OK;
}

static int observe_qemu(struct request *r, struct swo_error *err)
{
	struct qemu_trace trace = {0};
	int status = CLI_FAILED;

	if (!qemu_trace_read(&trace, r->file[0], SWO_SIDE_SOURCE, err) &&
		!qemu_trace_read(&trace, r->file[1], SWO_SIDE_TARGET, err) &&
		!qemu_trace_window(&trace, err))
		status = show_qemu(r, &trace, err);
	qemu_trace_free(&trace);
	return status;
}

int cmd_observe(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "[source=|target=]RECORD...\n--qemu-trace SOURCE TARGET",
		.doc = "Show where the time of a VMM's switchover went, by the records that "
		       "`switchover exec --observe` or "
		       "--record wrote on both sides.",
	};
	struct request r = {0};
	struct swo_error err = {0};
	int rc = 0;

	if (argp_parse(&argp, argc, argv, 0, NULL, &r))
		return CLI_USAGE;
	rc = observed_init(&r.observed, &err) || redirect_output("--json", r.json_file, &err);
	for (unsigned i = 0; i < r.files && !rc && !r.qemu_trace; i++)
		rc = read_file(&r, r.file[i], &err);
	int status = rc ? CLI_FAILED : r.qemu_trace ? observe_qemu(&r, &err) : show(&r, &err);

	if (status != CLI_OK)
		fprintf(stderr, "%s: %s\n", argv[0], err.text);
	observed_free(&r.observed);
	return status;
}
