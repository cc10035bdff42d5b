/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verdict.c - the interpretation of journals: what a target's journal proves, whether a VM may
 * be booted, and which journals may be removed.
 */
#include "journal/internal.h"

#include "base/shell.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * True if records may be missing at the end of this file, for a reason other than a crash of the
 * host.
 */
static bool may_go_on(const struct swo_journal_info *info)
{
	return !info->here || !info->original;
}

enum swo_journal_proof swo_journal_proof(const struct swo_journal_info *target, bool fenced)
{
	enum swo_journal_proof proof;

	if (target->damage.code != SWO_E_NONE || target->side != SWO_JOURNAL_TARGET)
		return SWO_JOURNAL_PROVES_NOTHING;
	switch (target->last) {
	case SWO_JOURNAL_STARTED:
	case SWO_JOURNAL_DONE:
		proof = SWO_JOURNAL_PROVES_RAN;
		break;
	case SWO_JOURNAL_REFUSED:
		proof = SWO_JOURNAL_PROVES_NEVER;
		break;
	case SWO_JOURNAL_BEGIN:
	case SWO_JOURNAL_READY:
		/* A live process may still start the VM; a crashed host may have lost STARTING. */
		if (target->live || !target->complete)
			return SWO_JOURNAL_PROVES_NOTHING;
		return may_go_on(target) && !fenced ? SWO_JOURNAL_PROVES_IF_FENCED
						    : SWO_JOURNAL_PROVES_NEVER;
	default:
		return SWO_JOURNAL_PROVES_NOTHING;
	}
	/* These two are final, but only in an original file. */
	return target->original || fenced ? proof : SWO_JOURNAL_PROVES_IF_FENCED;
}

bool swo_journal_is_settled(const struct swo_journal_info *info)
{
	if (info->damage.code != SWO_E_NONE || info->live)
		return false;
	switch (info->last) {
	case SWO_JOURNAL_BEGIN:
		/* Proves something only if there is no later record. */
		return info->complete && info->original;
	case SWO_JOURNAL_COMMITTED:
	case SWO_JOURNAL_IN_DOUBT:
	case SWO_JOURNAL_READY:
	case SWO_JOURNAL_STARTING:
		return false;
	case SWO_JOURNAL_STARTED: /* its source may still request the outcome */
		return false;
	default:
		return true;
	}
}

bool swo_journal_is_guard(const struct swo_journal_info *info)
{
	return info->side == SWO_JOURNAL_SOURCE && info->damage.code == SWO_E_NONE &&
	       (info->last == SWO_JOURNAL_DONE || info->last == SWO_JOURNAL_RUNS_THERE);
}

/* Booting */

struct boot {
	const char *dir, *vm;
	struct swo_error *err;
};

/* Refuses a boot; the error names a command that only prints the state. */
static int refuse(const struct boot *boot, const struct swo_journal_info *info, const char *what)
{
	char dir[120];

	if (!base_shell_quote(boot->dir, dir, sizeof(dir)))
		return swo_error_set(boot->err, SWO_E_STATE, 0,
			"VM '%.60s' is not started: migration %s %s; `switchover resolve` shows it, "
			"with the same --journal",
			boot->vm, info->id, what);
	return swo_error_set(boot->err, SWO_E_STATE, 0,
		"VM '%.60s' is not started: migration %s %s; to see it, run: switchover resolve "
		"--journal=%s",
		boot->vm, info->id, what, dir);
}

/*
 * True if the target of the same migration was on this host too, ran the VM, and its process is
 * dead.
 */
static bool came_here(int dir_fd, const struct swo_journal_info *source)
{
	struct swo_journal_info target;
	char name[48];

	snprintf(name, sizeof(name), "%s.target", source->id);
	return !journal_read(dir_fd, name, name, &target, NULL) &&
	       target.damage.code == SWO_E_NONE && !target.live && target.here && target.original &&
	       (target.last == SWO_JOURNAL_STARTED || target.last == SWO_JOURNAL_DONE);
}

