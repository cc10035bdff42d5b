/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * precopy.c - while the VM still runs: sends RAM and device data round after round, until the
 * predicted downtime is below the limit.
 */
#include "channel/meter.h"
#include "migration/source/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* What is assumed of a link over which too little has gone to measure; and of one that cannot leave
   this host, as where RAM is handed over. */
#define BANDWIDTH_UNKNOWN     (UINT64_C(200) << 20)
#define BANDWIDTH_ON_THE_HOST (UINT64_C(1) << 30)

/* Rounds beyond what downtime-limit needs: so many, none that is expected to last longer, and
   none for less than so much. */
#define SETTLE_ROUNDS	4
#define SETTLE_ROUND_NS UINT64_C(500000000)
#define SETTLE_BYTES	(UINT64_C(256) << 10)

/* The weight of a sample of the wire after each later one. */
#define SAMPLE_FADES 0.75

/* How long full sockets are watched at most, how often, and for how long at least. */
#define DRAIN_NS	UINT64_C(1000000000)
#define DRAIN_LOOK_NS	UINT64_C(1000000)
#define DRAIN_SAMPLE_NS UINT64_C(20000000)
#define DRAIN_BYTES	(UINT64_C(128) << 10)

/* So many rounds without progress, and a limit below what the devices take is refused. */
#define HOPE_ROUNDS 3

static uint64_t bandwidth(const struct source *s)
{
	if (s->wire_bandwidth)
		return s->wire_bandwidth;
	return source_shares(s) ? BANDWIDTH_ON_THE_HOST : BANDWIDTH_UNKNOWN;
}

/* The estimate */

static uint64_t backlog(struct source *s)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < s->m.params.channels; i++)
		bytes += channel_meter_backlog(&s->m.data[i]);
	return bytes;
}

static int estimate(struct source *s, struct estimate *out, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	struct swo_plan_device *devices = calloc(m->vm.device_count + 1, sizeof(*devices));

	if (!devices)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM,
			"cannot allocate the estimate of the downtime");
	pthread_mutex_lock(&m->mutex);
	struct swo_plan_setup setup = source_plan(s, devices, bandwidth(s));
	pthread_mutex_unlock(&m->mutex);

	unsigned unknown = 0;

	for (unsigned i = 0; i < setup.count; i++)
		unknown += devices[i].costs.state_bytes == SWO_UNKNOWN ||
			   source_arcs_unknown(&devices[i].costs);
	const uint64_t dirty = swo_ram_dirty_pages(m->vm.ram),
		       due = source_ram_due(s, bandwidth(s));

	/* What is in the sockets has to cross the wire first, whatever it is. */
	const uint64_t ahead = backlog(s);

	setup.ram_bytes = due + ahead;
	setup.ram_after_stop = source_all_ram_due(s);
	int rc = analysis_estimate_downtime(&setup, out, err);

	free(devices);
	if (rc)
		return -1;
	/* What another round could send. */
	out->bytes -= setup.ram_bytes;
	out->bytes += dirty << SWO_PAGE_SHIFT;
	pthread_mutex_lock(&m->mutex);
	/* No round makes it shorter if all RAM goes in the stop. */
	if (s->ram_in_stop)
		out->irreducible_ns = out->downtime_ns;
	m->info.predicted_downtime_ns = out->downtime_ns;
	m->info.predicted_without = unknown;
	m->info.bandwidth = s->wire_bandwidth;
	m->info.ram_dirty_pages = dirty;
	pthread_mutex_unlock(&m->mutex);
	return 0;
}

/* Pre-copy */

static bool initial_loaded(void *arg)
{
	struct source *s = arg;

	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		if (s->devices[i].initial_loaded < s->devices[i].initial_marks)
			return false;
	return true;
}

