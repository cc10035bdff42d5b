/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * send.h - sends guest memory: one sender per data channel, each with a fixed share of the
 * pages, so that a pass uses all channels and no page is sent over two of them.
 */
#ifndef MIGRATION_RAM_SEND_H
#define MIGRATION_RAM_SEND_H

#include "migration/internal.h"

struct ram_send;

/* Creates the workers and buffers: nothing is allocated later. */
int ram_send_create(struct swo_migration *m, struct ram_send **out, struct swo_error *err);
void ram_send_destroy(struct ram_send *send);

/*
 * Between passes: does a vCPU or a device write to RAM? If not it need not be copied
 * before it is sent. A write all the same makes a wrong checksum, and the migration fails.
 */
void ram_send_still(struct ram_send *send, bool still);
/*
 * Sends all dirty pages on all channels, and returns when they are passed to the sockets (0),
 * or when a sender failed or the migration was aborted (-1, *err). One pass at a time. *bytes (may
 * be NULL): bytes sent. tick (may be NULL) is called some times a second meanwhile; once it returns
 * false the pass ends early (0), and pages remain dirty.
 */
int ram_send_pass(struct ram_send *send, bool (*tick)(void *opaque), void *opaque, uint64_t *bytes,
	struct swo_error *err);
/* Of what was sent so far, each page counted once: bytes in pages that are not zero. Any thread. */
uint64_t ram_send_content(const struct ram_send *send);
/* Sent so far. Any thread. */
uint64_t ram_send_bytes(const struct ram_send *send);
/* The figures of RAM in *out as they are now, in the middle of a pass, too. Any thread. */
void ram_send_progress(struct ram_send *send, struct swo_migration_info *out);

#endif
