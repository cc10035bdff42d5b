/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What journals prove, over the complete product of side, last record, live or dead process,
 * this boot of the host or another, synced or not, the file itself or a copy of it; and what
 * guards a VM that has moved away. The files are written by separate processes, which are alive
 * or dead.
 */
#include "age.h"
#include "journal/write.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID    "00000000-0000-4000-8000-000000000001"
#define OTHER "00000000-0000-4000-8000-000000000002"
#define UUID  "0a0b0c0d-1111-4222-8333-00000000abcd"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	return dir_make(dir);
}

static int teardown(void **state)
{
	(void)state;
	return dir_remove(dir);
}

struct way {
	enum swo_journal_side side;
	enum swo_journal_event last;
	bool live, complete, here, copied;
};

/* The records that lead to `last`, without BEGIN. */
static size_t records_to(
	enum swo_journal_side side, enum swo_journal_event last, enum swo_journal_event out[4])
{
	size_t n = 0;

	if (last == SWO_JOURNAL_BEGIN)
		return 0;
	if (side == SWO_JOURNAL_SOURCE) {
		if (last != SWO_JOURNAL_COMMITTED)
			out[n++] = SWO_JOURNAL_COMMITTED;
	} else if (last != SWO_JOURNAL_READY) {
		out[n++] = SWO_JOURNAL_READY;
		if (last == SWO_JOURNAL_STARTED || last == SWO_JOURNAL_DONE)
			out[n++] = SWO_JOURNAL_STARTING;
		if (last == SWO_JOURNAL_DONE)
			out[n++] = SWO_JOURNAL_STARTED;
	}
	out[n++] = last;
	return n;
}

static const char *path_of(const char *id, enum swo_journal_side side)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s.%s", dir, id, swo_journal_side_name(side));
	return path;
}