/* Between rounds. */
static bool initial_sent(const struct source *s)
{
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		if (!s->devices[i].initial_sent)
			return false;
	return true;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void read_meters(struct source *s, struct channel_meter meters[WIRE_CHANNELS_MAX])
{
	for (unsigned i = 0; i < s->m.params.channels; i++)
		meters[i] = channel_meter_read(&s->m.data[i]);
}

/* Each by its bytes, so that a short one does not outweigh a long one; old ones fade. */
static void add_sample(struct source *s, uint64_t bytes, uint64_t ns)
{
	s->wire_bytes = s->wire_bytes * SAMPLE_FADES + (double)bytes;
	s->wire_ns = s->wire_ns * SAMPLE_FADES + (double)ns;
	s->wire_bandwidth = (uint64_t)(s->wire_bytes * 1e9 / s->wire_ns);
}

/*
 * By the time in which the channels had data to send: searching for non-zero pages, waiting for a
 * device or for max_bandwidth does not count against the wire.
 */
static void learn_bandwidth(struct source *s, const struct channel_meter before[WIRE_CHANNELS_MAX])
{
	struct channel_meter after[WIRE_CHANNELS_MAX];

	read_meters(s, after);
	const struct channel_meter_sample sample =
		channel_meter_measure(before, after, s->m.params.channels, SOURCE_SAMPLE_MIN);

	if (sample.ns)
		add_sample(s, sample.bytes, sample.ns);
}

/*
 * Watches full sockets for a while. A wire that is slower than they fill, and that does not report
 * what arrives, is measured only now; nothing that was measured before is better. False: it turned
 * out to be slower than was assumed.
 */
static bool sockets_drain(struct source *s)
{
	const uint64_t start = swo_now_ns(), first = backlog(s), assumed = bandwidth(s);
	uint64_t gone = 0, ns = 0;

	while (first - gone >= SOURCE_SAMPLE_MIN && ns < DRAIN_NS &&
		(gone < DRAIN_BYTES || ns < DRAIN_SAMPLE_NS) && !migration_broken(&s->m, NULL)) {
		swo_sleep_until(swo_now_ns() + DRAIN_LOOK_NS);
		const uint64_t left = backlog(s);

		gone = left < first ? first - left : 0;
		ns = swo_now_ns() - start;
	}
	if (ns < DRAIN_SAMPLE_NS || gone < DRAIN_BYTES)
		return true;
	s->wire_bytes = s->wire_ns = 0;
	add_sample(s, gone, ns);
	return s->wire_bandwidth >= assumed / 8 * 7;
}

/* One round of everything that can be sent while the VM runs. *bytes: bytes sent. */
static int precopy_round(struct source *s, uint64_t *bytes, struct swo_error *err)
{
	struct channel_meter meters[WIRE_CHANNELS_MAX];
	uint64_t ram_bytes = 0;

	pthread_mutex_lock(&s->m.mutex);
	uint64_t device_before = s->m.info.device_sent;
	pthread_mutex_unlock(&s->m.mutex);

	if (s->ram)
		migration_tell_pass(&s->m, s->m.info.ram_passes + 1);
	read_meters(s, meters);
	source_devices_precopy_begin(s);
	int rc = source_shares(s) ? 0
				  : ram_send_pass(s->ram, source_converge_tick, s, &ram_bytes, err);
	struct swo_error second;
	if (source_devices_precopy_wait(s, rc ? &second : err))
		rc = -1;
	/* After the pass of RAM, which may have taken long: what they have changed meanwhile. */
	if (rc || source_devices_left(s, err))
		return -1;

	pthread_mutex_lock(&s->m.mutex);
	*bytes = ram_bytes + s->m.info.device_sent - device_before;
	pthread_mutex_unlock(&s->m.mutex);
	learn_bandwidth(s, meters);
	return 0;
}

/* Of RAM that is due in the stop. Its sockets were filled at the speed of the stop, too. */
static int sample_round(struct source *s, struct swo_error *err)
{
	struct channel_meter meters[WIRE_CHANNELS_MAX];
	const double before = s->ram_pass_ns;

	read_meters(s, meters);
	if (source_ram_sample(s, err))
		return -1;
	if (s->ram_pass_ns > before) {
		s->wire_bytes = s->wire_ns = 0;
		learn_bandwidth(s, meters);
	}
	return 0;
}

/* No round will do. */
static int too_slow(struct source *s, const struct estimate *e, struct swo_error *err)
{
	const char *name =
		e->slowest >= 0 ? swo_device_name(s->m.vm.devices[e->slowest]) : "(none)";

	const bool shown = e->slowest >= 0 && source_has_learned(s, (unsigned)e->slowest);

	if (source_all_ram_due(s))
		return swo_error_set(err, SWO_E_TIMEOUT, 0,
			"this VM cannot be switched over within downtime-limit %" PRIu64
			" ms: a device's writes to RAM are not tracked, so that %" PRIu64
			" MiB of RAM are sent in the stop, which takes about %" PRIu64
			" ms; raise downtime-limit above that",
			migration_limits(&s->m).downtime_limit_ms, source_ram_due(s, 0) >> 20,
			e->downtime_ns / 1000000);
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"this VM cannot be switched over within downtime-limit %" PRIu64
		" ms: its devices alone take about %" PRIu64
		" ms (the slowest is %s%s); raise downtime-limit above that",
		migration_limits(&s->m).downtime_limit_ms, e->irreducible_ns / 1000000, name,
		shown ? ", as a switchover that failed has shown" : "");
}

