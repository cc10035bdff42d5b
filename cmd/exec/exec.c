/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exec.c - `switchover exec -- VMM...`: starts an unmodified VMM with the preload library, or
 * reports why that cannot work.
 */
#include "cmd/common/cmd.h"
#include "cmd/common/verbs.h"
#include "cmd/exec/check.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The exit statuses of shells, env and nohup for a program that they cannot start. */
enum { EXIT_CANNOT = 126, EXIT_NOT_FOUND = 127 };

enum {
	OPT_VMM = 256,
	OPT_OBSERVE,
	OPT_RECORD,
	OPT_LOG,
	OPT_LIBRARY,
	OPT_VERBOSE,
	OPT_CHECK,
};

struct request {
	const char *vmm, *observe, *record, *log, *library;
	bool verbose, check;
	char **command;
};

static const struct argp_option options[] = {
	{"vmm", OPT_VMM, "NAME", 0,
		"Expect the pattern of qemu, cloud-hypervisor, none, or auto: by the program's "
		"name (auto)",
		0},
	{"record", OPT_RECORD, "FILE", 0,
		"Record every change of state and data transfer of every device, for "
		"`switchover observe`; %p in FILE is the process ID (none)",
		0},
	{"observe", OPT_OBSERVE, "FILE", 0,
		"Record likewise, without changing any device's state ahead of the VMM", 0},
	{"log", OPT_LOG, "FILE", 0, "Write messages to FILE (standard error)", 0},
	{"verbose", OPT_VERBOSE, NULL, 0, "Also log when arcs are started speculatively", 0},
	{"library", OPT_LIBRARY, "FILE", 0,
		"Preload FILE (libswitchover-preload.so of this installation)", 0},
	{"check", OPT_CHECK, NULL, 0, "Only check whether the VMM could be started", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case OPT_VMM:
		if (strcmp(arg, "auto") && strcmp(arg, "qemu") && strcmp(arg, "cloud-hypervisor") &&
			strcmp(arg, "none"))
			argp_error(state,
				"unknown VMM '%s'; expected qemu, cloud-hypervisor, none or "
				"auto",
				arg);
		r->vmm = arg;
		return 0;
	case OPT_OBSERVE:
		r->observe = arg;
		return 0;
	case OPT_RECORD:
		r->record = arg;
		return 0;
	case OPT_LOG:
		r->log = arg;
		return 0;
	case OPT_VERBOSE:
		r->verbose = true;
		return 0;
	case OPT_LIBRARY:
		r->library = arg;
		return 0;
	case OPT_CHECK:
		r->check = true;
		return 0;
	case ARGP_KEY_ARG:
		/* The rest is the VMM's own. */
		r->command = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!r->command)
			argp_error(state, "which VMM? switchover exec -- qemu-system-x86_64 ...");
		if (r->observe && r->record)
			argp_error(
				state, "--observe only measures, --record also acts: one of them");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int put(const char *name, const char *value)
{
	return value ? setenv(name, value, 1) : unsetenv(name);
}

/* Relative names would be another file's once the VMM has changed its directory, as daemons do. */
static const char *absolute(const char *name, char *room)
{
	char here[PATH_MAX];

	if (!name || name[0] == '/' || !getcwd(here, sizeof(here)))
		return name;
	const int n = snprintf(room, PATH_MAX, "%s/%s", here, name);

	return n > 0 && n < PATH_MAX ? room : name;
}

/* SWITCHOVER_PRELOAD=off of the caller applies to the VMM too. */
static const char *mode_of(const struct request *r)
{
	const char *mode = getenv("SWITCHOVER_PRELOAD");

	if (mode && !strcmp(mode, "off"))
		return mode;
	return r->observe ? "observe" : "on";
}

static int set_environment(const struct request *r, const char *library)
{
	char preload[2 * PATH_MAX], log[PATH_MAX], record[PATH_MAX], pid[24];
	const char *others = getenv("LD_PRELOAD");
	const int n = snprintf(preload, sizeof(preload), "%s%s%s", library,
		others && *others ? ":" : "", others ? others : "");

	if (n < 0 || (size_t)n >= sizeof(preload)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	return put("LD_PRELOAD", preload) || put("SWITCHOVER_PID", pid) ||
	       put("SWITCHOVER_PRELOAD", mode_of(r)) || put("SWITCHOVER_VMM", r->vmm) ||
	       put("SWITCHOVER_LOG", absolute(r->log, log)) ||
	       put("SWITCHOVER_OBSERVE", absolute(r->observe ? r->observe : r->record, record)) ||
	       put("SWITCHOVER_VERBOSE", r->verbose ? "1" : NULL);
}

int cmd_exec(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "-- VMM [ARGUMENT...]",
		.doc = "Start a VMM so that its passthrough devices change state in parallel.\v"
		       "Exit status: the VMM's; 2 invalid usage; 126 a VMM that cannot be started with "
		       "the library; 127 a VMM that does not exist.",
	};
	struct request r = {0};
	struct swo_error err = {0};
	char program[PATH_MAX], library[PATH_MAX];

	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &r))
		return CLI_USAGE;
	if (exec_find(r.command[0], program, sizeof(program), &err)) {
		const int status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT;

		fprintf(stderr, "%s: %s\n", argv[0], err.text);
		return status;
	}
	if (exec_can_preload(program, &err) || exec_check_sandbox(program, r.command, &err) ||
		exec_find_library(r.library, library, sizeof(library), &err)) {
		fprintf(stderr, "%s: %s\n", argv[0], err.text);
		return EXIT_CANNOT;
	}
	if (r.check) {
		printf("%s can be started with %s\n", program, library);
		return CLI_OK;
	}
	if (set_environment(&r, library)) {
		fprintf(stderr, "%s: cannot set the environment: %s\n", argv[0], strerror(errno));
		return EXIT_CANNOT;
	}
	execv(program, r.command);
	fprintf(stderr, "%s: cannot start '%s': %s\n", argv[0], program, strerror(errno));
	return EXIT_CANNOT;
}
