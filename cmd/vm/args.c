/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - the command line of `switchover vm`.
 */
#include "cmd/vm/args.h"

#include "cmd/common/args.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_NAME = 256,
	OPT_ACCEL,
	OPT_VCPUS,
	OPT_RAM,
	OPT_DEVICE,
	OPT_VFIO,
	OPT_ROOT_PORT,
	OPT_QMP,
	OPT_INCOMING,
	OPT_EXIT_ON_ERROR,
	OPT_TRANSITIONS,
	OPT_JOIN,
	OPT_PERIOD,
	OPT_TURNS,
	OPT_DIRTY_RATE,
	OPT_DMA_PAGES,
	OPT_DMA_RATE,
	OPT_P2P_RATE,
	OPT_IRQ_EVERY,
	OPT_HANDLER_COST,
	OPT_STOP_WRITES,
	OPT_TIMELINE,
	OPT_METRICS,
	OPT_PIDFILE,
	OPT_READY_FD,
	OPT_QUIET,
	OPT_UUID,
	OPT_JOURNAL,
	OPT_JOURNAL_SYNC,
	OPT_HANDOVER,
	OPT_PREALLOC,
	OPT_DUMP,
	OPT_FILL_RAM,
	OPT_COSTS,
	OPT_PROBE,
};

