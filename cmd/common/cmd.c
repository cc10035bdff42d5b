/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd.c - finds and runs the verb.
 */
#include "cmd/common/cmd.h"

#include "switchover/version.h"

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void usage(const struct cmd_program *program, FILE *to)
{
	fprintf(to, "Usage: %s VERB [OPTION...]\n%s\n\n", program->name, program->what);
	for (unsigned i = 0; i < program->count; i++)
		fprintf(to, "  %-10s %s%s\n", program->verbs[i].name, program->verbs[i].what,
			program->verbs[i].run ? "" : " (not in this build)");
	fprintf(to,
		"\n  --help     Print this text; `%s help VERB` prints a verb's options\n"
		"  --version  Print the version\n",
		program->name);
	if (program->notes)
		fputs(program->notes, to);
}

static bool is_version(const char *text)
{
	return !strcmp(text, "--version") || !strcmp(text, "-V");
}

static int print_version(const struct cmd_program *program)
{
	printf("%s " SWO_VERSION "\n", program->name);
	return CLI_OK;
}

static int run_verb(
	const struct cmd_program *program, const struct cmd_verb *verb, int argc, char **argv)
{
	/* argp and getopt name the program by argv[0] in what they print. */
	static char name[64];

	if (!verb->run) {
		fprintf(stderr, "%s: the verb '%s' is not part of this build (-D%s=false)\n",
			program->name, verb->name, verb->option);
		return CLI_USAGE;
	}
	if (argc == 3 && is_version(argv[2]))
		return print_version(program);
	snprintf(name, sizeof(name), "%s %s", program->name, verb->name);
	argv[1] = name;
	return verb->run(argc - 1, argv + 1);
}

int cmd_dispatch(const struct cmd_program *program, int argc, char **argv)
{
	argp_err_exit_status = CLI_USAGE;
	if (argc < 2) {
		usage(program, stderr);
		return CLI_USAGE;
	}
	static char help[] = "--help";
	char *of_verb[] = {argv[0], argv[2], help, NULL};

	/* `help VERB` is `VERB --help`. */
	if (argc == 3 && !strcmp(argv[1], "help") && argv[2][0] != '-') {
		argc = 3;
		argv = of_verb;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(program, stdout);
		return CLI_OK;
	}
	if (is_version(argv[1]))
		return print_version(program);
	for (unsigned i = 0; i < program->count; i++)
		if (!strcmp(argv[1], program->verbs[i].name))
			return run_verb(program, &program->verbs[i], argc, argv);
	fprintf(stderr, "%s: unknown verb '%s'; `%s --help` lists the verbs\n", program->name,
		argv[1], program->name);
	return CLI_USAGE;
}
