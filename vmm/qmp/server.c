/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server.c - the socket and the event loop: clients' input and output, finished slow commands,
 * queued events.
 */
#include "internal.h"

#include "base/memory.h"
#include "base/net.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX    (1u << 20)
#define STOP_FLUSH_MS 500
#define STOP_JOBS_MS  60000

/* From other threads */

void qmp_server_event(struct qmp_server *server, const char *name, json_t *data)
{
	struct timespec now;
	struct swo_error err;
	json_t *event;
	char *text;

	clock_gettime(CLOCK_REALTIME, &now);
	event = json_pack("{s:{s:I, s:I}, s:s, s:o*}", "timestamp", "seconds",
		(json_int_t)now.tv_sec, "microseconds", (json_int_t)now.tv_nsec / 1000, "event",
		name, "data", data);
	text = event ? json_dumps(event, QMP_DUMP) : NULL;
	json_decref(event);
	pthread_mutex_lock(&server->mutex);
	size_t before = server->events.len;

	if (!text || swo_buf_append(&server->events, text, strlen(text), &err) ||
		swo_buf_append(&server->events, "\r\n", 2, &err)) {
		server->events.len = before;
		if (!server->events_lost++)
			swo_log(SWO_LOG_WARN,
				"QMP: dropping events: they are queued faster than sent");
	}
	pthread_mutex_unlock(&server->mutex);
	free(text);
	qmp_wake(server);
}

/* The loop */

static void tell_events(struct qmp_server *server)
{
	struct swo_buf events;

	pthread_mutex_lock(&server->mutex);
	events = server->events;
	server->events = (struct swo_buf)SWO_BUF_INIT(EVENTS_MAX);
	server->events_lost = 0;
	pthread_mutex_unlock(&server->mutex);
	for (struct qmp_client *client = server->clients; client && events.len;
		client = client->next)
		if (client->negotiated)
			qmp_client_append(client, events.data, events.len);
	swo_buf_free(&events);
}

static void free_job(struct qmp_job *job)
{
	json_decref(job->args);
	json_decref(job->id);
	json_decref(job->reply);
	free(job);
}

static void take_done(struct qmp_server *server)
{
	pthread_mutex_lock(&server->mutex);
	struct qmp_job *job = server->done;

	server->done = NULL;
	pthread_mutex_unlock(&server->mutex);
	while (job) {
		struct qmp_job *next = job->next;

		/* The job is finished only when the worker reports it. */
		swo_job_wait(&job->job, swo_deadline_ms(STOP_JOBS_MS));
		job->client->job = NULL;
		qmp_client_send(job->client, job->reply);
		job->reply = NULL;
		free_job(job);
		job = next;
	}
}

static void accept_client(struct qmp_server *server)
{
	int fd = base_accept(server->listen_fd);
	struct qmp_client *client;

	if (fd >= 0 && !base_peer_is_ours(fd)) {
		base_log_limited(&server->strangers, "QMP: closed the connection of another user");
		swo_close_fd(&fd);
	}
	client = fd < 0 ? NULL : qmp_client_new(fd);

	if (!client) {
		swo_close_fd(&fd);
		return;
	}
	/* Appended, so that the poll set of this round still matches the list. */
	struct qmp_client **at = &server->clients;

	while (*at)
		at = &(*at)->next;
	*at = client;
	server->client_count++;
}

static void drop_finished(struct qmp_server *server)
{
	for (struct qmp_client **at = &server->clients; *at;) {
		struct qmp_client *client = *at;

		if (!qmp_client_finished(client)) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		server->client_count--;
		qmp_client_free(client);
	}
}

static short wanted(const struct qmp_client *client)
{
	short events = 0;

	if (!client->eof && !client->last && !client->job && client->input_at == client->input_len)
		events |= POLLIN;
	if (client->output_at < client->output.len && !client->mute)
		events |= POLLOUT;
	return events;
}

/* fds: wake, listen, then one per client. Returns their number. */
static nfds_t fill_pollfds(const struct qmp_server *server, struct pollfd *fds)
{
	nfds_t count = 2;

	fds[0] = (struct pollfd){.fd = server->wake_fd, .events = POLLIN};
	fds[1] = (struct pollfd){
		.fd = server->client_count < QMP_CLIENTS_MAX ? server->listen_fd : -1,
		.events = POLLIN};
	for (const struct qmp_client *client = server->clients; client; client = client->next)
		/* POLLHUP of a client with no requested events would wake the loop forever. */
		fds[count++] = (struct pollfd){
			.fd = wanted(client) ? client->fd : -1, .events = wanted(client)};
	return count;
}

static void serve_clients(struct qmp_server *server, const struct pollfd *fds)
{
	struct qmp_client *client = server->clients;

	for (nfds_t i = 2; client; i++, client = client->next)
		if (wanted(client) & POLLIN && fds[i].revents)
			qmp_client_read(client);
}

