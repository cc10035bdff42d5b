/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.c - see args.h.
 */
#include "cmd/common/args.h"

#include "base/number.h"

#include <stdio.h>
#include <string.h>

/* argp_error does not return unless a caller has set that flag of argp. */
static void option_error(struct argp_state *state, const char *name, const struct swo_error *err)
{
	argp_error(state, "--%s%s", name, err->text);
}

uint64_t args_number(
	struct argp_state *state, const char *name, const char *text, uint64_t min, uint64_t max)
{
	struct swo_error err;
	uint64_t value = min;

	if (base_number("", text, min, max, &value, &err))
		option_error(state, name, &err);
	return value;
}

uint64_t args_size(struct argp_state *state, const char *name, const char *text)
{
	struct swo_error err;
	uint64_t value = 0;

	if (base_size("", text, 0, UINT64_MAX, &value, &err))
		option_error(state, name, &err);
	return value;
}

double args_real(
	struct argp_state *state, const char *name, const char *text, double min, double max)
{
	struct swo_error err;
	double value = min;

	if (base_real("", text, min, max, &value, &err))
		option_error(state, name, &err);
	return value;
}

unsigned args_word(
	struct argp_state *state, const char *name, const char *text, const char *const *words)
{
	char list[128] = "";

	for (unsigned i = 0; words[i]; i++) {
		if (!strcmp(words[i], text))
			return i;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "",
			words[i]);
	}
	argp_error(state, "--%s: expected one of %s; got '%s'", name, list, text);
	return 0;
}
