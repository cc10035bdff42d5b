/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_client.h - the client's side of QMP, as much as driving a migration needs.
 * Works with QEMU's monitor as with ours.
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
 * Connects, takes the greeting and negotiates. wait: a monitor that is not there yet is waited
 * for until the deadline. interrupt (may be NULL): see json_socket.h. *qmp needs qmp_close also
 * after a failure.
 */
int qmp_open(struct qmp *qmp, const char *uri, bool wait, swo_deadline deadline,
	const volatile int *interrupt, struct swo_error *err);
void qmp_close(struct qmp *qmp);

/*
 * Executes a command; `arguments` (may be NULL) is taken over. Returns the "return" value, a new
 * reference. NULL: SWO_E_STATE when the command itself failed (the text is the monitor's), else
 * as json_sock_recv. Events that come meanwhile are kept. After any other failure than
 * SWO_E_STATE the reply may still come: it is recognised by its id and dropped.
 */
json_t *qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, swo_deadline deadline,
	struct swo_error *err);
/* The oldest event that was not taken yet, waiting for one if need be; a new reference. */
json_t *qmp_event(struct qmp *qmp, swo_deadline deadline, struct swo_error *err);

/* "a.b.c" in nested objects, NULL when it is not there. Borrowed. */
json_t *json_path(const json_t *root, const char *path);
/* The number there, or 0; the string there, or "". */
double json_path_number(const json_t *root, const char *path);
const char *json_path_string(const json_t *root, const char *path);

#endif
