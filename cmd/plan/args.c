/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - the command line of `switchover plan`.
 */
#include "cmd/plan/plan.h"

#include "cmd/common/args.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_PROFILE = 256,
	OPT_PROBE,
	OPT_TIMELINE,
	OPT_READ_TIMELINE,
	OPT_VFS,
	OPT_PFS,
	OPT_PF_ARCS,
	OPT_WIRE_RATE,
	OPT_CHANNEL_RATE,
	OPT_CHANNELS,
	OPT_RTT,
	OPT_RAM,
	OPT_WINDOW,
	OPT_COSTS,
	OPT_TRANSITIONS,
	OPT_JOIN,
	OPT_STREAM,
	OPT_FINALISE,
	OPT_CONFIG,
	OPT_JSON,
	OPT_SAVE,
};

static const struct argp_option options[] = {
	{NULL, 0, NULL, 0, "Input, one of:", 1},
	{"profile", OPT_PROFILE, "NAME|FILE,...", 0,
		"Use these profiles of switchover-simvf in turn; mixed: four kinds (cx7)", 1},
	{"probe", OPT_PROBE, "FILE", 0, "Read the figures of a host from FILE, as JSON", 1},
	{"read-timeline", OPT_READ_TIMELINE, "FILE", 0,
		"Print the critical path of a switchover that took place", 1},
	{"timeline", OPT_TIMELINE, "FILE", 0, "The same, as it was called before 0.2", 1},
	{NULL, 0, NULL, 0, "The host", 2},
	{"vfs", OPT_VFS, "N,N,...", 0,
		"Predict for these numbers of devices (1,4,16; for a probe: all devices)", 2},
	{"pfs", OPT_PFS, "N", 0, "Distribute the devices over N PFs (default: as the profile)", 2},
	{"pf-arcs", OPT_PF_ARCS, NULL, 0, "Run arcs one at a time per PF, too", 2},
	{"wire-rate", OPT_WIRE_RATE, "MB/s", 0, "Set the rate of the link; 0: no limit (0)", 2},
	{"channel-rate", OPT_CHANNEL_RATE, "MB/s", 0,
		"Set the rate of one connection; 0: no limit (0)", 2},
	{"channels", OPT_CHANNELS, "N", 0, "Set the number of connections (2)", 2},
	{"rtt-ms", OPT_RTT, "MS", 0, "Set the round-trip time (0)", 2},
	{"ram-dirty-mb", OPT_RAM, "MB", 0, "Set the memory to be sent after the vCPUs stop (0)", 2},
	{"device-window", OPT_WINDOW, "MB", 0,
		"Set the bytes in flight per device; 0: no limit (4.2)", 2},
	{"costs", OPT_COSTS, "FILE", 0,
		"Read the engine overhead that `switchover-bench calibrate` wrote (none)", 2},
	{NULL, 0, NULL, 0, "Parameters, as of `switchover-bench run`", 3},
	{"transitions", OPT_TRANSITIONS, "HOW", 0, "Change states serial or parallel (parallel)",
		3},
	{"join", OPT_JOIN, "WHEN", 0, "Join at the end of depth or pass (pass)", 3},
	{"stream", OPT_STREAM, "WHEN", 0, "Stream device state early or late (early)", 3},
	{"finalise", OPT_FINALISE, "WHEN", 0, "Take RESUMING->STOP early, ram or late (early)", 3},
	{"config", OPT_CONFIG, "WHEN", 0, "Load configurations early or late (early)", 3},
	{NULL, 0, NULL, 0, "Output", 4},
	{"json", OPT_JSON, "FILE", OPTION_ARG_OPTIONAL,
		"Print one JSON object per number of devices, to standard output or to FILE", 4},
	{"save-timeline", OPT_SAVE, "FILE", 0,
		"Write the last prediction as a timeline, as `switchover-bench run --timeline` does",
		4},
	{0},
};

static void parse_vfs(struct argp_state *state, struct plan_request *request, char *list)
{
	char *save = NULL;

	request->vfs_count = 0;
	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		if (request->vfs_count == PLAN_LIST_MAX)
			argp_error(state, "--vfs: expected at most %d numbers", PLAN_LIST_MAX);
		request->vfs[request->vfs_count++] =
			(unsigned)args_number(state, "vfs", one, 1, SWO_DEVICES_MAX);
	}
	if (!request->vfs_count)
		argp_error(state, "--vfs: expected numbers, such as 1,4,16");
}

/* In millionths: of MB/s, bytes a second; of ms, ns. */
static uint64_t millionths(struct argp_state *state, const char *name, const char *text, double max)
{
	return (uint64_t)(args_real(state, name, text, 0, max) * 1e6);
}

