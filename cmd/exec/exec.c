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
	OPT_PID,
	OPT_TRIAL,
};

struct request {
	const char *vmm, *observe, *record, *log, *library;
	bool verbose, check, trial;
	pid_t pid; /* 0: none */
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
	{"check", OPT_CHECK, NULL, 0,
		"Start no VMM: load it and the library, and report what the library would do", 0},
	{"pid", OPT_PID, "PID", 0,
		"Start no VMM: report whether the library is in this process, and why not", 0},
	{"trial", OPT_TRIAL, NULL, OPTION_HIDDEN, NULL, 0},
	{0},
};

static bool parse_pid(const char *text, pid_t *out)
{
	char *end;
	const long pid = strtol(text, &end, 10);

	*out = (pid_t)pid;
	return end != text && !*end && pid > 0 && pid <= INT_MAX;
}

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
	case OPT_PID:
		if (!parse_pid(arg, &r->pid))
			argp_error(state, "--pid: expected the ID of a process, got '%s'", arg);
		return 0;
	case OPT_TRIAL:
		r->trial = true;
		return 0;
	case ARGP_KEY_ARG:
		/* The rest is the VMM's own. */
		r->command = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (r->command && r->pid)
			argp_error(state, "--pid examines a process, and starts no VMM");
		if (!r->command && !r->pid && !r->trial)
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

static bool has_argument(char *const argv[], const char *name)
{
	for (; *argv; argv++)
		if (!strcmp(*argv, name))
			return true;
	return false;
}

/* In the environment that the VMM would get. */
static int check(const struct request *r, const char *program, const struct exec_program *found,
	const char *library, struct swo_error *err)
{
	char pattern[EXEC_PATTERN_ROOM];

	if (!strcmp(mode_of(r), "off")) {
		printf("%s can be started, but SWITCHOVER_PRELOAD=off in the environment turns %s "
		       "off\n",
			program, library);
		return 0;
	}
	/* The trial has no use for the VMM's files. */
	put("SWITCHOVER_LOG", NULL);
	put("SWITCHOVER_OBSERVE", NULL);
	if (exec_try_pattern(program, pattern, err))
		return -1;
	printf("%s can be started with %s: ", program, library);
	if (strcmp(pattern, "none"))
		printf("pattern %s, also when it daemonizes\n", pattern);
	else if (found->is_script)
		printf("a script; the programs that it starts are matched by their own names\n");
	else
		printf("no pattern for its name, so nothing would start early; set --vmm\n");
	if (!r->log &&
		(has_argument(r->command, "-daemonize") || has_argument(r->command, "--daemonize")))
		printf("-daemonize sends messages to /dev/null: set --log\n");
	return 0;
}

static int start(const struct request *r, struct swo_error *err)
{
	char program[PATH_MAX], library[PATH_MAX];
	struct exec_program found;

	if (exec_find(r->command[0], program, sizeof(program), err))
		return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT;
	if (exec_can_preload(program, &found, err) ||
		exec_check_sandbox(program, r->command, err) ||
		exec_find_library(r->library, library, sizeof(library), err) ||
		(r->check && exec_try_load(&found, library, err)))
		return EXIT_CANNOT;
	if (set_environment(r, library)) {
		swo_error_set(err, SWO_E_IO, errno, "cannot set the environment");
		return EXIT_CANNOT;
	}
	if (r->check)
		return check(r, program, &found, library, err) ? EXIT_CANNOT : CLI_OK;
	execv(program, r->command);
	swo_error_set(err, SWO_E_IO, errno, "cannot start '%s'", program);
	return EXIT_CANNOT;
}

static int examine(pid_t pid, struct swo_error *err)
{
	char text[PATH_MAX + 200];

	if (exec_check_running(pid, text, sizeof(text), err))
		return EXIT_CANNOT;
	puts(text);
	return CLI_OK;
}

int cmd_exec(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "-- VMM [ARGUMENT...]\n--pid=PID",
		.doc = "Start a VMM so that its passthrough devices change state in parallel.\v"
		       "Exit status: the VMM's; 2 invalid usage; 126 a VMM that cannot be started with "
		       "the library, or does not have it; 127 a VMM that does not exist.",
	};
	struct request r = {0};
	struct swo_error err = {0};

	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &r))
		return CLI_USAGE;
	if (r.trial)
		return exec_trial();
	const int status = r.pid ? examine(r.pid, &err) : start(&r, &err);

	if (err.code)
		fprintf(stderr, "%s: %s\n", argv[0], err.text);
	return status;
}
