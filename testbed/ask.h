/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ask.h - questions to the devices' control sockets and to the machines'
 * monitors, with a deadline and an interrupt.
 */
#ifndef TESTBED_ASK_H
#define TESTBED_ASK_H

#include "cmd/common/qmp_client.h"

/* Connects to a device's control socket (a path by format), which may not be there yet. */
int ask_open(struct json_sock *sock, struct swo_error *err, uint64_t deadline_ms, const char *fmt,
	...) SWO_PRINTF(4, 5);
/* {"cmd": cmd}: the answer, a new reference; NULL with *err. */
json_t *ask(struct json_sock *sock, const char *cmd, struct swo_error *err);

int ask_qmp_open(struct qmp *qmp, const char *uri, uint64_t deadline_ms, struct swo_error *err);
/* `arguments` may be NULL and is taken over. */
json_t *ask_qmp(struct qmp *qmp, const char *command, json_t *arguments, struct swo_error *err);
int ask_qmp_do(struct qmp *qmp, const char *command, json_t *arguments, struct swo_error *err);
/* The timeline as parsed JSON. */
json_t *ask_timeline(struct qmp *qmp, struct swo_error *err);

/* Removes a directory and the files in it. */
void ask_remove_dir(const char *dir);

#endif
