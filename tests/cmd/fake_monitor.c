/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_monitor.c - the scripted monitor: accepts one client, greets, follows its
 * steps until the client goes.
 */
#include "fake_monitor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 8}}, "         \
	"\"capabilities\": []}}"
#define GUARD_MS 20000

static void send_text(const struct json_sock *sock, const char *text)
{
	/* MSG_NOSIGNAL: the client may have gone; the script then ends by itself. */
	(void)!send(sock->fd, text, strlen(text), MSG_NOSIGNAL);
	(void)!send(sock->fd, "\r\n", 2, MSG_NOSIGNAL);
}

static void answer(const struct json_sock *sock, const char *text, const json_t *command)
{
	json_t *reply = json_loads(text, 0, NULL);

	if (!reply) {
		send_text(sock, text);
		return;
	}
	json_object_set(reply, "id", json_object_get(command, "id"));
	char *with_id = json_dumps(reply, JSON_COMPACT);
	send_text(sock, with_id);
	free(with_id);
	json_decref(reply);
}

static void note(struct fake_monitor *fake, const json_t *command)
{
	size_t used = strlen(fake->arguments);
	char *text = json_dumps(json_object_get(command, "arguments"), JSON_COMPACT);

	if (text)
		snprintf(fake->arguments + used, sizeof(fake->arguments) - used, "%s\n", text);
	free(text);
}

static bool is_for(const struct fake_step *step, const char *name)
{
	return step->command && !strcmp(step->command, name);
}

/* The step for a command, or NULL: not expected here. */
static const struct fake_step *find_step(struct fake_monitor *fake, const char *name)
{
	const struct fake_step *step = &fake->steps[fake->taken];

	if (fake->taken < fake->step_count && is_for(step, name)) {
		if (!step->repeat)
			__atomic_fetch_add(&fake->taken, 1, __ATOMIC_RELEASE);
		return step;
	}
	/* A repeated step ends when the command of the next one arrives. */
	if (fake->taken + 1 < fake->step_count && step->repeat && is_for(step + 1, name)) {
		__atomic_fetch_add(&fake->taken, (step + 1)->repeat ? 1u : 2u, __ATOMIC_RELEASE);
		return step + 1;
	}
	return NULL;
}

static void follow(struct fake_monitor *fake, struct json_sock *sock)
{
	json_t *command;

	while ((command = json_sock_recv(sock, swo_deadline_ms(GUARD_MS), NULL, NULL))) {
		const char *name = json_string_value(json_object_get(command, "execute"));
		const struct fake_step *step = name ? find_step(fake, name) : NULL;

		note(fake, command);
		if (step && step->before)
			send_text(sock, step->before);
		if (step && step->answer)
			answer(sock, step->answer, command);
		if (!step && !fake->unexpected[0])
			snprintf(fake->unexpected, sizeof(fake->unexpected), "%s",
				name ? name : "not a command");
		if (!step)
			answer(sock,
				"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}",
				command);
		json_decref(command);
		if (step && step->close_after)
			return;
	}
}

static void *run(void *opaque)
{
	struct fake_monitor *fake = opaque;
	struct json_sock sock = JSON_SOCK_INIT;

	sock.fd = accept(fake->listen_fd, NULL, NULL);
	if (sock.fd < 0)
		return NULL;
	send_text(&sock, fake->greeting ? fake->greeting : GREETING);
	follow(fake, &sock);
	json_sock_close(&sock);
	return NULL;
}

static void give_up(const char *what)
{
	perror(what);
	exit(99);
}

void fake_monitor_start(struct fake_monitor *fake, const struct fake_step *steps, size_t step_count)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	fake->steps = steps;
	fake->step_count = step_count;
	fake->taken = 0;
	fake->unexpected[0] = fake->arguments[0] = 0;
	strcpy(fake->dir, "/tmp/switchover-test.XXXXXX");
	if (!mkdtemp(fake->dir))
		give_up("mkdtemp");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/qmp", fake->dir);
	snprintf(fake->uri, sizeof(fake->uri), "unix:%s/qmp", fake->dir);
	fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fake->listen_fd < 0 || bind(fake->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) ||
		listen(fake->listen_fd, 4) || pthread_create(&fake->thread, NULL, run, fake))
		give_up("fake monitor");
}

void fake_monitor_stop(struct fake_monitor *fake)
{
	char path[128];

	/* Wakes an accept that no client came to. */
	shutdown(fake->listen_fd, SHUT_RDWR);
	pthread_join(fake->thread, NULL);
	close(fake->listen_fd);
	snprintf(path, sizeof(path), "%s/qmp", fake->dir);
	unlink(path);
	rmdir(fake->dir);
}
