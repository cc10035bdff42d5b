/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limits.c - the limits of a migration, which may change while it runs, and the bandwidth of what is
 * sent before the stop: RAM and device state have one limit together.
 */
#include "migration/internal.h"

#include "base/sized.h"

#include <inttypes.h>
#include <string.h>

/* Sleeps are this short, so that neither a cancel nor a stop nor a new limit waits for an old one. */
#define SLEEP_NS UINT64_C(50000000)
/* What was not used of the limit is not made up for, but for so much. */
#define BURST_NS UINT64_C(10000000)

struct swo_migration_limits migration_limits(struct swo_migration *m)
{
	pthread_mutex_lock(&m->mutex);
	const struct swo_migration_limits limits = {.size = sizeof(limits),
		.downtime_limit_ms = m->params.downtime_limit_ms,
		.downtime_ceiling_ms = m->params.downtime_ceiling_ms,
		.max_bandwidth = m->params.max_bandwidth,
		.converge = m->params.converge};

	pthread_mutex_unlock(&m->mutex);
	return limits;
}

int swo_migration_get_limits(
	struct swo_migration *m, struct swo_migration_limits *out, struct swo_error *err)
{
	const struct swo_migration_limits limits = migration_limits(m);

	return base_sized_give("swo_migration_limits", out, &limits, sizeof(limits), err);
}

int swo_migration_set_limits(
	struct swo_migration *m, const struct swo_migration_limits *given, struct swo_error *err)
{
	struct swo_migration_limits known, now = migration_limits(m);
	const struct swo_migration_limits *limits = &now;
	struct swo_migration_params params;

	if (base_sized_copy("swo_migration_limits", &known, sizeof(known), given, err))
		return -1;
	memcpy(&now, &known, given->size < sizeof(now) ? given->size : sizeof(now));
	swo_migration_params_init(&params);
	params.downtime_limit_ms = limits->downtime_limit_ms;
	params.downtime_ceiling_ms = limits->downtime_ceiling_ms;
	params.max_bandwidth = limits->max_bandwidth;
	params.converge = limits->converge;
	if (swo_migration_params_check(&params, err) ||
		(m->is_source && migration_check_throttle(&m->vm, &params, err)))
		return -1;
	pthread_mutex_lock(&m->mutex);
	m->params.downtime_limit_ms = limits->downtime_limit_ms;
	m->params.downtime_ceiling_ms = limits->downtime_ceiling_ms;
	m->params.converge = limits->converge;
	if (m->params.max_bandwidth != limits->max_bandwidth) {
		m->params.max_bandwidth = limits->max_bandwidth;
		m->pace.due_ns = 0;
		m->pace.generation++;
	}
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	return 0;
}

void migration_pace_release(struct swo_migration *m, bool for_good)
{
	pthread_mutex_lock(&m->mutex);
	m->pace.lifted = m->pace.lifted || for_good;
	m->pace.due_ns = 0;
	m->pace.generation++;
	pthread_mutex_unlock(&m->mutex);
}

/* Takes its turn behind what was sent before; returns when it may go on. */
static uint64_t take_turn(struct swo_migration *m, uint64_t bytes, unsigned *generation)
{
	const uint64_t now = swo_now_ns();
	uint64_t due = 0;

	pthread_mutex_lock(&m->mutex);
	*generation = m->pace.generation;
	if (m->params.max_bandwidth && !m->pace.lifted) {
		due = m->pace.due_ns > now - BURST_NS ? m->pace.due_ns : now - BURST_NS;
		due += (uint64_t)((double)bytes * 1e9 / (double)m->params.max_bandwidth);
		m->pace.due_ns = due;
	}
	pthread_mutex_unlock(&m->mutex);
	return due;
}

static bool still_waits(struct swo_migration *m, unsigned generation)
{
	pthread_mutex_lock(&m->mutex);
	bool waits = m->pace.generation == generation;
	pthread_mutex_unlock(&m->mutex);
	return waits && !atomic_load(&m->abort);
}

void migration_pace(struct swo_migration *m, uint64_t bytes)
{
	unsigned generation;
	const uint64_t due = take_turn(m, bytes, &generation);

	for (uint64_t now = swo_now_ns(); now < due && still_waits(m, generation);
		now = swo_now_ns())
		swo_sleep_until(due - now > SLEEP_NS ? now + SLEEP_NS : due);
}
