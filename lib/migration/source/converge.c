/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * converge.c - a guest that writes faster than the link carries: detects that what is left does not
 * become less, throttles the vCPUs (auto-converge), and ends pre-copy when its time is over.
 */
#include "memory/ram.h"
#include "migration/source/source.h"

#include <inttypes.h>
#include <stdio.h>

/* A rate is taken over so long at least. */
#define RATE_NS UINT64_C(200000000)
/* Auto-converge looks once in so long, also within a pass, and acts on so many looks in a row. */
#define PERIOD_NS UINT64_C(1000000000)
#define PERIODS	  2
/* So much of what is sent may be dirtied again meanwhile, percent. */
#define DIRTY_PERCENT 50
/* Without progress for so many rounds and so long, it is stalled. Progress: a tenth less than ever. */
#define STALLED_ROUNDS 3
#define STALLED_NS     UINT64_C(2000000000)

static uint64_t bytes_sent(struct source *s)
{
	pthread_mutex_lock(&s->m.mutex);
	const uint64_t devices = s->m.info.device_sent;
	pthread_mutex_unlock(&s->m.mutex);
	return devices + (s->ram ? ram_send_bytes(s->ram) : 0);
}

static uint64_t bytes_dirtied(struct source *s)
{
	return memory_ram_marked(s->m.vm.ram) << SWO_PAGE_SHIFT;
}

static struct converge_mark mark_now(struct source *s)
{
	return (struct converge_mark){
		.ns = swo_now_ns(), .dirtied = bytes_dirtied(s), .sent = bytes_sent(s)};
}

static uint64_t per_second(uint64_t bytes, uint64_t ns)
{
	return ns ? (uint64_t)((double)bytes * 1e9 / (double)ns) : 0;
}

void source_converge_begin(struct source *s)
{
	struct source_converge *c = &s->converge;

	c->rate_mark = c->period_mark = mark_now(s);
	c->progress_ns = c->rate_mark.ns;
}

/* "the guest dirties 18.9 MB/s and 4.8 MB/s are sent" */
static const char *describe(const struct source_converge *c, char *out, size_t len)
{
	if (!c->rate_ns)
		snprintf(out, len, "the rates are not known yet");
	else
		snprintf(out, len, "the guest dirties %.1f MB/s and %.1f MB/s are sent",
			(double)c->dirty_rate / 1e6, (double)c->sent_rate / 1e6);
	return out;
}

/* Throttling */

static void throttle(struct source *s, unsigned percent)
{
	struct source_converge *c = &s->converge;
	struct swo_error err = {0};

	if (s->m.vm.ops->throttle(s->m.vm.opaque, percent, &err)) {
		swo_log(SWO_LOG_WARN, "cannot throttle the vCPUs: %s", err.text);
		return;
	}
	c->throttle = percent;
	pthread_mutex_lock(&s->m.mutex);
	s->m.info.throttle_percent = percent;
	pthread_mutex_unlock(&s->m.mutex);
}

static void throttle_more(struct source *s, const struct swo_converge *params)
{
	const unsigned now = s->converge.throttle;
	unsigned next = now ? now + params->throttle_increment : params->throttle_initial;
	char text[120];

	if (next > params->throttle_max)
		next = params->throttle_max;
	if (next <= now)
		return;
	throttle(s, next);
	swo_log(SWO_LOG_INFO, "auto-converge: the vCPUs are throttled by %u %%: %s", next,
		describe(&s->converge, text, sizeof(text)));
}

void source_converge_end(struct source *s)
{
	if (s->converge.throttle)
		throttle(s, 0);
}

/* After a collect, once a period. In the first pass all of RAM is sent once, whatever is dirtied. */
static void consider_throttling(struct source *s, const struct swo_converge *params)
{
	struct source_converge *c = &s->converge;
	const struct converge_mark now = mark_now(s), last = c->period_mark;

	if (now.ns - last.ns < PERIOD_NS)
		return;
	c->period_mark = now;
	if (!params->auto_converge || !c->rounds || !source_vm_runs(s) ||
		(now.dirtied - last.dirtied) <= (now.sent - last.sent) / 100 * DIRTY_PERCENT) {
		c->busy_periods = 0;
		return;
	}
	if (++c->busy_periods < PERIODS)
		return;
	c->busy_periods = 0;
	throttle_more(s, params);
}

/* After a collect. */
static void take_rates(struct source *s)
{
	struct source_converge *c = &s->converge;
	const struct converge_mark now = mark_now(s), last = c->rate_mark;

	if (now.ns - last.ns < RATE_NS)
		return;
	c->rate_mark = now;
	c->rate_ns = now.ns;
	c->dirty_rate = per_second(now.dirtied - last.dirtied, now.ns - last.ns);
	c->sent_rate = per_second(now.sent - last.sent, now.ns - last.ns);
	pthread_mutex_lock(&s->m.mutex);
	s->m.info.dirty_rate = c->dirty_rate;
	pthread_mutex_unlock(&s->m.mutex);
}

