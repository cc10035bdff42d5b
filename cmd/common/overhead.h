/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overhead.h - the file to which `switchover-bench calibrate` writes the engine overhead on a
 * host, for predictions.
 */
#ifndef CMD_COMMON_OVERHEAD_H
#define CMD_COMMON_OVERHEAD_H

#include "switchover/migration.h"

#include <jansson.h>

/* One JSON object of this format, see docs/plan.md. `measured` (may be NULL): how. */
int overhead_write(const char *path, const struct swo_engine_overhead *overhead,
	const json_t *measured, struct swo_error *err);
/* SWO_E_INVALID names the file and the error. */
int overhead_read(const char *path, struct swo_engine_overhead *out, struct swo_error *err);
/* "2.1 ms once, ..." */
void overhead_text(const struct swo_engine_overhead *overhead, char *text, size_t size);
/* A new reference, the four figures; NULL: no memory. */
json_t *overhead_json(const struct swo_engine_overhead *overhead);

#endif
