/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_talk.h - a QMP client for tests: sends text unchanged, reads one message per line, keeps
 * events separately.
 */
#ifndef TESTS_VMM_QMP_QMP_TALK_H
#define TESTS_VMM_QMP_QMP_TALK_H

#include "switchover/base.h"

#include <jansson.h>

#define TALK_MS 20000 /* only guards against a hang */

struct talk {
	int fd;
	char line[1 << 16];
	size_t len;
	json_t *events; /* an array */
};

/* Connects and reads the greeting; negotiates unless `negotiate` is false. */
void talk_open(struct talk *talk, const char *path, bool negotiate);
void talk_close(struct talk *talk);
void talk_send(struct talk *talk, const char *text, size_t len);
/* The next message of any kind; NULL if the server has closed. */
json_t *talk_next(struct talk *talk);
/* The next message that is no event. */
json_t *talk_reply(struct talk *talk);
/* Sends and returns the reply. */
json_t *talk_ask(struct talk *talk, const char *text);
/* The "return" of the reply, which must exist. */
json_t *talk_do(struct talk *talk, const char *text);
/* Checks that the reply is an error of this class whose text contains `part`. */
void talk_refused(struct talk *talk, const char *text, const char *class, const char *part);
/* The next event of that name, already received or not. */
json_t *talk_event(struct talk *talk, const char *name);

#endif
