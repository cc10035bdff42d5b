/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * setup.c - before anything stops: connect, HELLO, compare clocks, start the logs,
 * bring the devices to PRE_COPY. And the reader of the control connection from then on.
 */
#include "migration/source/source.h"
#include "runstate/hold.h"

#include "journal/write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_PROBES 8

/* Messages of the target */

static int take_hello_ok(
	struct source *s, const uint8_t *payload, size_t len, struct swo_error *err)
{
	if (s->migration_hello_ok)
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "duplicate HELLO_OK");
	struct migration_hello_ok ok;

	if (migration_hello_ok_parse(payload, len, s->costs, s->m.vm.device_count, &ok, err))
		return -1;
	if (ok.handover != s->m.params.handover)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"the target cannot take RAM by descriptor (it is an older "
			"version of switchover): use handover=copy");
	s->link_window = ok.link_window;
	s->ticket.nonce = ok.ticket;
	memcpy(s->ticket.id, s->m.info.id, sizeof(s->ticket.id));
	s->migration_hello_ok = true;
	return 0;
}

static int take_device_message(
	struct source *s, const struct channel_frame_header *header, struct swo_error *err)
{
	if (header->device >= s->m.vm.device_count)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"the target names device %u; there are %u", header->device,
			s->m.vm.device_count);
	struct source_device *sd = &s->devices[header->device];
	const char *name = swo_device_name(sd->dev);

	if (header->type == WIRE_INITIAL_LOADED && header->pass >= sd->initial_marks)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: the target has loaded up to INITIAL mark %" PRIu64
			", which was not sent",
			name, header->pass);
	/* `sent` is counted later than the target may have it. */
	if (header->type == WIRE_CREDIT && header->offset > sd->consumed &&
		header->offset - sd->consumed > sd->window)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: the target has consumed %" PRIu64
			" bytes, more than may have been sent",
			name, header->offset);
	if (header->type == WIRE_INITIAL_LOADED)
		sd->initial_loaded =
			header->pass < sd->initial_loaded ? sd->initial_loaded : header->pass + 1;
	else if (header->type == WIRE_AGREED)
		sd->finalised = true;
	else if (header->offset > sd->consumed)
		sd->consumed = header->offset;
	if (sd->wanted && sd->consumed >= sd->wanted)
		pthread_cond_signal(&sd->credit);
	return 0;
}

static int take_ready(struct source *s, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	if (header->length != sizeof(s->go))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed READY: %u bytes, expected %zu", header->length, sizeof(s->go));
	/* The first one counts: the migration's thread may be sending GO for it. */
	if (s->ready)
		return 0;
	/* END_ALL is sent in SENT: before it the target cannot have all. */
	if (handover_is(&s->m.handover, SOURCE_SETUP) ||
		handover_is(&s->m.handover, SOURCE_PRECOPY) ||
		handover_is(&s->m.handover, SOURCE_STOPPING))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed READY: it precedes the end of the state");
	/* It crossed a cancel or a failure: an error would close the channel before ABORT is sent. */
	if (!handover_is(&s->m.handover, SOURCE_SENT))
		return 0;
	memcpy(&s->go, payload, sizeof(s->go));
	if (strncmp(s->go.id, s->m.info.id, sizeof(s->go.id)))
		return swo_error_set(
			err, SWO_E_PROTOCOL, 0, "malformed READY: ID of another migration");
	s->ready = true;
	return 0;
}

static int handle_locked(struct source *s, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	switch (header->type) {
	case WIRE_HELLO_OK:
		return take_hello_ok(s, payload, header->length, err);
	case WIRE_CLOCK_REPLY:
		s->clock_replied = true;
		s->clock_target_ns = header->pass;
		s->clock_back_ns = swo_now_ns();
		return 0;
	case WIRE_CREDIT:
	case WIRE_INITIAL_LOADED:
	case WIRE_AGREED:
		return take_device_message(s, header, err);
	case WIRE_READY:
		return take_ready(s, header, payload, err);
	case WIRE_STARTING: /* in progress: the source waits for STARTED */
		return 0;
	case WIRE_TIMELINE:
		/* The first one counts, here too. */
		if (s->timeline_in)
			return 0;
		s->timeline_in = true;
		return swo_buf_append(&s->timeline_json, payload, header->length, err);
	default:
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"unexpected frame of type %u from the target", header->type);
	}
}

/* The first refusal counts. */
static struct swo_error keep_refusal(struct source *s, const char *text)
{
	pthread_mutex_lock(&s->m.mutex);
	if (s->refusal.code == SWO_E_NONE)
		swo_error_set(&s->refusal, SWO_E_PEER_LOST, 0, "the target refused%s: %.360s",
			s->m.info.committed ? " after GO" : "", text);
	const struct swo_error why = s->refusal;
	pthread_mutex_unlock(&s->m.mutex);
	return why;
}

void source_take_refused(struct source *s, const char *text)
{
	const struct swo_error why = keep_refusal(s, text);

	migration_raise(&s->m, SOURCE_EV_REFUSED, &why);
}

