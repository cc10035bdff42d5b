/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - the command line, by argp. An invalid option ends the program with one line.
 */
#include "server.h"

#include "switchover/version.h"

#include "base/number.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

/* libc reads it: visible outside of the program, unlike everything else. */
__attribute__((visibility("default"))) const char *argp_program_version =
	"switchover-simvf " SWO_VERSION;

enum {
	OPT_CONTROL = 256,
	OPT_REPORT,
	OPT_NAME,
	OPT_PROFILE,
	OPT_SEED,
	OPT_PF,
	OPT_PF_DIR,
	OPT_PF_ARCS,
	OPT_FAULT,
	OPT_LATE_DMA,
	OPT_NO_P2P,
	OPT_NO_PRE_COPY,
	OPT_NO_DATA_SIZE,
	OPT_NO_DMA_LOG,
	OPT_NO_TWIN,
	OPT_READY_FD,
	OPT_QUIET,
	OPT_FIGURES, /* and the following ones, in the order of `figures` */
};

/* The keys of the profile, each an option. */
static const char *const figures[] = {"to_p2p_ms", "to_stop_copy_ms", "resuming_to_stop_ms",
	"to_running_p2p_ms", "to_running_ms", "config_load_ms", "state_bytes", "save_rate",
	"load_rate", "precopy_percent", "load_fixed_ms"};

static const struct argp_option options[] = {
	{"socket", 's', "PATH", 0, "Serve vfio-user on this UNIX socket (required)", 1},
	{"control", OPT_CONTROL, "PATH", 0, "Accept JSON commands on this UNIX socket", 1},
	{"report", OPT_REPORT, "FILE", 0, "Write the report to FILE at the end", 1},
	{"name", OPT_NAME, "NAME", 0, "Set the device's name in reports (default: the socket's)",
		1},
	{"seed", OPT_SEED, "N", 0, "Set the seed of the device's data (default: from the name)", 1},
	{"ready-fd", OPT_READY_FD, "N", 0, "Write one byte to descriptor N once the sockets listen",
		1},
	{"quiet", OPT_QUIET, NULL, 0, "Print no summary at the end", 1},
	{"profile", OPT_PROFILE, "NAME|FILE", 0, "Set the costs (default: instant)", 2},
	{"to-p2p-ms", OPT_FIGURES + 0, "MS", 0, "RUNNING->RUNNING_P2P", 3},
	{"to-stop-copy-ms", OPT_FIGURES + 1, "MS", 0, "PRE_COPY_P2P->STOP_COPY", 3},
	{"resuming-to-stop-ms", OPT_FIGURES + 2, "MS", 0, "RESUMING->STOP", 3},
	{"to-running-p2p-ms", OPT_FIGURES + 3, "MS", 0, "STOP->RUNNING_P2P", 3},
	{"to-running-ms", OPT_FIGURES + 4, "MS", 0, "RUNNING_P2P->RUNNING", 3},
	{"config-load-ms", OPT_FIGURES + 5, "MS", 0, "Restoring PCI_COMMAND", 3},
	{"state-size", OPT_FIGURES + 6, "BYTES", 0,
		"Size of the internal state, in 4K blocks; suffixes K, M, G", 3},
	{"save-rate", OPT_FIGURES + 7, "MB/S", 0, "Rate of saving (0: no limit)", 3},
	{"load-rate", OPT_FIGURES + 8, "MB/S", 0, "Rate of loading (0: no limit)", 3},
	{"load-fixed-ms", OPT_FIGURES + 10, "MS", 0,
		"Fixed time of a load, in the write that completes the image", 3},
	{"precopy-percent", OPT_FIGURES + 9, "N", 0, "Share of the state that PRE_COPY sends", 3},
	{"pf", OPT_PF, "NAME", 0, "Share the save and load rates with other devices of this PF", 4},
	{"pf-dir", OPT_PF_DIR, "DIR", 0,
		"Directory of the PF files (default: $XDG_RUNTIME_DIR, or /tmp)", 4},
	{"pf-arcs", OPT_PF_ARCS, NULL, 0, "Run arcs one at a time per PF, too", 4},
	{"late-dma", OPT_LATE_DMA, NULL, 0, "Write guest memory until STOP, in P2P states too", 5},
	{"no-p2p", OPT_NO_P2P, NULL, 0, "Do not offer the P2P states", 5},
	{"no-pre-copy", OPT_NO_PRE_COPY, NULL, 0, "Do not offer PRE_COPY", 5},
	{"no-data-size", OPT_NO_DATA_SIZE, NULL, 0, "Do not offer MIG_DATA_SIZE", 5},
	{"no-dma-log", OPT_NO_DMA_LOG, NULL, 0, "Do not offer a log of its DMA writes", 5},
	{"no-twin-socket", OPT_NO_TWIN, NULL, 0, "Do not offer a second socket", 5},
	{"fault", OPT_FAULT, "SPEC", 0, "Inject a fault, see below; may be repeated", 6},
	{0},
};

