/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * setup.c - until state can be received: accepts a compatible source, opens the sessions, and
 * has the reader of the control connection from then on.
 */
#include "migration/target/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages of the source on the control connection */

static int take_go(struct target *t, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	struct handover_cause cause = {.answer_to = &t->m.control};
	struct swo_error why;

	if (header->length != sizeof(t->go))
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "malformed GO: %u bytes, expected %zu",
			header->length, sizeof(t->go));
	pthread_mutex_lock(&t->m.mutex);
	const bool right = t->go.nonce && !memcmp(payload, &t->go, sizeof(t->go));
	pthread_mutex_unlock(&t->m.mutex);

	swo_error_set(&why, SWO_E_PROTOCOL, 0, "malformed GO: ID or nonce of another migration");
	cause.why = right ? NULL : &why;
	handover_raise(&t->m.handover, right ? TARGET_EV_GO : TARGET_EV_BAD_GO, &cause, NULL);
	return 0;
}

static int take_abort(struct target *t, const uint8_t *payload)
{
	struct swo_error why;

	swo_error_set(
		&why, SWO_E_PEER_LOST, 0, "the source aborted: %.300s", (const char *)payload);
	pthread_mutex_lock(&t->m.mutex);
	if (t->aborted.code == SWO_E_NONE)
		t->aborted = why;
	pthread_cond_broadcast(&t->m.changed);
	pthread_mutex_unlock(&t->m.mutex);
	migration_raise(&t->m, TARGET_EV_ABORT, &why);
	return 0;
}

static int handle_locked(struct target *t, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	switch (header->type) {
	case WIRE_MACHINE:
		if (t->machine_seen)
			return swo_error_set(err, SWO_E_PROTOCOL, 0, "duplicate vCPU state");
		t->machine_seen = true;
		return swo_buf_append(&t->machine, payload, header->length, err);
	case WIRE_END_ALL:
		if (header->length != sizeof(t->end) || t->end_all)
			return swo_error_set(err, SWO_E_PROTOCOL, 0, "a bad END_ALL");
		memcpy(&t->end, payload, sizeof(t->end));
		t->end_all = true;
		return 0;
	default:
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"unexpected frame of type %u on the control connection", header->type);
	}
}

static int take_frame(struct swo_migration *m, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	struct target *t = (struct target *)m;
	struct channel_frame_header reply = {
		.type = WIRE_CLOCK_REPLY, .offset = header->offset, .pass = swo_now_ns()};

	switch (header->type) {
	case WIRE_CLOCK:
		return channel_send(&m->control, &reply, NULL, 0, err);
	case WIRE_WINDOW:
		return target_device_window(t, header, err);
	case WIRE_CONFIG:
		return target_device_config(t, header, payload, err);
	/* Events that affect where the VM runs are raised in the handover, whose table has the rule. */
	case WIRE_GO:
		return take_go(t, header, payload, err);
	case WIRE_ABORT:
		return take_abort(t, payload);
	case WIRE_DONE:
		migration_raise(m, TARGET_EV_DONE, NULL);
		return 0;
	default:
		break;
	}
	pthread_mutex_lock(&m->mutex);
	int rc = handle_locked(t, header, payload, err);

	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

static int handle(struct swo_migration *m, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	int rc = take_frame(m, header, payload, err);

	/* Once the target is READY, a malformed frame counts as a lost connection. */
	if (rc && handover_is(&m->handover, TARGET_LOADING))
		migration_fail(m, err);
	return rc;
}

static void *control_reader(void *opaque)
{
	migration_read_control(opaque, handle);
	return NULL;
}

/* A source */

static bool has_hello(void *arg)
{
	return ((struct target *)arg)->migration_hello_seen;
}

/* One that does not match gets the reason, and the target waits for another. */
static void dismiss(struct target *t, const struct refusal *why)
{
	struct channel_frame_header header = {.type = WIRE_ABORT};
	const char *text = channel_conn_is_trusted(t->m.control.conn) ? why->full.text : why->brief;

	base_log_limited(&t->refused, "a source was rejected: %s", why->full.text);
	ram_share_close(&t->m.share);
	/* A source that gets the reason may try again at once: the place is free by then. */
	pthread_mutex_lock(&t->m.mutex);
	struct channel channel;

	channel_move(&channel, &t->m.control);
	t->m.control_open = false;
	migration_hello_free(&t->hello);
	t->m.info.id[0] = 0;
	t->migration_hello_seen = false;
	pthread_cond_broadcast(&t->m.changed);
	pthread_mutex_unlock(&t->m.mutex);
	channel_send(&channel, &header, text, strlen(text), NULL);
	channel_close(&channel);
}

static int take_ram_offer(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	if (t->hello.handover != SWO_HANDOVER_FD)
		return 0;
	if (!m->vm.ops->ram_reach)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"handover=fd: the target's VMM has no ram_reach callback; use "
			"handover=copy");
	return ram_share_take(&m->share, m->vm.ram, m->control.conn, err);
}

