/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * agreement.h - named values that must match on both sides before anything stops: in HELLO as
 * JSON, and compared by the target.
 */
#ifndef MIGRATION_AGREEMENT_H
#define MIGRATION_AGREEMENT_H

#include "switchover/migration.h"

#include <jansson.h>

/*
 * Why a source is rejected. A peer that was not authenticated gets `brief`, which names what
 * differs and nothing of this side's values.
 */
struct refusal {
	struct swo_error full;
	char brief[160];
};
/* Both texts, with the values in the full one; -1. */
int migration_refusal_differs(
	struct refusal *why, const char *what, const char *source, const char *target);
/* Other reasons: `brief` names the kind. -1. */
int migration_refusal_set(struct refusal *why, enum swo_error_code code, const char *brief,
	const char *fmt, ...) SWO_PRINTF(4, 5);

struct agreement_entry {
	char name[SWO_AGREEMENT_NAME_MAX];
	enum swo_agreement_rule rule;
	char *text;
	uint64_t value;
	uint32_t ppm;
};
struct swo_agreement {
	unsigned count;
	struct agreement_entry entries[SWO_AGREEMENT_MAX];
};
void migration_agreement_free(struct swo_agreement *agreement);
json_t *migration_agreement_json(const struct swo_agreement *agreement);
/* The input is not trusted. NULL: none. -1: malformed; migration_agreement_free() in any case. */
int migration_agreement_parse(const json_t *list, struct swo_agreement *out);
/* By the target's rules, in the order of the source's entries; then those that it lacks. */
int migration_agreement_check(const struct swo_agreement *source,
	const struct swo_agreement *target, struct refusal *why);
/* The texts that must be equal, line by line. */
int migration_agreement_check_lines(const char *source, const char *target, struct refusal *why);

#endif
