/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * accept.c - connections to the target: a source with its HELLO, its data channels, or a source in
 * doubt with ASK. Any other is rejected, and nothing changes.
 */
#include "migration/target/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A connection without its first frame within this time delays no others. */
#define FIRST_FRAME_MS 2000
#define HANDSHAKE_MS   5000

static void reject(struct target *t, struct channel *channel, const char *why)
{
	struct channel_frame_header header = {.type = WIRE_ABORT};

	channel_send(channel, &header, why, strlen(why), NULL);
	base_log_limited(&t->refused, "a connection to '%s' was rejected: %s",
		channel_conn_peer(channel->conn), why);
	channel_close(channel);
}

static bool is_ours(
	const struct target *t, const struct channel_frame_header *header, const uint8_t *payload)
{
	return header->length == sizeof(t->ticket) &&
	       !memcmp(payload, &t->ticket, sizeof(t->ticket));
}

/* Another HELLO that is being compared is likely to be rejected: then this one is next. */
static bool is_busy(struct target *t)
{
	swo_deadline deadline = swo_deadline_ms(FIRST_FRAME_MS);

	pthread_mutex_lock(&t->m.mutex);
	while (t->migration_hello_seen && !t->m.quit && handover_is(&t->m.handover, TARGET_SETUP) &&
		!swo_cond_wait(&t->m.changed, &t->m.mutex, deadline))
		;
	const bool busy = t->migration_hello_seen || !handover_is(&t->m.handover, TARGET_SETUP);
	pthread_mutex_unlock(&t->m.mutex);
	return busy;
}

static void take_hello(struct target *t, struct channel *channel,
	const struct channel_frame_header *header, const uint8_t *payload)
{
	struct swo_error err = {0};
	struct hello hello;

	if (is_busy(t)) {
		reject(t, channel, "this target already has its migration");
		return;
	}
	if (migration_hello_parse(payload, header->length, &hello, &err)) {
		reject(t, channel, err.text);
		return;
	}
	pthread_mutex_lock(&t->m.mutex);
	t->hello = hello;
	channel_move(&t->m.control, channel);
	channel_conn_set_limit(t->m.control.conn, &t->m.limit);
	t->m.control.stall_ms = t->m.params.idle_deadline_ms;
	t->m.control_open = true;
	t->migration_hello_seen = true;
	pthread_cond_broadcast(&t->m.changed);
	pthread_mutex_unlock(&t->m.mutex);
}

static void take_attach(struct target *t, struct channel *channel,
	const struct channel_frame_header *header, const uint8_t *payload)
{
	unsigned index = header->device;
	struct swo_error err = {0};
	int rc = 0;

	pthread_mutex_lock(&t->m.mutex);
	bool wanted = t->migration_hello_taken && handover_is(&t->m.handover, TARGET_LOADING) &&
		      is_ours(t, header, payload) && index < t->hello.channels &&
		      !t->readers[index].runs && !t->m.quit;

	if (wanted) {
		struct data_reader *reader = &t->readers[index];

		channel_move(&t->m.data[index], channel);
		t->m.data[index].stall_ms = t->m.params.idle_deadline_ms;
		if (t->m.data_open <= index)
			t->m.data_open = index + 1;
		reader->target = t;
		reader->channel = index;
		rc = swo_thread_start(
			&reader->thread, "swo-data", target_data_reader, reader, &err);
		reader->runs = !rc;
	}
	pthread_mutex_unlock(&t->m.mutex);
	if (rc) {
		/* No thread would read what comes over it: the source would wait for its deadline. */
		migration_fail(&t->m, &err);
		channel_close(&t->m.data[index]);
	}
	if (!wanted)
		reject(t, channel, "unexpected data channel");
}

/* A reply may be lost: what counts is that the source has recorded it. */
static bool await_done(struct target *t, struct channel *channel)
{
	swo_deadline deadline = swo_deadline_ms(FIRST_FRAME_MS);
	struct channel_frame_header header;
	bool quit = false;

	while (!channel_conn_readable(channel->conn, swo_deadline_ms(50))) {
		pthread_mutex_lock(&t->m.mutex);
		quit = t->m.quit;
		pthread_mutex_unlock(&t->m.mutex);
		if (quit || swo_deadline_passed(deadline))
			return false;
	}
	return !channel_recv_header(channel, &header, 0, 0, NULL) && header.type == WIRE_DONE;
}

static void take_ask(struct target *t, struct channel *channel,
	const struct channel_frame_header *header, const uint8_t *payload)
{
	struct swo_error why;
	const struct handover_cause cause = {.why = &why, .answer_to = channel};

	pthread_mutex_lock(&t->m.mutex);
	bool ours = t->migration_hello_taken && is_ours(t, header, payload);
	pthread_mutex_unlock(&t->m.mutex);
	/* No record of another migration: its source stays in doubt. */
	if (!ours) {
		reject(t, channel, "ASK for a migration that this target does not have");
		return;
	}
	/* READY turns into REFUSED by this: from then on no GO can start it. */
	swo_error_set(&why, SWO_E_PEER_LOST, 0, "the source sent ASK before GO");
	handover_raise(&t->m.handover, TARGET_EV_ASK, &cause, NULL);
	if (handover_is(&t->m.handover, TARGET_STARTED) && await_done(t, channel))
		migration_raise(&t->m, TARGET_EV_DONE, NULL);
	channel_close(channel);
}