static const struct argp_option options[] = {
	{0, 0, 0, 0, "The machine:", 1},
	{"name", OPT_NAME, "NAME", 0, "Set the VM's name in messages (vm)", 1},
	{"uuid", OPT_UUID, "UUID", 0, "Set the VM's identity in journals (--name, if given)", 1},
	{"accel", OPT_ACCEL, "KIND", 0, "Use kvm, native, or auto: kvm if it is usable (auto)", 1},
	{"vcpus", OPT_VCPUS, "N", 0, "Set the number of vCPUs, 1 to 64 (1)", 1},
	{"ram", OPT_RAM, "SIZE", 0,
		"Set the size of RAM, a multiple of 1 MiB; suffixes K, M, G (256M)", 1},
	{"prealloc", OPT_PREALLOC, NULL, 0,
		"Allocate all of RAM at the start (each page when it is first touched)", 1},
	{"dump-guest-core", OPT_DUMP, "on|off", 0, "Have RAM in core dumps, as QEMU does (on)", 1},
	{"device", OPT_DEVICE, "vfio-user,socket=PATH[,id=NAME][,bus=PORT][,addr=SLOT[.FUNCTION]]",
		0,
		"Pass a device through; may be repeated. Also ,arc-deadline=MS and "
		",finalise=early|ram|late, ,migration-events=on|off and "
		",quirks=NAME[+NAME...]",
		1},
	{"vfio", OPT_VFIO, "PATH|fd=N[,id=NAME]...", 0,
		"Pass a kernel VFIO device through: /dev/vfio/devices/vfioN, "
		"/dev/vfio/GROUP[:NAME], "
		"its PCI address, its directory in sysfs, or an opened descriptor; short for "
		"--device vfio,path=PATH. Also ,iommufd=N and ,vf-token-file=PATH or ,vf-token-fd=N",
		1},
	{"root-port", OPT_ROOT_PORT, "ID", 0,
		"Add a PCI root port for devices (bus=ID); may be repeated", 1},
	{0, 0, 0, 0, "Control:", 2},
	{"qmp", OPT_QMP, "unix:PATH", 0, "Serve QMP on this socket, for this user only (none)", 2},
	{"incoming", OPT_INCOMING, "URI|defer", 0,
		"Wait for a migration on unix:PATH or tcp:HOST:PORT, or for migrate-incoming", 2},
	{"exit-on-error", OPT_EXIT_ON_ERROR, NULL, 0,
		"End, with status 1, if the incoming migration fails (wait for the next "
		"migrate-incoming)",
		2},
	{"paused", 'S', NULL, 0, "Do not start the guest; on a target: stay paused", 2},
	{"transitions", OPT_TRANSITIONS, "HOW", 0,
		"Change device states serial or parallel (parallel)", 2},
	{"join", OPT_JOIN, "WHERE", 0,
		"Join parallel transitions at the end of depth or pass (pass)", 2},
	{"handover", OPT_HANDOVER, "HOW", 0,
		"Copy RAM, or pass it by descriptor to a target on this host: copy "
		"or fd (copy)",
		2},
	{"journal", OPT_JOURNAL, "DIR|none", 0,
		"Keep the migrations' journals in DIR (/var/lib/switchover for root, else "
		"~/.local/state/switchover)",
		2},
	{"journal-sync", OPT_JOURNAL_SYNC, NULL, 0,
		"Sync journals, so that they survive a crash of the host", 2},
	{"probe", OPT_PROBE, "FILE", 0,
		"Read the expected costs of the devices, as for `switchover plan`, by their names, "
		"or in turn if FILE has none of them (none)",
		2},
	{"costs", OPT_COSTS, "FILE", 0,
		"Read the engine overhead, for the expected downtime; `switchover-bench calibrate` "
		"writes FILE (none)",
		2},
	{"timeline", OPT_TIMELINE, "FILE", 0,
		"Write each migration's timeline to FILE: .txt a picture, .chrome.json a Chrome "
		"trace, else JSON (none)",
		2},
	{"metrics", OPT_METRICS, "FILE", 0,
		"Keep metrics of the migrations in FILE, in Prometheus' text format (none)", 2},
	{"pidfile", OPT_PIDFILE, "FILE", 0, "Write the process ID to FILE (none)", 2},
	{"ready-fd", OPT_READY_FD, "N", 0,
		"Write a byte to descriptor N, and close it, once the machine and its monitor are there "
		"(none)",
		2},
	{"quiet", OPT_QUIET, NULL, 0, "Print only warnings and errors", 2},
	{0, 0, 0, 0, "Guest:", 3},
	{"doorbell-period-us", OPT_PERIOD, "US", 0,
		"Set the period in which each vCPU rings every device (1000)", 3},
	{"doorbell-turns", OPT_TURNS, "N", 0,
		"Divide the period into N turns, each for a part of the devices (1)", 3},
	{"dirty-rate", OPT_DIRTY_RATE, "N", 0, "Rewrite N pages/s per vCPU (1000)", 3},
	{"dma-pages", OPT_DMA_PAGES, "N", 0,
		"Set the ring of each device's DMA engine; 0: off (64)", 3},
	{"dma-rate", OPT_DMA_RATE, "N", 0, "Write N pages/s by DMA per device (100)", 3},
	{"p2p-rate", OPT_P2P_RATE, "N", 0,
		"Write N times/s from each device into its sibling; 0: off (100)", 3},
	{"irq-every", OPT_IRQ_EVERY, "N", 0, "Send an interrupt every N doorbells; 0: never (16)",
		3},
	{0, 0, 0, 0, "Measuring:", 4},
	{"fill-ram", OPT_FILL_RAM, NULL, 0, "Write every page of RAM before the guest starts", 4},
	{"handler-cost", OPT_HANDLER_COST, "MS", 0,
		"Add a run-state handler at each depth that takes MS (none)", 4},
	{"stop-writes", OPT_STOP_WRITES, "PAGES", 0,
		"Add a run-state handler that writes PAGES of RAM in each stop (none)", 4},
	{0},
};

static void add_device(struct argp_state *state, struct vm_options *o, const char *text)
{
	struct swo_error err;

	if (o->config.device_count == VMM_DEVICES_MAX)
		argp_error(state, "a machine has %d devices at most", VMM_DEVICES_MAX);
	else if (vmm_device_parse(text, &o->devices[o->config.device_count++], &err))
		argp_error(state, "%s", err.text);
}