/*
 * The limit is met. The first round is the longest and leaves the most dirty pages; another
 * short one is worthwhile, as each byte less after the stop saves time, and so is the next for
 * as long as each leaves at most three quarters.
 */
static bool another_pays(
	struct source *s, const struct estimate *e, unsigned rounds, uint64_t left_before)
{
	uint64_t rate = bandwidth(s), limit = migration_limits(&s->m).max_bandwidth;

	if (limit && limit < rate)
		rate = limit;
	return rounds < SETTLE_ROUNDS && e->bytes >= SETTLE_BYTES &&
	       e->bytes <= left_before / 4 * 3 &&
	       (double)e->bytes * 1e9 / (double)rate <= (double)SETTLE_ROUND_NS;
}

/* Rounds in which what no pass of RAM makes shorter did not get shorter, either. */
struct hope {
	uint64_t least_ns;
	unsigned rounds;
};

/* Devices may have more to send before the stop, and a link that begins slowly gets faster. */
static bool has_hope(struct hope *hope, const struct estimate *e)
{
	if (e->irreducible_ns < hope->least_ns - hope->least_ns / 8) {
		*hope = (struct hope){.least_ns = e->irreducible_ns};
		return true;
	}
	return ++hope->rounds < HOPE_ROUNDS;
}

int source_precopy(struct source *s, struct swo_error *err)
{
	uint64_t bytes, left = UINT64_MAX;
	struct estimate e;
	unsigned settling = 0;
	struct hope hope = {.least_ns = UINT64_MAX};

	source_converge_begin(s);
	for (;;) {
		if (s->m.params.config == SWO_WHEN_EARLY && source_configs_send(s, err))
			return -1;
		if (precopy_round(s, &bytes, err))
			return -1;
		/* The VM was stopped meanwhile: nothing is gained by waiting. */
		if (!source_vm_runs(s))
			return source_vm_failed(s, err);
		if (s->converge.forced)
			return source_dirty_collect(s, err) || estimate(s, &e, err) ? -1 : 0;
		/* Large initial data takes several rounds, and RAM keeps up beside it. */
		if (!initial_sent(s)) {
			if (source_dirty_collect(s, err) || estimate(s, &e, err) ||
				source_converge_check(s, err))
				return -1;
			continue;
		}
		if (migration_wait_until(&s->m, initial_loaded, s, false,
			    swo_deadline_ms(s->m.params.setup_deadline_ms),
			    "the loading of the devices' initial data", err) ||
			sample_round(s, err) || source_dirty_collect(s, err) ||
			estimate(s, &e, err))
			return -1;

		const uint64_t limit_ns = migration_limits(&s->m).downtime_limit_ms * 1000000;

		if (e.downtime_ns <= limit_ns) {
			if (!sockets_drain(s))
				continue;
			if (!another_pays(s, &e, settling++, left))
				return 0;
			left = e.bytes;
			continue;
		}
		if (e.irreducible_ns > limit_ns && !has_hope(&hope, &e))
			return too_slow(s, &e, err);
		if (source_converge_round(s, &e, limit_ns, err))
			return -1;
		if (s->converge.forced)
			return 0;
		/* A round on top of what is in the sockets would only wait there. */
		sockets_drain(s);
		/* Little to send, but above the limit: check again shortly. */
		if (bytes < SOURCE_SAMPLE_MIN &&
			migration_wait_until(
				&s->m, never, NULL, false, swo_deadline_ms(10), "", err) &&
			err->code != SWO_E_TIMEOUT)
			return -1;
	}
}
