/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - `switchover VERB`: finds the verb and hands over to it. Knows
 * nothing of what the verbs do.
 */
#include "cmd/common/cmd.h"

#include "switchover/base.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
};

static const struct verb verbs[] = {
	{"vm", cmd_vm, "run a virtual machine with passthrough devices, or receive one"},
	{"migrate", cmd_migrate, "migrate a running machine over its QMP socket"},
	{"resolve", cmd_resolve, "settle a migration that is in doubt, or list the journals"},
	{"exec", cmd_exec, "start another VMM so that its devices change state in parallel"},
	{"observe", cmd_observe, "show where the time went, by what `exec` wrote down"},
	{"bench", cmd_bench, "start machines and devices, migrate, check and measure"},
	{"plan", cmd_plan, "predict a switchover, or say where the time of one went"},
	{"probe", cmd_probe, "what a device supports, and whether it keeps the rules"},
	{NULL, NULL, NULL},
};

static void usage(FILE *to)
{
	fputs("Usage: switchover VERB [OPTION...]\n"
	      "Live migration for virtual machines with passthrough devices.\n\n",
		to);
	for (const struct verb *v = verbs; v->name; v++)
		fprintf(to, "  %-10s %s\n", v->name, v->what);
	fputs("\n  --help     this text; `switchover VERB --help` for a verb's options\n"
	      "  --version  the version\n",
		to);
}

int main(int argc, char **argv)
{
	argp_err_exit_status = CLI_USAGE;
	if (argc < 2) {
		usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return CLI_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("switchover " SWO_VERSION);
		return CLI_OK;
	}
	for (const struct verb *v = verbs; v->name; v++) {
		if (strcmp(argv[1], v->name))
			continue;
		/* argp and getopt name the program by argv[0] in what they print. */
		static char name[64];

		snprintf(name, sizeof(name), "switchover %s", v->name);
		argv[1] = name;
		return v->run(argc - 1, argv + 1);
	}
	fprintf(stderr, "switchover: no verb '%s'; `switchover --help` lists them\n", argv[1]);
	return CLI_USAGE;
}