static void add_vfio(struct argp_state *state, struct vm_options *o, const char *path)
{
	char text[512];

	const char *key = strncmp(path, "fd=", 3) ? "path=" : "";

	if (*path && *path != ',' &&
		(size_t)snprintf(text, sizeof(text), "vfio,%s%s", key, path) < sizeof(text))
		add_device(state, o, text);
	else
		argp_error(state, "--vfio: expected the path of a VFIO device, got '%.20s'", path);
}

static void add_root_port(struct argp_state *state, struct vm_options *o, const char *id)
{
	if (o->config.root_port_count == VM_ROOT_PORTS_MAX)
		argp_error(state, "a machine has %d root ports at most", VM_ROOT_PORTS_MAX);
	else
		o->root_ports[o->config.root_port_count++] = id;
}

static error_t parse_guest(int key, char *arg, struct argp_state *state, struct vm_options *o)
{
	struct vmm_guest_params *guest = &o->config.guest;

	switch (key) {
	case OPT_PERIOD:
		guest->doorbell_period_us =
			(uint32_t)args_number(state, "doorbell-period-us", arg, 1, 10000000);
		return 0;
	case OPT_TURNS:
		guest->doorbell_turns =
			(uint32_t)args_number(state, "doorbell-turns", arg, 1, VMM_DEVICES_MAX);
		return 0;
	case OPT_DIRTY_RATE:
		guest->dirty_pages_per_s =
			(uint32_t)args_number(state, "dirty-rate", arg, 0, 100000000);
		return 0;
	case OPT_DMA_PAGES:
		guest->dma_pages = (uint32_t)args_number(state, "dma-pages", arg, 0, 1000000);
		return 0;
	case OPT_DMA_RATE:
		guest->dma_rate = (uint32_t)args_number(state, "dma-rate", arg, 0, 10000000);
		return 0;
	case OPT_P2P_RATE:
		guest->p2p_rate = (uint32_t)args_number(state, "p2p-rate", arg, 0, 10000000);
		return 0;
	case OPT_IRQ_EVERY:
		guest->irq_every = (uint32_t)args_number(state, "irq-every", arg, 0, 1000000000);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int ready_fd(struct argp_state *state, const char *text)
{
	const int fd = (int)args_number(state, "ready-fd", text, 0, INT_MAX);
	struct swo_error err;

	if (vm_ready_fd_check(fd, &err))
		argp_error(state, "%s", err.text);
	return fd;
}

/* A machine that could never be migrated, or never be found again, is not started. */
static void check_identity(
	const struct argp_state *state, const char *option, const char *uuid, const char *name)
{
	char identity[SWO_JOURNAL_VM_MAX];
	struct swo_error err = {0};

	if (swo_vm_identity(uuid, name, identity, &err))
		argp_error(state, "%s: %s", option, err.text);
}

static error_t parse_machine(int key, char *arg, struct argp_state *state, struct vm_options *o)
{
	static const char *const accels[] = {"auto", "kvm", "native", NULL};
	static const char *const off_on[] = {"off", "on", NULL};
	static const char *const transitions[] = {"serial", "parallel", NULL};
	static const char *const handovers[] = {"copy", "fd", NULL};
	static const char *const joins[] = {"depth", "pass", NULL};

	switch (key) {
	case OPT_NAME:
		check_identity(state, "--name", NULL, arg);
		o->config.name = arg;
		o->named = true;
		return 0;
	case OPT_ACCEL:
		o->config.accel = (enum vmm_accel_kind)args_word(state, "accel", arg, accels);
		return 0;
	case OPT_VCPUS:
		o->config.vcpus = (unsigned)args_number(state, "vcpus", arg, 1, VMM_VCPUS_MAX);
		return 0;
	case OPT_RAM:
		o->config.ram_size = args_size(state, "ram", arg);
		return 0;
	case OPT_DEVICE:
		add_device(state, o, arg);
		return 0;
	case OPT_VFIO:
		add_vfio(state, o, arg);
		return 0;
	case OPT_ROOT_PORT:
		add_root_port(state, o, arg);
		return 0;
	case OPT_TRANSITIONS:
		o->config.transitions =
			(enum swo_transitions)args_word(state, "transitions", arg, transitions);
		return 0;
	case OPT_JOIN:
		o->config.join = (enum swo_join)args_word(state, "join", arg, joins);
		return 0;
	case OPT_DUMP:
		o->config.no_dump = !args_word(state, "dump-guest-core", arg, off_on);
		return 0;
	case OPT_PREALLOC:
		o->config.prealloc = true;
		return 0;
	case OPT_FILL_RAM:
		o->config.fill_ram = true;
		return 0;
	case OPT_HANDOVER:
		o->config.handover =
			(enum swo_handover)args_word(state, "handover", arg, handovers);
		return 0;
	case OPT_STOP_WRITES:
		o->config.stop_writes = (unsigned)args_number(state, "stop-writes", arg, 0, 65536);
		return 0;
	case OPT_HANDLER_COST:
		o->config.handler_cost_ms =
			(unsigned)args_number(state, "handler-cost", arg, 0, 60000);
		return 0;
	default:
		return parse_guest(key, arg, state, o);
	}
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct vm_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->tls;
		return 0;
	case OPT_QMP:
		if (strncmp(arg, "unix:", 5) != 0)
			argp_error(state, "--qmp: expected unix:PATH, got '%s'", arg);
		o->qmp = arg + 5;
		return 0;
	case OPT_EXIT_ON_ERROR:
		o->config.exit_on_error = true;
		return 0;
	case OPT_INCOMING:
		o->config.incoming = true;
		o->incoming = strcmp(arg, "defer") ? arg : NULL;
		return 0;
	case 'S':
		o->config.paused = true;
		return 0;
	case OPT_UUID:
		check_identity(state, "--uuid", arg, NULL);
		o->journal.uuid = arg;
		return 0;
	case OPT_JOURNAL:
		o->journal.dir = arg;
		return 0;
	case OPT_JOURNAL_SYNC:
		o->journal.sync = true;
		return 0;
	case OPT_COSTS:
		o->costs = arg;
		return 0;
	case OPT_PROBE:
		o->probe = arg;
		return 0;
	case OPT_TIMELINE:
		o->timeline = arg;
		return 0;
	case OPT_METRICS:
		o->metrics = arg;
		return 0;
	case OPT_PIDFILE:
		o->pidfile.path = arg;
		return 0;
	case OPT_READY_FD:
		o->ready_fd = ready_fd(state, arg);
		return 0;
	case OPT_QUIET:
		o->quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return 0;
	case ARGP_KEY_END:
		if (o->config.exit_on_error && !o->config.incoming)
			argp_error(state, "--exit-on-error is for --incoming");
		if (o->config.incoming && !o->incoming && !o->qmp)
			argp_error(state, "--incoming defer requires --qmp");
		return 0;
	default:
		return parse_machine(key, arg, state, o);
	}
}

static const struct argp_child children[] = {{&tls_argp, 0, "Migrating:", 2}, {0}};

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = children,
	.doc = "Run a virtual machine with passthrough devices, or receive one.\v"
	       "SIGTERM, SIGINT and SIGHUP end it as `quit` does; with a migration in doubt, only the "
	       "second one does. Exit status: 0 ended on request; 1 failed; 2 invalid usage.",
};

void vm_parse_args(int argc, char **argv, struct vm_options *o)
{
	o->ready_fd = -1;
	o->config = (struct vmm_machine_config){.name = "vm",
		.vcpus = 1,
		.ram_size = UINT64_C(256) << 20,
		.transitions = SWO_TRANSITIONS_PARALLEL,
		.join = SWO_JOIN_PASS,
		.guest = {.doorbell_period_us = 1000,
			.dirty_pages_per_s = 1000,
			.dma_pages = 64,
			.dma_rate = 100,
			.p2p_rate = 100,
			.irq_every = 16}};
	/* argp ends the program itself on an error. */
	argp_parse(&argp, argc, argv, 0, NULL, o);
}
