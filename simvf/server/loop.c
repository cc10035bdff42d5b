/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop.c - the one thread: sockets, and the device's timers. While a command waits for the
 * device, later ones wait in the socket.
 */
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <sys/prctl.h>
#include <time.h>

#define IN_A_ROW 64 /* messages before timers and the control socket get a turn */

void srv_conn_drop(struct srv *s)
{
	struct srv_conn *c = &s->conn;

	swo_close_fd(&c->fd);
	swo_close_fd(&c->twin);
	srv_message_free(c->in);
	while (c->deferred) {
		struct srv_message *m = c->deferred;

		c->deferred = m->next;
		srv_message_free(m);
	}
	free(c->reply);
	srv_conn_init(c);
	srv_message_free(s->op.message);
	s->op = (struct srv_op){0};
	svf_abandon(s->dev);
	srv_dma_drop(s);
	srv_irqs_drop(s);
	svf_log_stop(s->dev);
}

static volatile sig_atomic_t told_to_end;
static sigset_t waiting_mask;

static void on_end(int signo)
{
	(void)signo;
	told_to_end = 1;
}

void srv_signals(void)
{
	struct sigaction action = {.sa_handler = on_end};
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	/* only during the wait, so that no signal is lost before it */
	sigprocmask(SIG_BLOCK, &ends, &waiting_mask);
	sigdelset(&waiting_mask, SIGTERM);
	sigdelset(&waiting_mask, SIGINT);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* arcs take milliseconds: the default slack of 50 us would show in each figure */
	prctl(PR_SET_TIMERSLACK, 1000UL);
}

static bool may_take_commands(const struct srv *s)
{
	return s->conn.fd >= 0 && !s->conn.doomed && s->op.kind == SRV_OP_NONE &&
	       !srv_conn_sending(&s->conn);
}

/*
 * While a fault holds up a read, a write or a call of the log, registers go on: in a real device
 * they are not behind the driver that hangs.
 */
static bool may_take_registers(const struct srv *s)
{
	return s->conn.fd >= 0 && !s->conn.doomed && s->dev->hold.on && !s->op.got &&
	       (s->op.kind == SRV_OP_READ || s->op.kind == SRV_OP_WRITE ||
		       s->op.kind == SRV_OP_LOG) &&
	       s->conn.deferred_count < SRV_DEFERRED && !srv_conn_sending(&s->conn);
}

static struct srv_message *next_deferred(struct srv_conn *c)
{
	struct srv_message *m = c->deferred;

	if (!m)
		return NULL;
	c->deferred = m->next;
	m->next = NULL;
	if (!c->deferred)
		c->deferred_end = &c->deferred;
	c->deferred_count--;
	return m;
}

static void access_registers(struct srv *s, struct srv_message *m)
{
	struct srv_op held = s->op;

	s->op = (struct srv_op){0};
	srv_command(s, m, swo_now_ns());
	if (s->op.kind == SRV_OP_DELAY) { /* one command waits at a time */
		s->op.due = 0;
		srv_progress(s, swo_now_ns());
	}
	s->op = held;
}

/* The other commands wait for the end of the hold. */
static void serve_registers(struct srv *s)
{
	for (unsigned n = 0; n < IN_A_ROW && may_take_registers(s); n++) {
		struct srv_message *m;
		int rc = srv_conn_receive(s, &m);

		if (rc < 0)
			s->conn.doomed = true;
		if (rc <= 0)
			return;
		if (m->header.command == VFIO_USER_REGION_READ ||
			m->header.command == VFIO_USER_REGION_WRITE ||
			m->header.command == VFIO_USER_REGION_WRITE_MULTI) {
			access_registers(s, m);
			continue;
		}
		m->next = NULL;
		*s->conn.deferred_end = m;
		s->conn.deferred_end = &m->next;
		s->conn.deferred_count++;
	}
}

/* false: there may be more input. */
static bool serve_client(struct srv *s)
{
	serve_registers(s);
	for (unsigned n = 0; n < IN_A_ROW && may_take_commands(s); n++) {
		struct srv_message *m = next_deferred(&s->conn);
		int rc = m ? 1 : srv_conn_receive(s, &m);

		if (rc < 0)
			s->conn.doomed = true;
		if (rc <= 0)
			return true;
		srv_command(s, m, swo_now_ns());
	}
	return !may_take_commands(s);
}

static uint64_t wake_at(const struct srv *s)
{
	uint64_t when = svf_next(s->dev);

	if (s->op.kind == SRV_OP_DELAY && s->op.due < when)
		when = s->op.due;
	return when;
}

static void wait_for(struct pollfd *fds, unsigned count, uint64_t when, bool at_once)
{
	uint64_t now = swo_now_ns(), left = when > now ? when - now : 0;
	struct timespec ts = {
		.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};

	if (at_once)
		ts = (struct timespec){0};
	if (ppoll(fds, count, when == SVF_NEVER && !at_once ? NULL : &ts, &waiting_mask) < 0)
		for (unsigned i = 0; i < count; i++)
			fds[i].revents = 0;
}

enum { CLIENT, LISTEN, CONTROL, FIRST_CONTROL, ALL = FIRST_CONTROL + SRV_CONTROLS };

static void set_up(const struct srv *s, struct pollfd fds[ALL])
{
	const struct srv_conn *c = &s->conn;

	fds[CLIENT] = (struct pollfd){.fd = c->fd,
		.events = (short)(srv_conn_sending(c)				  ? POLLOUT
				  : may_take_commands(s) || may_take_registers(s) ? POLLIN
										  : POLLRDHUP)};
	fds[LISTEN] = (struct pollfd){.fd = c->fd < 0 ? s->listen_fd : -1, .events = POLLIN};
	fds[CONTROL] = (struct pollfd){.fd = s->control_fd, .events = POLLIN};
	for (unsigned i = 0; i < SRV_CONTROLS; i++) {
		const struct srv_control *one = &s->controls[i];

		fds[FIRST_CONTROL + i] = (struct pollfd){
			.fd = one->fd, .events = one->out_pos < one->out.len ? POLLOUT : POLLIN};
	}
}

void srv_loop(struct srv *s)
{
	struct pollfd fds[ALL];
	bool idle = true;

	while (!s->quit && !told_to_end) {
		set_up(s, fds);
		wait_for(fds, ALL, wake_at(s), !idle);
		svf_run(s->dev, swo_now_ns());
		srv_progress(s, swo_now_ns());
		srv_conn_flush(s);
		idle = serve_client(s);
		/* A client that disconnects while its command waits will not read the reply. */
		if (s->op.kind != SRV_OP_NONE &&
			(fds[CLIENT].revents & (POLLRDHUP | POLLHUP | POLLERR)))
			s->conn.doomed = true;
		if (s->conn.doomed && !srv_conn_sending(&s->conn))
			srv_conn_drop(s);
		if (fds[LISTEN].revents)
			srv_conn_accept(s);
		if (fds[CONTROL].revents)
			srv_control_accept(s);
		for (unsigned i = 0; i < SRV_CONTROLS; i++)
			if (fds[FIRST_CONTROL + i].revents && s->controls[i].fd >= 0)
				srv_control_serve(
					s, &s->controls[i], fds[FIRST_CONTROL + i].revents);
	}
	/* the "quit" has been acknowledged */
	for (unsigned i = 0; i < SRV_CONTROLS; i++)
		if (s->controls[i].fd >= 0)
			srv_control_serve(s, &s->controls[i], 0);
}
