/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * moments.c - the table, and how a moment is waited for.
 */
#include "testbed/moments.h"

#include <ctype.h>
#include <string.h>

#define STATUS "MIGRATION", "data.status"
#define DEVICE "VFIO_MIGRATION", "data.device-state"

/* A target's devices go through some states on their way to RESUMING, too: what comes after is
   looked for from there. */
const struct moment moments[MOMENTS] = {
	{"setup", PAIR_SOURCE, STATUS, "setup", NULL},
	{"resuming", PAIR_TARGET, DEVICE, "resuming", NULL},
	{"enter-precopy", PAIR_SOURCE, DEVICE, "pre-copy", NULL},
	{"precopy", PAIR_SOURCE, STATUS, "active", NULL},
	{"before-stop", PAIR_SOURCE, STATUS, "device", NULL},
	{"prepare", PAIR_SOURCE, DEVICE, "pre-copy-p2p", NULL},
	{"change", PAIR_SOURCE, DEVICE, "stop-copy", NULL},
	{"finalise", PAIR_TARGET, DEVICE, "stop", &moments[1]},
	{"after-go", PAIR_TARGET, DEVICE, "running-p2p", &moments[1]},
	{"start", PAIR_TARGET, DEVICE, "running", &moments[1]},
};

const struct moment *moment_named(const char *name)
{
	for (unsigned i = 0; i < MOMENTS; i++)
		if (!strcmp(moments[i].name, name))
			return &moments[i];
	return NULL;
}

static bool is_moment(const json_t *event, const struct moment *moment)
{
	return !strcmp(json_path_string(event, "event"), moment->event) &&
	       !strcmp(json_path_string(event, moment->key), moment->word);
}

static int await_until(struct pair *pair, const struct moment *moment, swo_deadline deadline,
	struct swo_error *err)
{
	bool found = false;

	if (moment->after && await_until(pair, moment->after, deadline, err))
		return -1;
	while (!found) {
		json_t *event = qmp_event(&pair->ends[moment->side].qmp, deadline, err);

		if (!event)
			return swo_error_prefix(err, "waiting for the %s's %s (moment '%s')",
				pair_side_name(moment->side), moment->word, moment->name);
		found = is_moment(event, moment);
		json_decref(event);
	}
	return 0;
}

int moment_await(
	struct pair *pair, const struct moment *moment, uint64_t within_ms, struct swo_error *err)
{
	return await_until(pair, moment, swo_deadline_ms(within_ms), err);
}

/* "pre-copy" in an event is "PRE_COPY" in sysfs. */
static bool is_state(const char *reported, const char *word)
{
	for (; *reported && *word; reported++, word++)
		if (*reported != (*word == '-' ? '_' : toupper((unsigned char)*word)))
			return false;
	return *reported == *word;
}

bool moment_is_now(
	struct pair *pair, const struct moment *moment, unsigned i, struct swo_error *err)
{
	char state[PAIR_STATUS_MAX];

	if (strcmp(moment->event, "VFIO_MIGRATION") != 0) {
		swo_error_set(err, SWO_E_INVALID, 0, "'%s' is not a device's moment", moment->name);
		return false;
	}
	return !pair_kernel_state(pair, moment->side, i, state, err) &&
	       is_state(state, moment->word);
}
