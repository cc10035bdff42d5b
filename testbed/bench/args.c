/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - the options of the measuring verbs: run, ablate, scale, calibrate. Each value is checked
 * here; check.c checks combinations of options, and the host.
 */
#include "testbed/bench/config.h"
#include "testbed/bench/report.h"

#include "cmd/common/args.h"
#include "cmd/common/cmd.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_VFS = 256,
	OPT_TRANSITIONS,
	OPT_LIKE,
	OPT_PROFILE,
	OPT_BACKEND,
	OPT_RUNS,
	OPT_MAX_VFS,
	OPT_OUTPUT,
	OPT_COSTS,
	OPT_PROBED,
	OPT_ACCEL,
	OPT_CHANNEL,
	OPT_CHANNELS,
	OPT_HANDOVER,
	OPT_TLS,
	OPT_LINK_RTT,
	OPT_LINK_RATE,
	OPT_LINK_BUFFER,
	OPT_JOIN,
	OPT_STREAM,
	OPT_FINALISE,
	OPT_CONFIG,
	OPT_PF,
	OPT_PFS,
	OPT_PF_ARCS,
	OPT_LATE_DMA,
	OPT_NO_DMA_LOG,
	OPT_ROOT_PORTS,
	OPT_RAM,
	OPT_PREALLOC,
	OPT_FILL_RAM,
	OPT_VCPUS,
	OPT_DIRTY_RATE,
	OPT_DMA_PAGES,
	OPT_DMA_RATE,
	OPT_P2P_RATE,
	OPT_IRQ_EVERY,
	OPT_HANDLER_COST,
	OPT_STOP_WRITES,
	OPT_DOORBELL,
	OPT_KEEP,
	OPT_VERBOSE,
	OPT_JSON,
	OPT_TIMELINE,
};

/* Options of one verb, or with a different default */

static const struct argp_option run_options[] = {
	{NULL, 0, NULL, 0, "Rows: one for each number of VFs and kind of transitions", 1},
	{"vfs", OPT_VFS, "N,N,...", 0, "Numbers of devices (1,2,4)", 1},
	{"transitions", OPT_TRANSITIONS, "LIST", 0, "serial, parallel or both (serial,parallel)",
		1},
	{"like", OPT_LIKE, "LIST", 0,
		"Add rows of other designs: seed (parallel, joined per depth, streams, config and "
		"finalise late), qemu (the same, serial) (none)",
		1},
	{"runs", OPT_RUNS, "N", 0, "Migrations per row (5)", 1},
	{0},
};
static const struct argp_option ablate_options[] = {
	{NULL, 0, NULL, 0, "Rows: the full pipeline and each of its parts switched off", 1},
	{"vfs", OPT_VFS, "N,N,...", 0, "Numbers of devices (1,2,4)", 1},
	{"runs", OPT_RUNS, "N", 0, "Migrations per row (5)", 1},
	{0},
};
static const struct argp_option scale_options[] = {
	{NULL, 0, NULL, 0, "Rows: one for each number of VFs", 1},
	{"max-vfs", OPT_MAX_VFS, "N", 0, "Numbers of devices: 1, 2, 4 ... N (128)", 1},
	{"vfs", OPT_VFS, "N,N,...", 0, "Numbers of devices, as a list", 1},
	{"transitions", OPT_TRANSITIONS, "LIST", 0, "serial, parallel or both (parallel)", 1},
	{"runs", OPT_RUNS, "N", 0, "Migrations per row (1)", 1},
	{0},
};
static const struct argp_option calibrate_options[] = {
	{NULL, 0, NULL, 0, "Rows: 1 and N devices without state, and N with 4 MiB each", 1},
	{"output", OPT_OUTPUT, "FILE", 0,
		"Write the overhead to FILE, for --costs here and of switchover plan (required)",
		1},
	{"vfs", OPT_VFS, "N", 0, "Number of devices (8)", 1},
	{"runs", OPT_RUNS, "N", 0, "Migrations per row (9)", 1},
	{0},
};

/* Options of all verbs */