void source_take_started(struct source *s, const char *text)
{
	struct swo_error why;

	pthread_mutex_lock(&s->m.mutex);
	if (!s->started_ns)
		s->started_ns = swo_now_ns();
	pthread_mutex_unlock(&s->m.mutex);
	if (text[0])
		swo_error_set(
			&why, SWO_E_DEVICE, 0, "the VM runs on the target, but: %.300s", text);
	migration_raise(&s->m, SOURCE_EV_STARTED, text[0] ? &why : NULL);
}

/* The reply is of the process that received this source's HELLO. */
static int check_nonce(
	const struct source *s, const struct channel_frame_header *header, struct swo_error *err)
{
	if (header->type != WIRE_READY && header->type != WIRE_STARTED &&
		header->type != WIRE_REFUSED)
		return 0;
	if (header->offset == s->hello_nonce)
		return 0;
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"malformed %s: another nonce than HELLO: it is not of the target of this "
		"migration",
		header->type == WIRE_READY     ? "READY"
		: header->type == WIRE_STARTED ? "STARTED"
					       : "REFUSED");
}

/* What bears on who runs is a step of the handover, whose table decides what it means now. */
static bool handle_step(
	struct source *s, const struct channel_frame_header *header, const uint8_t *payload)
{
	switch (header->type) {
	case WIRE_STARTED:
		source_take_started(s, (const char *)payload);
		return true;
	case WIRE_REFUSED:
		source_take_refused(s, (const char *)payload);
		return true;
	case WIRE_ABORT:
		/* After GO it is not a reason for later events. */
		if (!handover_committed(&s->m.handover)) {
			const struct swo_error why = keep_refusal(s, (const char *)payload);

			migration_raise(&s->m, SOURCE_EV_ABORT, &why);
		}
		return true;
	default:
		return false;
	}
}

static int handle(struct swo_migration *m, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	struct source *s = (struct source *)m;

	if (check_nonce(s, header, err))
		return -1;
	if (handle_step(s, header, payload))
		return 0;
	pthread_mutex_lock(&m->mutex);
	int rc = handle_locked(s, header, payload, err);
	/* Thousands per second; each has at most one waiter. */
	if (header->type != WIRE_CREDIT)
		pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

static void *control_reader(void *opaque)
{
	migration_read_control(opaque, handle);
	return NULL;
}

/* Connecting */

static int say_hello(struct source *s, swo_deadline deadline, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	struct swo_buf text = SWO_BUF_INIT(WIRE_HELLO_MAX);
	struct hello hello;
	struct channel_conn *conn;
	struct refusal why;

	if (migration_hello_describe(&m->vm, &hello, err))
		return -1;
	strcpy(hello.id, m->info.id);
	hello.nonce = s->hello_nonce;
	hello.channels = m->params.channels;
	hello.running = s->was_running;
	hello.finalise = m->params.finalise;
	hello.config = m->params.config;
	hello.handover = m->params.handover;
	hello.allow_no_p2p = m->params.allow_no_p2p;
	for (unsigned i = 0; i < m->vm.device_count; i++) {
		hello.devices[i].window = s->devices[i].window;
		hello.devices[i].spread = s->devices[i].lane;
	}
	int rc = migration_hello_check_p2p(&hello, "source", hello.allow_no_p2p, &why);

	if (rc)
		*err = why.full;
	else
		rc = migration_hello_format(&hello, &text, err);
	migration_hello_free(&hello);

	if (!rc)
		rc = channel_conn_attempt(m->uri, &m->security, deadline, &s->attempt, &conn, err);
	if (!rc) {
		channel_conn_set_limit(conn, &m->limit);
		channel_init(&m->control, conn, m->params.idle_deadline_ms);
		m->control_open = true;
		if (source_shares(s))
			rc = ram_share_offer(&m->share, m->vm.ram, conn, err);
	}
	if (!rc)
		rc = migration_control(m, WIRE_HELLO, text.data, text.len, err);
	if (!rc)
		rc = swo_thread_start(&m->control_reader, "swo-control", control_reader, m, err);
	if (!rc)
		m->control_reader_runs = true;
	swo_buf_free(&text);
	return rc;
}

static bool has_hello_ok(void *arg)
{
	return ((struct source *)arg)->migration_hello_ok;
}

static int attach_channels(struct source *s, swo_deadline deadline, struct swo_error *err)
{
	struct swo_migration *m = &s->m;

	for (unsigned i = 0; i < m->params.channels; i++) {
		struct channel_frame_header header = {.type = WIRE_ATTACH, .device = i};
		struct channel_conn *conn;

		if (channel_conn_attempt(m->uri, &m->security, deadline, &s->attempt, &conn, err))
			return swo_error_prefix(err, "data channel %u", i);
		/* Under the mutex: a cancel shuts down the channels that are open. */
		pthread_mutex_lock(&m->mutex);
		channel_conn_set_limit(conn, &m->limit);
		channel_init(&m->data[i], conn, m->params.idle_deadline_ms);
		m->data_open = i + 1;
		pthread_mutex_unlock(&m->mutex);
		if (channel_send(&m->data[i], &header, &s->ticket, sizeof(s->ticket), err))
			return -1;
	}
	return 0;
}

/* Clocks */

static bool has_clock(void *arg)
{
	return ((struct source *)arg)->clock_replied;
}

static int probe_clock(struct source *s, swo_deadline deadline, struct swo_error *err)
{
	struct channel_frame_header header = {.type = WIRE_CLOCK};
	uint64_t sent = swo_now_ns();

	s->clock_replied = false;
	header.offset = sent;
	if (channel_send(&s->m.control, &header, NULL, 0, err) ||
		migration_wait_until(
			&s->m, has_clock, s, false, deadline, "the target's CLOCK_REPLY", err))
		return -1;
	pthread_mutex_lock(&s->m.mutex);
	uint64_t rtt = s->clock_back_ns - sent;

	if (rtt < s->rtt_ns) {
		s->rtt_ns = rtt;
		s->clock_offset_ns = (int64_t)s->clock_target_ns - (int64_t)(sent + rtt / 2);
	}
	pthread_mutex_unlock(&s->m.mutex);
	return 0;
}

/* The probe with the shortest round trip bounds the offset best. */
static int compare_clocks(struct source *s, swo_deadline deadline, struct swo_error *err)
{
	s->rtt_ns = UINT64_MAX;
	for (int i = 0; i < CLOCK_PROBES; i++)
		if (probe_clock(s, deadline, err))
			return -1;
	return 0;
}

/* The target has taken the windows when it answers what was sent after them. */
static int widen_windows(struct source *s, swo_deadline deadline, struct swo_error *err)
{
	struct channel_frame_header header = {.type = WIRE_WINDOW};
	bool any = false;

	source_devices_widen(s);
	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		if (!s->devices[i].widened)
			continue;
		header.device = i;
		header.offset = s->devices[i].window;
		if (channel_send(&s->m.control, &header, NULL, 0, err))
			return -1;
		any = true;
	}
	return any ? probe_clock(s, deadline, err) : 0;
}

