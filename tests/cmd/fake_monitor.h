/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_monitor.h - a QMP monitor that follows a script, on a UNIX socket in a
 * directory of its own: one thread, one client.
 */
#ifndef TESTS_CMD_FAKE_MONITOR_H
#define TESTS_CMD_FAKE_MONITOR_H

#include "cmd/common/json_socket.h"

/* The reaction to a command: the steps are taken in order. */
struct fake_step {
	const char *command; /* that must come next; NULL: do not wait for one */
	const char
		*answer; /* sent with the command's id added when it is an object; NULL: nothing */
	const char *before; /* sent as it is, before the answer: an event, or rubbish */
	bool close_after;   /* after that */
	bool repeat;	    /* the step stays while such a command comes, until the next one does */
};

struct fake_monitor {
	char dir[64];
	char uri[128];
	const char *greeting; /* NULL: the usual one */
	const struct fake_step *steps;
	size_t step_count;
	size_t taken;	      /* steps that were met */
	char unexpected[200]; /* the first command that did not fit; "" when all did */
	char arguments[2048]; /* of all commands, one a line, as compact JSON */
	int listen_fd;
	pthread_t thread;
};

void fake_monitor_start(
	struct fake_monitor *fake, const struct fake_step *steps, size_t step_count);
/* Waits for its end: the client or the monitor has closed. */
void fake_monitor_stop(struct fake_monitor *fake);

#endif