/* Whatever depends on the source's HELLO: on failure the target waits for another. */
static int take_source(struct target *t, struct refusal *why)
{
	struct swo_migration *m = &t->m;

	if (migration_hello_check(&t->hello, &m->vm, &m->params, why))
		return -1;
	pthread_mutex_lock(&m->mutex);
	memcpy(m->info.id, t->hello.id, sizeof(m->info.id));
	pthread_mutex_unlock(&m->mutex);
	snprintf(why->brief, sizeof(why->brief),
		"the target cannot take this migration; the reason is in its log");
	/* The journal is last: it may exist already, and is to be kept then. */
	return take_ram_offer(t, &why->full) || migration_journal_open(m, &why->full) ? -1 : 0;
}

int target_await_source(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	for (;;) {
		/* Without a deadline: an operator or `quit` ends it. */
		while (migration_wait_until(
			m, has_hello, t, false, swo_deadline_ms(60000), "a source's HELLO", err))
			if (err->code != SWO_E_TIMEOUT)
				return -1;
		struct refusal why;

		if (!take_source(t, &why))
			return 0;
		dismiss(t, &why);
	}
}

static int answer_hello(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;
	struct swo_buf text = SWO_BUF_INIT(WIRE_HELLO_MAX);
	struct swo_device_costs *costs = calloc(m->vm.device_count + 1, sizeof(*costs));

	if (!costs)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "HELLO");
	for (unsigned i = 0; i < m->vm.device_count; i++)
		costs[i] = swo_device_known_costs(m->vm.devices[i]);
	const unsigned own = WIRE_MINOR;
	struct migration_hello_ok ok = {.minor = t->hello.minor < own ? t->hello.minor : own,
		.ticket = t->ticket.nonce,
		.link_window = m->params.link_window,
		.handover = t->hello.handover};
	int rc = migration_hello_ok_format(costs, m->vm.device_count, &ok, &text, err);

	if (!rc)
		rc = migration_control(m, WIRE_HELLO_OK, text.data, text.len, err);
	swo_buf_free(&text);
	free(costs);
	return rc;
}

int target_open_sessions(struct target *t, struct swo_error *err)
{
	struct swo_migration *m = &t->m;

	memcpy(t->go.id, t->hello.id, sizeof(t->go.id));
	memcpy(t->ticket.id, t->hello.id, sizeof(t->ticket.id));
	if (migration_random(&t->ticket.nonce, err) ||
		swo_thread_start(&m->control_reader, "swo-control", control_reader, m, err))
		return -1;
	m->control_reader_runs = true;
	if (m->share.page && ram_share_adopt(&m->share, &m->vm, err))
		return -1;
	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (target_device_init(t, i, err))
			return -1;
	if (target_devices_resume(t, err))
		return -1;
	target_devices_load(t);
	pthread_mutex_lock(&m->mutex);
	t->migration_hello_taken = true;
	pthread_mutex_unlock(&m->mutex);
	return answer_hello(t, err);
}