static const struct argp_option common_options[] = {
	{"profile", OPT_PROFILE, "NAME", 0,
		"Profile of the devices: even, cx7, instant, another of switchover-simvf's, a "
		"file, or mixed: four kinds in turn (even; calibrate: instant)",
		1},
	{"backend", OPT_BACKEND, "KIND", 0,
		"vfio-user: devices are processes; kernel: devices of simvf.ko in this kernel; pci: "
		"PCI functions bound to simvf_pci.ko (vfio-user)",
		1},
	{"costs", OPT_COSTS, "FILE", 0,
		"Count in the engine overhead of this file, which calibrate wrote, in predictions "
		"and in the source's estimate",
		1},
	{"probed", OPT_PROBED, NULL, 0,
		"Pass the profile's figures to the machines, like the file of a probe", 1},
	{NULL, 0, NULL, 0, "The machine", 2},
	{"accel", OPT_ACCEL, "KIND", 0, "auto, kvm or native (auto)", 2},
	{"vcpus", OPT_VCPUS, "N", 0, "vCPUs (2)", 2},
	{"ram", OPT_RAM, "SIZE", 0, "Guest memory (256M)", 2},
	{"prealloc", OPT_PREALLOC, NULL, 0, "Allocate all of it when a machine starts", 2},
	{"fill-ram", OPT_FILL_RAM, NULL, 0, "Write every page of it before the guest starts", 2},
	{"dirty-rate", OPT_DIRTY_RATE, "N", 0, "Pages each vCPU writes per second (200)", 2},
	{"dma-pages", OPT_DMA_PAGES, "N", 0, "Ring of each device's DMA engine (64)", 2},
	{"dma-rate", OPT_DMA_RATE, "N", 0, "Pages each device writes per second (100)", 2},
	{"p2p-rate", OPT_P2P_RATE, "N", 0, "Writes to a sibling's BAR per second (100)", 2},
	{"irq-every", OPT_IRQ_EVERY, "N", 0, "An interrupt every N doorbells (16)", 2},
	{"doorbell-period-us", OPT_DOORBELL, "US", 0,
		"Period of the doorbells of each vCPU on each device (1000 up to 4 VFs, then 250 per VF)",
		2},
	{"handler-cost", OPT_HANDLER_COST, "MS", 0,
		"Add an ordinary handler of this cost at each depth", 2},
	{"stop-writes", OPT_STOP_WRITES, "PAGES", 0,
		"Add a handler that writes PAGES of memory while the VM is stopped (0)", 2},
	{"pf", OPT_PF, "NAME", 0, "Put all devices of a side on one PF of this name", 2},
	{"pfs", OPT_PFS, "N", 0, "Spread them over N PFs (default: as the profile)", 2},
	{"pf-arcs", OPT_PF_ARCS, NULL, 0, "Let a PF serialise arcs, not only data", 2},
	{"late-dma", OPT_LATE_DMA, NULL, 0, "Let devices write memory until they have stopped", 2},
	{"no-dma-log", OPT_NO_DMA_LOG, NULL, 0,
		"Let devices have no log of their writes: all memory is sent in the stop", 2},
	{"root-ports", OPT_ROOT_PORTS, "N", 0, "Put devices behind N root ports in turn (0)", 2},
	{NULL, 0, NULL, 0, "The migration", 3},
	{"channel", OPT_CHANNEL, "KIND", 0, "unix or tcp (unix)", 3},
	{"tls", OPT_TLS, "KIND", 0,
		"Encrypt, with throw-away certificates or a shared key: x509 or psk; over tcp "
		"unless --channel is given",
		3},
	{"channels", OPT_CHANNELS, "N", 0, "Connections (2)", 3},
	{"link-rtt", OPT_LINK_RTT, "MS", 0,
		"Put a link with this round trip between the machines: a proxy (0)", 3},
	{"link-rate", OPT_LINK_RATE, "MBIT", 0, "Its rate to the target in Mbit/s (no limit)", 3},
	{"link-buffer", OPT_LINK_BUFFER, "SIZE", 0, "What may wait for that rate (1M)", 3},
	{"handover", OPT_HANDOVER, "HOW", 0,
		"Copy RAM, or hand it over by descriptor: copy or fd (copy)", 3},
	{"join", OPT_JOIN, "WHEN", 0,
		"Join a device at the end of its depth or of the pass: depth or pass (pass)", 3},
	{"stream", OPT_STREAM, "WHEN", 0,
		"Send a device's state early, or late, after all have stopped (early)", 3},
	{"finalise", OPT_FINALISE, "WHEN", 0, "Time of RESUMING->STOP: early, ram or late (early)",
		3},
	{"config", OPT_CONFIG, "WHEN", 0, "Apply config early or late (early)", 3},
	{NULL, 0, NULL, 0, "Output", 4},
	{"json", OPT_JSON, "FILE", 0, "Write a JSON object per row", 4},
	{"timeline", OPT_TIMELINE, "FILE", 0,
		"Write the timeline of the median run of the last row, beside it a Chrome trace and "
		"the timelines of the other rows (FILE's name with -VFS-ROW)",
		4},
	{"keep", OPT_KEEP, NULL, 0, "Keep logs and sockets of every run", 4},
	{"verbose", OPT_VERBOSE, NULL, 0, "Print each step", 4},
	{0},
};

