/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - the command line of `switchover bench`.
 */
#include "testbed/bench/bench.h"

#include "cmd/common/args.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_VFS = 256,
	OPT_TRANSITIONS,
	OPT_PROFILE,
	OPT_BACKEND,
	OPT_RUNS,
	OPT_ABLATE,
	OPT_SCALE,
	OPT_CALIBRATE,
	OPT_COSTS,
	OPT_PROBED,
	OPT_ACCEL,
	OPT_CHANNEL,
	OPT_CHANNELS,
	OPT_HANDOVER,
	OPT_TLS,
	OPT_JOIN,
	OPT_STREAM,
	OPT_FINALISE,
	OPT_CONFIG,
	OPT_PF,
	OPT_PFS,
	OPT_PF_ARCS,
	OPT_ROOT_PORTS,
	OPT_RAM,
	OPT_FILL_RAM,
	OPT_VCPUS,
	OPT_DIRTY_RATE,
	OPT_DMA_PAGES,
	OPT_DMA_RATE,
	OPT_P2P_RATE,
	OPT_IRQ_EVERY,
	OPT_HANDLER_COST,
	OPT_DOORBELL,
	OPT_KEEP,
	OPT_VERBOSE,
	OPT_JSON,
	OPT_TIMELINE,
};

static const struct argp_option options[] = {
	{NULL, 0, NULL, 0, "Rows: one for each number of VFs and kind of transitions", 1},
	{"vfs", OPT_VFS, "N,N,...", 0, "Numbers of devices (1,2,4)", 1},
	{"transitions", OPT_TRANSITIONS, "LIST", 0, "serial, parallel or both (serial,parallel)",
		1},
	{"runs", OPT_RUNS, "N", 0, "Migrations a row (5)", 1},
	{"ablate", OPT_ABLATE, NULL, 0,
		"Instead of transitions: the full pipeline against each of its parts switched off, "
		"and with --handler-cost against a slow ordinary handler",
		1},
	{"scale", OPT_SCALE, "N", OPTION_ARG_OPTIONAL,
		"Instead of --vfs and transitions: 1, 2, 4 ... N VFs (128), parallel, once each "
		"unless --runs says otherwise, and by how much everything grows",
		1},
	{"calibrate", OPT_CALIBRATE, "FILE", 0,
		"Instead of all that: measure what the machinery costs on this host, with devices "
		"that cost nothing, 1 and 8 (--vfs says another number), 9 runs unless --runs "
		"follows; write it for --costs here and of switchover plan",
		1},
	{"costs", OPT_COSTS, "FILE", 0,
		"What --calibrate wrote: the predictions and the source's estimate count it in", 1},
	{"probed", OPT_PROBED, NULL, 0,
		"The machines are told what the profile says of the devices, as a probe would: "
		"what "
		"does the source's own estimate make of it?",
		1},
	{"profile", OPT_PROFILE, "NAME", 0,
		"Of the devices: even, cx7, instant, another of simvf's, or mixed: four kinds in "
		"turn (even)",
		1},
	{"backend", OPT_BACKEND, "KIND", 0,
		"Devices are processes, or those of simvf.ko in this kernel: vfio-user or kernel "
		"(vfio-user)",
		1},
	{NULL, 0, NULL, 0, "The machine", 2},
	{"accel", OPT_ACCEL, "KIND", 0, "auto, kvm or native (auto)", 2},
	{"vcpus", OPT_VCPUS, "N", 0, "vCPUs (2)", 2},
	{"ram", OPT_RAM, "SIZE", 0, "Guest memory (256M)", 2},
	{"fill-ram", OPT_FILL_RAM, NULL, 0, "All of it is written before the guest starts", 2},
	{"dirty-rate", OPT_DIRTY_RATE, "N", 0, "Pages each vCPU writes a second (200)", 2},
	{"dma-pages", OPT_DMA_PAGES, "N", 0, "Ring of each device's DMA engine (64)", 2},
	{"dma-rate", OPT_DMA_RATE, "N", 0, "Pages each device writes a second (100)", 2},
	{"p2p-rate", OPT_P2P_RATE, "N", 0, "Writes to a sibling's BAR a second (100)", 2},
	{"irq-every", OPT_IRQ_EVERY, "N", 0, "An interrupt every N doorbells (16)", 2},
	{"doorbell-period-us", OPT_DOORBELL, "US", 0,
		"Each vCPU rings each device so often (1000 up to 4 VFs, then 250 a VF)", 2},
	{"handler-cost", OPT_HANDLER_COST, "MS", 0, "An ordinary handler at each depth costs this",
		2},
	{"pf", OPT_PF, "NAME", 0, "All devices of a side are on one PF of this name", 2},
	{"pfs", OPT_PFS, "N", 0, "They are spread over N PFs (cx7: one PF unless said)", 2},
	{"pf-arcs", OPT_PF_ARCS, NULL, 0, "A PF takes arcs one at a time, too", 2},
	{"root-ports", OPT_ROOT_PORTS, "N", 0, "Devices lie behind N root ports in turn (0)", 2},
	{NULL, 0, NULL, 0, "The migration", 3},
	{"channel", OPT_CHANNEL, "KIND", 0, "unix or tcp (unix)", 3},
	{"tls", OPT_TLS, "KIND", 0,
		"Encrypted, with throw-away certificates or a shared key: x509 or psk; over tcp "
		"unless "
		"--channel says otherwise",
		3},
	{"channels", OPT_CHANNELS, "N", 0, "Connections (2)", 3},
	{"handover", OPT_HANDOVER, "HOW", 0,
		"RAM is copied, or handed over by descriptor: copy or fd (copy)", 3},
	{"join", OPT_JOIN, "WHEN", 0, "A device is joined at the end of its depth or pass", 3},
	{"stream", OPT_STREAM, "WHEN", 0, "A device's state goes early, or late: after all stopped",
		3},
	{"finalise", OPT_FINALISE, "WHEN", 0, "RESUMING->STOP: early, ram or late", 3},
	{"config", OPT_CONFIG, "WHEN", 0, "Config is applied early or late", 3},
	{NULL, 0, NULL, 0, "Output", 4},
	{"json", OPT_JSON, "FILE", 0, "Write a JSON object per row", 4},
	{"timeline", OPT_TIMELINE, "FILE", 0,
		"Write the timeline of the median run of the last row, beside it a Chrome trace",
		4},
	{"keep", OPT_KEEP, NULL, 0, "Keep logs and sockets of every run", 4},
	{"verbose", OPT_VERBOSE, NULL, 0, "Say what happens", 4},
	{0},
};

