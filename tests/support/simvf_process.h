/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * simvf_process.h - a switchover-simvf for one test: it is killed when the test ends.
 */
#ifndef TESTS_SUPPORT_SIMVF_PROCESS_H
#define TESTS_SUPPORT_SIMVF_PROCESS_H

#include <sys/types.h>

/*
 * Starts it on a socket and waits until it listens; the test fails otherwise. options ends with
 * NULL.
 */
pid_t simvf_process_start(const char *program, const char *socket, const char *const *options);

#endif
