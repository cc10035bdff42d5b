/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verdict.c - what journals mean: what a target's proves, whether a VM may be started
 * from nothing, and which of them nobody needs any more.
 */
#include "journal/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum swo_journal_proof swo_journal_proof(const struct swo_journal_info *target)
{
	if (target->damage.code != SWO_E_NONE || target->side != SWO_JOURNAL_TARGET)
		return SWO_JOURNAL_PROVES_NOTHING;
	switch (target->last) {
	case SWO_JOURNAL_STARTED:
	case SWO_JOURNAL_DONE:
		return SWO_JOURNAL_PROVES_RAN;
	case SWO_JOURNAL_REFUSED:
		return SWO_JOURNAL_PROVES_NEVER;
	case SWO_JOURNAL_BEGIN:
	case SWO_JOURNAL_READY:
		/* Who lives may still start it; what died with its host may have been STARTING. */
		if (target->live || !target->complete)
			return SWO_JOURNAL_PROVES_NOTHING;
		return target->here ? SWO_JOURNAL_PROVES_NEVER : SWO_JOURNAL_PROVES_IF_DEAD;
	default:
		return SWO_JOURNAL_PROVES_NOTHING;
	}
}

bool swo_journal_is_settled(const struct swo_journal_info *info)
{
	if (info->damage.code != SWO_E_NONE || info->live)
		return false;
	switch (info->last) {
	case SWO_JOURNAL_COMMITTED:
	case SWO_JOURNAL_IN_DOUBT:
	case SWO_JOURNAL_READY:
	case SWO_JOURNAL_STARTING:
		return false;
	case SWO_JOURNAL_STARTED: /* its source may still want to know */
		return false;
	default:
		return true;
	}
}

static int no(struct swo_error *err, const struct swo_journal_info *info, const char *dir,
	const char *what, const char *option)
{
	return swo_error_set(err, SWO_E_STATE, 0,
		"VM '%.60s' is not started: migration %s %s; look with `switchover resolve "
		"--journal %.100s %s%s`",
		info->vm, info->id, what, dir, info->id, option);
}

static int source_lets(const struct swo_journal_info *info, const char *dir, struct swo_error *err)
{
	switch (info->last) {
	case SWO_JOURNAL_COMMITTED:
	case SWO_JOURNAL_IN_DOUBT:
		return no(err, info, dir, "is in doubt: the VM may run on the target", "");
	case SWO_JOURNAL_DONE:
	case SWO_JOURNAL_RUNS_THERE:
		return no(err, info, dir, "has moved it to the target", " --forget");
	case SWO_JOURNAL_BEGIN:
		/* Without sync the word COMMITTED may have died with the host. */
		return info->complete
			       ? 0
			       : no(err, info, dir, "was under way when this host went down", "");
	default:
		return 0;
	}
}

static int target_lets(const struct swo_journal_info *info, const char *dir, struct swo_error *err)
{
	/* One that was started here and is dead may be started again; one that was refused, too. */
	if (info->last == SWO_JOURNAL_READY)
		return no(err, info, dir, "brought it here and was never settled", "");
	return 0;
}

static int one_lets(
	const struct swo_journal_info *info, const char *dir, const char *vm, struct swo_error *err)
{
	/* Whose it is may still be legible; if not, it may be anybody's. */
	if (info->vm[0] && strcmp(info->vm, vm))
		return 0;
	if (info->damage.code != SWO_E_NONE)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"VM '%.60s' is not started: %.250s; if it is not this VM's, move it away",
			vm, info->damage.text);
	if (strcmp(info->vm, vm))
		return 0;
	if (info->live && info->last != SWO_JOURNAL_REFUSED)
		return no(err, info, dir, "is held by another process on this host", "");
	return info->side == SWO_JOURNAL_SOURCE ? source_lets(info, dir, err)
						: target_lets(info, dir, err);
}

int swo_journal_may_boot(const char *dir, const char *vm, struct swo_error *err)
{
	struct swo_journal_info *list;
	size_t count;
	int rc = 0;

	if (swo_journal_list(dir, &list, &count, err))
		return -1;
	for (size_t i = 0; i < count && !rc; i++)
		rc = one_lets(&list[i], dir, vm, err);
	free(list);
	return rc;
}

void swo_journal_forget_settled(const char *dir, const char *vm, const char *keep_id)
{
	struct swo_journal_info *list;
	size_t count;

	if (swo_journal_list(dir, &list, &count, NULL))
		return;
	for (size_t i = 0; i < count; i++)
		if (swo_journal_is_settled(&list[i]) && !strcmp(list[i].vm, vm) &&
			strcmp(list[i].id, keep_id))
			unlink(list[i].path);
	free(list);
}
