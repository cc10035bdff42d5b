/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ceiling.c - the ceiling on a stop: its length so far, the expected rest from the known costs
 * of each device, and the device that causes it.
 */
#include "migration/source/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* By default a stop may take so many times what was predicted, where that was accepted. */
#define DEFAULT_PREDICTIONS 2

uint64_t source_ceiling_ns(struct source *s)
{
	pthread_mutex_lock(&s->m.mutex);
	const struct swo_migration_params *params = &s->m.params;
	uint64_t ns = params->downtime_ceiling_ms * 1000000;

	if (params->downtime_ceiling_ms == SWO_CEILING_DEFAULT) {
		const uint64_t predicted = DEFAULT_PREDICTIONS * s->m.info.predicted_downtime_ns;

		ns = swo_migration_default_ceiling_ms(params->downtime_limit_ms) * 1000000;
		ns = ns > predicted ? ns : predicted;
	}
	pthread_mutex_unlock(&s->m.mutex);
	return ns;
}

/* One device's share: the time of its arcs in this stop, and the expected rest. */
struct share {
	struct swo_device_costs rest;
	uint64_t spent_ns;
	bool pending; /* it has work to do before READY */
};

/* A completed arc counts with its time; the rest of it is 0. */
static void spend(struct swo_device *dev, enum swo_device_state from, enum swo_device_state to,
	uint64_t *rest_ns, uint64_t *spent_ns)
{
	*spent_ns += swo_device_arc_cost(dev, from, to).last_ns;
	*rest_ns = 0;
}

/* With the mutex held. stopping: the stop has started, so completed arcs belong to it. */
static struct share share_of(struct source *s, unsigned i, bool stopping)
{
	struct source_device *sd = &s->devices[i];
	struct share share = {.rest = source_device_costs(s, i)};
	enum swo_device_state state = swo_device_state(sd->dev);
	bool stopped = stopping && state == SWO_DEVICE_STOP_COPY;
	bool quiet =
		stopped ||
		(stopping && (state == SWO_DEVICE_PRE_COPY_P2P || state == SWO_DEVICE_RUNNING_P2P));

	if (quiet)
		spend(sd->dev, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P,
			&share.rest.running_to_p2p_ns, &share.spent_ns);
	if (stopped)
		spend(sd->dev, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY,
			&share.rest.p2p_to_stop_ns, &share.spent_ns);
	if (sd->streamed)
		share.rest.state_bytes = 0;
	if (sd->finalised)
		share.rest.resuming_to_stop_ns = 0;
	share.pending = !stopped || !sd->streamed ||
			(!sd->finalised && s->m.params.finalise != SWO_WHEN_LATE);
	return share;
}

static uint64_t weight(const struct share *share, uint64_t bandwidth)
{
	return share->spent_ns + analysis_device_ns(&share->rest, bandwidth);
}

/* The longest of those that are waited for; of all if none is. -1: no devices. */
static int find_reason(const struct share *shares, unsigned count, uint64_t bandwidth)
{
	bool any_pending = false;
	int reason = -1;

	for (unsigned i = 0; i < count; i++)
		any_pending = any_pending || shares[i].pending;
	for (unsigned i = 0; i < count; i++)
		if ((!any_pending || shares[i].pending) &&
			(reason < 0 ||
				weight(&shares[i], bandwidth) > weight(&shares[reason], bandwidth)))
			reason = (int)i;
	return reason;
}

/*
 * The expected rest; *reason: the device that causes it, *weight_ns: its part of the total. 0
 * if out of memory.
 */
static uint64_t project(struct source *s, bool stopping, int *reason, uint64_t *weight_ns)
{
	const unsigned count = s->m.vm.device_count;
	const uint64_t bandwidth = s->wire_bandwidth;
	struct share *shares = calloc(count + 1, sizeof(*shares));
	struct swo_plan_device *devices = calloc(count + 1, sizeof(*devices));
	struct estimate rest = {0};

	*reason = -1;
	*weight_ns = 0;
	if (shares && devices) {
		pthread_mutex_lock(&s->m.mutex);
		struct swo_plan_setup setup = source_plan(s, devices, bandwidth);

		for (unsigned i = 0; i < count; i++) {
			shares[i] = share_of(s, i, stopping);
			/* Nothing is predicted for an unknown link. */
			if (!bandwidth)
				shares[i].rest.state_bytes = 0;
			devices[i].costs = shares[i].rest;
		}
		bool ram_done = s->ram_done;
		pthread_mutex_unlock(&s->m.mutex);

		/* The completed part of it is not measured. */
		if (stopping)
			setup.overhead = (struct swo_engine_overhead){0};
		setup.ram_after_stop = source_all_ram_due(s);
		if (bandwidth && !ram_done)
			setup.ram_bytes = source_ram_due(s, bandwidth);
		analysis_estimate_downtime(&setup, &rest, NULL);
		*reason = find_reason(shares, count, bandwidth);
		*weight_ns = *reason < 0 ? 0 : weight(&shares[*reason], bandwidth);
	}
	free(devices);
	free(shares);
	return rest.downtime_ns;
}

