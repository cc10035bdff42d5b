/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal.c - the journal of `switchover vm`: where it is, whose it is, and whether it
 * lets the VM be started.
 */
#include "cmd/vm/journal.h"

#include <string.h>

const char *vm_journal_check_uuid(const char *text)
{
	if (strlen(text) != 36 || strspn(text, "0123456789abcdefABCDEF-") != 36)
		return "wants a UUID as uuidgen prints it";
	for (unsigned i = 0; i < 36; i++)
		if ((text[i] == '-') != (i == 8 || i == 13 || i == 18 || i == 23))
			return "wants a UUID as uuidgen prints it";
	return NULL;
}

int vm_journal_open(struct vm_journal *journal, const char *name, bool incoming,
	struct swo_journal_config *out, struct swo_error *err)
{
	bool asked = journal->dir != NULL;

	*out = (struct swo_journal_config){.dir = journal->dir, .sync = journal->sync};
	out->vm = journal->uuid ? journal->uuid : name ? name : "";
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
		swo_log(SWO_LOG_WARN,
			"no journal is kept, so a death in doubt has to be settled by hand: %s; "
			"choose with --journal=DIR, or --journal=none",
			err->text);
		out->dir = NULL;
		return 0;
	}
	/* A target is brought by a migration; it does not start what may run elsewhere. */
	if (incoming || !*out->vm)
		return 0;
	return swo_journal_may_boot(out->dir, out->vm, err);
}
