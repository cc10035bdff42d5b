/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_client.h - the client side of QMP, as far as a migration needs it. Works with the monitors
 * of QEMU and of switchover vm.
 *
 * Threads: one at a time.
 */
#ifndef CMD_COMMON_QMP_CLIENT_H
#define CMD_COMMON_QMP_CLIENT_H

#include "cmd/common/json_socket.h"

#define QMP_EVENTS_MAX 256 /* kept unread; beyond that the oldest go */

struct qmp {
	struct json_sock sock;
	json_t *events; /* array, oldest first */
	const volatile int *interrupt;
	json_int_t next_id;
};

/*
 * Connects, reads the greeting and negotiates. wait: waits until the deadline for a monitor that
 * does not listen yet. interrupt (may be NULL): see json_socket.h. Call qmp_close also after a
 * failure.
 */
int qmp_open(struct qmp *qmp, const char *uri, bool wait, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err);
void qmp_close(struct qmp *qmp);

/*
 * Executes a command; takes ownership of `arguments` (may be NULL). Returns the "return" value,
 * a new reference. NULL: SWO_E_STATE if the command failed (with the monitor's text), else as
 * json_sock_recv. Events received meanwhile are queued. After any other failure than SWO_E_STATE
 * the reply may still arrive: it is recognised by its ID and dropped.
 */
json_t *qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, swo_deadline deadline,
	struct swo_error *err);
/* The oldest queued event, or the next one; a new reference. */
json_t *qmp_event(struct qmp *qmp, swo_deadline deadline, struct swo_error *err);

/* "a.b.c" in nested objects, NULL if missing. Borrowed. */
json_t *json_path(const json_t *root, const char *path);
/* The number there, or 0; the string there, or "". */
double json_path_number(const json_t *root, const char *path);
const char *json_path_string(const json_t *root, const char *path);

#endif
