/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.c - the journal of `switchover vm`: its directory, the VM's identity, and the check that
 * the VM may be started.
 */
#include "cmd/vm/journal.h"

#include <stdlib.h>
#include <string.h>

int vm_journal_open(struct vm_journal *journal, const char *name, bool incoming,
	struct swo_journal_config *out, struct swo_error *err)
{
	bool asked = journal->dir != NULL;

	*out = (struct swo_journal_config){.dir = journal->dir, .sync = journal->sync};
	if (swo_vm_identity(journal->uuid, name, journal->identity, err))
		return -1;
	out->vm = journal->identity;
	if (asked && !strcmp(journal->dir, "none")) {
		out->dir = NULL;
		return 0;
	}
	if (!asked &&
		!swo_journal_default_dir(journal->default_dir, sizeof(journal->default_dir), err))
		out->dir = journal->default_dir;
	if (!out->dir || swo_journal_prepare_dir(out->dir, !asked, err)) {
		if (asked)
			return swo_error_prefix(err, "--journal");
		struct swo_error why = *err;

		/* Without readable journals, the VM may have been moved away. */
		if (*out->vm && !incoming)
			return swo_error_set(err, SWO_E_STATE, 0,
				"VM '%.60s' is not started: its journals cannot be examined: "
				"%.300s; use another directory with --journal=DIR, or start it "
				"unchecked with --journal=none",
				out->vm, why.text);
		swo_log(SWO_LOG_WARN,
			"no journal: a migration in doubt at the death of this process must be resolved by hand: %s; "
			"select a directory with --journal=DIR, or --journal=none",
			err->text);
		out->dir = NULL;
		return 0;
	}
	if (realpath(out->dir, journal->absolute))
		out->dir = journal->absolute;
	/* A target is started by its migration, not here. */
	return incoming ? 0 : swo_journal_may_boot(out->dir, out->vm, err);
}