static int exceeded(struct source *s, uint64_t lasted_ns, uint64_t rest_ns, int reason,
	uint64_t weight_ns, bool waiting, struct swo_error *err)
{
	uint64_t total_ms = (lasted_ns + rest_ns) / 1000000;
	char lasted[64] = "it was not started: it", culprit[224] = "no devices";
	const char *pending = "";

	if (lasted_ns)
		snprintf(lasted, sizeof(lasted), "the stop had lasted %" PRIu64 " ms and",
			lasted_ns / 1000000);
	/* What it waits for is no device. */
	pthread_mutex_lock(&s->m.mutex);
	const bool paused = waiting && s->pause_ns && !s->continued_ns;
	pthread_mutex_unlock(&s->m.mutex);
	if (paused) {
		reason = -1;
		snprintf(culprit, sizeof(culprit),
			"still waiting for migrate-continue (pause-before-switchover is on)");
	}
	if (reason >= 0 && waiting) {
		pthread_mutex_lock(&s->m.mutex);
		pending = source_pending(s, (unsigned)reason);
		pthread_mutex_unlock(&s->m.mutex);
	}
	if (reason >= 0 && waiting)
		snprintf(culprit, sizeof(culprit), "still waiting for device %s%s%s",
			swo_device_name(s->m.vm.devices[reason]), *pending ? ": " : "", pending);
	else if (reason >= 0)
		snprintf(culprit, sizeof(culprit), "device %s takes longest, about %" PRIu64 " ms",
			swo_device_name(s->m.vm.devices[reason]), weight_ns / 1000000);
	pthread_mutex_lock(&s->m.mutex);
	s->m.info.projected_downtime_ns = lasted_ns + rest_ns;
	snprintf(s->m.info.slowest_device, sizeof(s->m.info.slowest_device), "%s",
		reason >= 0 ? swo_device_name(s->m.vm.devices[reason]) : "");
	pthread_mutex_unlock(&s->m.mutex);
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"over the downtime-ceiling of %" PRIu64 " ms: %s would have taken %s %" PRIu64
		" ms; %s. The VM continues here",
		source_ceiling_ns(s) / 1000000, lasted, waiting ? "more than" : "about", total_ms,
		culprit);
}

static uint64_t lasted(struct source *s)
{
	pthread_mutex_lock(&s->m.mutex);
	uint64_t from = s->vcpus_stopped_ns;
	pthread_mutex_unlock(&s->m.mutex);
	return from ? swo_now_ns() - from : 0;
}

int source_ceiling_check(struct source *s, struct swo_error *err)
{
	uint64_t ceiling_ns = source_ceiling_ns(s), weight_ns;
	int reason;

	/* A VM that was stopped before has no downtime. */
	if (!ceiling_ns || !s->was_running)
		return 0;
	uint64_t so_far = lasted(s), rest = project(s, so_far != 0, &reason, &weight_ns);

	if (so_far + rest <= ceiling_ns)
		return 0;
	return exceeded(s, so_far, rest, reason, weight_ns, false, err);
}

swo_deadline source_ceiling_deadline(struct source *s, swo_deadline deadline)
{
	const uint64_t ceiling_ns = source_ceiling_ns(s);
	swo_deadline ceiling = deadline;

	pthread_mutex_lock(&s->m.mutex);
	if (ceiling_ns && s->vcpus_stopped_ns)
		ceiling = s->vcpus_stopped_ns + ceiling_ns;
	pthread_mutex_unlock(&s->m.mutex);
	return swo_deadline_min(deadline, ceiling);
}

int source_ceiling_wait(struct source *s, bool (*done)(void *arg), const char *what,
	swo_deadline deadline, struct swo_error *err)
{
	const swo_deadline ceiling = source_ceiling_deadline(s, deadline);
	uint64_t weight_ns;
	int reason;

	if (!migration_wait_until(&s->m, done, s, false, ceiling, what, err))
		return 0;
	if (err->code == SWO_E_TIMEOUT && ceiling < deadline && !migration_broken(&s->m, NULL)) {
		uint64_t rest = project(s, true, &reason, &weight_ns);

		return exceeded(s, lasted(s), rest, reason, weight_ns, true, err);
	}
	return -1;
}

void source_ceiling_arm(struct source *s)
{
	const uint64_t ceiling_ns = source_ceiling_ns(s);

	s->m.limit.thread = pthread_self();
	atomic_store(&s->m.limit.until, ceiling_ns ? s->vcpus_stopped_ns + ceiling_ns : 0);
}

void source_ceiling_disarm(struct source *s)
{
	atomic_store(&s->m.limit.until, 0);
}

void source_ceiling_explain(struct source *s, struct swo_error *err)
{
	uint64_t weight_ns;
	int reason;

	if (err->os_errno != ETIME)
		return;
	const uint64_t rest = project(s, true, &reason, &weight_ns);

	exceeded(s, lasted(s), rest, reason, weight_ns, true, err);
	/*
	 * Nothing had failed when that send ended, which has closed the connection: what has failed
	 * since is a consequence.
	 */
	pthread_mutex_lock(&s->m.mutex);
	s->m.failure = *err;
	pthread_mutex_unlock(&s->m.mutex);
}

void source_ceiling_explain_record(struct source *s, struct swo_error *err)
{
	const uint64_t ceiling_ns = source_ceiling_ns(s), lasted_ns = lasted(s);

	if (err->code != SWO_E_TIMEOUT || !ceiling_ns || lasted_ns < ceiling_ns)
		return;
	pthread_mutex_lock(&s->m.mutex);
	s->m.info.projected_downtime_ns = lasted_ns;
	pthread_mutex_unlock(&s->m.mutex);
	swo_error_prefix(err, "over the downtime-ceiling of %" PRIu64 " ms, the VM continues here",
		ceiling_ns / 1000000);
}

/* Between the passes: only the first half of the stop is lost if it is aborted now. */
int source_on_barrier(void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	struct source *s = opaque;

	(void)state;
	if (running || !pthread_equal(pthread_self(), s->m.thread))
		return 0;
	pthread_mutex_lock(&s->m.mutex);
	s->barrier_ns = swo_now_ns();
	pthread_mutex_unlock(&s->m.mutex);
	if (source_ceiling_check(s, err))
		return -1;
	return source_devices_initial_check(
		s, source_ceiling_deadline(s, source_switchover_deadline(s)), err);
}
