/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.c - sends one device's state: pre-copy data, then, once it has stopped, the rest, and
 * the end mark that the target checks.
 */
#include "migration/source/source.h"

#include "base/memory.h"
#include "device/core/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A device that changes faster than it is read must not keep a round from ending. */
#define PRECOPY_ROUND_NS UINT64_C(500000000)
#define SMALLEST_WINDOW	 (UINT64_C(256) << 10)
/* Smaller transfers end before more channels could help. */
#define SPREAD_MIN (UINT64_C(8) << 20)

/* Pre-copy data less than this part of MIG_DATA_SIZE is not all of the state: 7/8. */
#define MOSTLY(bytes) ((bytes) / 8 * 7)

static bool has_info(const struct source_device *sd)
{
	return sd->ops->precopy_info && !sd->no_info;
}

/* Not offered, or failed: it may have any size. */
static uint64_t data_size(struct source_device *sd)
{
	struct swo_error err = {0};
	uint64_t bytes = 0;

	if (!sd->ops->data_size)
		return SWO_UNKNOWN;
	if (!sd->ops->data_size(sd->backend, &bytes, &err))
		return bytes;
	if (err.code != SWO_E_UNSUPPORTED && !sd->size_failed)
		swo_log(SWO_LOG_WARN, "%s: the size of its state is unknown", err.text);
	sd->size_failed = sd->size_failed || err.code != SWO_E_UNSUPPORTED;
	return SWO_UNKNOWN;
}

static void set_stop_bytes(struct source_device *sd, uint64_t bytes)
{
	pthread_mutex_lock(&sd->source->m.mutex);
	sd->stop_bytes = bytes;
	pthread_mutex_unlock(&sd->source->m.mutex);
}

static void measure_job(void *opaque)
{
	struct source_device *sd = opaque;

	if (!atomic_load(&sd->source->m.abort))
		set_stop_bytes(sd, data_size(sd));
}

static bool is_new(const struct source_device *sd, const struct swo_precopy_info *info)
{
	return info->reinit || info->initial_bytes > sd->initial_reported;
}

/* New initial data: the target is to acknowledge it, again. */
static void reinitialise(struct source_device *sd, const struct swo_precopy_info *info)
{
	/* A driver may repeat the flag while there is less and less. */
	if (sd->initial_sent || info->initial_bytes > sd->initial_reported)
		sd->initial_most = sd->offset + 2 * info->initial_bytes;
	if (sd->initial_sent)
		swo_log(SWO_LOG_INFO,
			"device %s has re-initialised: %" PRIu64
			" bytes are to be loaded before the stop",
			swo_device_name(sd->dev), info->initial_bytes);
	sd->initial_sent = false;
	sd->initial_dry = false;
	if (info->initial_bytes > sd->carries)
		sd->carries = info->initial_bytes;
}

/* In PRE_COPY. Where it has no such call: nothing changes. */
static int read_info(struct source_device *sd, struct swo_precopy_info *info, struct swo_error *err)
{
	*info = (struct swo_precopy_info){0};
	if (!has_info(sd))
		return 0;
	if (sd->ops->precopy_info(sd->backend, info, err)) {
		sd->no_info = err->code == SWO_E_UNSUPPORTED;
		return sd->no_info ? 0
				   : migration_data_error(
					     sd->dev, "reading how much pre-copy data it has", err);
	}
	if (is_new(sd, info))
		reinitialise(sd, info);
	sd->info_read = true;
	sd->initial = sd->initial_reported = info->initial_bytes;
	return 0;
}

/*
 * Drivers report the complete state as the size, whatever was sent of it. Of that only the part
 * counts that pre-copy never has: some carry nothing but a header in it (QAT, HiSilicon). A driver
 * that reports nothing as dirty, but had something in the last round, will again.
 */
static uint64_t left_of(const struct source_device *sd, const struct swo_precopy_info *info)
{
	const uint64_t changed = info->dirty_bytes ? info->dirty_bytes : sd->increment;
	uint64_t late = 0;

	if (sd->size_first != SWO_UNKNOWN && sd->carries < MOSTLY(sd->size_first))
		late = sd->size_first - sd->carries;
	return info->initial_bytes + changed + late;
}

