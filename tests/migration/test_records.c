/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine and its journals: each record is written before its effect, and a step that cannot be
 * recorded is not taken.
 */
#include "stage.h"

#include "migration/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECORD 512 /* bytes; the file is full-size from the beginning */

static char dir[64];
static struct swo_journal_config config = {.dir = dir, .vm = "fake"};
static struct fake_vm source, target;
static enum swo_journal_event source_said, target_said; /* when the target was started */

static struct swo_journal_info look(const char *id, enum swo_journal_side side)
{
	struct swo_journal_info info;
	struct swo_error err = {0};
	char path[160];

	snprintf(path, sizeof(path), "%s/%s.%s", dir, id, swo_journal_side_name(side));
	if (swo_journal_read(path, &info, &err))
		info.last = SWO_JOURNAL_NOTHING;
	return info;
}

static size_t count_files(void)
{
	struct swo_journal_info *list;
	size_t count;

	assert_int_equal(swo_journal_list(dir, &list, &count, NULL), 0);
	free(list);
	return count;
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/switchover-records.XXXXXX");
	source_said = target_said = SWO_JOURNAL_NOTHING;
	config.sync = false;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	struct swo_journal_info *list;
	size_t count;

	if (swo_journal_list(dir, &list, &count, NULL))
		return -1;
	for (size_t i = 0; i < count; i++)
		unlink(list[i].path);
	free(list);
	return rmdir(dir);
}

static void open_pair(bool target_keeps_one)
{
	fake_vm_open(&source, 2, true, 100000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&target, 2, false, 100000, SWO_TRANSITIONS_PARALLEL);
	source.vm.journal = &config;
	target.vm.journal = target_keeps_one ? &config : NULL;
}

static void close_pair(void)
{
	fake_vm_close(&source);
	fake_vm_close(&target);
}

/* No file may be written beyond so many bytes: as if the disk failed from there on. */
static void break_disk(uint64_t from)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = from ? from : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void look_at_both(struct fake_vm *vm)
{
	struct swo_migration_info info;

	swo_migration_info(vm->migration, &info);
	source_said = look(info.id, SWO_JOURNAL_SOURCE).last;
	target_said = look(info.id, SWO_JOURNAL_TARGET).last;
}

static void go_and_starting_are_on_record_before_anything_starts(void **state)
{
	(void)state;
	open_pair(true);
	target.on_start = look_at_both;
	fake_migrate(&source, &target, NULL);
	struct swo_migration_info info = fake_end(&source);
	assert_int_equal(info.status, SWO_MIGRATION_COMPLETED);
	assert_int_equal(source_said, SWO_JOURNAL_COMMITTED);
	assert_int_equal(target_said, SWO_JOURNAL_STARTING);
	fake_end(&target);
	close_pair();
	assert_int_equal(look(info.id, SWO_JOURNAL_SOURCE).last, SWO_JOURNAL_DONE);
	assert_int_equal(look(info.id, SWO_JOURNAL_TARGET).last, SWO_JOURNAL_DONE);
	/* The VM came here, and has ended here; without the target's journal it has moved away. */
	assert_int_equal(swo_journal_may_boot(dir, "fake", NULL), 0);
	assert_int_equal(unlink(look(info.id, SWO_JOURNAL_TARGET).path), 0);
	assert_int_equal(swo_journal_may_boot(dir, "fake", NULL), -1);
}

static void a_migration_that_fails_before_go_leaves_no_journal(void **state)
{
	(void)state;
	open_pair(true);
	target.fail_machine_load = true;
	fake_migrate(&source, &target, NULL);
	assert_int_equal(fake_end(&source).status, SWO_MIGRATION_FAILED);
	fake_end(&target);
	close_pair();
	assert_int_equal(count_files(), 0);
}

static void break_behind_ready(struct fake_vm *vm)
{
	(void)vm;
	break_disk(2 * RECORD);
}

static void break_before_committed(struct fake_vm *vm)
{
	(void)vm;
	break_disk(RECORD);
}

static void a_target_that_cannot_record_starting_refuses_and_the_source_runs_on(void **state)
{
	(void)state;
	open_pair(true);
	target.on_load = break_behind_ready;
	fake_migrate(&source, &target, NULL);
	struct swo_migration_info info = fake_end(&source), there = fake_end(&target);
	break_disk(0);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "the target refused"));
	assert_non_null(strstr(there.error.text, "journal"));
	assert_int_equal(atomic_load(&target.starts), 0);
	assert_true(fake_vm_runs(&source));
	close_pair();
	/* The remaining journals prevent a new start rather than permit one too many. */
	assert_int_equal(look(info.id, SWO_JOURNAL_SOURCE).last, SWO_JOURNAL_COMMITTED);
	assert_int_equal(look(info.id, SWO_JOURNAL_TARGET).last, SWO_JOURNAL_READY);
	assert_int_equal(swo_journal_may_boot(dir, "fake", NULL), -1);
}

