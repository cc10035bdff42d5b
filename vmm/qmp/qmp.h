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

/*
 * The type of an argument or a reply. Arguments are checked by it before a command runs, and
 * query-qmp-schema describes it: there is no other description of either.
 */
enum qmp_kind {
	QMP_STRING,
	QMP_INT,
	QMP_NUMBER,
	QMP_BOOL,
	QMP_NULL,
	QMP_ANY,
	QMP_ENUM,
	QMP_ARRAY,
	QMP_OBJECT,
	QMP_ALTERNATE, /* one of its members' types; they have no names */
};

struct qmp_member {
	const char *name; /* a member without a type ends the list */
	const struct qmp_type *type;
	bool optional;
};

struct qmp_type {
	enum qmp_kind kind;
	const char *const *values;	  /* ENUM; NULL ends the list */
	const struct qmp_type *element;	  /* ARRAY */
	const struct qmp_member *members; /* OBJECT, ALTERNATE; NULL: none */
	const char *tag;		  /* OBJECT: the member, an enumeration, that adds others */
	const struct qmp_type *const *variants; /* by its values: objects */
};

/* For static tables of types. */
#define QMP_MEMBERS(...)                                                                           \
	(const struct qmp_member[])                                                                \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			.type = NULL                                                               \
		}                                                                                  \
	}
#define QMP_OBJECT_OF(...)                                                                         \
	{                                                                                          \
		.kind = QMP_OBJECT, .members = QMP_MEMBERS(__VA_ARGS__)                            \
	}
#define QMP_ENUM_OF(...)                                                                           \
	{                                                                                          \
		.kind = QMP_ENUM, .values = (const char *const[])                                  \
		{                                                                                  \
			__VA_ARGS__, NULL                                                          \
		}                                                                                  \
	}
#define QMP_LIST_OF(type)                                                                          \
	{                                                                                          \
		.kind = QMP_ARRAY, .element = (type)                                               \
	}

extern const struct qmp_type qmp_string, qmp_int, qmp_number, qmp_bool, qmp_null, qmp_any,
	qmp_strings;

struct qmp_command {
	const char *name;
	const struct qmp_type *args; /* an object; NULL: takes none */
	const struct qmp_type *ret;  /* NULL: {} */
	bool slow;		     /* on the worker, else on the server's thread */
	/*
	 * args: an object, never NULL. *ret: a new reference, or NULL for {}. An error is sent
	 * as a GenericError with its text.
	 */
	int (*run)(void *opaque, json_t *args, json_t **ret, struct swo_error *err);
};

/* For the schema. */
struct qmp_event {
	const char *name;
	const struct qmp_type *data; /* an object; NULL: none */
};

struct qmp_server;

struct qmp_config {
	const char *path; /* of the socket: created with mode 0600, removed by free */
	const struct qmp_command *commands;
	size_t command_count;
	const struct qmp_event *events;
	size_t event_count;
	void *opaque;		   /* for the commands */
	struct swo_worker *worker; /* for slow commands */
	/*
	 * `getfd`: takes ownership of a descriptor that came over the socket, also on failure. On
	 * the server's thread. NULL: the command does not exist.
	 */
	int (*keep_fd)(void *opaque, const char *name, int fd, struct swo_error *err);
};

/*
 * Listens before it returns. The server itself implements qmp_capabilities, query-version,
 * query-commands, query-qmp-schema and getfd. A socket of a dead process at the path is replaced.
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