static void left_job(void *opaque)
{
	struct source_device *sd = opaque;
	struct swo_precopy_info info;
	struct swo_error err = {0};

	if (sd->session_over || atomic_load(&sd->source->m.abort))
		return;
	if (swo_device_state(sd->dev) != SWO_DEVICE_PRE_COPY || !has_info(sd)) {
		measure_job(sd);
		return;
	}
	if (read_info(sd, &info, &err)) {
		device_explain(sd->dev, &err);
		migration_fail(&sd->source->m, &err);
	} else if (has_info(sd)) {
		set_stop_bytes(sd, left_of(sd, &info));
	}
}

static bool is_large(const struct source_device *sd)
{
	return sd->size_first != SWO_UNKNOWN && sd->size_first >= SPREAD_MIN;
}

/* Devices that are large while channels would be idle: they are spread over all channels. */
static bool spreads(const struct source *s)
{
	unsigned large = 0;

	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		large += is_large(&s->devices[i]);
	return large && large < s->m.params.channels;
}

static int make_buffers(struct source *s, struct swo_error *err)
{
	const bool spread = spreads(s);

	if (spread && source_state_send_create(&s->m, &s->state_send, err))
		return -1;
	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		struct source_device *sd = &s->devices[i];

		if (spread && is_large(sd)) {
			if (source_lane_create(s->state_send, i, sd->chunk, &sd->lane, err))
				return -1;
			continue;
		}
		/* One is enough where reads cannot be requested ahead. */
		for (unsigned b = 0; b < (sd->ops->data_ask ? SWO_READS_AHEAD : 1); b++) {
			sd->bufs[b] = base_calloc_prefaulted(sd->chunk);
			if (!sd->bufs[b])
				return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM,
					"device %s: cannot allocate a buffer",
					swo_device_name(sd->dev));
		}
	}
	return 0;
}

/* A device that reports no size may have much. */
static uint64_t window_of_each(const struct source *s)
{
	unsigned large = 0;

	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		large += s->devices[i].size_first > ANALYSIS_SHARED_WINDOW;
	return analysis_window(s->m.params.device_window, large);
}

int source_devices_measure(struct source *s, struct swo_error *err)
{
	source_jobs_submit(s, measure_job);
	if (source_jobs_wait(s, err))
		return -1;
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		s->devices[i].size_first = s->devices[i].stop_bytes;
	const uint64_t most = window_of_each(s);

	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		struct source_device *sd = &s->devices[i];
		uint64_t window = most;

		/* A small device needs no large window on the target. */
		if (sd->size_first < window && sd->size_first + 65536 < window)
			window = sd->size_first + 65536 > SMALLEST_WINDOW ? sd->size_first + 65536
									  : SMALLEST_WINDOW;
		sd->window = window < most ? window : most;
		sd->chunk =
			sd->ops->read_chunk ? sd->ops->read_chunk(sd->backend) : WIRE_DEVICE_MAX;
		if (sd->chunk > WIRE_DEVICE_MAX)
			sd->chunk = WIRE_DEVICE_MAX;
		if (sd->chunk > sd->window / 2)
			sd->chunk = sd->window / 2;
	}
	return make_buffers(s, err);
}

/* With data or without, a device has no use for more than its state. */
static uint64_t most_of(const struct source_device *sd)
{
	return sd->size_first < UINT64_MAX - 65536 ? sd->size_first + 65536 : UINT64_MAX;
}

void source_devices_widen(struct source *s)
{
	const uint64_t need = analysis_link_need(s->rtt_ns);
	uint64_t left =
		s->m.params.link_window < s->link_window ? s->m.params.link_window : s->link_window;
	unsigned takers = 0;

	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		const uint64_t window = s->devices[i].window;

		left -= window < left ? window : left;
		takers += window < need && window < most_of(&s->devices[i]);
	}
	for (unsigned i = 0; i < s->m.vm.device_count && takers; i++) {
		struct source_device *sd = &s->devices[i];
		uint64_t window = need < most_of(sd) ? need : most_of(sd);

		if (window <= sd->window)
			continue;
		if (window - sd->window > left / takers)
			window = sd->window + left / takers;
		left -= window - sd->window;
		takers--;
		sd->widened = window > sd->window;
		sd->window = window;
	}
}