static unsigned number(
	struct argp_state *state, const char *name, const char *text, unsigned min, unsigned max)
{
	return (unsigned)args_number(state, name, text, min, max);
}

/* One of the words of `choices`, which are separated by spaces. */
static const char *word(
	struct argp_state *state, const char *name, const char *text, const char *choices)
{
	size_t len = strlen(text);

	for (const char *at = choices; len && (at = strstr(at, text)); at += len)
		if ((at == choices || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return text;
	argp_error(state, "--%s wants one of: %s; not '%s'", name, choices, text);
	return text;
}

static void parse_vfs(struct argp_state *state, struct bench_config *config, char *list)
{
	char *save = NULL;

	config->vfs_count = 0;
	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		if (config->vfs_count == BENCH_LIST_MAX)
			argp_error(state, "--vfs takes at most %d numbers", BENCH_LIST_MAX);
		config->vfs[config->vfs_count++] = number(state, "vfs", one, 1, BENCH_VFS_MAX);
	}
	if (!config->vfs_count)
		argp_error(state, "--vfs wants numbers, as in 1,2,4");
}

static void parse_transitions(struct argp_state *state, struct bench_config *config, char *list)
{
	char *save = NULL;

	config->transitions_count = 0;
	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		if (config->transitions_count == 2)
			argp_error(state, "--transitions takes serial, parallel or both");
		config->transitions[config->transitions_count++] =
			word(state, "transitions", one, "serial parallel");
	}
	if (!config->transitions_count)
		argp_error(state, "--transitions takes serial, parallel or both");
}