/* Devices */

/* A `stop` would find the devices busy: it waits. */
static int init_devices(struct source *s, struct swo_error *err)
{
	int rc = 0;

	runstate_hold(s->m.vm.runstate);
	for (unsigned i = 0; i < s->m.vm.device_count && !rc; i++)
		rc = source_device_init(s, i, err);
	runstate_release(s->m.vm.runstate);
	return rc;
}

static int launch_precopy(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	struct swo_error later;
	unsigned launched = 0;
	int rc = 0;

	for (; launched < m->vm.device_count && !rc; launched++) {
		struct swo_device *dev = m->vm.devices[launched];

		if (swo_device_mig_flags(dev) & SWO_MIG_PRE_COPY)
			rc = swo_device_launch(dev, SWO_DEVICE_PRE_COPY, err);
	}
	if (rc)
		launched--;
	for (unsigned i = 0; i < launched; i++)
		if ((swo_device_mig_flags(m->vm.devices[i]) & SWO_MIG_PRE_COPY) &&
			swo_device_wait(m->vm.devices[i], rc ? &later : err))
			rc = -1;
	return rc ? migration_device_error(err) : 0;
}

/* The devices of a VM that was stopped since the start stay stopped: PRE_COPY runs a device. */
static int enter_precopy(struct source *s, struct swo_error *err)
{
	const bool runs = runstate_hold(s->m.vm.runstate) == SWO_RUN_STATE_RUNNING;
	int rc = runs && s->was_running ? launch_precopy(s, err) : 0;

	runstate_release(s->m.vm.runstate);
	return rc;
}

static int create_ram_send(struct source *s, struct swo_error *err)
{
	struct ram_send *ram = NULL;

	if (source_shares(s))
		return 0;
	if (ram_send_create(&s->m, &ram, err))
		return -1;
	/* Under the mutex: a query of the progress reads it. */
	pthread_mutex_lock(&s->m.mutex);
	s->ram = ram;
	pthread_mutex_unlock(&s->m.mutex);
	return 0;
}

int source_setup(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	swo_deadline deadline = swo_deadline_ms(m->params.setup_deadline_ms);

	if (migration_journal_open(m, err) || init_devices(s, err))
		return -1;
	journal_set_hello_nonce(m->journal, s->hello_nonce);
	if (swo_worker_create("swo-stop", &s->stop_worker, err) || create_ram_send(s, err) ||
		source_devices_measure(s, err) || say_hello(s, deadline, err) ||
		migration_wait_until(
			m, has_hello_ok, s, false, deadline, "the target's HELLO_OK", err) ||
		compare_clocks(s, deadline, err) || widen_windows(s, deadline, err) ||
		attach_channels(s, deadline, err))
		return -1;
	if (s->ram)
		ram_send_still(s->ram, !s->was_running);
	if (source_logs_start(s, err))
		return -1;
	return enter_precopy(s, err);
}
