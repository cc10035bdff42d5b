/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - switchover-simvf: serves one simulated VF until it is told to end, then
 * says what it saw.
 */
#include "server.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

static void say_ready(int fd)
{
	if (fd < 0)
		return;
	if (write(fd, "\n", 1) != 1)
		perror("--ready-fd");
	close(fd);
}

/*
 * A message's memory is given back when it is answered. With its pages, the next one would have them
 * faulted in again, which takes longer than to copy them: a fifth of the CPUs with 128 devices.
 */
static void keep_pages(void)
{
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

int main(int argc, char **argv)
{
	struct swo_error err;
	struct srv_args args;
	struct srv s;
	int status = 0;

	keep_pages();
	srv_args_parse(argc, argv, &args);
	srv_signals();
	if (srv_open(&s, &args, &err)) {
		fprintf(stderr, "switchover-simvf: %s\n", err.text);
		srv_close(&s);
		return 1;
	}
	say_ready(args.ready_fd);
	srv_loop(&s);
	if (args.report && srv_report_write(&s, args.report, &err)) {
		fprintf(stderr, "switchover-simvf: %s\n", err.text);
		status = 1;
	}
	if (!args.quiet)
		srv_report_line(&s);
	srv_close(&s);
	return status;
}
