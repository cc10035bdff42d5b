/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params.c - a migration's parameters: defaults, ranges, comparison.
 */
#include "switchover/migration.h"

#include "migration/wire.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

void swo_migration_params_init(struct swo_migration_params *params)
{
	*params = (struct swo_migration_params){
		.downtime_limit_ms = 300,
		.downtime_ceiling_ms = SWO_CEILING_DEFAULT,
		.channels = SWO_DEFAULT_CHANNELS,
		.device_window = SWO_DEFAULT_DEVICE_WINDOW,
		.link_window = SWO_DEFAULT_LINK_WINDOW,
		.stream = SWO_WHEN_EARLY,
		.finalise = SWO_WHEN_EARLY,
		.config = SWO_WHEN_EARLY,
		.setup_deadline_ms = 30000,
		.switchover_deadline_ms = 60000,
		.commit_deadline_ms = 30000,
		.idle_deadline_ms = 10000,
		.converge = {.throttle_initial = 20, .throttle_increment = 10, .throttle_max = 99},
	};
}

/* So many times the limit, and so long at least: a stop that fails costs no more than that. */
#define CEILING_LIMITS	 10
#define CEILING_LEAST_MS 3000

uint64_t swo_migration_default_ceiling_ms(uint64_t downtime_limit_ms)
{
	const uint64_t ms = CEILING_LIMITS * downtime_limit_ms;

	return ms > CEILING_LEAST_MS ? ms : CEILING_LEAST_MS;
}

/* All parameters: for the check, and for the comparison of two sets. */

enum kind { NUMBER, CEILING, CHOICE, TEXT };

static const struct parameter {
	const char *name;
	size_t offset, size;
	enum kind kind;
	uint64_t min, max;
	const char *choices; /* of a CHOICE, by its values */
} parameters[] = {
#define FIELD(name, field)                                                                         \
	name, offsetof(struct swo_migration_params, field),                                        \
		sizeof(((struct swo_migration_params *)0)->field)
	{FIELD("downtime-limit", downtime_limit_ms), NUMBER, 0, 2000 * 1000, NULL},
	{FIELD("downtime-ceiling", downtime_ceiling_ms), CEILING, 0, SWO_DURATION_MAX_MS, NULL},
	{FIELD("max-bandwidth", max_bandwidth), NUMBER, 0, UINT64_MAX / 2, NULL},
	{FIELD("channels", channels), NUMBER, 1, WIRE_CHANNELS_MAX, NULL},
	{FIELD("device-window", device_window), NUMBER, 64 << 10, 1 << 30, NULL},
	{FIELD("link-window", link_window), NUMBER, 0, 1 << 30, NULL},
	{FIELD("setup-deadline", setup_deadline_ms), NUMBER, 100, SWO_DURATION_MAX_MS, NULL},
	{FIELD("switchover-deadline", switchover_deadline_ms), NUMBER, 100, SWO_DURATION_MAX_MS,
		NULL},
	{FIELD("commit-deadline", commit_deadline_ms), NUMBER, 100, SWO_DURATION_MAX_MS, NULL},
	{FIELD("idle-deadline", idle_deadline_ms), NUMBER, 100, SWO_DURATION_MAX_MS, NULL},
	{FIELD("overhead.fixed", overhead.fixed_ns), NUMBER, 0, SWO_DURATION_MAX_MS * 1000000,
		NULL},
	{FIELD("overhead.arc", overhead.arc_ns), NUMBER, 0, SWO_DURATION_MAX_MS * 1000000, NULL},
	{FIELD("overhead.stream", overhead.stream_ns), NUMBER, 0, SWO_DURATION_MAX_MS * 1000000,
		NULL},
	{FIELD("overhead.state-rate", overhead.state_rate), NUMBER, 0, UINT64_MAX, NULL},
	{FIELD("auto-converge", converge.auto_converge), NUMBER, 0, 1, NULL},
	{FIELD("cpu-throttle-initial", converge.throttle_initial), NUMBER, 1, 99, NULL},
	{FIELD("cpu-throttle-increment", converge.throttle_increment), NUMBER, 1, 99, NULL},
	{FIELD("max-cpu-throttle", converge.throttle_max), NUMBER, 1, 99, NULL},
	{FIELD("timeout", converge.timeout_ms), NUMBER, 0, SWO_DURATION_MAX_MS, NULL},
	{FIELD("stall-timeout", converge.stall_timeout_ms), NUMBER, 0, SWO_DURATION_MAX_MS, NULL},
	{FIELD("timeout-strategy", converge.on_timeout), CHOICE, 0, SWO_TIMEOUT_FORCE,
		"cancel or force"},
	{FIELD("stream", stream), CHOICE, 0, SWO_WHEN_LATE, "early or late"},
	{FIELD("finalise", finalise), CHOICE, 0, SWO_WHEN_LATE, "early, ram or late"},
	{FIELD("config", config), CHOICE, 0, SWO_WHEN_LATE, "early or late"},
	{FIELD("handover", handover), CHOICE, 0, SWO_HANDOVER_FD, "copy or fd"},
	{FIELD("insecure", insecure), NUMBER, 0, 1, NULL},
	{FIELD("allow-no-p2p", allow_no_p2p), NUMBER, 0, 1, NULL},
	{FIELD("pause-before-switchover", pause_before_switchover), NUMBER, 0, 1, NULL},
	{FIELD("allow-no-dirty-tracking", allow_no_dirty_tracking), NUMBER, 0, 1, NULL},
	{FIELD("tls-kind", tls.kind), NUMBER, SWO_TLS_AUTO, SWO_TLS_PSK, NULL},
	{FIELD("tls-creds", tls.creds), TEXT, 0, 0, NULL},
	{FIELD("tls-hostname", tls.hostname), TEXT, 0, 0, NULL},
	{FIELD("tls-authz", tls.authz), TEXT, 0, 0, NULL},
	{FIELD("tls-username", tls.username), TEXT, 0, 0, NULL},
#undef FIELD
};