/* Waits until the target has space for `len` more bytes of this device. */
static int wait_credit(struct source_device *sd, size_t len, struct swo_error *err)
{
	struct swo_migration *m = &sd->source->m;
	swo_deadline deadline = swo_deadline_ms(m->params.switchover_deadline_ms);
	int rc = 0;

	pthread_mutex_lock(&m->mutex);
	if (sd->offset + len > sd->window)
		sd->wanted = sd->offset + len - sd->window;
	sd->busy_ns = swo_now_ns();
	while (sd->consumed < sd->wanted) {
		if (atomic_load(&m->abort) || m->lost) {
			rc = swo_error_set(err, SWO_E_CANCELLED, 0,
				"device %s: the migration was aborted while its state was sent",
				swo_device_name(sd->dev));
			break;
		}
		if (swo_cond_wait(&sd->credit, &m->mutex, deadline) == ETIMEDOUT &&
			swo_deadline_passed(deadline)) {
			rc = swo_error_set(err, SWO_E_TIMEOUT, 0,
				"device %s: timed out: no CREDIT from the target for %llu ms",
				swo_device_name(sd->dev),
				(unsigned long long)m->params.switchover_deadline_ms);
			break;
		}
	}
	sd->wanted = 0;
	sd->busy_ns = 0;
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

/* Sends the content of `buf` that read_device left. */
static int send_data(
	struct source_device *sd, const uint8_t *buf, size_t len, struct swo_error *err)
{
	struct swo_migration *m = &sd->source->m;
	struct channel_frame_header header = {
		.type = WIRE_DEVICE, .device = sd->index, .offset = sd->offset};

	if (wait_credit(sd, len, err))
		return -1;
	if (sd->lane) {
		if (source_lane_send(sd->lane, sd->offset, len, &sd->sum, err))
			return -1;
	} else {
		if (channel_send(&m->data[sd->channel], &header, buf, len, err))
			return -1;
		sd->sum = migration_sum(sd->sum, header.checksum);
	}
	sd->offset += len;
	pthread_mutex_lock(&m->mutex);
	m->info.device_sent += len;
	sd->sent = sd->offset;
	if (sd->session_over)
		m->info.device_sent_stopped += len;
	pthread_mutex_unlock(&m->mutex);
	if (!sd->session_over && !atomic_load(&sd->source->halting))
		migration_pace(m, len);
	return 0;
}

static int send_mark(struct source_device *sd, enum wire_type type, uint64_t generation,
	const void *payload, size_t len, struct swo_error *err)
{
	struct channel_frame_header header = {.type = (uint16_t)type,
		.device = sd->index,
		.offset = sd->offset,
		.pass = generation};

	return channel_send(&sd->source->m.data[sd->channel], &header, payload, len, err);
}

static int collect(struct source_device *sd, uint8_t *buf, size_t *got, struct swo_error *err)
{
	int rc = sd->ops->data_read(sd->backend, buf, sd->chunk, got, err);

	if (sd->requested) {
		sd->requested--;
		sd->next_buf = (sd->next_buf + 1) % SWO_READS_AHEAD;
	}
	return rc ? migration_data_error(sd->dev, "reading its data", err) : 0;
}

static void set_busy(struct source_device *sd, uint64_t since_ns)
{
	pthread_mutex_lock(&sd->source->m.mutex);
	sd->busy_ns = since_ns;
	pthread_mutex_unlock(&sd->source->m.mutex);
}

static int read_device(struct source_device *sd, uint8_t **buf, size_t *got, struct swo_error *err)
{
	if (atomic_load(&sd->source->m.abort))
		return swo_error_set(err, SWO_E_CANCELLED, 0,
			"device %s: the migration was aborted while its state was read",
			swo_device_name(sd->dev));
	uint64_t start = swo_now_ns();

	set_busy(sd, start);
	*buf = sd->lane ? source_lane_buffer(sd->lane) : sd->bufs[sd->next_buf];
	int rc = collect(sd, *buf, got, err);

	set_busy(sd, 0);
	sd->read_ns += swo_now_ns() - start;
	return rc;
}

/* The device's replies are in flight while this worker does other work. */
static void ask_ahead(struct source_device *sd)
{
	if (sd->lane || !sd->ops->data_ask)
		return;
	while (sd->requested < SWO_READS_AHEAD &&
		!sd->ops->data_ask(sd->backend,
			sd->bufs[(sd->next_buf + sd->requested) % SWO_READS_AHEAD], sd->chunk,
			NULL))
		sd->requested++;
}

/*
 * Is its initial data read? Without PRECOPY_INFO: at the first empty or short read, or when as much
 * has been read as all of its state was. A device whose initial data does not get less ends it
 * too, after twice as much, and one that reports some, but has none to read, twice in a row.
 */
static int initial_done(
	struct source_device *sd, size_t got, bool late, bool *done, struct swo_error *err)
{
	struct swo_precopy_info info;

	*done = false;
	sd->initial -= got < sd->initial ? got : sd->initial;
	/* A driver prepares what follows in this request, so none is sent in vain. */
	if (has_info(sd) && sd->initial && got)
		return 0;
	if (read_info(sd, &info, err))
		return -1;
	if (has_info(sd)) {
		*done = !sd->initial || sd->offset >= sd->initial_most || (!got && sd->initial_dry);
		sd->initial_dry = !got;
	} else {
		*done = got < sd->chunk ||
			(sd->size_first != SWO_UNKNOWN ? sd->offset >= sd->size_first : late);
	}
	return 0;
}

static int send_initial(struct source_device *sd, struct swo_error *err)
{
	struct swo_migration *m = &sd->source->m;

	/* Counted before it is sent: the acknowledgement may arrive first. */
	pthread_mutex_lock(&m->mutex);
	const uint64_t number = sd->initial_marks++;
	pthread_mutex_unlock(&m->mutex);
	sd->initial_sent = true;
	return send_mark(sd, WIRE_INITIAL, number, NULL, 0, err);
}

static int precopy_round(struct source_device *sd, struct swo_error *err)
{
	uint64_t until = swo_now_ns() + PRECOPY_ROUND_NS;
	struct swo_precopy_info info;
	uint8_t *buf = NULL;
	bool late, done;
	size_t got;

	/* Before the first read: how much initial data there is. */
	if (!sd->info_read && read_info(sd, &info, err))
		return -1;
	sd->increment = 0;
	do {
		if (read_device(sd, &buf, &got, err) || (got && send_data(sd, buf, got, err)))
			return -1;
		late = swo_now_ns() > until;
		if (sd->initial_sent) {
			sd->increment += got;
			continue;
		}
		if (initial_done(sd, got, late, &done, err) || (done && send_initial(sd, err)))
			return -1;
	} while (got && !late && !atomic_load(&sd->source->halting) &&
		 !(sd->initial_sent && got < sd->chunk));
	return 0;
}

/*
 * Read beside all the others, so that what it shares with them is in it. A short round after a long
 * one has little meaning: a device may have had as much ready before the request.
 */
static void learn_rate(struct source_device *sd, uint64_t bytes, uint64_t ns)
{
	if (bytes < SOURCE_SAMPLE_MIN || bytes < sd->rate_bytes / 2 || !ns)
		return;
	pthread_mutex_lock(&sd->source->m.mutex);
	if (bytes > sd->rate_bytes)
		sd->rate_bytes = bytes;
	sd->rate = (uint64_t)((double)bytes * 1e9 / (double)ns);
	pthread_mutex_unlock(&sd->source->m.mutex);
}

static void precopy_job(void *opaque)
{
	struct source_device *sd = opaque;
	struct swo_error err = {0};

	if (sd->session_over)
		return;
	if (swo_device_state(sd->dev) == SWO_DEVICE_PRE_COPY) {
		uint64_t start = swo_now_ns(), before = sd->offset, read_before = sd->read_ns;

		if (precopy_round(sd, &err)) {
			device_explain(sd->dev, &err);
			migration_fail(&sd->source->m, &err);
			return;
		}
		if (sd->offset > before)
			swo_timeline_span(sd->source->m.timeline, SWO_EVENT_PRECOPY_STREAM,
				swo_device_name(sd->dev), start, swo_now_ns(), sd->offset - before);
		learn_rate(sd, sd->offset - before, sd->read_ns - read_before);
	} else {
		/* No data before the stop: nothing to wait for. */
		sd->initial_sent = true;
		pthread_mutex_lock(&sd->source->m.mutex);
		sd->initial_loaded = sd->initial_marks;
		pthread_mutex_unlock(&sd->source->m.mutex);
	}
}

void source_devices_precopy_begin(struct source *s)
{
	source_jobs_submit(s, precopy_job);
}

int source_devices_precopy_wait(struct source *s, struct swo_error *err)
{
	return source_jobs_wait(s, err);
}

int source_devices_left(struct source *s, struct swo_error *err)
{
	source_jobs_submit(s, left_job);
	return source_jobs_wait(s, err);
}

static void initial_check_job(void *opaque)
{
	struct source_device *sd = opaque;
	const enum swo_device_state state = swo_device_state(sd->dev);
	struct swo_precopy_info info = {0};
	struct swo_error err = {0};

	if (sd->session_over || !sd->info_read || !sd->initial_sent || !has_info(sd) ||
		(state != SWO_DEVICE_PRE_COPY && state != SWO_DEVICE_PRE_COPY_P2P))
		return;
	if (sd->ops->precopy_info(sd->backend, &info, &err))
		migration_data_error(sd->dev, "reading how much pre-copy data it has", &err);
	else if (is_new(sd, &info))
		swo_error_set(&err, SWO_E_STATE, 0,
			"device %s has re-initialised after the decision to stop: %" PRIu64
			" bytes would have to be loaded while the VM is stopped. It continues here; "
			"start the migration again",
			swo_device_name(sd->dev), info.initial_bytes);
	else
		return;
	device_explain(sd->dev, &err);
	migration_fail(&sd->source->m, &err);
}

int source_devices_initial_check(struct source *s, swo_deadline deadline, struct swo_error *err)
{
	bool any = false;

	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		any = any || s->devices[i].info_read;
	/* The stop was forced before the initial data was loaded. */
	if (!any || s->converge.forced)
		return 0;
	source_jobs_submit(s, initial_check_job);
	return source_jobs_await(s, deadline, "reading how much pre-copy data it has", err);
}

/* After the device has stopped */

/* END names the last config, so that the target finalises only when it has that. */
static int send_end(struct source_device *sd, struct swo_error *err)
{
	struct source *s = sd->source;

	if (send_mark(sd, WIRE_DEVICE_END, sd->config_generation, &sd->sum, sizeof(sd->sum), err))
		return -1;
	pthread_mutex_lock(&s->m.mutex);
	sd->streamed = true;
	sd->streamed_ns = swo_now_ns();
	s->ended++;
	pthread_cond_broadcast(&s->m.changed);
	pthread_mutex_unlock(&s->m.mutex);
	return 0;
}

static int stream(struct source_device *sd, struct swo_error *err)
{
	uint64_t start = swo_now_ns(), before = sd->offset;
	uint8_t *buf = NULL;
	size_t got;

	do {
		if (read_device(sd, &buf, &got, err) || (got && send_data(sd, buf, got, err)))
			return -1;
		/* After less than that the end follows, which has been requested. */
		if (got == sd->chunk)
			ask_ahead(sd);
	} while (got || sd->requested);
	if (sd->lane && source_lane_drain(sd->lane, &sd->sum, err))
		return -1;
	swo_timeline_span(sd->source->m.timeline, SWO_EVENT_SAVE, swo_device_name(sd->dev), start,
		swo_now_ns(), sd->offset - before);
	return send_end(sd, err);
}

static void stream_job(void *opaque)
{
	struct source_device *sd = opaque;
	struct swo_error err = {0};

	size_t got;

	if (!stream(sd, &err))
		return;
	device_explain(sd->dev, &err);
	migration_fail(&sd->source->m, &err);
	/* Otherwise their replies would be written to freed buffers. */
	while (sd->requested)
		collect(sd, sd->bufs[sd->next_buf], &got, NULL);
}

static void check_job(void *opaque)
{
	struct source_device *sd = opaque;
	struct swo_error err = {0};

	if (device_check_state(sd->dev, &err))
		migration_fail(&sd->source->m, &err);
}

void source_devices_check_begin(struct source *s)
{
	source_jobs_submit(s, check_job);
}

int source_devices_check_wait(struct source *s, swo_deadline deadline, struct swo_error *err)
{
	return source_jobs_await(s, deadline, "reading its state", err);
}

void source_devices_stream(struct source *s)
{
	source_jobs_submit(s, stream_job);
}

static int save_config(struct source_device *sd, struct swo_buf *now, struct swo_error *err)
{
	struct swo_migration *m = &sd->source->m;
	struct channel_frame_header header = {
		.type = WIRE_CONFIG, .device = sd->index, .pass = sd->config_generation + 1};

	if (m->vm.ops->config_save(m->vm.opaque, sd->index, now, err))
		return -1;
	if (sd->config_generation && now->len == sd->config.len &&
		!memcmp(now->data, sd->config.data, now->len))
		return 0;
	if (channel_send(&m->control, &header, now->data, now->len, err))
		return -1;

	struct swo_buf before = sd->config;

	sd->config = *now;
	*now = before; /* the caller frees it */
	sd->config_generation++;
	return 0;
}

/* last: the device is in STOP_COPY. After that one there is none, as END has named it. */
static int send_config(struct source_device *sd, bool last, struct swo_error *err)
{
	struct swo_buf now = SWO_BUF_INIT(SWO_CONFIG_MAX);
	int rc = 0;

	pthread_mutex_lock(&sd->config_lock);
	if (!sd->config_final)
		rc = save_config(sd, &now, err);
	sd->config_final = sd->config_final || last;
	pthread_mutex_unlock(&sd->config_lock);
	swo_buf_free(&now);
	return rc;
}

/* Runs once the device is in STOP_COPY: on its worker, while others may still be stopping. */
static void arrived(void *opaque)
{
	struct source_device *sd = opaque;
	struct source *s = sd->source;
	struct swo_error err = {0};

	sd->session_over = true;
	/* Nothing that the device has is wanted any more. */
	if (atomic_load(&s->m.abort))
		return;
	pthread_mutex_lock(&s->m.mutex);
	sd->stopped_ns = swo_now_ns();
	sd->sent_before = sd->sent;
	pthread_mutex_unlock(&s->m.mutex);
	if (s->m.params.stream == SWO_WHEN_EARLY)
		ask_ahead(sd);
	/* It raises no more interrupts: what is pending of them is part of its config. */
	if (send_config(sd, true, &err))
		migration_fail(&s->m, &err);
	/* The device writes no more: its dirty pages are known now, and can be sent. */
	if (!source_shares(s) && source_tracking_last(sd, &err))
		migration_fail(&s->m, &err);
	pthread_mutex_lock(&s->m.mutex);
	s->arrived++;
	s->ram_kick = true;
	pthread_cond_broadcast(&s->m.changed);
	pthread_mutex_unlock(&s->m.mutex);
	if (s->m.params.stream == SWO_WHEN_EARLY)
		stream_job(sd);
}

static void hold_while_arrived(void *opaque, bool on)
{
	if (on)
		migration_hold(&((struct source_device *)opaque)->source->m);
	else
		source_job_release(opaque);
}

int source_device_init(struct source *s, unsigned index, struct swo_error *err)
{
	struct source_device *sd = &s->devices[index];

	sd->source = s;
	sd->index = index;
	sd->channel = index % s->m.params.channels;
	sd->dev = s->m.vm.devices[index];
	sd->ops = swo_device_backend(sd->dev, &sd->backend);
	sd->config = (struct swo_buf)SWO_BUF_INIT(SWO_CONFIG_MAX);
	if (!(swo_device_mig_flags(sd->dev) & SWO_MIG_STOP_COPY))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s cannot migrate: no STOP_COPY", swo_device_name(sd->dev));
	if (swo_device_refresh(sd->dev, err))
		return migration_device_error(err);
	device_set_settle(sd->dev, DEVICE_SETTLE_RUN);
	device_on_arrival_held(sd->dev, SWO_DEVICE_STOP_COPY, arrived, hold_while_arrived, sd);
	return 0;
}

void source_device_close(struct source_device *sd)
{
	if (sd->dev)
		swo_device_on_arrival(sd->dev, SWO_DEVICE_STOP_COPY, NULL, NULL);
}

void source_device_fini(struct source_device *sd)
{
	swo_buf_free(&sd->config);
	for (unsigned i = 0; i < SWO_READS_AHEAD; i++)
		free(sd->bufs[i]);
	if (sd->lane)
		source_lane_drain(sd->lane, &sd->sum, NULL);
	source_lane_destroy(sd->lane);
}

int source_configs_send(struct source *s, struct swo_error *err)
{
	for (unsigned i = 0; i < s->m.vm.device_count; i++)
		if (send_config(&s->devices[i], false, err))
			return -1;
	return 0;
}
