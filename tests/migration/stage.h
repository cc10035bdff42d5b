/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage.h - a source under test, and its target simulated by the test: up to GO, which is received
 * and not answered.
 */
#ifndef TESTS_MIGRATION_STAGE_H
#define TESTS_MIGRATION_STAGE_H

#include "fake_vm.h"
#include "frames.h"
#include "migration/hello.h"
#include "migration/ram/share.h"

/* Of the sources under test; NULL: none. */
extern const struct swo_journal_config *stage_journal;
extern const char *stage_monitor;
extern struct swo_timeline *stage_timeline;
extern void (*stage_params)(struct swo_migration_params *params);

struct stage {
	struct fake_vm vm;
	char uri[128];
	struct channel_listener *listener;
	struct channel control, data;
	struct hello hello;
	struct channel_frame_header header;
	struct wire_go go;	 /* as sent in READY */
	struct shared_ram share; /* where RAM is handed over */
	pthread_t drain;
	uint64_t hash; /* of RAM, at the stop of the source; only if it is handed over */
};

/* Up to the source's HELLO, which requests `asked`. */
void stage_await_hello(struct stage *stage, enum swo_handover asked);
/* The same, and an answer with `answer`. */
void stage_open(struct stage *stage, enum swo_handover asked, enum swo_handover answer);
/* From there until the source stops its VM: the target has all that this needs. */
void stage_play_to_stop(struct stage *stage);
/* From there as far as READY, which is sent; and as far as GO, which is received. */
void stage_play_to_ready(struct stage *stage);
void stage_play_to_go(struct stage *stage);
/* READY, STARTING, STARTED or REFUSED, with the nonce of HELLO. */
void stage_reply(struct stage *stage, struct channel *channel, enum wire_type type,
	const void *payload, size_t len);
struct channel stage_take_call(struct stage *stage);
struct swo_migration_info stage_await_doubt(struct stage *stage);
/* With the data channel open or not. */
void stage_close(struct stage *stage);

#endif