static void a_target_that_cannot_record_ready_is_never_ready(void **state)
{
	(void)state;
	open_pair(true);
	target.on_load = break_before_committed;
	fake_migrate(&source, &target, NULL);
	struct swo_migration_info info = fake_end(&source);
	fake_end(&target);
	break_disk(0);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_false(info.committed);
	assert_true(fake_vm_runs(&source));
	assert_int_equal(atomic_load(&target.starts), 0);
	close_pair();
}

static void a_source_that_cannot_record_go_does_not_send_it_and_runs_on(void **state)
{
	(void)state;
	open_pair(false);
	target.on_load = break_before_committed;
	fake_migrate(&source, &target, NULL);
	struct swo_migration_info info = fake_end(&source);
	fake_end(&target);
	break_disk(0);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "journal"));
	assert_false(info.committed);
	assert_true(fake_vm_runs(&source));
	assert_int_equal(atomic_load(&target.starts), 0);
	close_pair();
	assert_int_equal(count_files(), 0);
}

/* Called before a record is written at this place of a journal. */
static off_t hooked_at = -1;
static void (*record_hook)(void);

/* Replaces the library's function: the test is about concurrent records. */
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
	if (record_hook && at == hooked_at && len == RECORD) {
		void (*hook)(void) = record_hook;

		record_hook = NULL;
		hook();
	}
	return (ssize_t)syscall(SYS_pwrite64, fd, data, len, at);
}

static struct stage stage;
static bool loss_was_known;

static void lose_the_target(void)
{
	struct swo_migration *m = stage.vm.migration;
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	channel_shutdown(&stage.control);
	while (!loss_was_known && !swo_deadline_passed(guard)) {
		pthread_mutex_lock(&m->mutex);
		loss_was_known = m->lost;
		pthread_mutex_unlock(&m->mutex);
	}
	/* It is about to be raised: it waits for the record, and preempts the step. */
	while (!atomic_load(&m->handover.coming) && !swo_deadline_passed(guard))
		sched_yield();
}

static void a_target_lost_while_go_is_being_recorded_does_not_get_go(void **state)
{
	(void)state;
	loss_was_known = false;
	stage_journal = &config;
	stage_open(&stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
	hooked_at = RECORD; /* COMMITTED */
	record_hook = lose_the_target;
	stage_play_to_ready(&stage);
	struct swo_migration_info info = fake_end(&stage.vm);

	assert_null(record_hook);
	assert_true(loss_was_known);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_false(info.committed);
	assert_true(fake_vm_runs(&stage.vm));
	assert_true(swo_migration_may_run(stage.vm.migration));
	assert_int_equal(look(info.id, SWO_JOURNAL_SOURCE).last, SWO_JOURNAL_TAKEN_BACK);
	stage_close(&stage);
	stage_journal = NULL;
	assert_int_equal(count_files(), 0);
}

static void without_room_for_a_journal_nothing_begins(void **state)
{
	(void)state;
	open_pair(false);
	break_disk(RECORD);
	fake_migrate(&source, &target, NULL);
	struct swo_migration_info info = fake_end(&source);
	break_disk(0);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "journal"));
	assert_true(fake_vm_runs(&source));
	close_pair();
}

static void durable_records_are_spans_of_their_own(void **state)
{
	(void)state;
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, 4096);
	struct swo_migration_params params = fake_params();
	const char *uri = fake_uri();
	struct swo_span span;
	unsigned found = 0;

	open_pair(true);
	config.sync = true;
	assert_int_equal(swo_migration_receive(
				 &target.vm, uri, &params, NULL, NULL, &target.migration, NULL),
		0);
	assert_int_equal(swo_migration_send(
				 &source.vm, uri, &params, NULL, timeline, &source.migration, NULL),
		0);
	assert_int_equal(fake_end(&source).status, SWO_MIGRATION_COMPLETED);
	fake_end(&target);
	for (size_t i = 0; swo_timeline_get(timeline, i, &span); i++)
		found += span.event == SWO_EVENT_JOURNAL_SYNC;
	assert_int_equal(found, 2); /* COMMITTED, DONE */
	close_pair();
	swo_timeline_free(timeline);
}

#define records_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		records_test(go_and_starting_are_on_record_before_anything_starts),
		records_test(a_migration_that_fails_before_go_leaves_no_journal),
		records_test(a_target_that_cannot_record_starting_refuses_and_the_source_runs_on),
		records_test(a_target_that_cannot_record_ready_is_never_ready),
		records_test(a_source_that_cannot_record_go_does_not_send_it_and_runs_on),
		records_test(a_target_lost_while_go_is_being_recorded_does_not_get_go),
		records_test(without_room_for_a_journal_nothing_begins),
		records_test(durable_records_are_spans_of_their_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
