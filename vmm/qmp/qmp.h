/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp.h - a QMP server as in QEMU, over a UNIX socket: greeting, negotiation, ids, error
 * classes, events. The caller supplies the table of commands.
 *
 * One thread serves all clients. A command that may take long is marked slow: it runs on a
 * worker; the client's next command waits for it, other clients do not.
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
	bool any_args;		    /* arguments are checked by run */
	bool slow;		    /* on the worker, else on the server's thread */
	/*
	 * args: an object, never NULL. *ret: a new reference, or NULL for {}. An error is sent
	 * as a GenericError with its text.
	 */
	int (*run)(void *opaque, json_t *args, json_t **ret, struct swo_error *err);
};

struct qmp_server;

struct qmp_config {
	const char *path; /* of the socket: created with mode 0600, removed by free */
	const struct qmp_command *commands;
	size_t command_count;
	void *opaque;		   /* for the commands */
	struct swo_worker *worker; /* for slow commands */
};

/*
 * Listens before it returns. The server itself implements qmp_capabilities, query-version and
 * query-commands. A socket of a dead process at the path is replaced.
 */
int qmp_server_start(
	const struct qmp_config *config, struct qmp_server **out, struct swo_error *err);
/* Sends pending output first, as far as clients read it; waits for slow commands. */
void qmp_server_stop(struct qmp_server *server);

/*
 * Sends an event to every client that has negotiated. Any thread; never blocks. Takes ownership
 * of `data`, which may be NULL.
 */
void qmp_server_event(struct qmp_server *server, const char *name, json_t *data);

/* {"class", "desc"} in QMP's format. */
json_t *qmp_error(const char *class, const char *fmt, ...) SWO_PRINTF(2, 3);

#endif