static error_t parse_machine(int key, char *arg, struct argp_state *state)
{
	struct bench_config *config = state->input;

	switch (key) {
	case OPT_ACCEL:
		config->accel = word(state, "accel", arg, "auto kvm native");
		break;
	case OPT_VCPUS:
		config->vcpus = number(state, "vcpus", arg, 1, 64);
		break;
	case OPT_RAM:
		config->ram = arg;
		break;
	case OPT_FILL_RAM:
		config->fill_ram = true;
		break;
	case OPT_DIRTY_RATE:
		config->dirty_rate = number(state, "dirty-rate", arg, 0, 10000000);
		break;
	case OPT_DMA_PAGES:
		config->dma_pages = number(state, "dma-pages", arg, 0, 65536);
		break;
	case OPT_DMA_RATE:
		config->dma_rate = number(state, "dma-rate", arg, 0, 10000000);
		break;
	case OPT_P2P_RATE:
		config->p2p_rate = number(state, "p2p-rate", arg, 0, 10000000);
		break;
	case OPT_IRQ_EVERY:
		config->irq_every = number(state, "irq-every", arg, 0, 1000000000);
		break;
	case OPT_DOORBELL:
		config->doorbell_period_us = number(state, "doorbell-period-us", arg, 50, 10000000);
		break;
	case OPT_HANDLER_COST:
		config->handler_cost_ms = number(state, "handler-cost", arg, 0, 60000);
		break;
	case OPT_PF:
		config->pf = arg;
		break;
	case OPT_PFS:
		config->pfs = number(state, "pfs", arg, 1, BENCH_VFS_MAX);
		break;
	case OPT_ROOT_PORTS:
		config->root_ports = number(state, "root-ports", arg, 0, 16);
		break;
	case OPT_PF_ARCS:
		config->pf_arcs = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static error_t parse_migration(int key, char *arg, struct argp_state *state)
{
	struct bench_config *config = state->input;

	switch (key) {
	case OPT_CHANNEL:
		config->channel = word(state, "channel", arg, "unix tcp");
		break;
	case OPT_TLS:
		config->tls = word(state, "tls", arg, "x509 psk");
		break;
	case OPT_CHANNELS:
		config->channels = number(state, "channels", arg, 1, 16);
		break;
	case OPT_HANDOVER:
		config->handover = word(state, "handover", arg, "copy fd");
		break;
	case OPT_JOIN:
		config->join = word(state, "join", arg, "depth pass");
		break;
	case OPT_STREAM:
		config->stream = word(state, "stream", arg, "early late");
		break;
	case OPT_FINALISE:
		config->finalise = word(state, "finalise", arg, "early ram late");
		break;
	case OPT_CONFIG:
		config->config = word(state, "config", arg, "early late");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct bench_config *config = state->input;

	switch (key) {
	case OPT_VFS:
		parse_vfs(state, config, arg);
		break;
	case OPT_TRANSITIONS:
		parse_transitions(state, config, arg);
		break;
	case OPT_PROFILE:
		config->profile = arg;
		break;
	case OPT_BACKEND:
		config->backend = word(state, "backend", arg, "vfio-user kernel");
		break;
	case OPT_RUNS:
		config->runs = number(state, "runs", arg, 1, 1000);
		break;
	case OPT_ABLATE:
		config->ablate = true;
		break;
	case OPT_SCALE:
		config->scale = true;
		bench_scale_vfs(config, arg ? number(state, "scale", arg, 1, BENCH_VFS_MAX) : 128);
		break;
	case OPT_CALIBRATE:
		config->calibrate = arg;
		bench_calibrate_defaults(config);
		break;
	case OPT_PROBED:
		config->probed = true;
		break;
	case OPT_COSTS:
		config->costs_file = arg;
		break;
	case OPT_JSON:
		config->json = arg;
		break;
	case OPT_TIMELINE:
		config->timeline = arg;
		break;
	case OPT_KEEP:
		config->keep = true;
		break;
	case OPT_VERBOSE:
		config->verbose = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is not an option", arg);
		break;
	case ARGP_KEY_END:
		if (!config->channel)
			config->channel = config->tls ? "tcp" : "unix";
		if (bench_hands_over(config) &&
			(config->tls || strcmp(config->channel, "unix") != 0))
			argp_error(state, "--handover fd needs --channel unix, and no --tls");
		if (config->pf && config->pfs)
			argp_error(state, "--pf and --pfs exclude each other");
		if (config->scale + config->ablate + !!config->calibrate > 1)
			argp_error(state, "--scale, --ablate and --calibrate exclude each other");
		if (config->calibrate && (config->vfs_count != 1 || config->vfs[0] < 2))
			argp_error(state, "--calibrate wants one number of VFs, from 2 on");
		if (config->calibrate && strcmp(config->profile, "instant") != 0)
			argp_error(state, "--calibrate is of devices that cost nothing: instant");
		if (config->ablate && (config->stream || config->finalise || config->config))
			argp_error(state,
				"--ablate itself switches --stream, --finalise and --config");
		break;
	default:
		if (!parse_machine(key, arg, state))
			return 0;
		return parse_migration(key, arg, state);
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Start machines with simulated devices, migrate them, check that nothing was lost, "
	       "and measure from outside how long the guest stood still.\v"
	       "Rows are interleaved run by run. Exit status: 0 when every migration was whole, 1 "
	       "when one was not or something failed, 2 when the command line makes no sense.",
};

void bench_defaults(struct bench_config *config)
{
	*config = (struct bench_config){
		.vfs = {1, 2, 4},
		.vfs_count = 3,
		.transitions = {"serial", "parallel"},
		.transitions_count = 2,
		.profile = "even",
		.backend = "vfio-user",
		.runs = 5,
		.accel = "auto",
		.channel = "unix",
		.channels = 2,
		.ram = "256M",
		.vcpus = 2,
		.dirty_rate = 200,
		.dma_pages = 64,
		.dma_rate = 100,
		.p2p_rate = 100,
		.irq_every = 16,
	};
}

void bench_parse_args(int argc, char **argv, struct bench_config *config)
{
	bench_defaults(config);
	config->channel = NULL; /* by --tls, unless said */
	/* argp ends the program itself on an error, with CLI_USAGE. */
	argp_parse(&argp, argc, argv, 0, NULL, config);
}

bool bench_hands_over(const struct bench_config *config)
{
	return config->handover && !strcmp(config->handover, "fd");
}

unsigned bench_doorbell_period_us(const struct bench_config *config, unsigned vfs)
{
	if (config->doorbell_period_us)
		return config->doorbell_period_us;
	/* A doorbell is an exit and a message to another process: more devices, more of them. */
	return vfs <= 4 ? 1000 : 250 * vfs;
}

unsigned bench_doorbell_turns(const struct bench_config *config, unsigned vfs)
{
	return config->doorbell_period_us ? 1 : (vfs + 3) / 4;
}

const char *bench_profile_of(const struct bench_config *config, unsigned i)
{
	static const char *const mixed[] = {
		"mixed-mlx5", "mixed-qat", "mixed-big", "mixed-instant"};

	return strcmp(config->profile, "mixed") ? config->profile
						: mixed[i % SWO_ARRAY_SIZE(mixed)];
}

int bench_pf_of(const struct bench_config *config, unsigned i)
{
	if (config->pfs)
		return (int)(i % config->pfs);
	return config->pf || !strcmp(config->profile, "cx7") ? 0 : -1;
}
