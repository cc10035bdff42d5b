/* SPDX-License-Identifier: BSD-3-Clause */
/* libswitchover-runstate.a is enough for ranked handlers: this program links nothing else. */
#include "switchover/runstate.h"
#include "switchover/version.h"

#include <stdio.h>
#include <string.h>

static char trail[8];

static int note(void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	(void)running;
	(void)state;
	(void)err;
	strcat(trail, opaque);
	return 0;
}

int main(void)
{
	static const int depths[] = {2, 1};
	static char *const names[] = {"b", "a"};
	struct swo_runstate *rs = swo_runstate_new(SWO_RUN_STATE_PAUSED);
	struct swo_error err = {0};
	int rc = 0;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
			.name = names[i],
			.depth = depths[i],
			.change = note,
			.opaque = names[i]};

		rc |= swo_runstate_add(rs, &desc, NULL, &err);
	}
	rc |= swo_runstate_change(rs, SWO_RUN_STATE_RUNNING, SWO_ON_ERROR_ROLLBACK, &err);
	rc |= swo_runstate_change(rs, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_ROLLBACK, &err);
	swo_runstate_free(rs);
	printf("1..2\n%s 1 - parents start first and stop last, with the small library alone\n",
		!rc && !strcmp(trail, "abba") ? "ok" : "not ok");
	printf("%s 2 - the library's version is the headers'\n",
		strcmp(swo_version(), SWO_VERSION) ? "not ok" : "ok");
	return 0;
}
