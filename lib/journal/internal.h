/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - the format of a journal's file: as many records as fit one after the other, zero
 * until written, and in the last sector the identity of the file.
 */
#ifndef JOURNAL_INTERNAL_H
#define JOURNAL_INTERNAL_H

#include "journal/write.h"

#include <assert.h>

#define JOURNAL_MAGIC	0x4a4f5753u /* "SWOJ" */
#define JOURNAL_VERSION 1
#define JOURNAL_RECORDS 15
#define JOURNAL_ID_LEN	36

#define JOURNAL_ORIGIN_MAGIC 0x4f4f5753u /* "SWOO" */

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
	uint64_t hello_nonce;		 /* 0: not known; version 0.1 left it zero */
	uint64_t hash;			 /* XXH3 of all before it */
};
static_assert(sizeof(struct journal_record) == 512, "one record, one sector, no holes");

/* The identity of this file: written once, when it is created. Version 0.1 left it zero. */
struct journal_origin {
	uint32_t magic;
	uint32_t version;
	uint64_t device; /* st_dev; numbers of devices change when the host starts */
	uint64_t inode;
	uint64_t start_time; /* of the process: /proc/PID/stat, field 22 */
	uint32_t pid;
	uint8_t zero[4];
	char name[48]; /* ID.source or ID.target */
	char boot_id[40];
	uint8_t rest[376];
	uint64_t hash; /* XXH3 of all before it */
};
static_assert(sizeof(struct journal_origin) == 512, "one sector, no holes");
#define JOURNAL_BYTES                                                                              \
	(JOURNAL_RECORDS * sizeof(struct journal_record) + sizeof(struct journal_origin))

struct journal_file {
	struct journal_record records[JOURNAL_RECORDS];
	struct journal_origin origin;
	unsigned count;
	char vm[SWO_JOURNAL_VM_MAX]; /* as far as it is readable, also in a damaged one */
};
static_assert(offsetof(struct journal_file, count) == JOURNAL_BYTES, "read as one piece");

uint64_t journal_hash(const struct journal_record *record);
/* "" if the kernel does not report it. */
void journal_boot_id(char out[40]);
/* True if `next` may follow `last` on this side. */
bool journal_may_follow(enum swo_journal_side side, unsigned last, unsigned next);
/* "ID.source" or "ID.target": true, with both parts. */
bool journal_parse_name(const char *name, char id[40], enum swo_journal_side *side);
/* Reads and checks an open file completely; the name determines the expected content. */
int journal_load(int fd, const char *path, const char *id, enum swo_journal_side side,
	struct journal_file *out, struct swo_error *err);
/* Fills the common members of every record, and its hash; text may be NULL. */
void journal_seal(struct journal_record *record, unsigned sequence, enum swo_journal_event event,
	uint64_t nonce, const char *text);
/* Writes one record to its place, and syncs it on request. */
int journal_put(int fd, const char *path, const struct journal_record *record, bool sync,
	struct swo_error *err);
/*
 * Opens without following a link; SWO_E_INVALID for a file that is no journal of this user.
 * `path` is for messages, `name` is relative to dir_fd.
 */
int journal_open(
	int dir_fd, const char *name, const char *path, int flags, int *fd, struct swo_error *err);

/* Origin (origin.c) */

/* Of an open file, created by this process. */
int journal_origin_write(int fd, const char *name, const char *path, struct swo_error *err);
/* NULL if it is valid or missing, otherwise the fault. */
const char *journal_origin_fault(const struct journal_origin *origin);
/* Sets original, origin and, if the process that wrote it is found alive, live. */
void journal_origin_check(
	const struct journal_file *file, int fd, const char *name, struct swo_journal_info *out);

/* swo_journal_read() of a file that is opened as `at`, relative to dir_fd (read.c). */
int journal_read(int dir_fd, const char *at, const char *path, struct swo_journal_info *out,
	struct swo_error *err);

/* Directory (dir.c) */

/* Opens it once, and checks that only its owner can write to it. */
int journal_dir_open(const char *dir, int *fd, struct swo_error *err);
/* DIR/NAME; SWO_E_INVALID when that is too long for an info. */
int journal_path(const char *dir, const char *name, char out[512], struct swo_error *err);
/*
 * A result of `each` other than 0 ends the iteration and is returned. An unreadable journal
 * counts as damaged.
 */
int journal_dir_walk(const char *dir, int (*each)(int dir_fd, struct swo_journal_info *, void *),
	void *opaque, struct swo_error *err);

#endif