static bool parse_host(int key, char *text, struct argp_state *state, struct plan_request *r)
{
	struct swo_plan_setup *s = &r->setup;

	switch (key) {
	case OPT_VFS:
		parse_vfs(state, r, text);
		return true;
	case OPT_PFS:
		r->pfs = (unsigned)args_number(state, "pfs", text, 1, SWO_DEVICES_MAX);
		return true;
	case OPT_PF_ARCS:
		s->pf_arcs = true;
		return true;
	case OPT_WIRE_RATE:
		s->wire_rate = millionths(state, "wire-rate", text, 1e6);
		r->given.wire_rate = true;
		return true;
	case OPT_CHANNEL_RATE:
		s->channel_rate = millionths(state, "channel-rate", text, 1e6);
		r->given.channel_rate = true;
		return true;
	case OPT_CHANNELS:
		s->channels = (unsigned)args_number(state, "channels", text, 1, 16);
		r->given.channels = true;
		return true;
	case OPT_RTT:
		s->rtt_ns = millionths(state, "rtt-ms", text, 3.6e6);
		r->given.rtt = true;
		return true;
	case OPT_RAM:
		s->ram_bytes = millionths(state, "ram-dirty-mb", text, 1e6);
		r->given.ram = true;
		return true;
	case OPT_COSTS:
		r->costs = text;
		return true;
	case OPT_WINDOW:
		s->window = millionths(state, "device-window", text, 1e6);
		return true;
	default:
		return false;
	}
}

static bool parse_switch(int key, char *text, struct argp_state *state, struct plan_request *r)
{
	static const char *const transitions[] = {"serial", "parallel", NULL};
	static const char *const joins[] = {"depth", "pass", NULL};
	static const char *const whens[] = {"early", "ram", "late", NULL};
	static const char *const ends[] = {"early", "late", NULL};
	struct swo_plan_setup *s = &r->setup;

	switch (key) {
	case OPT_TRANSITIONS:
		s->transitions = args_word(state, "transitions", text, transitions)
					 ? SWO_TRANSITIONS_PARALLEL
					 : SWO_TRANSITIONS_SERIAL;
		break;
	case OPT_JOIN:
		s->join = args_word(state, "join", text, joins) ? SWO_JOIN_PASS : SWO_JOIN_DEPTH;
		break;
	case OPT_STREAM:
		s->stream = args_word(state, "stream", text, ends) ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		break;
	case OPT_FINALISE:
		s->finalise = (enum swo_when)args_word(state, "finalise", text, whens);
		break;
	case OPT_CONFIG:
		s->config = args_word(state, "config", text, ends) ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		break;
	default:
		return false;
	}
	r->custom = s->transitions != SWO_TRANSITIONS_PARALLEL || s->join != SWO_JOIN_PASS ||
		    s->stream != SWO_WHEN_EARLY || s->finalise != SWO_WHEN_EARLY ||
		    s->config != SWO_WHEN_EARLY;
	return true;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct plan_request *r = state->input;

	switch (key) {
	case OPT_PROFILE:
		r->profile = text;
		return 0;
	case OPT_PROBE:
		r->probe = text;
		return 0;
	case OPT_TIMELINE:
	case OPT_READ_TIMELINE:
		r->timeline = text;
		return 0;
	case OPT_JSON:
		r->json = true;
		r->json_file = text;
		return 0;
	case OPT_SAVE:
		r->save_timeline = text;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is no option", text);
		return EINVAL;
	case ARGP_KEY_END:
		if (!!r->profile + !!r->probe + !!r->timeline > 1)
			argp_error(state, "--profile, --probe and --timeline exclude each other");
		return 0;
	default:
		if (parse_host(key, text, state, r) || parse_switch(key, text, state, r))
			return 0;
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Predict the blackout of a VM with passthrough devices when it is migrated, print its "
	       "critical path and the changes with the largest effect; or print them for a switchover "
	       "that took place.",
};

void plan_parse_args(int argc, char **argv, struct plan_request *request)
{
	*request = (struct plan_request){0};
	swo_plan_setup_init(&request->setup);
	argp_parse(&argp, argc, argv, 0, NULL, request);
	if (!request->profile && !request->probe && !request->timeline)
		request->profile = "cx7";
}

void plan_take_link(struct plan_request *request, const struct probe_link *link)
{
	struct swo_plan_setup *s = &request->setup;

	if (!request->given.wire_rate && link->wire_rate != SWO_UNKNOWN)
		s->wire_rate = link->wire_rate;
	if (!request->given.channel_rate && link->channel_rate != SWO_UNKNOWN)
		s->channel_rate = link->channel_rate;
	if (!request->given.channels && link->channels != SWO_UNKNOWN)
		s->channels = (unsigned)link->channels;
	if (!request->given.rtt && link->rtt_ns != SWO_UNKNOWN)
		s->rtt_ns = link->rtt_ns;
	if (!request->given.ram && link->ram_bytes != SWO_UNKNOWN)
		s->ram_bytes = link->ram_bytes;
}
