/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.h - the on-disk record of a migration, from which it can be determined after the
 * death of a process where the VM may run: one file per migration and side.
 *
 * A record is written before the event that it stands for: COMMITTED before the first byte of
 * GO, STARTING before the target's first arc to a running state. So the journal of a dead
 * target process without STARTING proves that the VM never ran there.
 */
#ifndef SWITCHOVER_JOURNAL_H
#define SWITCHOVER_JOURNAL_H

#include "switchover/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum swo_journal_side { SWO_JOURNAL_SOURCE, SWO_JOURNAL_TARGET };

enum swo_journal_event {
	SWO_JOURNAL_NOTHING,
	SWO_JOURNAL_BEGIN,	/* migration and peer; both sides */
	SWO_JOURNAL_COMMITTED,	/* source: GO counts as sent; nonce: authenticates ASK */
	SWO_JOURNAL_IN_DOUBT,	/* source: parked */
	SWO_JOURNAL_TAKEN_BACK, /* source: GO was not sent */
	SWO_JOURNAL_REFUSED,	/* the VM will never run on the target; both sides */
	SWO_JOURNAL_DONE, /* the VM runs on the target, acknowledged to the source; both sides */
	SWO_JOURNAL_RUN_HERE,	/* source: decided by an operator, or by the target's journal */
	SWO_JOURNAL_RUNS_THERE, /* source: likewise: the VM runs on the target */
	SWO_JOURNAL_READY,	/* target: READY is about to be sent; nonce: expected in GO */
	SWO_JOURNAL_STARTING,	/* target: GO was received */
	SWO_JOURNAL_STARTED,	/* target: the VM runs */
	SWO_JOURNAL_EVENTS
};

#define SWO_JOURNAL_VM_MAX   128
#define SWO_JOURNAL_TEXT_MAX 256

/*
 * The identity of a VM, for journals and HELLO alike: the canonical form of its UUID (lower case,
 * no braces, no "urn:uuid:"), else its name, else "". Both arguments may be NULL. SWO_E_INVALID for
 * a malformed UUID and for a name that is too long to be recorded.
 */
SWO_API int swo_vm_identity(
	const char *uuid, const char *name, char out[SWO_JOURNAL_VM_MAX], struct swo_error *err);
/* UUIDs compare equal in any form, names byte by byte. "" identifies no VM and equals nothing. */
SWO_API bool swo_vm_identity_equal(const char *a, const char *b);

SWO_API const char *swo_journal_event_name(enum swo_journal_event event);
SWO_API const char *swo_journal_side_name(enum swo_journal_side side);

/* Directory, VM and durability of journals. The caller owns the strings. */
struct swo_journal_config {
	const char *dir;
	const char *vm; /* swo_vm_identity(); "": none, matches no journal */
	bool sync;	/* records survive a crash of the host, not just of the process */
};

/*
 * The default directory. It must survive a reboot: /var/lib/switchover for root, otherwise
 * $XDG_STATE_HOME/switchover or ~/.local/state/switchover.
 */
SWO_API int swo_journal_default_dir(char *out, size_t room, struct swo_error *err);
/*
 * Creates the directory (0700; on request with its parents) if it does not exist. SWO_E_INVALID
 * if another user owns it, others may write to it, or its path is too long.
 */
SWO_API int swo_journal_prepare_dir(const char *dir, bool parents, struct swo_error *err);

/* Writing */

struct swo_journal;

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
	bool live; /* the process that wrote it is alive */
	/*
	 * No later record can be missing: it was written since the last boot, or with sync.
	 * Otherwise the last records may have been lost in a crash of the host.
	 */
	bool complete;
	bool here; /* written on this host since its last boot: `live` is valid */
	/*
	 * True for the file that was written, as opposed to a copy or a moved file. Only the file
	 * itself shows that no later record exists. A journal of version 0.1 does not record which
	 * file it is: `original` is false, and `origin` has the reason.
	 */
	bool original;
	char origin[96]; /* why `original` is false */
	/* Source: a reply to ASK must have it. 0: the journal is older, and replies have none. */
	uint64_t hello_nonce;
	struct swo_error damage; /* not NONE: only path, side and id are valid, and vm if set */
};

/* -1 only if the journal cannot be opened; a damaged one is read, with `damage` set. */
SWO_API int swo_journal_read(const char *path, struct swo_journal_info *out, struct swo_error *err);
/* All journals of a directory, ordered by path; free() the array. */
SWO_API int swo_journal_list(
	const char *dir, struct swo_journal_info **out, size_t *count, struct swo_error *err);
/* Appends an operator's decision to the journal of a dead process, and syncs it. */
SWO_API int swo_journal_settle(
	const char *path, enum swo_journal_event event, const char *text, struct swo_error *err);

/* Interpretation */

/* What a target's journal proves about the VM on that side. */
enum swo_journal_proof {
	SWO_JOURNAL_PROVES_NOTHING, /* the VM may have run there, or may run */
	SWO_JOURNAL_PROVES_NEVER,   /* the VM never ran there and never will */
	SWO_JOURNAL_PROVES_RAN,	    /* the VM was started there */
	/*
	 * Proof only with `fenced`: this host cannot determine that the process is dead, or that
	 * the journal is complete.
	 */
	SWO_JOURNAL_PROVES_IF_FENCED,
};
/*
 * fenced: the operator asserts that the target's process is dead and that `target` is all that it
 * wrote. Records that a crash of its host may have lost remain in question.
 */
SWO_API enum swo_journal_proof swo_journal_proof(
	const struct swo_journal_info *target, bool fenced);
/* True if nothing is left to determine or decide. An unprovable outcome is not settled. */
SWO_API bool swo_journal_is_settled(const struct swo_journal_info *info);
/* True if the journal prevents the start of a VM that has moved away. It may be settled. */
SWO_API bool swo_journal_is_guard(const struct swo_journal_info *info);
/*
 * True if the VM with this name or UUID may be booted on this host. SWO_E_STATE names the
 * migration and how to resolve it; a damaged journal that may be this VM's always forbids it.
 */
SWO_API int swo_journal_may_boot(const char *dir, const char *vm, struct swo_error *err);
/* Removes all settled journals, guards only on request. Returns the numbers of removed journals
   and of kept guards. */
SWO_API int swo_journal_prune(
	const char *dir, bool guards, size_t *removed, size_t *kept, struct swo_error *err);

#ifdef __cplusplus
}
#endif

#endif
