/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.h - the journal of `switchover vm`: opens the directory of its options, and checks
 * whether this VM may be started.
 */
#ifndef CMD_VM_JOURNAL_H
#define CMD_VM_JOURNAL_H

#include "switchover/journal.h"

#include <limits.h>

struct vm_journal {
	const char *dir;  /* --journal; NULL: the default, "none": no journal */
	const char *uuid; /* --uuid, or NULL */
	bool sync;	  /* --journal-sync */
	char default_dir[400];
	char absolute[PATH_MAX];	   /* for messages: they may be read elsewhere */
	char identity[SWO_JOURNAL_VM_MAX]; /* from uuid or the name; "": none */
};

/*
 * name: --name, or NULL if not set. Fills journal->identity and *out; out->dir NULL: no journal.
 * -1 if the identity is invalid, if the directory of --journal cannot be used, or if the VM must
 * not be started here: also if it has an identity and its journals could not be examined.
 */
int vm_journal_open(struct vm_journal *journal, const char *name, bool incoming,
	struct swo_journal_config *out, struct swo_error *err);

#endif