static void take_first_frame(struct target *t, struct channel *channel,
	const struct channel_frame_header *header, const uint8_t *payload)
{
	/* ASK needs no wait, and its source waits for the reply. */
	if (header->type == WIRE_ASK) {
		take_ask(t, channel, header, payload);
		return;
	}
	pthread_mutex_lock(&t->taking);
	switch (header->type) {
	case WIRE_HELLO:
		take_hello(t, channel, header, payload);
		break;
	case WIRE_ATTACH:
		take_attach(t, channel, header, payload);
		break;
	default:
		reject(t, channel, "a connection must begin with HELLO, ATTACH or ASK");
	}
	pthread_mutex_unlock(&t->taking);
}

/* Receives the first frame, after the handshake. 0, and *payload is malloc'ed, or -1. */
static int receive_first_frame(struct target *t, struct channel *channel,
	struct channel_frame_header *header, uint8_t **payload, struct swo_error *err)
{
	if (channel_listener_handshake(
		    t->listener, channel->conn, swo_deadline_ms(HANDSHAKE_MS), err))
		return -1;
	/* A HELLO may carry RAM's descriptors; if the connection cannot, none are accepted. */
	(void)channel_conn_accept_fds(channel->conn, true, NULL);
	if (channel_recv_header(channel, header, WIRE_HELLO_MAX, 0, err))
		return -1;
	*payload = malloc((size_t)header->length + 1);
	if (!*payload)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "its first frame");
	if (channel_recv_payload(channel, header, *payload, header->length, NULL, 0, err))
		return -1;
	(void)channel_conn_accept_fds(channel->conn, false, NULL);
	if (header->type != WIRE_HELLO)
		channel_conn_drop_fds(channel->conn);
	return 0;
}

/* From here on the acceptor does not access the connection any more. */
static void detach(struct handshake *handshake)
{
	pthread_mutex_lock(&handshake->target->handshakes_lock);
	handshake->conn = NULL;
	pthread_mutex_unlock(&handshake->target->handshakes_lock);
}

static void *run_handshake(void *opaque)
{
	struct handshake *handshake = opaque;
	struct target *t = handshake->target;
	swo_autofree uint8_t *payload = NULL;
	struct channel_frame_header header;
	struct channel channel;
	struct swo_error err = {0};

	channel_init(&channel, handshake->conn, FIRST_FRAME_MS);
	const int rc = receive_first_frame(t, &channel, &header, &payload, &err);

	detach(handshake);
	if (rc) {
		base_log_limited(&t->refused, "a connection was dropped: %s", err.text);
		channel_close(&channel);
	} else {
		take_first_frame(t, &channel, &header, payload);
	}
	pthread_mutex_lock(&t->handshakes_lock);
	handshake->over = true;
	pthread_mutex_unlock(&t->handshakes_lock);
	return NULL;
}

static void join(struct handshake *handshake)
{
	pthread_join(handshake->thread, NULL);
	handshake->runs = false;
}

/* Wakes it in any wait. With the lock held. */
static void shut_down(const struct handshake *handshake)
{
	if (handshake->conn)
		shutdown(channel_conn_fd(handshake->conn), SHUT_RDWR);
}

/* A free slot; if all are in use, that of the connection that has been silent for longest. */
static struct handshake *find_handshake(struct target *t)
{
	struct handshake *longest = &t->handshakes[0];

	pthread_mutex_lock(&t->handshakes_lock);
	for (unsigned i = 0; i < HANDSHAKES_MAX; i++) {
		struct handshake *handshake = &t->handshakes[i];

		if (!handshake->runs || handshake->over) {
			pthread_mutex_unlock(&t->handshakes_lock);
			if (handshake->runs)
				join(handshake);
			return handshake;
		}
		if (handshake->since_ns < longest->since_ns)
			longest = handshake;
	}
	shut_down(longest);
	pthread_mutex_unlock(&t->handshakes_lock);
	join(longest);
	return longest;
}

static void start_handshake(struct target *t, struct channel_conn *conn)
{
	struct handshake *handshake = find_handshake(t);
	struct swo_error err = {0};

	handshake->target = t;
	handshake->conn = conn;
	handshake->since_ns = swo_now_ns();
	handshake->over = false;
	if (!swo_thread_start(
		    &handshake->thread, "swo-handshake", run_handshake, handshake, &err)) {
		handshake->runs = true;
		return;
	}
	/* Without a thread this connection delays the others. */
	swo_log(SWO_LOG_WARN, "%s", err.text);
	run_handshake(handshake);
}

static void close_all(struct target *t)
{
	pthread_mutex_lock(&t->handshakes_lock);
	for (unsigned i = 0; i < HANDSHAKES_MAX; i++)
		if (t->handshakes[i].runs)
			shut_down(&t->handshakes[i]);
	pthread_mutex_unlock(&t->handshakes_lock);
	for (unsigned i = 0; i < HANDSHAKES_MAX; i++)
		if (t->handshakes[i].runs)
			join(&t->handshakes[i]);
}

void *target_acceptor(void *opaque)
{
	struct target *t = opaque;

	for (;;) {
		struct swo_error err = {0};
		struct channel_conn *conn;

		if (!channel_listener_accept(t->listener, swo_deadline_ms(60000), &conn, &err)) {
			start_handshake(t, conn);
		} else if (err.code == SWO_E_CANCELLED) {
			close_all(t);
			return NULL;
		} else if (err.code != SWO_E_TIMEOUT) {
			/* Out of file descriptors, for example: this may be temporary. */
			swo_log(SWO_LOG_WARN, "%s", err.text);
			swo_sleep_until(swo_now_ns() + 100000000);
		}
	}
}