/* Timeouts */

static int timed_out(struct source *s, const struct swo_converge *params, const char *which,
	uint64_t ms, struct swo_error *err)
{
	struct source_converge *c = &s->converge;
	struct swo_error ignored = {0};
	char text[120], predicted[64] = "";

	/* In the first pass nothing has been collected yet. */
	if (!source_shares(s) && !source_vcpus_collect(s, &ignored))
		take_rates(s);
	pthread_mutex_lock(&s->m.mutex);
	const uint64_t predicted_ns = s->m.info.predicted_downtime_ns,
		       limit_ms = s->m.params.downtime_limit_ms;
	pthread_mutex_unlock(&s->m.mutex);
	if (predicted_ns)
		snprintf(predicted, sizeof(predicted),
			"the stop would take about %" PRIu64 " ms, and ", predicted_ns / 1000000);
	describe(c, text, sizeof(text));
	if (params->on_timeout == SWO_TIMEOUT_FORCE) {
		swo_log(SWO_LOG_WARN,
			"not converged within the %s of %" PRIu64
			" ms: %s; the VM is stopped over the downtime-limit of %" PRIu64 " ms",
			which, ms, text, limit_ms);
		c->forced = true;
		/* The devices' rounds, and senders that wait for max-bandwidth. */
		atomic_store(&s->halting, true);
		migration_pace_release(&s->m, false);
		return 0;
	}
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"not converged within the %s of %" PRIu64 " ms: %s; %sdowntime-limit is %" PRIu64
		" ms. Raise it, use auto-converge, or the timeout-strategy 'force'",
		which, ms, text, predicted, limit_ms);
}

int source_converge_check(struct source *s, struct swo_error *err)
{
	const struct swo_converge params = migration_limits(&s->m).converge;
	const uint64_t now = swo_now_ns(), start = s->m.info.start_ns;

	if (s->converge.forced || !source_vm_runs(s))
		return 0;
	if (params.timeout_ms && now - start > params.timeout_ms * 1000000)
		return timed_out(s, &params, "timeout", params.timeout_ms, err);
	if (params.stall_timeout_ms &&
		now - s->converge.progress_ns > params.stall_timeout_ms * 1000000)
		return timed_out(s, &params, "stall-timeout", params.stall_timeout_ms, err);
	return 0;
}

bool source_converge_tick(void *opaque)
{
	struct source *s = opaque;
	const struct swo_converge params = migration_limits(&s->m).converge;
	struct swo_error err = {0};
	int rc = source_converge_check(s, &err);

	if (!rc && params.auto_converge && s->converge.rounds &&
		swo_now_ns() - s->converge.period_mark.ns >= PERIOD_NS) {
		rc = source_vcpus_collect(s, &err);
		take_rates(s);
		consider_throttling(s, &params);
	}
	if (rc)
		migration_fail(&s->m, &err);
	return !s->converge.forced;
}

/* Progress */

static void set_stalled(struct source *s, bool stalled)
{
	pthread_mutex_lock(&s->m.mutex);
	s->m.info.stalled = stalled;
	pthread_mutex_unlock(&s->m.mutex);
}

static void stall(struct source *s, const struct estimate *e, uint64_t limit_ns)
{
	struct source_converge *c = &s->converge;
	char text[120];

	set_stalled(s, true);
	/* Once: it may come and go, where the guest is throttled for example. */
	if (!c->reported)
		swo_log(SWO_LOG_WARN,
			"the migration does not converge: %s; the stop would take about %" PRIu64
			" ms, and downtime-limit is %" PRIu64 " ms",
			describe(c, text, sizeof(text)), e->downtime_ns / 1000000,
			limit_ns / 1000000);
	c->reported = true;
}

int source_converge_round(
	struct source *s, const struct estimate *e, uint64_t limit_ns, struct swo_error *err)
{
	struct source_converge *c = &s->converge;
	const struct swo_converge params = migration_limits(&s->m).converge;
	const uint64_t now = swo_now_ns();

	c->rounds++;
	take_rates(s);
	consider_throttling(s, &params);
	if (!c->best_ns || e->downtime_ns < c->best_ns / 10 * 9) {
		c->best_ns = e->downtime_ns;
		c->progress_ns = now;
		c->idle_rounds = 0;
		set_stalled(s, false);
	} else if (++c->idle_rounds >= STALLED_ROUNDS && now - c->progress_ns >= STALLED_NS &&
		   e->downtime_ns > limit_ns) {
		stall(s, e, limit_ns);
	}
	return source_converge_check(s, err);
}