static const char doc[] =
	"A simulated passthrough device behind the vfio-user protocol."
	"\v"
	"Faults (SPEC); a suffix ,xN limits a fault to N times\n"
	"  arc=FROM->TO:fail[=ERRNO]  the arc fails, the device stays; FROM, TO: a state or *\n"
	"  arc=FROM->TO:error[=ERRNO] the arc fails and leaves the device in ERROR\n"
	"  arc=FROM->TO:hang          the arc blocks until {\"cmd\":\"release\"}\n"
	"  arc=FROM->TO:slow=MS       the arc takes MS ms longer\n"
	"  save:break[@BYTES]         reading the state fails after BYTES\n"
	"  save:short@BYTES           the state ends after BYTES\n"
	"  save:corrupt@BYTES         one bit of that byte is flipped\n"
	"  save:endless               the state has no end\n"
	"  load:fail[@BYTES]          writing the state fails after BYTES\n"
	"  load:refuse                RESUMING->STOP fails\n"
	"  load:lax                   a malformed state is accepted\n"
	"  load:lose                  part of the loaded state is lost\n"
	"  illegal:fail=ERRNO         an illegal arc fails with ERRNO, not EINVAL\n"
	"  die@EVENT                  the process exits with status 3\n"
	"  socket:close@EVENT         the connection is closed\n"
	"EVENT: arc=FROM->TO, save=BYTES, load=BYTES, doorbell=N\n\n"
	"Times are in milliseconds, rates in 1000000 bytes/s.";

static void set_figure(struct srv_args *a, unsigned i, const char *value, struct argp_state *state)
{
	const char *why = NULL;

	if (!svf_profile_set(&a->profile, figures[i], value, &why))
		argp_error(state, "%s '%s': %s", figures[i], value, why);
}

static void add_fault(struct srv_args *a, const char *spec, struct argp_state *state)
{
	const char *why = NULL;

	if (a->fault_count == SVF_FAULTS)
		argp_error(state, "more than %d faults", SVF_FAULTS);
	else if (!svf_fault_parse(spec, &a->faults[a->fault_count++], &why))
		argp_error(state, "--fault '%s': %s", spec, why);
}

static uint64_t number(const char *text, uint64_t max, const char *what, struct argp_state *state)
{
	struct swo_error err;
	uint64_t value = 0;

	if (base_number(what, text, 0, max, &value, &err))
		argp_error(state, "%s", err.text);
	return value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct srv_args *a = state->input;

	if (key >= OPT_FIGURES && key < OPT_FIGURES + (int)SWO_ARRAY_SIZE(figures)) {
		set_figure(a, (unsigned)(key - OPT_FIGURES), arg, state);
		return 0;
	}
	switch (key) {
	case 's':
		a->socket = arg;
		return 0;
	case OPT_CONTROL:
		a->control = arg;
		return 0;
	case OPT_REPORT:
		a->report = arg;
		return 0;
	case OPT_NAME:
		a->name = arg;
		return 0;
	case OPT_SEED:
		a->seed = number(arg, UINT64_MAX, "--seed", state);
		a->have_seed = true;
		return 0;
	case OPT_PROFILE: /* already read, before the figures that override it */
		return 0;
	case OPT_PF:
		a->pf = arg;
		return 0;
	case OPT_PF_DIR:
		a->pf_dir = arg;
		return 0;
	case OPT_PF_ARCS:
		a->pf_arcs = true;
		return 0;
	case OPT_FAULT:
		add_fault(a, arg, state);
		return 0;
	case OPT_LATE_DMA:
		a->late_dma = true;
		return 0;
	case OPT_NO_P2P:
		a->mig_flags &= ~SVF_MIG_P2P;
		return 0;
	case OPT_NO_PRE_COPY:
		a->mig_flags &= ~SVF_MIG_PRE_COPY;
		return 0;
	case OPT_NO_DATA_SIZE:
		a->no_data_size = true;
		return 0;
	case OPT_NO_DMA_LOG:
		a->no_dma_log = true;
		return 0;
	case OPT_NO_TWIN:
		a->no_twin = true;
		return 0;
	case OPT_READY_FD:
		a->ready_fd = (int)number(arg, 1 << 20, "--ready-fd", state);
		return 0;
	case OPT_QUIET:
		a->quiet = true;
		return 0;
	case ARGP_KEY_END:
		if (!a->socket)
			argp_error(state, "missing --socket PATH");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Reads only the profile, so that figures on the command line override it wherever they are. */
static error_t parse_profile(int key, char *arg, struct argp_state *state)
{
	struct srv_args *a = state->input;
	struct swo_error err;

	if (key == OPT_PROFILE && svf_profile_load(arg, &a->profile, &err))
		argp_error(state, "%s", err.text);
	return 0;
}

static void seed_of_name(struct srv_args *a)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const char *p = a->name; *p; p++)
		hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
	a->seed = hash;
}

void srv_args_parse(int argc, char **argv, struct srv_args *a)
{
	static const struct argp first = {options, parse_profile, NULL, doc, NULL, NULL, NULL};
	static const struct argp second = {options, parse, NULL, doc, NULL, NULL, NULL};

	memset(a, 0, sizeof(*a));
	a->ready_fd = -1;
	a->mig_flags = SVF_MIG_STOP_COPY | SVF_MIG_P2P | SVF_MIG_PRE_COPY;
	if (svf_profile_load("instant", &a->profile, NULL))
		svf_profile_init(&a->profile);
	argp_parse(&first, argc, argv, ARGP_NO_ARGS, NULL, a);
	argp_parse(&second, argc, argv, 0, NULL, a);
	if (!a->name)
		a->name = strrchr(a->socket, '/') ? strrchr(a->socket, '/') + 1 : a->socket;
	if (!a->have_seed)
		seed_of_name(a);
}
