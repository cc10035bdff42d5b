/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * costs.h - the file in which `switchover-bench calibrate` leaves the engine overhead of a
 * host, for whoever predicts.
 */
#ifndef CMD_COMMON_COSTS_H
#define CMD_COMMON_COSTS_H

#include "switchover/migration.h"

#include <jansson.h>

/* One JSON object of this format, see docs/plan.md. `measured` (may be NULL) says how. */
int costs_write(const char *path, const struct swo_costs *costs, const json_t *measured,
	struct swo_error *err);
/* SWO_E_INVALID names the file and what is wrong in it. */
int costs_read(const char *path, struct swo_costs *out, struct swo_error *err);
/* "2.1 ms once, ..." */
void costs_text(const struct swo_costs *costs, char *text, size_t size);
/* A new reference, the four figures; NULL: no memory. */
json_t *costs_json(const struct swo_costs *costs);

#endif