static int source_lets(int dir_fd, const struct swo_journal_info *info, const struct boot *boot)
{
	switch (info->last) {
	case SWO_JOURNAL_COMMITTED:
	case SWO_JOURNAL_IN_DOUBT:
		return refuse(boot, info, "is in doubt: the VM may run on the target");
	case SWO_JOURNAL_DONE:
	case SWO_JOURNAL_RUNS_THERE:
		return came_here(dir_fd, info) ? 0
					       : refuse(boot, info, "has moved it to the target");
	case SWO_JOURNAL_BEGIN:
		/* Without sync the record COMMITTED may have been lost in a crash of the host. */
		if (!info->complete)
			return refuse(boot, info, "was in progress when this host went down");
		if (!info->original) {
			char what[160];

			snprintf(what, sizeof(what),
				"was in progress, and this journal may be incomplete (%s)",
				info->origin);
			return refuse(boot, info, what);
		}
		return 0;
	default:
		return 0;
	}
}

static int target_lets(const struct swo_journal_info *info, const struct boot *boot)
{
	/* A VM that was started here and is dead may be started again, and so may a refused one. */
	if (info->last == SWO_JOURNAL_READY)
		return refuse(boot, info, "brought it here and was never resolved");
	return 0;
}

static int one_lets(int dir_fd, struct swo_journal_info *info, void *opaque)
{
	const struct boot *boot = opaque;
	bool never = info->side == SWO_JOURNAL_TARGET && info->last == SWO_JOURNAL_REFUSED;

	/* The VM of a damaged journal may be unreadable: assume that it is this one. */
	if (info->damage.code != SWO_E_NONE &&
		(!info->vm[0] || swo_vm_identity_equal(info->vm, boot->vm)))
		return swo_error_set(boot->err, SWO_E_CORRUPT, 0,
			"VM '%.60s' is not started: %.250s; if it is of another VM, move it away",
			boot->vm, info->damage.text);
	if (!swo_vm_identity_equal(info->vm, boot->vm))
		return 0;
	/* A target that refused never runs the VM; a source that was refused does. */
	if (info->live && !never)
		return refuse(boot, info, "is held by another process on this host");
	return info->side == SWO_JOURNAL_SOURCE ? source_lets(dir_fd, info, boot)
						: target_lets(info, boot);
}

int swo_journal_may_boot(const char *dir, const char *vm, struct swo_error *err)
{
	struct boot boot = {.dir = dir, .vm = vm, .err = err};

	return *vm ? journal_dir_walk(dir, one_lets, &boot, err) : 0;
}

/* Removing */

static int forget(const struct swo_journal_info *info, int dir_fd)
{
	return unlinkat(dir_fd, strrchr(info->path, '/') + 1, 0);
}

struct forgetting {
	const char *vm, *keep_id;
};

static int forget_one(int dir_fd, struct swo_journal_info *info, void *opaque)
{
	const struct forgetting *what = opaque;

	if (swo_journal_is_settled(info) && swo_vm_identity_equal(info->vm, what->vm) &&
		strcmp(info->id, what->keep_id))
		(void)forget(info, dir_fd);
	return 0;
}

void journal_remove_settled(const char *dir, const char *vm, const char *keep_id)
{
	struct forgetting what = {.vm = vm, .keep_id = keep_id};

	if (*vm)
		(void)journal_dir_walk(dir, forget_one, &what, NULL);
}

struct pruning {
	enum swo_journal_side side;
	bool guards;
	size_t removed, kept;
};

static int prune_one(int dir_fd, struct swo_journal_info *info, void *opaque)
{
	struct pruning *pruning = opaque;

	if (info->side != pruning->side || !swo_journal_is_settled(info))
		return 0;
	if (swo_journal_is_guard(info) && !pruning->guards && !came_here(dir_fd, info))
		pruning->kept++;
	else if (!forget(info, dir_fd))
		pruning->removed++;
	return 0;
}

int swo_journal_prune(
	const char *dir, bool guards, size_t *removed, size_t *kept, struct swo_error *err)
{
	struct pruning pruning = {.side = SWO_JOURNAL_SOURCE, .guards = guards};
	int rc = journal_dir_walk(dir, prune_one, &pruning, err);

	/* Remove the targets' journals last: the verdicts on the sources' depend on them. */
	pruning.side = SWO_JOURNAL_TARGET;
	if (!rc)
		rc = journal_dir_walk(dir, prune_one, &pruning, err);
	*removed = pruning.removed;
	*kept = pruning.kept;
	return rc;
}
