/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * simvf_process.c - forks, executes, and reads the byte that reports readiness.
 */
#include "simvf_process.h"

#include "cm.h"

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define OPTIONS_MAX 24

pid_t simvf_process_start(const char *program, const char *socket, const char *const *options)
{
	const char *argv[6 + OPTIONS_MAX + 1];
	char fd[16], byte;
	int ready[2];
	unsigned argc = 0;

	assert_int_equal(pipe(ready), 0);
	snprintf(fd, sizeof(fd), "%d", ready[1]);
	const char *const fixed[] = {program, "--quiet", "--socket", socket, "--ready-fd", fd};

	for (; argc < sizeof(fixed) / sizeof(*fixed); argc++)
		argv[argc] = fixed[argc];
	for (; options && *options; options++) {
		assert_true(argc < 6 + OPTIONS_MAX);
		argv[argc++] = *options;
	}
	argv[argc] = NULL;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		/* A failing test leaves no process behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(program, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(ready[1]);
	struct pollfd pfd = {.fd = ready[0], .events = POLLIN};

	if (poll(&pfd, 1, 30000) != 1 || read(ready[0], &byte, 1) != 1)
		fail_msg("cannot start %s", program);
	close(ready[0]);
	return pid;
}