static const char *text_of(const struct swo_migration_params *p, const struct parameter *parameter)
{
	return (const char *)p + parameter->offset;
}

static uint64_t number_of(const struct swo_migration_params *p, const struct parameter *parameter)
{
	const char *at = text_of(p, parameter);
	uint64_t wide = 0;
	uint32_t narrow;

	if (parameter->size == sizeof(bool))
		return *(const bool *)at;
	if (parameter->size == sizeof(wide))
		memcpy(&wide, at, sizeof(wide));
	else
		memcpy(&narrow, at, sizeof(narrow)), wide = narrow;
	return wide;
}

static int check_one(const struct swo_migration_params *p, const struct parameter *parameter,
	struct swo_error *err)
{
	const uint64_t value = parameter->kind == TEXT ? 0 : number_of(p, parameter);

	if (parameter->kind == TEXT)
		return memchr(text_of(p, parameter), 0, parameter->size)
			       ? 0
			       : swo_error_set(err, SWO_E_INVALID, 0, "parameter %s is too long",
					 parameter->name);
	/* RAM is a value of `finalise` only. */
	const bool gap = parameter->kind == CHOICE && parameter->max == SWO_WHEN_LATE &&
			 value == SWO_WHEN_RAM && !strchr(parameter->choices, ',');

	if (value >= parameter->min && value <= parameter->max && !gap)
		return 0;
	if (parameter->kind == CEILING && value == SWO_CEILING_DEFAULT)
		return 0;
	if (parameter->kind == CHOICE)
		return swo_error_set(err, SWO_E_INVALID, 0, "parameter %s must be %s",
			parameter->name, parameter->choices);
	return swo_error_set(err, SWO_E_INVALID, 0,
		"parameter %s is %" PRIu64 ", but must be from %" PRIu64 " to %" PRIu64,
		parameter->name, value, parameter->min, parameter->max);
}

int swo_migration_params_check(const struct swo_migration_params *p, struct swo_error *err)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(parameters); i++)
		if (check_one(p, &parameters[i], err))
			return -1;
	if (p->converge.throttle_max < p->converge.throttle_initial)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"parameter max-cpu-throttle is %u, but must be from cpu-throttle-initial (%u) "
			"to 99",
			p->converge.throttle_max, p->converge.throttle_initial);
	return 0;
}

bool swo_migration_params_equal(
	const struct swo_migration_params *a, const struct swo_migration_params *b)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(parameters); i++) {
		const struct parameter *parameter = &parameters[i];

		if (parameter->kind == TEXT ? strncmp(text_of(a, parameter), text_of(b, parameter),
						      parameter->size) != 0
					    : number_of(a, parameter) != number_of(b, parameter))
			return false;
	}
	return true;
}
