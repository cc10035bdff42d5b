/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * write.h - the journal that a migration keeps.
 */
#ifndef JOURNAL_WRITE_H
#define JOURNAL_WRITE_H

#include "switchover/journal.h"

/* How long to wait for a record. */
struct journal_wait {
	swo_deadline until;
	bool must; /* also behind a record that was not waited for: only then it is of use */
	bool (*gives_way)(void *opaque); /* ends the wait; NULL: nothing does */
	void *opaque;
};

/*
 * Creates DIR/ID.source or DIR/ID.target with space for all its records, so that none fails
 * with ENOSPC. Fails if that migration already has one. The file is locked while it is open:
 * other processes find by the lock that this one is alive. Waits as journal_write() does; what is
 * created after that is removed again.
 */
int journal_create(const struct swo_journal_config *config, enum swo_journal_side side,
	const char *id, const char *uri, const struct journal_wait *wait, struct swo_journal **out,
	struct swo_error *err);
/* 36 characters of a UUID in lower case and nothing else: it becomes the name of a file. */
bool journal_is_id(const char *id);
/* The nonce of the source's HELLO, for each later record. NULL: no journal. */
void journal_set_hello_nonce(struct swo_journal *journal, uint64_t nonce);
/*
 * Any thread; records are written in the order of the calls. A NULL journal accepts every record and
 * stores none. wait NULL: until it is written, for half a minute at most. -1: it is not written, or
 * not yet (SWO_E_TIMEOUT, SWO_E_CANCELLED): the disk hangs. Then it is written when the disk goes on,
 * unless the process ends before.
 */
int journal_write(struct swo_journal *journal, enum swo_journal_event event, uint64_t nonce,
	const char *text, const struct journal_wait *wait, struct swo_error *err);
bool journal_is_sync(const struct swo_journal *journal);
/* With `remove` the file is deleted too: it is of no further use. Waits a second for a disk that
   hangs. */
void journal_close(struct swo_journal *journal, bool remove);

/* Removes settled journals of this journal's VM, but itself, on the journal's thread. Once a
   journal. NULL: nothing. */
void journal_prune(struct swo_journal *journal);
/* Removes settled journals of this VM, except that of migration `keep_id`: the VM runs here now.
   With an empty identity, none. */
void journal_remove_settled(const char *dir, const char *vm, const char *keep_id);

#endif
