/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.h - what a migration leaves on disk so that the death of a process does not
 * make anybody guess who may run the VM: one file per migration and side.
 *
 * A record is on file before what it tells of happens: COMMITTED before the first byte of GO,
 * STARTING before the target's first arc to a running state. So a target's journal whose process
 * is dead and which has no STARTING proves that nothing ever ran there.
 */
#ifndef SWITCHOVER_JOURNAL_H
#define SWITCHOVER_JOURNAL_H

#include "switchover/base.h"

enum swo_journal_side { SWO_JOURNAL_SOURCE, SWO_JOURNAL_TARGET };

enum swo_journal_event {
	SWO_JOURNAL_NOTHING,
	SWO_JOURNAL_BEGIN,	/* who, and where to; both sides */
	SWO_JOURNAL_COMMITTED,	/* source: GO counts as sent; nonce: the ticket for ASK */
	SWO_JOURNAL_IN_DOUBT,	/* source: parked */
	SWO_JOURNAL_TAKEN_BACK, /* source: GO was not sent after all */
	SWO_JOURNAL_REFUSED,	/* it will never run on the target; both sides */
	SWO_JOURNAL_DONE,	/* it runs on the target, and the source knows; both sides */
	SWO_JOURNAL_RUN_HERE,	/* source: an operator's word, or what the target's journal says */
	SWO_JOURNAL_RUNS_THERE, /* source: the same, the other way */
	SWO_JOURNAL_READY,	/* target: READY is about to be sent; nonce: what GO must carry */
	SWO_JOURNAL_STARTING,	/* target: GO was taken */
	SWO_JOURNAL_STARTED,	/* target: it runs */
	SWO_JOURNAL_EVENTS
};

#define SWO_JOURNAL_VM_MAX   128
#define SWO_JOURNAL_TEXT_MAX 256

/*
 * The identity of a VM, for journals and HELLO alike: the canonical form of its UUID (lower case,
 * no braces, no "urn:uuid:"), else its name, else "". Both arguments may be NULL. SWO_E_INVALID for
 * a UUID that is none and for a name that is too long to be recorded.
 */
SWO_API int swo_vm_identity(const char *uuid, const char *name, char out[SWO_JOURNAL_VM_MAX],
	struct swo_error *err);
/* UUIDs are equal in any form, names to the letter. "" is nobody's: it equals nothing. */
SWO_API bool swo_vm_identity_equal(const char *a, const char *b);

SWO_API const char *swo_journal_event_name(enum swo_journal_event event);
SWO_API const char *swo_journal_side_name(enum swo_journal_side side);

/* Where journals are kept, whose they are, and how durable. Strings are the caller's. */
struct swo_journal_config {
	const char *dir;
	const char *vm; /* swo_vm_identity(); "": none, nothing is looked up by it */
	bool sync;	/* records survive the host, not only the process */
};

/*
 * The directory when nobody named one. It must survive a restart of the host: /var/lib/switchover
 * for root, else $XDG_STATE_HOME/switchover or ~/.local/state/switchover.
 */
SWO_API int swo_journal_default_dir(char *out, size_t room, struct swo_error *err);
/*
 * Makes it (0700; with its parents when asked) if it is not there. SWO_E_INVALID when it is
 * another user's, others may write to it, or its path is too long.
 */
SWO_API int swo_journal_prepare_dir(const char *dir, bool parents, struct swo_error *err);

/* Writing */

struct swo_journal;

/*
 * Makes DIR/ID.source or DIR/ID.target with room for all its records, so that none of them can
 * fail for want of space. Fails when that migration has one already. Held locked while open:
 * that is how others know that its process lives.
 */
SWO_API int swo_journal_create(const struct swo_journal_config *config, enum swo_journal_side side,
	const char *id, const char *uri, struct swo_journal **out, struct swo_error *err);
