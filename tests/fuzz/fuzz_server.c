/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_server.c - the simulated VF's server, and a client (or a user of its control socket)
 * that sends arbitrary data. The loop of the server is stepped by the fuzzer, with its own clock.
 */
#include "fuzz.h"
#include "server/server.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS	3000
#define TURN_NS 1000000

enum { MODE_CONTROL = 1, MODE_GREETED = 2, MODE_FD = 4 };

static void drain(int fd)
{
	static uint8_t sink[65536];

	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

static int make_socket(char path[64])
{
	static char dir[32];

	if (!dir[0]) {
		strcpy(dir, "/tmp/swo-fuzz-XXXXXX");
		if (!mkdtemp(dir))
			return -1;
	}
	snprintf(path, 64, "%s/s", dir);
	return 0;
}

static void say(int fd, const uint8_t *data, size_t size, bool with_fd)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int memory = with_fd ? memfd_create("guest", MFD_CLOEXEC) : -1;

	if (memory >= 0 && !ftruncate(memory, 65536)) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &memory, sizeof(int));
	}
	if (size && sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		drain(fd);
	swo_close_fd(&memory);
	shutdown(fd, SHUT_WR);
}

static void turn(struct srv *s, uint64_t now, bool *ended)
{
	struct srv_message *m = NULL;

	svf_run(s->dev, now);
	srv_progress(s, now);
	srv_conn_flush(s);
	if (s->op.kind != SRV_OP_NONE || srv_conn_sending(&s->conn))
		return;
	if (s->conn.doomed) {
		*ended = true;
	} else if (s->conn.deferred) {
		m = s->conn.deferred;
		s->conn.deferred = m->next;
		m->next = NULL;
		if (!s->conn.deferred)
			s->conn.deferred_end = &s->conn.deferred;
		s->conn.deferred_count--;
		srv_command(s, m, now);
	} else {
		int rc = srv_conn_receive(s, &m);

		if (rc > 0)
			srv_command(s, m, now);
		else
			*ended = true; /* the client has shut down: there is nothing to wait for */
	}
}

static void be_client(struct srv *s, int sv[2], const uint8_t *data, size_t size, uint8_t mode)
{
	uint64_t now = swo_now_ns();
	bool ended = false;

	s->conn.fd = sv[0];
	sv[0] = -1;
	vfio_user_caps_init(&s->conn.peer);
	s->conn.negotiated = mode & MODE_GREETED;
	say(sv[1], data, size, mode & MODE_FD);
	for (unsigned i = 0; i < TURNS && !ended && s->conn.fd >= 0; i++, now += TURN_NS) {
		turn(s, now, &ended);
		drain(sv[1]);
	}
}

static void be_operator(struct srv *s, int sv[2], const uint8_t *data, size_t size)
{
	/* As srv_control_accept leaves it. */
	s->controls[0].in = malloc(SRV_CONTROL_MAX);
	s->controls[0].out = (struct swo_buf)SWO_BUF_INIT(1 << 20);
	fuzz_check(s->controls[0].in);
	s->controls[0].fd = sv[0];
	sv[0] = -1;
	say(sv[1], data, size, false);
	for (unsigned i = 0; i < 64 && s->controls[0].fd >= 0; i++) {
		srv_control_serve(s, &s->controls[0], POLLIN);
		drain(sv[1]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct srv_args args = {.name = "fuzz", .seed = 1, .have_seed = true, .quiet = true};
	struct srv *s = malloc(sizeof(*s));
	uint8_t mode = 0;
	char path[64];
	int sv[2];

	fuzz_take(&data, &size, &mode, 1);
	fuzz_check(s && !svf_profile_load("even", &args.profile, NULL) && !make_socket(path));
	args.profile.state_bytes = 16384;
	args.mig_flags = 7;
	args.ready_fd = -1;
	args.socket = path;
	fuzz_check(!srv_open(s, &args, NULL));
	fuzz_check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv));
	if (mode & MODE_CONTROL)
		be_operator(s, sv, data, size);
	else
		be_client(s, sv, data, size, mode);
	srv_close(s);
	swo_close_fd(&sv[0]);
	swo_close_fd(&sv[1]);
	free(s);
	return 0;
}
