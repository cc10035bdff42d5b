/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.c - commands to a vfio-user server from many threads over one socket: sending,
 * reading, waiting, and timeouts.
 */
#include "device/vfio_user/client_internal.h"

#include "base/poll.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often an access that waits looks whether the server was lost meanwhile. */
#define LOOK_MS 20

/* Messages that the service thread reads from one connection before it checks the others. */
#define SERVICE_TURN 64

const char *vfio_user_command_name(unsigned command)
{
	static const char *const names[] = {
		[VFIO_USER_VERSION] = "VERSION",
		[VFIO_USER_DMA_MAP] = "DMA_MAP",
		[VFIO_USER_DMA_UNMAP] = "DMA_UNMAP",
		[VFIO_USER_GET_INFO] = "GET_INFO",
		[VFIO_USER_GET_REGION_INFO] = "GET_REGION_INFO",
		[VFIO_USER_GET_REGION_IO_FDS] = "GET_REGION_IO_FDS",
		[VFIO_USER_GET_IRQ_INFO] = "GET_IRQ_INFO",
		[VFIO_USER_SET_IRQS] = "SET_IRQS",
		[VFIO_USER_REGION_READ] = "REGION_READ",
		[VFIO_USER_REGION_WRITE] = "REGION_WRITE",
		[VFIO_USER_DMA_READ] = "DMA_READ",
		[VFIO_USER_DMA_WRITE] = "DMA_WRITE",
		[VFIO_USER_RESET] = "RESET",
		[VFIO_USER_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
		[VFIO_USER_DEVICE_FEATURE] = "DEVICE_FEATURE",
		[VFIO_USER_MIG_DATA_READ] = "MIG_DATA_READ",
		[VFIO_USER_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
	};
	if (command >= SWO_ARRAY_SIZE(names) || !names[command])
		return "an unknown command";
	return names[command];
}

const char *vfio_user_call_name(const struct vfio_user_call *call)
{
	return call->what ? call->what : vfio_user_command_name(call->command);
}

/* The end of a connection */

static bool is_dead(struct vfio_user_client *client)
{
	return __atomic_load_n(&client->dead, __ATOMIC_ACQUIRE);
}

void vfio_user_client_fail(struct vfio_user_client *client, const struct swo_error *err)
{
	if (is_dead(client))
		return;
	if (err->code == SWO_E_PEER_LOST)
		swo_error_set(&client->why, SWO_E_PEER_LOST, 0,
			"device %s: its vfio-user server closed the connection", client->name);
	else
		swo_error_set(&client->why, err->code, 0,
			"device %s: %s; closing its vfio-user connection", client->name, err->text);
	__atomic_store_n(&client->dead, true, __ATOMIC_RELEASE);
	/* Wakes threads in poll or send; the fds stay open until close. */
	shutdown(client->rx.sock, SHUT_RDWR);
	if (client->twin.sock >= 0)
		shutdown(client->twin.sock, SHUT_RDWR);
	for (struct vfio_user_call *call = client->calls; call; call = call->next)
		pthread_cond_signal(&call->cond);
}

static void fail(struct vfio_user_client *client, const struct swo_error *err)
{
	pthread_mutex_lock(&client->lock);
	vfio_user_client_fail(client, err);
	pthread_mutex_unlock(&client->lock);
}

static int dead_error(struct vfio_user_client *client, struct swo_error *err)
{
	pthread_mutex_lock(&client->lock);
	if (err)
		*err = client->why;
	pthread_mutex_unlock(&client->lock);
	return -1;
}

/* A server that is lost to the guest */

static bool flag(const bool *of)
{
	return __atomic_load_n(of, __ATOMIC_ACQUIRE);
}

static void set_flag(bool *of, bool on)
{
	__atomic_store_n(of, on, __ATOMIC_RELEASE);
}

void vfio_user_client_lost(struct vfio_user_client *client)
{
	pthread_mutex_lock(&client->lock);
	if (client->calls)
		set_flag(&client->silent, true);
	pthread_mutex_unlock(&client->lock);
}

/*
 * With the lock held: while it may be busy with an earlier command, within that one's deadline, the time
 * of an access does not begin.
 */
static void wait_behind(struct vfio_user_client *client, struct vfio_user_call *access)
{
	for (const struct vfio_user_call *call = client->calls; call; call = call->next)
		if (!call->access && call->number < access->number &&
			!swo_deadline_passed(call->deadline)) {
			access->deadline = swo_deadline_ms(client->command_deadline_ms);
			return;
		}
}

/* With the lock held: there is no use in waiting for the reply any longer. */
static bool waited_out(struct vfio_user_client *client, struct vfio_user_call *call)
{
	if (call->access && client->silent)
		return true;
	if (call->access)
		wait_behind(client, call);
	return swo_deadline_passed(call->deadline);
}

static swo_deadline next_look(const struct vfio_user_call *call)
{
	return call->access ? swo_deadline_ms(LOOK_MS) : call->deadline;
}

/* Sending */

int vfio_user_client_begin_send(
	struct vfio_user_client *client, swo_deadline deadline, struct swo_error *err)
{
	pthread_mutex_lock(&client->send_lock);
	while (client->sending)
		if (swo_cond_wait(&client->send_free, &client->send_lock, deadline))
			break;
	bool mine = !client->sending;

	client->sending = true;
	pthread_mutex_unlock(&client->send_lock);
	return mine ? 0 : swo_error_set(err, SWO_E_TIMEOUT, 0, "its server does not read");
}

void vfio_user_client_end_send(struct vfio_user_client *client)
{
	pthread_mutex_lock(&client->send_lock);
	client->sending = false;
	pthread_cond_signal(&client->send_free);
	pthread_mutex_unlock(&client->send_lock);
}

/* There is no use in waiting for room any longer. */
static bool has_no_room(struct vfio_user_client *client, struct vfio_user_call *call)
{
	if (call->access && (flag(&client->choked) || flag(&client->silent)))
		return true;
	if (call->access) {
		pthread_mutex_lock(&client->lock);
		wait_behind(client, call);
		pthread_mutex_unlock(&client->lock);
	}
	if (!swo_deadline_passed(call->deadline))
		return false;
	set_flag(&client->choked, true);
	return true;
}

/* An access tries once before it looks at anything: nearly always there is room. */
static int take_turn(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *why)
{
	swo_deadline until = call->access ? 0 : call->deadline;

	while (vfio_user_client_begin_send(client, until, why)) {
		if (has_no_room(client, call))
			return -1;
		until = next_look(call);
	}
	return 0;
}

static int send_message(struct vfio_user_client *client, struct vfio_user_call *call,
	struct iovec *iov, unsigned count, size_t *sent, struct swo_error *why)
{
	swo_deadline until = call->access ? 0 : call->deadline;

	while (vfio_user_send(
		client->rx.sock, iov, count, call->fds, call->fd_count, until, sent, why)) {
		if (why->code != SWO_E_TIMEOUT)
			return -1;
		if (*sent && call->access) {
			/* What was started is completed, or nothing can be sent any more. */
			count = base_iov_advance(&iov, count, *sent);
			return vfio_user_send(client->rx.sock, iov, count, NULL, 0,
				swo_deadline_ms(client->command_deadline_ms), NULL, why);
		}
		if (*sent || has_no_room(client, call))
			return -1;
		until = next_look(call);
	}
	return 0;
}

/* On failure: either nothing was sent (SWO_E_TIMEOUT), or the connection is dead. */
static int send_call(struct vfio_user_client *client, struct vfio_user_call *call, bool no_reply,
	struct swo_error *err)
{
	struct iovec iov[1 + SWO_ARRAY_SIZE(call->request)];
	size_t payload = 0, sent = 0;
	struct swo_error why;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(call->request); i++) {
		iov[1 + i] = call->request[i];
		payload += call->request[i].iov_len;
	}
	struct vfio_user_header header =
		vfio_user_command_header(call->id, call->command, payload, no_reply);

	iov[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
	int rc = take_turn(client, call, &why);

	if (!rc) {
		/* A closed connection may have ended in the middle of a message. */
		if (is_dead(client)) {
			vfio_user_client_end_send(client);
			return dead_error(client, err);
		}
		rc = send_message(client, call, iov, SWO_ARRAY_SIZE(iov), &sent, &why);
		if (rc && (sent || why.code != SWO_E_TIMEOUT))
			fail(client, &why);
		else if (!rc && flag(&client->choked))
			set_flag(&client->choked, false);
		vfio_user_client_end_send(client);
	}
	if (!rc)
		return 0;
	if (is_dead(client))
		return dead_error(client, err);
	return swo_error_set(err, SWO_E_TIMEOUT, 0, "device %s: timed out sending %s to its server",
		client->name, vfio_user_call_name(call));
}

int vfio_user_post(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err)
{
	/* IDs may repeat, and this one is never looked up: it needs no lock. */
	call->id = 0;
	call->number = __atomic_load_n(&client->started, __ATOMIC_RELAXED) + 1;
	if (is_dead(client))
		return dead_error(client, err);
	return send_call(client, call, true, err);
}

/* The list of calls */

static bool id_in_use(const struct vfio_user_client *client, uint16_t id)
{
	if (!id || vfio_user_owed(client, id))
		return true;
	for (const struct vfio_user_call *call = client->calls; call; call = call->next)
		if (call->id == id)
			return true;
	return false;
}

static int enlist(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err)
{
	int rc = -1;

	pthread_mutex_lock(&client->lock);
	if (client->dead) {
		if (err)
			*err = client->why;
	} else {
		unsigned tries = UINT16_MAX + 1u;

		while (id_in_use(client, ++client->next_id) && --tries)
			;
		if (tries) {
			call->id = client->next_id;
			call->next = client->calls;
			client->calls = call;
			call->pending = true;
			call->number = client->started + 1;
			call->received = client->received;
			__atomic_store_n(&client->started, call->number, __ATOMIC_RELAXED);
			rc = 0;
		} else {
			swo_error_set(err, SWO_E_PROTOCOL, 0,
				"device %s: its server has not replied to 65535 commands",
				client->name);
		}
	}
	pthread_mutex_unlock(&client->lock);
	return rc;
}

static void delist(struct vfio_user_client *client, struct vfio_user_call *call)
{
	for (struct vfio_user_call **c = &client->calls; *c; c = &(*c)->next)
		if (*c == call) {
			*c = call->next;
			break;
		}
	call->pending = false;
}

void vfio_user_call_done(struct vfio_user_client *client, struct vfio_user_call *call)
{
	delist(client, call);
	call->done = true;
	pthread_cond_signal(&call->cond);
}

/* With the lock held: a late reply will be dropped. */
static void give_up(struct vfio_user_client *client, struct vfio_user_call *call, bool sent)
{
	if (!call->pending)
		return;
	delist(client, call);
	if (client->rx.call == call) {
		client->rx.call = NULL;
		client->rx.target = VFIO_USER_TO_NOWHERE;
	} else if (sent) {
		vfio_user_set_owed(client, call->id, true);
		if (call->received == client->received)
			set_flag(&client->silent, true);
	}
}

/* The reader */

/*
 * With the lock held and without a reader: wakes the next waiting thread, or the service
 * thread.
 */
static void pass_on(struct vfio_user_client *client)
{
	if (client->dead)
		return;
	for (struct vfio_user_call *call = client->calls; call; call = call->next)
		if (call->waiting) {
			pthread_cond_signal(&call->cond);
			return;
		}
	if (client->serving && !client->armed) {
		client->armed = true;
		vfio_user_service_arm(&client->main_watch, true);
	}
}

static void take_reading(struct vfio_user_client *client)
{
	client->reading = true;
	if (client->armed) {
		client->armed = false;
		vfio_user_service_arm(&client->main_watch, false);
	}
}

/* Without the lock: waits for data, for the deadline, or for the next look. */
static bool wait_readable(struct vfio_user_client *client, struct vfio_user_call *call)
{
	pthread_mutex_unlock(&client->lock);

	int rc = base_wait_fd(client->rx.sock, POLLIN, next_look(call), NULL);

	pthread_mutex_lock(&client->lock);
	return !rc || !waited_out(client, call);
}

/* With the lock held: reads for all threads until `call` is done or its deadline has passed. */
static void lead(struct vfio_user_client *client, struct vfio_user_call *call)
{
	struct swo_error why;

	take_reading(client);
	/* Wait first: a reply has rarely arrived already. */
	bool in_time = wait_readable(client, call);

	while (in_time && !call->done && !client->dead) {
		switch (vfio_user_rx_step(client, &client->rx, &why)) {
		case VFIO_USER_RX_MORE:
			in_time = !waited_out(client, call);
			break;
		case VFIO_USER_RX_BLOCKED:
			in_time = wait_readable(client, call);
			break;
		case VFIO_USER_RX_COMMAND:
			/* Replying may block: the service thread does it, and continues to read. */
			client->command_here = true;
			vfio_user_service_kick(&client->main_watch);
			return;
		case VFIO_USER_RX_FAILED:
			vfio_user_client_fail(client, &why);
			break;
		}
	}
	client->reading = false;
}

static void wait_for_reply(struct vfio_user_client *client, struct vfio_user_call *call)
{
	call->waiting = true;
	while (!call->done && !client->dead) {
		if (!client->reading)
			lead(client, call);
		else
			swo_cond_wait(&call->cond, &client->lock, next_look(call));
		if (waited_out(client, call))
			break;
	}
	call->waiting = false;
	if (!client->reading)
		pass_on(client);
}

/* The service thread */

/* rx has a complete command; called and returns with the lock held, released in between. */
static int serve_command(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err)
{
	pthread_mutex_unlock(&client->lock);
	int rc = vfio_user_rx_answer(client, rx, err);
	pthread_mutex_lock(&client->lock);
	vfio_user_rx_reset(rx);
	return rc;
}

/* With the lock held: reads the available data, and executes the server's commands. */
static void serve(struct vfio_user_client *client, struct vfio_user_rx *rx)
{
	struct swo_error why;

	for (unsigned turn = 0; turn < SERVICE_TURN && !client->dead; turn++) {
		enum vfio_user_rx_result result = vfio_user_rx_step(client, rx, &why);

		if (result == VFIO_USER_RX_BLOCKED)
			break;
		if (result == VFIO_USER_RX_FAILED ||
			(result == VFIO_USER_RX_COMMAND && serve_command(client, rx, &why)))
			vfio_user_client_fail(client, &why);
	}
}

static void main_ready(void *opaque)
{
	struct vfio_user_client *client = opaque;
	struct swo_error why;

	pthread_mutex_lock(&client->lock);
	if (client->command_here) {
		/* A reader left it, and with it the reader role. */
		client->command_here = false;
		if (serve_command(client, &client->rx, &why))
			vfio_user_client_fail(client, &why);
	} else if (client->reading) {
		pthread_mutex_unlock(&client->lock);
		return;
	}
	client->reading = true;
	client->armed = false;
	serve(client, &client->rx);
	client->reading = false;
	pass_on(client);
	pthread_mutex_unlock(&client->lock);
}

static void twin_ready(void *opaque)
{
	struct vfio_user_client *client = opaque;

	pthread_mutex_lock(&client->lock);
	serve(client, &client->twin);
	bool dead = client->dead;
	pthread_mutex_unlock(&client->lock);
	if (!dead)
		vfio_user_service_arm(&client->twin_watch, true);
}

/* The rest of the interface */

int vfio_user_start(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err)
{
	call->reply_len = 0;
	call->refused = 0;
	call->err.code = SWO_E_NONE;
	call->waiting = call->done = false;
	if (call->reply_fds)
		call->reply_fds->count = 0;
	if (swo_cond_init(&call->cond))
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "device %s: a command", client->name);
	if (call->access && flag(&client->silent) && !is_dead(client)) {
		pthread_cond_destroy(&call->cond);
		return swo_error_set(err, SWO_E_TIMEOUT, 0, "device %s: its server does not answer",
			client->name);
	}
	if (enlist(client, call, err)) {
		pthread_cond_destroy(&call->cond);
		return -1;
	}
	if (!send_call(client, call, false, err))
		return 0;
	pthread_mutex_lock(&client->lock);
	give_up(client, call, false);
	pthread_mutex_unlock(&client->lock);
	if (call->reply_fds)
		vfio_user_fds_close(call->reply_fds);
	pthread_cond_destroy(&call->cond);
	return -1;
}

int vfio_user_finish(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err)
{
	pthread_mutex_lock(&client->lock);
	wait_for_reply(client, call);
	give_up(client, call, true);
	bool dead = client->dead;
	pthread_mutex_unlock(&client->lock);
	pthread_cond_destroy(&call->cond);

	if (call->done && !call->refused && !call->err.code)
		return 0;
	if (call->reply_fds)
		vfio_user_fds_close(call->reply_fds);
	if (call->done && call->refused)
		return swo_error_set(err, SWO_E_DEVICE, call->refused,
			"device %s: its server refused %s", client->name,
			vfio_user_call_name(call));
	if (call->done)
		return swo_error_set(
			err, call->err.code, 0, "device %s: %s", client->name, call->err.text);
	if (dead)
		return dead_error(client, err);
	/* The first command: the server has accepted no connection yet, or another one. */
	return swo_error_set(err, SWO_E_TIMEOUT, 0,
		"device %s: timed out waiting for the reply to %s%s", client->name,
		vfio_user_call_name(call),
		call->command == VFIO_USER_VERSION
			? "; most serve one client at a time: is the device in use"
			: "");
}

int vfio_user_do(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err)
{
	return vfio_user_start(client, call, err) ? -1 : vfio_user_finish(client, call, err);
}

int vfio_user_client_open(const char *name, int sock, vfio_user_dma_fn *dma, void *opaque,
	uint64_t command_deadline_ms, struct vfio_user_client **out, struct swo_error *err)
{
	struct vfio_user_client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(sock);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", name);
	}
	snprintf(client->name, sizeof(client->name), "%s", name);
	client->dma = dma;
	client->opaque = opaque;
	client->command_deadline_ms = command_deadline_ms;
	client->rx.sock = sock;
	client->rx.replies = true;
	client->twin.sock = -1;
	client->main_watch = (struct vfio_user_watch){
		.fd = sock, .ready = main_ready, .opaque = client, .epoll = -1};
	client->twin_watch = (struct vfio_user_watch){
		.fd = -1, .ready = twin_ready, .opaque = client, .epoll = -1};
	pthread_mutex_init(&client->send_lock, NULL);
	swo_cond_init(&client->send_free);
	pthread_mutex_init(&client->lock, NULL);
	*out = client;
	return 0;
}

