/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.c - `switchover bench`: starts switchover-bench, which it was part of until 0.2. Its
 * options of then select the verb of now: --faults, --soak, --calibrate, --ablate, --scale.
 */
#include "cmd/common/cmd.h"
#include "cmd/common/verbs.h"

#include "switchover/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "switchover-bench"

enum value { NONE, OPTIONAL, REQUIRED };

/* In the order in which they won. */
static const struct choice {
	const char *option; /* of `switchover bench` */
	enum value value;
	const char *verb;
	const char *becomes; /* the option that takes the value; NULL: none */
	bool excludes;
} choices[] = {
	{"--faults", NONE, "faults", NULL, false},
	{"--soak", REQUIRED, "soak", "--hops", false},
	{"--calibrate", REQUIRED, "calibrate", "--output", true},
	{"--ablate", NONE, "ablate", NULL, true},
	{"--scale", OPTIONAL, "scale", "--max-vfs", true},
};

/* The choice that an argument is, with its value in *value (NULL: without "="). */
static const struct choice *choice_of(const char *arg, const char **value)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(choices); i++) {
		size_t len = strlen(choices[i].option);

		if (strncmp(arg, choices[i].option, len) || (arg[len] && arg[len] != '='))
			continue;
		*value = arg[len] ? arg + len + 1 : NULL;
		return &choices[i];
	}
	return NULL;
}

static const struct choice *first_choice(int argc, char **argv, bool *conflict)
{
	const struct choice *best = NULL;
	const char *value;

	*conflict = false;
	for (int i = 1; i < argc; i++) {
		const struct choice *one = choice_of(argv[i], &value);

		if (!one || one == best)
			continue;
		*conflict |= best && best->excludes && one->excludes;
		if (!best || one < best)
			best = one;
	}
	return best;
}

/* The arguments for PROGRAM, with the option converted to its verb. NULL: no memory. */
static char **translate(int argc, char **argv, const struct choice *choice)
{
	char **out = calloc((size_t)argc + 3, sizeof(*out));
	size_t n = 0;

	if (!out)
		return NULL;
	out[n++] = PROGRAM;
	out[n++] = (char *)(choice ? choice->verb : "run");
	for (int i = 1; i < argc; i++) {
		const char *value = NULL;

		if (choice_of(argv[i], &value) != choice || !choice) {
			out[n++] = argv[i];
			continue;
		}
		if (choice->value == REQUIRED && !value && i + 1 < argc)
			value = argv[++i];
		if (choice->value == NONE || (choice->value == OPTIONAL && !value))
			continue;
		if (asprintf(&out[n++], "%s%s%s", choice->becomes, value ? "=" : "",
			    value ? value : "") < 0)
			return NULL;
	}
	return out;
}

static void exec_beside(char **args)
{
	char path[4096];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof(PROGRAM));
	char *slash;

	if (len <= 0)
		return;
	path[len] = 0;
	slash = strrchr(path, '/');
	if (slash) {
		strcpy(slash + 1, PROGRAM);
		execv(path, args);
	}
}

int cmd_bench(int argc, char **argv)
{
	bool conflict;
	const struct choice *choice = first_choice(argc, argv, &conflict);

	if (conflict) {
		fprintf(stderr, "%s: --scale, --ablate and --calibrate exclude each other\n",
			argv[0]);
		return CLI_USAGE;
	}
	char **args = translate(argc, argv, choice);

	if (!args) {
		fprintf(stderr, "%s: no memory\n", argv[0]);
		return CLI_FAILED;
	}
	fprintf(stderr, "%s: starting `" PROGRAM " %s`, which replaces this verb\n", argv[0],
		args[1]);
	exec_beside(args);
	execvp(PROGRAM, args);
	fprintf(stderr, "%s: start " PROGRAM ": %s; install it beside `switchover` or in $PATH\n",
		argv[0], strerror(errno));
	return CLI_FAILED;
}
