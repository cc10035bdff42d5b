/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp.h - a server that speaks QMP as QEMU does, over a UNIX socket: greeting,
 * negotiation, ids, error classes, events. What the commands are is the caller's table.
 *
 * One thread serves all clients. A command that may take long is marked slow: it runs on a
 * worker, its client's next command waits for it, other clients do not.
 */
#ifndef VMM_QMP_QMP_H
#define VMM_QMP_QMP_H

#include "switchover/base.h"

#include <jansson.h>

#define QMP_REQUEST_MAX (1u << 20) /* bytes of one request */
#define QMP_DEPTH_MAX	64	   /* objects and arrays in one another */
#define QMP_CLIENTS_MAX 16
#define QMP_OUTPUT_MAX	(16u << 20) /* a client that leaves more unread is dropped */

enum qmp_type { QMP_STRING, QMP_INT, QMP_NUMBER, QMP_BOOL, QMP_ARRAY, QMP_OBJECT, QMP_ANY };

struct qmp_arg {
	const char *name; /* NULL ends the list */
	enum qmp_type type;
	bool optional;
};

struct qmp_command {
	const char *name;
	const struct qmp_arg *args; /* checked before run; NULL: takes none */
	bool any_args;		    /* whatever there is, run checks it itself */
	bool slow;		    /* on the worker, else on the server's thread */
	/*
	 * args: an object, never NULL. *ret: a new reference, or left NULL for {}. An error
	 * becomes a GenericError with its text.
	 */
	int (*run)(void *opaque, json_t *args, json_t **ret, struct swo_error *err);
};

struct qmp_server;

struct qmp_config {
	const char *path; /* of the socket: made with mode 0600, removed by free */
	const struct qmp_command *commands;
	size_t command_count;
	void *opaque;		   /* of the commands */
	struct swo_worker *worker; /* of the slow ones */
};

/*
 * Listens before it returns. qmp_capabilities, query-version and query-commands are the server's
 * own. A socket left behind at the path by a process that is gone is replaced.
 */
int qmp_server_start(
	const struct qmp_config *config, struct qmp_server **out, struct swo_error *err);
/* What is queued for clients goes out first, as far as they read; slow commands are waited for. */
void qmp_server_stop(struct qmp_server *server);

/* Tells every client that has negotiated. Any thread; never blocks. Takes `data` over; may be NULL.
 */
void qmp_server_event(struct qmp_server *server, const char *name, json_t *data);

/* {"class", "desc"} in the words of QMP. */
json_t *qmp_error(const char *class, const char *fmt, ...) SWO_PRINTF(2, 3);

#endif