/* Any thread. A NULL journal takes everything and keeps nothing. */
SWO_API int swo_journal_write(struct swo_journal *journal, enum swo_journal_event event,
	uint64_t nonce, const char *text, struct swo_error *err);
SWO_API bool swo_journal_is_sync(const struct swo_journal *journal);
/* With `forget` the file goes too: it says nothing that anybody could need. */
SWO_API void swo_journal_close(struct swo_journal *journal, bool forget);

/* Reading */

struct swo_journal_info {
	enum swo_journal_side side;
	char path[512];
	char id[40];
	char vm[SWO_JOURNAL_VM_MAX];
	char uri[SWO_JOURNAL_TEXT_MAX];
	enum swo_journal_event last;
	uint64_t time_ns; /* of the last record; CLOCK_REALTIME */
	uint64_t nonce;	  /* of COMMITTED or READY */
	char text[SWO_JOURNAL_TEXT_MAX];
	bool live; /* the process that writes it lives */
	/*
	 * No later record can be missing: it was written since this host was started, or with
	 * sync. Otherwise the last records may have died with the host.
	 */
	bool complete;
	bool here; /* written on this host since it was started: `live` means something */
	/*
	 * Is this the file that was written, and not a copy of it or one that was moved? Only the
	 * file itself shows that no later record exists. A journal of version 0.1 does not record
	 * which file it is: `original` is false, and `origin` says why.
	 */
	bool original;
	char origin[96]; /* why `original` is false */
	struct swo_error damage; /* code other than NONE: only path, side and id hold; vm if set */
};

/* -1 only when it cannot be opened; a damaged one is read, and says so. */
SWO_API int swo_journal_read(const char *path, struct swo_journal_info *out, struct swo_error *err);
/* All of a directory, ordered by path; free() the array. */
SWO_API int swo_journal_list(
	const char *dir, struct swo_journal_info **out, size_t *count, struct swo_error *err);
/* Appends a word to a journal whose process is dead, and makes it durable. */
SWO_API int swo_journal_settle(
	const char *path, enum swo_journal_event event, const char *text, struct swo_error *err);

/* What it means */

/* What a target's journal proves about its side. */
enum swo_journal_proof {
	SWO_JOURNAL_PROVES_NOTHING, /* it may have run there, or may still */
	SWO_JOURNAL_PROVES_NEVER,   /* it never ran there and never will */
	SWO_JOURNAL_PROVES_RAN,	    /* it was started there */
	/* With `fenced` it would prove something: that the process is dead, or that this is the
	   whole journal, cannot be seen from here. */
	SWO_JOURNAL_PROVES_IF_FENCED,
};
/*
 * fenced: the operator asserts that the target's process is dead and that `target` is all that it
 * wrote. Not even that makes up for records that may have died with its host.
 */
SWO_API enum swo_journal_proof swo_journal_proof(
	const struct swo_journal_info *target, bool fenced);
/* Is nothing left to find out or to decide? What cannot be proved is not settled. */
SWO_API bool swo_journal_is_settled(const struct swo_journal_info *info);
/* Is it what keeps a VM that has moved away from being started here? Settled ones may be. */
SWO_API bool swo_journal_is_guard(const struct swo_journal_info *info);
/*
 * May the VM known as `vm` be started from nothing on this host? SWO_E_STATE names the migration
 * and what settles it; a damaged journal that may be this VM's is never a yes.
 */
SWO_API int swo_journal_may_boot(const char *dir, const char *vm, struct swo_error *err);
/* Removes settled journals of this VM, but for migration `keep_id`: it runs here now. With an
   empty identity, none. */
SWO_API void swo_journal_forget_settled(const char *dir, const char *vm, const char *keep_id);
/* Removes all settled journals, guards only when asked. Counts what it removed and which guards it
   kept. */
SWO_API int swo_journal_prune(const char *dir, bool guards, size_t *removed, size_t *kept,
	struct swo_error *err);

#endif
