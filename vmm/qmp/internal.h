/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - private to the QMP server: clients, and commands on the worker.
 */
#ifndef VMM_QMP_INTERNAL_H
#define VMM_QMP_INTERNAL_H

#include "base/log.h"
#include "base/net.h"
#include "parser.h"
#include "qmp.h"

#define QMP_INPUT 16384
/* As QEMU writes: blanks after ',' and ':', and \uXXXX for what is not ASCII. */
#define QMP_DUMP JSON_ENSURE_ASCII

struct qmp_client;

/* A slow command. Its client stays until the command is done. */
struct qmp_job {
	struct swo_job job;
	struct qmp_server *server;
	struct qmp_client *client;
	const struct qmp_command *command;
	json_t *args, *id;
	json_t *reply;
	struct qmp_job *next; /* in the server's list of finished commands */
};

struct qmp_client {
	struct qmp_client *next;
	int fd;
	int received_fd; /* came with a request, for `getfd`; -1: none */
	bool negotiated;
	bool eof;  /* the client has closed its end */
	bool mute; /* sending failed; requests are still executed */
	bool last; /* close after the pending output */
	struct qmp_parser parser;
	char input[QMP_INPUT];
	size_t input_at, input_len; /* not parsed yet */
	struct swo_buf output;
	size_t output_at;
	struct qmp_job *job; /* its slow command, if one runs */
};

struct qmp_server {
	struct qmp_config config;
	char path[108];
	struct base_file_id file; /* of the socket; no other is removed */
	int listen_fd, wake_fd;
	pthread_t thread;
	struct qmp_client *clients;
	unsigned client_count;

	pthread_mutex_t mutex; /* for all below */
	struct swo_buf events; /* lines for every client */
	unsigned events_lost;
	struct base_log_rate strangers;
	struct qmp_job *done;
	bool quit;
};

/* dispatch.c */
/* Any thread: ends the wait of the server's thread. */
void qmp_wake(struct qmp_server *server);
json_t *qmp_greeting(void);
/* The reply, or NULL if a job was started. */
json_t *qmp_dispatch(struct qmp_server *server, struct qmp_client *client, json_t *message);
/* {"return": ret} or {"error": error}, with the id; takes ownership of both, borrows `id`. */
json_t *qmp_reply(json_t *ret, json_t *error, json_t *id);

/* type.c */
/* NULL, or what is wrong with the value of `name`, in QEMU's words. */
json_t *qmp_type_check(const struct qmp_type *type, const json_t *value, const char *name);
/* The values that the tag of an object with variants can have, ended by NULL. */
const char *const *qmp_type_tags(const struct qmp_type *type);
/* An object with these members, like the arguments of a command. */
json_t *qmp_type_check_members(const struct qmp_type *type, const json_t *value);

/* schema.c */
/* Of all commands of both tables, and the events: what query-qmp-schema returns. */
json_t *qmp_schema(const struct qmp_config *config, const struct qmp_command *own, size_t count);
extern const struct qmp_type qmp_schema_type;

/* client.c */
struct qmp_client *qmp_client_new(int fd);
void qmp_client_free(struct qmp_client *client);
void qmp_client_send(struct qmp_client *client, json_t *message); /* takes ownership */
void qmp_client_append(struct qmp_client *client, const void *text, size_t len);
void qmp_client_read(struct qmp_client *client);
void qmp_client_write(struct qmp_client *client);
/* Executes the received requests, up to a slow command. */
void qmp_client_work(struct qmp_server *server, struct qmp_client *client);
/* true if the client is finished and can be freed. */
bool qmp_client_finished(const struct qmp_client *client);

#endif