int vfio_user_client_serve(struct vfio_user_client *client, int twin, struct swo_error *err)
{
	client->twin.sock = twin;
	client->twin_watch.fd = twin;
	if (vfio_user_service_add(&client->main_watch, err) ||
		(twin >= 0 && vfio_user_service_add(&client->twin_watch, err)))
		return swo_error_prefix(err, "device %s", client->name);
	pthread_mutex_lock(&client->lock);
	client->serving = true;
	pass_on(client);
	pthread_mutex_unlock(&client->lock);
	vfio_user_service_arm(&client->twin_watch, true);
	return 0;
}

void vfio_user_client_close(struct vfio_user_client *client)
{
	/* The service thread's work on this connection ends with the sockets. */
	shutdown(client->rx.sock, SHUT_RDWR);
	if (client->twin.sock >= 0)
		shutdown(client->twin.sock, SHUT_RDWR);
	vfio_user_service_remove(&client->main_watch);
	vfio_user_service_remove(&client->twin_watch);
	for (struct vfio_user_call *call = client->calls; call; call = call->next)
		pthread_cond_destroy(&call->cond);
	vfio_user_rx_free(&client->rx);
	vfio_user_rx_free(&client->twin);
	pthread_mutex_destroy(&client->lock);
	pthread_cond_destroy(&client->send_free);
	pthread_mutex_destroy(&client->send_lock);
	free(client);
}
