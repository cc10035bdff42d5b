/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.h - requests to the control sockets of devices and to the monitors of machines,
 * with a deadline and an interrupt.
 */
#ifndef TESTBED_CONTROL_H
#define TESTBED_CONTROL_H

#include "cmd/common/qmp_client.h"

/* Connects to a device's control socket (a path by format), which may not be there yet. */
int control_open(struct json_sock *sock, struct swo_error *err, uint64_t deadline_ms,
	const char *fmt, ...) SWO_PRINTF(4, 5);
/* {"cmd": cmd}: the answer, a new reference; NULL with *err. */
json_t *control_request(struct json_sock *sock, const char *cmd, struct swo_error *err);

int monitor_open(struct qmp *qmp, const char *uri, uint64_t deadline_ms, struct swo_error *err);
/* `arguments` may be NULL and is taken over. */
json_t *monitor_execute(
	struct qmp *qmp, const char *command, json_t *arguments, struct swo_error *err);
int monitor_command(struct qmp *qmp, const char *command, json_t *arguments, struct swo_error *err);
/* The timeline as parsed JSON. */
json_t *monitor_timeline(struct qmp *qmp, struct swo_error *err);

/* Removes a directory and the files in it. */
void control_remove_dir(const char *dir);

#endif
