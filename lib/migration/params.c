/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params.c - a migration's parameters: defaults and ranges.
 */
#include "switchover/migration.h"

#include "migration/wire.h"

#include <inttypes.h>
#include <string.h>

void swo_migration_params_init(struct swo_migration_params *params)
{
	*params = (struct swo_migration_params){
		.downtime_limit_ms = 300,
		.channels = SWO_DEFAULT_CHANNELS,
		.device_window = SWO_DEFAULT_DEVICE_WINDOW,
		.stream = SWO_WHEN_EARLY,
		.finalise = SWO_WHEN_EARLY,
		.config = SWO_WHEN_EARLY,
		.setup_deadline_ms = 30000,
		.switchover_deadline_ms = 60000,
		.commit_deadline_ms = 30000,
		.idle_deadline_ms = 10000,
	};
}

static int in_range(
	const char *name, uint64_t value, uint64_t min, uint64_t max, struct swo_error *err)
{
	if (value >= min && value <= max)
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0,
		"parameter %s is %" PRIu64 ", but must be from %" PRIu64 " to %" PRIu64, name,
		value, min, max);
}

static int check_tls(const struct swo_tls_params *tls, struct swo_error *err)
{
	const struct {
		const char *name, *text;
		size_t size;
	} strings[] = {{"tls-creds", tls->creds, sizeof(tls->creds)},
		{"tls-hostname", tls->hostname, sizeof(tls->hostname)},
		{"tls-authz", tls->authz, sizeof(tls->authz)},
		{"tls-username", tls->username, sizeof(tls->username)}};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(strings); i++)
		if (!memchr(strings[i].text, 0, strings[i].size))
			return swo_error_set(
				err, SWO_E_INVALID, 0, "parameter %s is too long", strings[i].name);
	return in_range("tls-kind", tls->kind, SWO_TLS_AUTO, SWO_TLS_PSK, err);
}

int swo_migration_params_check(const struct swo_migration_params *p, struct swo_error *err)
{
	const uint64_t day_ms = 24 * 3600 * 1000;

	if (in_range("downtime-limit", p->downtime_limit_ms, 0, 2000 * 1000, err) ||
		in_range("downtime-ceiling", p->downtime_ceiling_ms, 0, day_ms, err) ||
		in_range("max-bandwidth", p->max_bandwidth, 0, UINT64_MAX / 2, err) ||
		in_range("channels", p->channels, 1, WIRE_CHANNELS_MAX, err) ||
		in_range("device-window", p->device_window, 64 << 10, 1 << 30, err) ||
		in_range("setup-deadline", p->setup_deadline_ms, 100, day_ms, err) ||
		in_range("switchover-deadline", p->switchover_deadline_ms, 100, day_ms, err) ||
		in_range("commit-deadline", p->commit_deadline_ms, 100, day_ms, err) ||
		in_range("overhead.fixed", p->overhead.fixed_ns, 0, day_ms * 1000000, err) ||
		in_range("overhead.arc", p->overhead.arc_ns, 0, day_ms * 1000000, err) ||
		in_range("overhead.stream", p->overhead.stream_ns, 0, day_ms * 1000000, err) ||
		check_tls(&p->tls, err) ||
		in_range("idle-deadline", p->idle_deadline_ms, 100, day_ms, err))
		return -1;
	if (p->stream == SWO_WHEN_RAM || (unsigned)p->stream > SWO_WHEN_LATE)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "parameter stream must be early or late");
	if ((unsigned)p->finalise > SWO_WHEN_LATE)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "parameter finalise must be early, ram or late");
	if ((unsigned)p->handover > SWO_HANDOVER_FD)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "parameter handover must be copy or fd");
	if (p->config == SWO_WHEN_RAM || (unsigned)p->config > SWO_WHEN_LATE)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "parameter config must be early or late");
	return 0;
}