static void work_and_write(struct qmp_server *server)
{
	for (struct qmp_client *client = server->clients; client; client = client->next) {
		qmp_client_work(server, client);
		qmp_client_write(client);
	}
}

static bool is_quitting(struct qmp_server *server)
{
	pthread_mutex_lock(&server->mutex);
	bool quit = server->quit;

	pthread_mutex_unlock(&server->mutex);
	return quit;
}

/* A running command still counts: `quit` itself stops the server before its reply is sent. */
static bool is_all_said(const struct qmp_server *server)
{
	for (const struct qmp_client *client = server->clients; client; client = client->next)
		if (!client->mute && (client->job || client->output_at < client->output.len))
			return false;
	return true;
}

static void round_once(struct qmp_server *server, int timeout_ms)
{
	struct pollfd fds[2 + QMP_CLIENTS_MAX];
	nfds_t count = fill_pollfds(server, fds);
	uint64_t ignored;

	if (poll(fds, count, timeout_ms) < 0)
		return;
	if (fds[0].revents & POLLIN && read(server->wake_fd, &ignored, sizeof(ignored)) < 0 &&
		errno != EAGAIN)
		swo_log(SWO_LOG_ERROR, "QMP: eventfd: %s", strerror(errno));
	serve_clients(server, fds);
	if (fds[1].revents & POLLIN)
		accept_client(server);
	tell_events(server);
	take_done(server);
	work_and_write(server);
	drop_finished(server);
}

static void *serve(void *opaque)
{
	struct qmp_server *server = opaque;
	swo_deadline flush;

	while (!is_quitting(server))
		round_once(server, -1);
	flush = swo_deadline_ms(STOP_FLUSH_MS);
	tell_events(server);
	while (!swo_deadline_passed(flush)) {
		work_and_write(server);
		if (is_all_said(server))
			break;
		round_once(server, 10);
	}
	return NULL;
}

/* The socket */

static int open_socket(struct qmp_server *server, struct swo_error *err)
{
	struct base_address address;

	if (base_unix_unlink_stale(server->path, err) ||
		base_unix_address(server->path, &address, err))
		return swo_error_prefix(err, "QMP");

	int rc = base_listen(&address, QMP_CLIENTS_MAX, &server->listen_fd);

	if (rc)
		return swo_error_set(
			err, SWO_E_IO, rc, "QMP: cannot make the socket %s", server->path);
	base_unix_file_id(server->path, &server->file);
	return 0;
}

static void destroy(struct qmp_server *server)
{
	while (server->clients) {
		struct qmp_client *client = server->clients;

		server->clients = client->next;
		qmp_client_free(client);
	}
	base_unix_unlink_own(server->path, &server->file);
	swo_close_fd(&server->listen_fd);
	swo_close_fd(&server->wake_fd);
	swo_buf_free(&server->events);
	base_log_rate_end(&server->strangers);
	pthread_mutex_destroy(&server->mutex);
	free(server);
}

int qmp_server_start(
	const struct qmp_config *config, struct qmp_server **out, struct swo_error *err)
{
	struct qmp_server *server;

	if (!*config->path || strlen(config->path) >= sizeof(server->path))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"QMP: invalid socket path '%.120s': expected 1 to %zu bytes", config->path,
			sizeof(server->path) - 1);
	server = calloc(1, sizeof(*server));
	if (!server)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "QMP");
	server->config = *config;
	server->listen_fd = -1;
	server->strangers = (struct base_log_rate)BASE_LOG_RATE_INIT;
	server->events = (struct swo_buf)SWO_BUF_INIT(EVENTS_MAX);
	strcpy(server->path, config->path);
	pthread_mutex_init(&server->mutex, NULL);
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->wake_fd < 0)
		swo_error_set(err, SWO_E_NO_MEMORY, errno, "QMP: eventfd");
	if (server->wake_fd < 0 || open_socket(server, err) ||
		swo_thread_start(&server->thread, "qmp", serve, server, err)) {
		destroy(server);
		return -1;
	}
	*out = server;
	return 0;
}

void qmp_server_stop(struct qmp_server *server)
{
	if (!server)
		return;
	pthread_mutex_lock(&server->mutex);
	server->quit = true;
	pthread_mutex_unlock(&server->mutex);
	qmp_wake(server);
	pthread_join(server->thread, NULL);
	if (!swo_worker_idle_wait(server->config.worker, swo_deadline_ms(STOP_JOBS_MS))) {
		swo_log(SWO_LOG_WARN, "QMP: a command hangs; leaking it with its client");
		base_leak_hung(server);
		return;
	}
	take_done(server);
	destroy(server);
}
