/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - a journal's file, byte by byte: as many records as fit one after the
 * other, all there from the beginning, zero until written.
 */
#ifndef JOURNAL_INTERNAL_H
#define JOURNAL_INTERNAL_H

#include "switchover/journal.h"

#include <assert.h>

#define JOURNAL_MAGIC	0x4a4f5753u /* "SWOJ" */
#define JOURNAL_VERSION 1
#define JOURNAL_RECORDS 16
#define JOURNAL_ID_LEN	36

/* Little-endian, as on the machines that it is for. */
struct journal_record {
	uint32_t magic;
	uint16_t version;
	uint16_t side;
	uint32_t sequence; /* its place in the file */
	uint16_t event;
	uint16_t sync;
	uint64_t time_ns;
	uint64_t nonce;
	char id[40];
	char boot_id[40]; /* of the host when this was written */
	char vm[SWO_JOURNAL_VM_MAX];
	char text[SWO_JOURNAL_TEXT_MAX]; /* of BEGIN: the URI */
	uint8_t zero[8];
	uint64_t hash; /* XXH3 of all before it */
};
static_assert(sizeof(struct journal_record) == 512, "one record, one sector, no holes");
#define JOURNAL_BYTES (JOURNAL_RECORDS * sizeof(struct journal_record))

struct journal_file {
	struct journal_record records[JOURNAL_RECORDS];
	unsigned count;
};

uint64_t journal_hash(const struct journal_record *record);
/* "" when the kernel does not say. */
void journal_boot_id(char out[40]);
/* 36 characters of a UUID and nothing else: it becomes a file's name. */
bool journal_is_id(const char *id);
/* May `next` follow `last` on this side? */
bool journal_may_follow(enum swo_journal_side side, unsigned last, unsigned next);
/* "ID.source" or "ID.target": true, with both parts. */
bool journal_parse_name(const char *name, char id[40], enum swo_journal_side *side);
/* Reads and checks the whole of an open file; the name says what must be in it. */
int journal_load(int fd, const char *path, const char *id, enum swo_journal_side side,
	struct journal_file *out, struct swo_error *err);
/* Fills what every record has, and its hash; text may be NULL. */
void journal_seal(struct journal_record *record, unsigned sequence, enum swo_journal_event event,
	uint64_t nonce, const char *text);
/* Writes one record to its place, and makes it durable when asked to. */
int journal_put(int fd, const char *path, const struct journal_record *record, bool sync,
	struct swo_error *err);
/* Opens without following a link; SWO_E_INVALID for what is no journal of ours. */
int journal_open(const char *path, int flags, int *fd, struct swo_error *err);

#endif