static unsigned number(
	struct argp_state *state, const char *name, const char *text, unsigned min, unsigned max)
{
	return (unsigned)args_number(state, name, text, min, max);
}

/* Parses one of `choices`, a list separated by spaces. */
static const char *choice(
	struct argp_state *state, const char *name, const char *text, const char *choices)
{
	size_t len = strlen(text);

	for (const char *at = choices; len && (at = strstr(at, text)); at += len)
		if ((at == choices || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return text;
	argp_error(state, "--%s: expected one of: %s; got '%s'", name, choices, text);
	return text;
}

static void parse_vfs(struct argp_state *state, struct bench_config *config, char *list)
{
	config->vfs_count = 0;
	/* Unlike strtok, strsep returns empty fields: they are rejected as numbers. */
	for (char *one; (one = strsep(&list, ","));) {
		if (config->vfs_count == BENCH_LIST_MAX)
			argp_error(state, "--vfs: expected at most %d numbers", BENCH_LIST_MAX);
		config->vfs[config->vfs_count++] = number(state, "vfs", one, 1, PAIR_VFS_MAX);
	}
}

static void parse_transitions(struct argp_state *state, struct bench_config *config, char *list)
{
	char *save = NULL;

	config->transitions_count = 0;
	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		if (config->transitions_count == 2)
			argp_error(state, "--transitions: at most serial and parallel");
		config->transitions[config->transitions_count++] =
			choice(state, "transitions", one, "serial parallel");
	}
	if (!config->transitions_count)
		argp_error(state, "--transitions: expected serial, parallel or both");
}

static error_t parse_machine(int key, char *arg, struct argp_state *state)
{
	struct bench_config *config = state->input;

	switch (key) {
	case OPT_ACCEL:
		config->pair.accel = choice(state, "accel", arg, "auto kvm native");
		break;
	case OPT_VCPUS:
		config->pair.vcpus = number(state, "vcpus", arg, 1, 64);
		break;
	case OPT_RAM:
		config->pair.ram = arg;
		break;
	case OPT_PREALLOC:
		config->pair.prealloc = true;
		break;
	case OPT_FILL_RAM:
		config->pair.fill_ram = true;
		break;
	case OPT_DIRTY_RATE:
		config->pair.dirty_rate = number(state, "dirty-rate", arg, 0, 10000000);
		break;
	case OPT_DMA_PAGES:
		config->pair.dma_pages = number(state, "dma-pages", arg, 0, 65536);
		break;
	case OPT_DMA_RATE:
		config->pair.dma_rate = number(state, "dma-rate", arg, 0, 10000000);
		break;
	case OPT_P2P_RATE:
		config->pair.p2p_rate = number(state, "p2p-rate", arg, 0, 10000000);
		break;
	case OPT_IRQ_EVERY:
		config->pair.irq_every = number(state, "irq-every", arg, 0, 1000000000);
		break;
	case OPT_DOORBELL:
		config->pair.doorbell_period_us =
			number(state, "doorbell-period-us", arg, 50, 10000000);
		break;
	case OPT_STOP_WRITES:
		config->pair.stop_writes = number(state, "stop-writes", arg, 0, 65536);
		break;
	case OPT_HANDLER_COST:
		config->pair.handler_cost_ms = number(state, "handler-cost", arg, 0, 60000);
		break;
	case OPT_PF:
		config->pair.pf = arg;
		break;
	case OPT_PFS:
		config->pair.pfs = number(state, "pfs", arg, 1, PAIR_VFS_MAX);
		break;
	case OPT_ROOT_PORTS:
		config->pair.root_ports = number(state, "root-ports", arg, 0, 16);
		break;
	case OPT_LATE_DMA:
		config->pair.late_dma = true;
		break;
	case OPT_NO_DMA_LOG:
		config->pair.no_dma_log = true;
		break;
	case OPT_PF_ARCS:
		config->pair.pf_arcs = true;
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
		config->pair.channel = choice(state, "channel", arg, "unix tcp");
		break;
	case OPT_TLS:
		config->pair.tls = choice(state, "tls", arg, "x509 psk");
		break;
	case OPT_CHANNELS:
		config->pair.channels = number(state, "channels", arg, 1, 16);
		break;
	case OPT_LINK_RTT:
		config->pair.link_rtt_ms = args_real(state, "link-rtt", arg, 0, 10000);
		break;
	case OPT_LINK_RATE:
		config->pair.link_rate =
			(uint64_t)(args_real(state, "link-rate", arg, 0.1, 1e6) * 1e6 / 8);
		break;
	case OPT_LINK_BUFFER:
		config->pair.link_buffer = args_size(state, "link-buffer", arg);
		break;
	case OPT_HANDOVER:
		config->pair.handover = choice(state, "handover", arg, "copy fd");
		break;
	case OPT_JOIN:
		config->pair.join = choice(state, "join", arg, "depth pass");
		break;
	case OPT_STREAM:
		config->pair.stream = choice(state, "stream", arg, "early late");
		break;
	case OPT_FINALISE:
		config->pair.finalise = choice(state, "finalise", arg, "early ram late");
		break;
	case OPT_CONFIG:
		config->pair.config = choice(state, "config", arg, "early late");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void parse_like(struct argp_state *state, struct bench_config *config, char *list)
{
	char *save = NULL;

	config->like_count = 0;
	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		const char *name = choice(state, "like", one, "seed qemu");

		if (config->like_count == SWO_ARRAY_SIZE(config->like) ||
			(config->like_count && !strcmp(config->like[0], name)))
			argp_error(state, "--like: '%s' is there twice", name);
		config->like[config->like_count++] = name;
	}
	if (!config->like_count)
		argp_error(state, "--like: expected seed, qemu or both");
}

static error_t parse_rows(int key, char *arg, struct argp_state *state)
{
	struct bench_config *config = state->input;

	switch (key) {
	case OPT_VFS:
		parse_vfs(state, config, arg);
		break;
	case OPT_MAX_VFS:
		bench_scale_vfs(config, number(state, "max-vfs", arg, 1, PAIR_VFS_MAX));
		break;
	case OPT_TRANSITIONS:
		parse_transitions(state, config, arg);
		break;
	case OPT_LIKE:
		parse_like(state, config, arg);
		break;
	case OPT_RUNS:
		config->runs = number(state, "runs", arg, 1, 1000);
		break;
	case OPT_OUTPUT:
		config->output = arg;
		break;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = config;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct bench_config *config = state->input;

	switch (key) {
	case OPT_PROFILE:
		config->pair.profile = arg;
		break;
	case OPT_BACKEND:
		config->pair.backend = choice(state, "backend", arg, "vfio-user kernel pci");
		break;
	case OPT_PROBED:
		config->pair.probed = true;
		break;
	case OPT_COSTS:
		config->pair.costs_file = arg;
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
		config->pair.verbose = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		break;
	default:
		if (!parse_machine(key, arg, state))
			return 0;
		return parse_migration(key, arg, state);
	}
	return 0;
}

static const struct argp common = {.options = common_options, .parser = parse_common};
static const struct argp_child children[] = {{&common, 0, NULL, 0}, {0}};

#define DOC_END                                                                                      \
	"\vRows are interleaved run by run. Exit status: 0 when every migration passed its checks, " \
	"1 when one did not or something failed, 2 on invalid usage."

static const struct argp verbs[] = {
	[BENCH_RUN] = {run_options, parse_rows, NULL,
		"Start machines with simulated devices, migrate them, check that nothing was lost, "
		"and measure the blackout of the guest from outside." DOC_END,
		children, NULL, NULL},
	[BENCH_ABLATE] = {ablate_options, parse_rows, NULL,
		"Measure what each part of the pipeline gains: the full pipeline against each of "
		"its parts switched off, and with --handler-cost against a slow ordinary "
		"handler." DOC_END,
		children, NULL, NULL},
	[BENCH_SCALE] = {scale_options, parse_rows, NULL,
		"Measure the growth with the number of devices: threads, memory, open files, "
		"times." DOC_END,
		children, NULL, NULL},
	[BENCH_CALIBRATE] = {calibrate_options, parse_rows, NULL,
		"Measure the engine overhead on this host, with devices that cost nothing, and "
		"write it to a file." DOC_END,
		children, NULL, NULL},
};

static void set_defaults(enum bench_kind kind, struct bench_config *config)
{
	bench_defaults(config);
	config->kind = kind;
	config->pair.channel = NULL; /* set by --tls, unless given */
	if (kind == BENCH_SCALE)
		bench_scale_defaults(config);
	if (kind == BENCH_CALIBRATE)
		bench_calibrate_defaults(config);
}

void bench_parse_args(enum bench_kind kind, int argc, char **argv, struct bench_config *config)
{
	set_defaults(kind, config);
	/* On an error argp exits with CLI_USAGE. */
	argp_parse(&verbs[kind], argc, argv, 0, NULL, config);
	if (!config->pair.channel)
		config->pair.channel = config->pair.tls ? "tcp" : "unix";
}
