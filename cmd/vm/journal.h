/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.h - the journal of `switchover vm`: from its options to a directory that can be
 * used, and to the question whether this VM may be started at all.
 */
#ifndef CMD_VM_JOURNAL_H
#define CMD_VM_JOURNAL_H

#include "switchover/journal.h"

struct vm_journal {
	const char *dir;  /* --journal; NULL: the default, "none": no journal */
	const char *uuid; /* --uuid, or NULL */
	bool sync;	  /* --journal-sync */
	char default_dir[400];
	char identity[SWO_JOURNAL_VM_MAX]; /* from uuid or the name; "": it has none */
};

/*
 * name: --name, or NULL when it was not given. Fills journal->identity and *out; out->dir NULL:
 * none is kept. -1 when the identity is invalid, when the directory that was asked for cannot be
 * used, or when the VM must not be started here: also when it has an identity and its journals
 * could not be examined.
 */
int vm_journal_open(struct vm_journal *journal, const char *name, bool incoming,
	struct swo_journal_config *out, struct swo_error *err);

#endif