static void copy(const char *path)
{
	char other[140];
	uint8_t bytes[JOURNAL_BYTES];
	swo_autofd int from = open(path, O_RDONLY | O_CLOEXEC);

	snprintf(other, sizeof(other), "%s.copy", path);
	swo_autofd int to = open(other, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_int_equal(read(from, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(write(to, bytes, sizeof(bytes)), sizeof(bytes));
	/* `from` is still open, so its inode is not reused. */
	assert_int_equal(rename(other, path), 0);
}

/* Writes the journal in a separate process; returns its pid while it is alive, else 0. */
static pid_t make(const char *id, const char *vm, const struct way *way)
{
	struct swo_journal_config config = {
		.dir = dir, .vm = vm, .sync = way->complete && !way->here};
	int done[2];
	char byte;

	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	pid_t child = fork();

	if (!child) {
		enum swo_journal_event events[4];
		size_t count = records_to(way->side, way->last, events);
		struct swo_journal *journal;

		if (journal_create(&config, way->side, id, "unix:/x", NULL, &journal, NULL))
			_exit(1);
		for (size_t i = 0; i < count; i++)
			if (journal_write(journal, events[i], 7, "why", NULL, NULL))
				_exit(2);
		if (write(done[1], "x", 1) != 1)
			_exit(3);
		while (way->live)
			pause();
		_exit(0);
	}
	assert_int_equal(read(done[0], &byte, 1), 1);
	close(done[0]);
	close(done[1]);
	if (!way->live)
		assert_int_equal(waitpid(child, NULL, 0), child);
	if (!way->here)
		age(path_of(id, way->side));
	if (way->copied)
		copy(path_of(id, way->side));
	return way->live ? child : 0;
}

static void finish(pid_t child)
{
	if (child) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

static struct swo_journal_info look(const char *id, enum swo_journal_side side)
{
	struct swo_journal_info info;
	struct swo_error err = {0};

	if (swo_journal_read(path_of(id, side), &info, &err) || info.damage.code != SWO_E_NONE)
		fail_msg("%s%s", err.text, info.damage.text);
	return info;
}

/* The rules, restated in another form. */

static bool is_final_of_target(enum swo_journal_event last)
{
	return last == SWO_JOURNAL_STARTED || last == SWO_JOURNAL_DONE ||
	       last == SWO_JOURNAL_REFUSED;
}

static enum swo_journal_proof expected_proof(
	const struct way *w, const struct swo_journal_info *info, bool fenced)
{
	enum swo_journal_proof proof = w->last == SWO_JOURNAL_STARTED || w->last == SWO_JOURNAL_DONE
					       ? SWO_JOURNAL_PROVES_RAN
					       : SWO_JOURNAL_PROVES_NEVER;

	if (w->side == SWO_JOURNAL_SOURCE || w->last == SWO_JOURNAL_STARTING)
		return SWO_JOURNAL_PROVES_NOTHING;
	if (!is_final_of_target(w->last) && (info->live || !w->complete))
		return SWO_JOURNAL_PROVES_NOTHING;
	if (fenced)
		return proof;
	if (w->copied || (!w->here && !is_final_of_target(w->last)))
		return SWO_JOURNAL_PROVES_IF_FENCED;
	return proof;
}

static bool expected_settled(const struct way *w, const struct swo_journal_info *info)
{
	if (info->live)
		return false;
	if (w->last == SWO_JOURNAL_BEGIN)
		return w->complete && !w->copied;
	return w->last == SWO_JOURNAL_TAKEN_BACK || w->last == SWO_JOURNAL_REFUSED ||
	       w->last == SWO_JOURNAL_DONE || w->last == SWO_JOURNAL_RUN_HERE ||
	       w->last == SWO_JOURNAL_RUNS_THERE;
}

static bool expected_boot(const struct way *w, const struct swo_journal_info *info)
{
	if (info->live)
		return w->side == SWO_JOURNAL_TARGET && w->last == SWO_JOURNAL_REFUSED;
	switch (w->last) {
	case SWO_JOURNAL_BEGIN:
		return w->side == SWO_JOURNAL_TARGET || (w->complete && !w->copied);
	case SWO_JOURNAL_TAKEN_BACK:
	case SWO_JOURNAL_REFUSED:
	case SWO_JOURNAL_RUN_HERE:
	case SWO_JOURNAL_STARTING:
	case SWO_JOURNAL_STARTED:
		return true;
	case SWO_JOURNAL_DONE:
		return w->side == SWO_JOURNAL_TARGET;
	default:
		return false;
	}
}

static unsigned check(const struct way *w)
{
	pid_t child = make(ID, UUID, w);
	struct swo_journal_info info = look(ID, w->side);
	/* A copy is not locked; on the host that wrote it the process is found all the same. */
	bool live = w->live && (w->here || !w->copied);
	char what[160];

	snprintf(what, sizeof(what), "%s, %s, %s, %s, %s, %s", swo_journal_side_name(w->side),
		swo_journal_event_name(w->last), w->live ? "lives" : "dead",
		w->complete ? "complete" : "incomplete", w->here ? "here" : "elsewhere",
		w->copied ? "copied" : "original");
	if (info.last != w->last || info.live != live || info.complete != w->complete ||
		info.here != w->here || info.original != !w->copied)
		fail_msg("%s: read as %s, %d %d %d %d (%s)", what,
			swo_journal_event_name(info.last), info.live, info.complete, info.here,
			info.original, info.origin);
	for (int fenced = 0; fenced < 2; fenced++)
		if (swo_journal_proof(&info, fenced) != expected_proof(w, &info, fenced))
			fail_msg("%s%s: proves %d, expected %d", what, fenced ? ", fenced" : "",
				swo_journal_proof(&info, fenced), expected_proof(w, &info, fenced));
	if (swo_journal_is_settled(&info) != expected_settled(w, &info))
		fail_msg("%s: settled %d", what, swo_journal_is_settled(&info));
	if (!swo_journal_may_boot(dir, UUID, NULL) != expected_boot(w, &info))
		fail_msg("%s: may boot %d", what, !expected_boot(w, &info));
	/* No unsettled journal and no guard is removed. */
	size_t removed, kept;

	assert_int_equal(swo_journal_prune(dir, false, &removed, &kept, NULL), 0);
	if (removed != (expected_settled(w, &info) && !swo_journal_is_guard(&info)))
		fail_msg("%s: %zu pruned", what, removed);
	finish(child);
	dir_empty(dir);
	return 1;
}

static void every_combination_proves_what_it_can_and_no_more(void **state)
{
	(void)state;
	unsigned count = 0;

	for (int side = 0; side < 2; side++)
		for (unsigned last = SWO_JOURNAL_BEGIN; last < SWO_JOURNAL_EVENTS; last++) {
			enum swo_journal_event events[4];
			size_t n = records_to(
				(enum swo_journal_side)side, (enum swo_journal_event)last, events);
			unsigned before = SWO_JOURNAL_BEGIN;
			bool possible = true;

			for (size_t i = 0; i < n; before = events[i++])
				possible =
					possible && journal_may_follow((enum swo_journal_side)side,
							    before, events[i]);
			if (!possible)
				continue;
			for (unsigned bits = 0; bits < 16; bits++) {
				struct way way = {.side = (enum swo_journal_side)side,
					.last = (enum swo_journal_event)last,
					.live = bits & 1,
					.complete = bits & 2,
					.here = bits & 4,
					.copied = bits & 8};

				/* All records since the last boot are there. */
				if (way.here && !way.complete)
					continue;
				count += check(&way);
			}
		}
	assert_int_equal(count, (8 + 6) * 12);
}

static void an_identity_is_one_in_any_form_of_its_uuid(void **state)
{
	(void)state;
	static const char *const forms[] = {UUID, "0A0B0C0D-1111-4222-8333-00000000ABCD",
		"{0a0b0c0d-1111-4222-8333-00000000abcd}",
		"urn:uuid:0a0b0c0d-1111-4222-8333-00000000abcd"};
	char identity[SWO_JOURNAL_VM_MAX], longest[200];
	struct swo_error err = {0};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(forms); i++) {
		assert_int_equal(swo_vm_identity(forms[i], "name", identity, NULL), 0);
		assert_string_equal(identity, UUID);
		assert_true(swo_vm_identity_equal(forms[i], forms[(i + 1) % 4]));
	}
	assert_int_equal(swo_vm_identity(NULL, "Web", identity, NULL), 0);
	assert_string_equal(identity, "Web");
	assert_false(swo_vm_identity_equal("Web", "web"));
	assert_false(swo_vm_identity_equal("", ""));
	assert_int_equal(swo_vm_identity(NULL, NULL, identity, NULL), 0);
	assert_string_equal(identity, "");
	assert_int_equal(swo_vm_identity("0a0b0c0d", NULL, identity, NULL), -1);
	memset(longest, 'n', SWO_JOURNAL_VM_MAX);
	longest[SWO_JOURNAL_VM_MAX] = 0;
	assert_int_equal(swo_vm_identity(NULL, longest, identity, &err), -1);
	assert_non_null(strstr(err.text, "128 bytes, at most 127"));
	longest[SWO_JOURNAL_VM_MAX - 1] = 0;
	assert_int_equal(swo_vm_identity(NULL, longest, identity, NULL), 0);
}

static const struct way moved = {SWO_JOURNAL_SOURCE, SWO_JOURNAL_DONE, false, true, true, false};
static const struct way arrived = {SWO_JOURNAL_TARGET, SWO_JOURNAL_DONE, false, true, true, false};

static void a_journal_with_a_uuid_in_capitals_guards_all_forms_of_it(void **state)
{
	(void)state;
	make(ID, "0A0B0C0D-1111-4222-8333-00000000ABCD", &moved); /* as version 0.1 wrote it */
	assert_int_equal(swo_journal_may_boot(dir, UUID, NULL), -1);
}

static void machines_without_identity_share_nothing(void **state)
{
	(void)state;
	struct way refused = {SWO_JOURNAL_TARGET, SWO_JOURNAL_REFUSED, false, true, true, false};

	make(ID, "", &refused);
	journal_remove_settled(dir, "", OTHER);
	assert_int_equal(access(path_of(ID, SWO_JOURNAL_TARGET), F_OK), 0);
	make(OTHER, "", &moved);
	assert_int_equal(swo_journal_may_boot(dir, "", NULL), 0);
}

static void what_moved_within_one_host_and_ended_there_is_started_again(void **state)
{
	(void)state;
	size_t removed, kept;

	make(ID, UUID, &moved);
	assert_int_equal(swo_journal_may_boot(dir, UUID, NULL), -1);
	make(ID, UUID, &arrived);
	assert_int_equal(swo_journal_may_boot(dir, UUID, NULL), 0);
	/* In any order of the directory, neither is left. */
	assert_int_equal(swo_journal_prune(dir, false, &removed, &kept, NULL), 0);
	assert_int_equal(removed, 2);
	assert_int_equal(kept, 0);
	/* While its process is alive, it is held. */
	struct way living = arrived;

	living.live = true;
	make(ID, UUID, &moved);
	pid_t child = make(ID, UUID, &living);

	assert_int_equal(swo_journal_may_boot(dir, UUID, NULL), -1);
	finish(child);
}

static void a_refusal_to_start_names_a_command_that_only_shows(void **state)
{
	(void)state;
	struct swo_error err = {0};

	make(ID, UUID, &moved);
	assert_int_equal(swo_journal_may_boot(dir, UUID, &err), -1);
	assert_non_null(strstr(err.text, "switchover resolve --journal="));
	assert_null(strstr(err.text, "--forget"));
	assert_null(strstr(err.text, "--prune"));
}

static void a_guard_is_pruned_only_when_that_is_asked_for(void **state)
{
	(void)state;
	size_t removed, kept;

	make(ID, UUID, &moved);
	assert_int_equal(swo_journal_prune(dir, false, &removed, &kept, NULL), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(kept, 1);
	assert_int_equal(swo_journal_prune(dir, true, &removed, &kept, NULL), 0);
	assert_int_equal(removed, 1);
}

static void any_number_of_journals_is_looked_through(void **state)
{
	(void)state;
	enum { MANY = 5000 };
	size_t removed, kept, count;
	struct swo_journal_info *list;
	struct way refused = {SWO_JOURNAL_SOURCE, SWO_JOURNAL_REFUSED, false, true, true, false};
	char other[140], first[140];

	make(ID, UUID, &refused);
	snprintf(first, sizeof(first), "%s", path_of(ID, SWO_JOURNAL_SOURCE));
	/* Links, for speed: each is damaged, since its records have another ID; its VM is readable. */
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(other, sizeof(other), "%s/00000000-0000-4000-9000-%012x.source", dir, i);
		assert_int_equal(link(first, other), 0);
	}
	assert_int_equal(swo_journal_may_boot(dir, OTHER, NULL), 0);
	assert_int_equal(swo_journal_may_boot(dir, UUID, NULL), -1);
	assert_int_equal(swo_journal_list(dir, &list, &count, NULL), 0);
	assert_int_equal(count, MANY + 1);
	free(list);
	assert_int_equal(swo_journal_prune(dir, false, &removed, &kept, NULL), 0);
	assert_int_equal(removed, 1);
}

static void a_folder_that_cannot_be_examined_lets_nothing_start(void **state)
{
	(void)state;
	char path[700];
	struct swo_error err = {0};

	snprintf(path, sizeof(path), "%s/not-there", dir);
	assert_int_equal(swo_journal_may_boot(path, UUID, NULL), -1);
	/* A VM without identity needs no directory. */
	assert_int_equal(swo_journal_may_boot(path, "", NULL), 0);
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = 0;
	assert_int_equal(swo_journal_may_boot(path, UUID, &err), -1);
	assert_non_null(strstr(err.text, "its path has 699 bytes, at most"));
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(swo_journal_may_boot(dir, UUID, &err), -1);
	assert_non_null(strstr(err.text, "others may write to it"));
	assert_int_equal(chmod(dir, 0700), 0);
}

static void a_journal_of_version_0_1_guards_and_proves_nothing(void **state)
{
	(void)state;
	static const struct journal_origin none;
	struct way began = {SWO_JOURNAL_SOURCE, SWO_JOURNAL_BEGIN, false, true, true, false};
	struct way ready = {SWO_JOURNAL_TARGET, SWO_JOURNAL_READY, false, true, true, false};
	struct swo_journal_info info;

	for (unsigned i = 0; i < 2; i++) {
		const struct way *way = i ? &ready : &began;

		make(ID, UUID, way);
		swo_autofd int fd = open(path_of(ID, way->side), O_RDWR | O_CLOEXEC);

		assert_int_equal(pwrite(fd, &none, sizeof(none),
					 JOURNAL_RECORDS * sizeof(struct journal_record)),
			sizeof(none));
		info = look(ID, way->side);
		assert_false(info.original);
		assert_non_null(strstr(info.origin, "version 0.1"));
		assert_false(swo_journal_is_settled(&info));
		assert_int_equal(swo_journal_may_boot(dir, UUID, NULL), -1);
		assert_int_equal(unlink(path_of(ID, way->side)), 0);
	}
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_IF_FENCED);
	assert_int_equal(swo_journal_proof(&info, true), SWO_JOURNAL_PROVES_NEVER);
}

#define verdict_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		verdict_test(every_combination_proves_what_it_can_and_no_more),
		verdict_test(an_identity_is_one_in_any_form_of_its_uuid),
		verdict_test(a_journal_with_a_uuid_in_capitals_guards_all_forms_of_it),
		verdict_test(machines_without_identity_share_nothing),
		verdict_test(what_moved_within_one_host_and_ended_there_is_started_again),
		verdict_test(a_refusal_to_start_names_a_command_that_only_shows),
		verdict_test(a_guard_is_pruned_only_when_that_is_asked_for),
		verdict_test(any_number_of_journals_is_looked_through),
		verdict_test(a_folder_that_cannot_be_examined_lets_nothing_start),
		verdict_test(a_journal_of_version_0_1_guards_and_proves_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
