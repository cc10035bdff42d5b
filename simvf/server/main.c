/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - switchover-simvf: serves one simulated VF until it is terminated, then prints a
 * summary.
 */
#include "server.h"

#include "base/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void signal_ready(int fd)
{
	if (fd < 0)
		return;
	if (write(fd, "\n", 1) != 1)
		perror("--ready-fd");
	close(fd);
}

/*
 * Keeps freed pages. A message's buffer is freed after its reply; if the pages were returned to
 * the kernel, the next one would fault them in again, which takes longer than the copy: a fifth
 * of the CPU time with 128 devices. The pages of the largest message and its reply are faulted
 * in before the first message: hardware has its buffers before it stops, so their faults must
 * not count as the device's time.
 */
static void keep_pages(uint64_t state_bytes)
{
	uint64_t largest = state_bytes + state_bytes / 16 + SRV_BODY_MAX - SRV_DATA_MAX;

	mallopt(M_MMAP_THRESHOLD, 32 << 20); /* glibc ignores larger values */
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	/* Twice both, since a reply buffer grows by moving. */
	free(base_calloc_prefaulted(4 * (size_t)(largest < SRV_BODY_MAX ? largest : SRV_BODY_MAX)));
}

int main(int argc, char **argv)
{
	struct swo_error err;
	struct srv_args args;
	struct srv s;
	int status = 0;

	srv_args_parse(argc, argv, &args);
	srv_signals();
	if (srv_open(&s, &args, &err)) {
		fprintf(stderr, "switchover-simvf: %s\n", err.text);
		srv_close(&s);
		return 1;
	}
	keep_pages(args.profile.state_bytes);
	signal_ready(args.ready_fd);
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
