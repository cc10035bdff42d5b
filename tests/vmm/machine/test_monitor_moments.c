/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_monitor_moments.c - commands of the monitor, and ends of a guest, at moments that no phase
 * of test_monitor.c has.
 */
#include "play.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"
#include "tests/support/silent_resolver.h"
#include "tests/support/slow_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not in the table */

static void expect_error(const char *words)
{
	json_t *ret = talk_do(&play.pair.s, "{\"execute\": \"query-migrate\"}");
	const char *desc = json_string_value(json_object_get(ret, "error-desc"));

	if (!desc || !strstr(desc, words))
		fail_msg("%s; expected: %s", desc ? desc : "no error", words);
	json_decref(ret);
}

static void wait_for_release(void *opaque)
{
	struct play *p = opaque;
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	while (atomic_load(&p->busy) && !swo_deadline_passed(deadline))
		swo_sleep_until(swo_now_ns() + 1000000);
}

static void a_cancel_is_taken_while_migrate_is_still_beginning(void **state)
{
	struct box_pair *pair = &play.pair;
	struct vmm_machine *m;
	swo_deadline deadline = swo_deadline_ms(TALK_MS);
	char text[256];
	struct talk *other = calloc(1, sizeof(*other));
	bool begins = false;

	(void)state;
	assert_non_null(other);
	box_pair_up(pair, play_outgoing, play_incoming);
	m = pair->source.machine;
	talk_open(other, pair->source.path, true);
	box_uri_command(text, "migrate", &pair->target);
	pthread_mutex_lock(&m->run_lock);
	talk_send(&pair->s, text, strlen(text));
	while (!begins && !swo_deadline_passed(deadline)) {
		pthread_mutex_lock(&m->lock);
		begins = m->changing;
		pthread_mutex_unlock(&m->lock);
	}
	play_do(other, "migrate_cancel");
	pthread_mutex_unlock(&m->run_lock);
	assert_true(begins);
	json_decref(talk_reply(&pair->s));
	play_await_status(&pair->s, "cancelled");
	box_expect_status(&pair->s, "running", true);
	talk_close(other);
	free(other);
	box_pair_down(pair);
}

/* RAM by descriptor has no names. */
static void incoming_copy(struct vmm_machine_config *config)
{
	config->incoming = true;
}

static void a_cancel_or_quit_does_not_wait_for_the_name_of_an_incoming_migration(void **state)
{
	static const char text[] = "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": "
				   "\"tcp:host.silent:4444\"}}";
	static struct box box;
	struct talk *talk = calloc(2, sizeof(*talk));

	(void)state;
	assert_non_null(talk);
	box_up(&box, incoming_copy);
	talk_open(&talk[0], box.path, true);
	talk_open(&talk[1], box.path, true);
	for (unsigned i = 0; i < 2; i++) {
		talk_send(&talk[0], text, strlen(text));
		silent_resolver_await(1);
		play_do(&talk[1], i ? "quit" : "migrate_cancel");

		json_t *reply = talk_reply(&talk[0]);
		const char *desc =
			json_string_value(json_object_get(json_object_get(reply, "error"), "desc"));

		assert_non_null(desc);
		assert_non_null(strstr(desc, "'host.silent' was cancelled"));
		json_decref(reply);
		silent_resolver_answer();
	}
	talk_close(&talk[0]);
	talk_close(&talk[1]);
	free(talk);
	box_down(&box);
}

static void incoming_on(struct talk *talk, const char *name, bool exits)
{
	char text[256];

	snprintf(text, sizeof(text),
		"{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"unix:%s/%s\", "
		"\"exit-on-error\": %s}}",
		play.pair.target.dir, name, exits ? "true" : "false");
	json_decref(talk_do(talk, text));
}

static char journals[32];
static const struct swo_journal_config journal = {.dir = journals, .vm = "guest"};

static void incoming_with_a_journal(struct vmm_machine_config *config)
{
	play_incoming(config);
	config->journal = &journal;
}

/* The last record of the target's first migration. */
static struct swo_journal_info target_journal(void)
{
	struct swo_journal_info *list, info = {0};
	size_t count;

	assert_int_equal(swo_journal_list(journals, &list, &count, NULL), 0);
	for (size_t i = 0; i < count; i++)
		if (list[i].side == SWO_JOURNAL_TARGET)
			info = list[i];
	free(list);
	assert_int_equal(strlen(info.id), 36);
	return info;
}

/* STARTED is lost, and the VM moves on while the link is down: its first host still answers. */
static void a_source_in_doubt_is_answered_after_the_vm_has_moved_on(void **state)
{
	static struct box third;
	struct talk *talk = calloc(1, sizeof(*talk));
	swo_deadline deadline = swo_deadline_ms(TALK_MS);
	char text[256];

	(void)state;
	assert_non_null(talk);
	assert_int_equal(dir_make(journals), 0);
	play_up_with(incoming_with_a_journal);
	play_use_link();
	link_at(play.link, WIRE_STARTED, LINK_CUT);
	json_decref(
		talk_do(&play.pair.s, "{\"execute\": \"migrate-set-parameters\", \"arguments\": "
				      "{\"x-commit-deadline-ms\": 300}}"));
	play_migrate();
	play_await_status(&play.pair.s, "in-doubt");
	assert_true(link_hits(play.link) > 0);
	play_await_status(&play.pair.t, "completed");
	box_up(&third, play_incoming);
	for (unsigned i = 0; i < BOX_DEVICES; i++)
		assert_true(fake_device_give_state(
			&third.fake[i].device, PLAY_STATE_BYTES, (uint8_t)(i + 1)));
	talk_open(talk, third.path, true);
	box_uri_command(text, "migrate-incoming", &third);
	json_decref(talk_do(talk, text));
	box_uri_command(text, "migrate", &third);
	json_decref(talk_do(&play.pair.t, text));
	play_await_status(&play.pair.t, "completed");
	play_await_status(talk, "completed");
	play_await_vm(&play.pair.t, "postmigrate");
	/* Over and over, until the link is back; and `switchover resolve` has the journal. */
	play_await_status(&play.pair.s, "in-doubt");
	struct swo_journal_info info = target_journal();

	assert_int_equal(info.last, SWO_JOURNAL_STARTED);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_RAN);
	play_release();
	play_await_status(&play.pair.s, "completed");
	play_await_vm(&play.pair.s, "postmigrate");
	box_expect_status(talk, "running", true);
	while (target_journal().last != SWO_JOURNAL_DONE)
		assert_false(swo_deadline_passed(deadline));
	talk_close(talk);
	free(talk);
	box_down(&third);
	play_down();
	assert_int_equal(dir_remove(journals), 0);
}

static void a_target_that_has_failed_takes_the_next_migration(void **state)
{
	json_t *ret;

	(void)state;
	play_up();
	play_reach(CANCELLED);
	assert_int_equal(
		vmm_machine_incoming_failed(play.pair.target.machine), VMM_INCOMING_GOES_ON);
	/* The same socket: no source needs the first migration any more. */
	incoming_on(&play.pair.t, "mig", true);
	assert_int_equal(
		vmm_machine_incoming_failed(play.pair.target.machine), VMM_INCOMING_GOES_ON);
	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		play.pair.source.fake[i].device.read_at = 0;
		play.pair.target.fake[i].device.loaded_len = 0;
	}
	play_migrate();
	play_await_status(&play.pair.s, "completed");
	play_await_vm(&play.pair.t, "running");
	play_do(&play.pair.t, "stop");
	ret = talk_do(&play.pair.t, "{\"execute\": \"x-check-ram\"}");
	assert_true(json_integer_value(json_object_get(ret, "pages")) > 0);
	assert_int_equal(json_integer_value(json_object_get(ret, "mismatches")), 0);
	json_decref(ret);
	play_down();
}

/* Only its answer may prove to a source in doubt that it has refused the VM. */
static void a_target_that_failed_after_ready_answers_before_it_may_exit(void **state)
{
	struct vmm_machine *m;
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	(void)state;
	/* The word in the RAM of both leaves no doubt. */
	if (play.handover == SWO_HANDOVER_FD)
		return;
	for (unsigned next = 0; next < 2; next++) {
		play_up();
		m = play.pair.target.machine;
		play_do(&play.pair.t, "migrate_cancel");
		play_await_status(&play.pair.t, "cancelled");
		incoming_on(&play.pair.t, "mig", true);
		play_reach(GO_LOST);
		play_do(&play.pair.t, "migrate_cancel");
		play_await_status(&play.pair.t, "cancelled");
		assert_int_equal(vmm_machine_incoming_failed(m), VMM_INCOMING_ANSWERS);
		if (next)
			incoming_on(&play.pair.t, "next", true);
		play_release();
		play_await_status(&play.pair.s, "failed");
		play_await_vm(&play.pair.s, "running");
		while (!next && vmm_machine_incoming_failed(m) != VMM_INCOMING_FAILED)
			assert_false(swo_deadline_passed(deadline));
		play_down();
	}
}

static void *end_source(void *opaque)
{
	(void)opaque;
	talk_close(&play.pair.s);
	box_down(&play.pair.source);
	atomic_store(&play.busy, false);
	return NULL;
}

/* It was taken, and GO was sent before it had an effect: a VM that is gone is not in doubt. */
static void a_quit_that_came_before_go_waits_for_the_outcome(void **state)
{
	struct fake_device *device = &play.pair.target.fake[1].device;
	pthread_t thread;

	(void)state;
	play_up();
	fake_script(device, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_HANG, 1);
	play_reach(FINALISING);
	play_do(&play.pair.s, "quit");
	play_release();
	assert_true(fake_await_hang(device));
	play.held = device;
	atomic_store(&play.busy, true);
	assert_int_equal(pthread_create(&thread, NULL, end_source, NULL), 0);
	for (int i = 0; i < 100; i++) {
		assert_true(atomic_load(&play.busy));
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	play_release();
	pthread_join(thread, NULL);
	play_await_status(&play.pair.t, "completed");
	box_expect_status(&play.pair.t, "running", true);
	talk_close(&play.pair.t);
	box_down(&play.pair.target);
}

static void *migrate_nowhere(void *opaque)
{
	struct swo_error err;

	assert_int_equal(vmm_machine_migrate(opaque, "unix:/nowhere", NULL, &err), 0);
	return NULL;
}

static void a_stop_before_the_launch_holds_the_guest_and_migrate_waits_for_it(void **state)
{
	struct vmm_machine_config config = {.accel = VMM_ACCEL_NATIVE,
		.vcpus = 1,
		.ram_size = BOX_RAM,
		.guest = {.doorbell_period_us = 1000}};
	struct swo_migration_info info;
	struct vmm_machine *m;
	pthread_t thread;
	struct swo_error err;

	(void)state;
	if (vmm_machine_create(&config, &m, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pthread_create(&thread, NULL, migrate_nowhere, m), 0);
	for (int i = 0; i < 50; i++)
		assert_false(vmm_machine_migration_info(m, &info));
	assert_int_equal(vmm_machine_stop(m, &err), 0);
	assert_int_equal(vmm_machine_launch(m, &err), 0);
	pthread_join(thread, NULL);
	assert_true(vmm_machine_migration_info(m, &info));
	assert_true(vmm_machine_migration_wait(m, swo_deadline_ms(TALK_MS)));
	assert_int_equal(vmm_machine_state(m), SWO_RUN_STATE_PRELAUNCH);
	assert_int_equal(vmm_machine_cont(m, &err), 0);
	assert_int_equal(vmm_machine_state(m), SWO_RUN_STATE_RUNNING);
	vmm_machine_free(m);
}

/* A guest that crashes before GO fails its migration with that reason, whatever holds it. */
static void a_crash_fails_the_migration_at_every_phase(void **state)
{
	static const enum hold holds[] = {CONNECTING, ENTERING, PRECOPY, STOPPING, FINALISING};
	static const struct outcome crashed = {"failed", "internal-error", "failed", "inmigrate"};

	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(holds); i++) {
		const struct row row = {holds[i], 's', "crash", NULL, &crashed, 0, 0};
		swo_deadline deadline = swo_deadline_ms(TALK_MS);

		play_up();
		play_reach(holds[i]);
		machine_vcpu_failed(play.pair.source.machine, 0, "triple fault");
		/* The report is a job of a worker. */
		while (!migration_broken(play.pair.source.machine->migration, NULL))
			assert_false(swo_deadline_passed(deadline));
		play_release();
		play_expect_outcome(&row);
		expect_error("vCPU 0 failed: triple fault");
		play_down();
	}
}

/* It has crashed, and the report of it comes later than the stop. */
static void a_crash_that_is_not_reported_yet_is_noticed_by_the_stop(void **state)
{
	struct fake_device *device = &play.pair.source.fake[0].device;

	(void)state;
	play_up();
	play_reach(PRECOPY);
	/* The report is a job of the worker, which is busy. */
	play.guard = (struct swo_job){.fn = wait_for_release, .opaque = &play};
	atomic_store(&play.busy, true);
	swo_worker_submit(vmm_machine_worker(play.pair.source.machine), &play.guard);
	machine_vcpu_failed(play.pair.source.machine, 0, "triple fault");
	play_release();
	play_await_status(&play.pair.s, "failed");
	expect_error("vCPU 0 failed: triple fault");
	assert_int_equal(fake_state(device), SWO_DEVICE_RUNNING);
	atomic_store(&play.busy, false);
	play_await_vm(&play.pair.s, "internal-error");
	play_down();
}

/* The guest runs at the source again, and nothing there has waited for a disk. */
static void expect_back_while_the_disk_hangs(void)
{
	play_await_status(&play.pair.s, "failed");
	box_expect_status(&play.pair.s, "running", true);
	assert_true(slow_disk_hangs());
}

/* Nor has the target. */
static void expect_both_end_while_the_disk_hangs(const char *target)
{
	expect_back_while_the_disk_hangs();
	if (!strcmp(target, "cancelled"))
		play_do(&play.pair.t, "migrate_cancel");
	play_await_status(&play.pair.t, target);
	assert_false(play_runs(&play.pair.t));
	assert_true(slow_disk_hangs());
	play_release();
	play_down();
}

static void set_source(const char *parameter, unsigned value)
{
	char text[160];

	snprintf(text, sizeof(text),
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"%s\": %u}}", parameter,
		value);
	json_decref(talk_do(&play.pair.s, text));
}

static void a_ceiling_ends_a_stop_in_which_the_disk_hangs(void **state)
{
	static const enum hold holds[] = {READYING, RECORDING};

	(void)state;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(holds); i++) {
		play_up_recorded(holds[i]);
		set_source("x-downtime-ceiling-ms", 700);
		play_reach(holds[i]);
		play_await_status(&play.pair.s, "failed");
		expect_error("downtime-ceiling");
		expect_both_end_while_the_disk_hangs("failed");
	}
}

static void a_link_that_is_lost_ends_a_stop_in_which_the_disk_hangs(void **state)
{
	static const enum hold holds[] = {READYING, RECORDING};

	(void)state;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(holds); i++) {
		play_up_recorded(holds[i]);
		play_use_link();
		play_reach(holds[i]);
		link_set(play.link, LINK_CUT);
		assert_true(link_hits(play.link) > 0);
		/* One that is READY waits for ASK, unless the RAM that both share has the answer. */
		expect_both_end_while_the_disk_hangs(
			holds[i] == RECORDING && play.handover == SWO_HANDOVER_COPY ? "cancelled"
										    : "failed");
	}
}

/* Nothing runs at the target, which looks at its source when it has its journal. */
static void a_link_that_is_lost_in_setup_frees_the_source_at_once(void **state)
{
	(void)state;
	play_up_recorded(OPENING_THERE);
	play_use_link();
	play_reach(OPENING_THERE);
	link_set(play.link, LINK_CUT);
	assert_true(link_hits(play.link) > 0);
	expect_back_while_the_disk_hangs();
	play_release();
	play_await_status(&play.pair.t, "failed");
	play_down();
}

/* GO has come, but without its record the target does not start, and answers ASK with REFUSED. */
static void a_source_in_doubt_does_not_wait_for_the_target_s_disk(void **state)
{
	(void)state;
	play_up_recorded(BEGINNING);
	set_source("x-commit-deadline-ms", 300);
	play_reach(BEGINNING);
	expect_both_end_while_the_disk_hangs("failed");

	play_up_recorded(BEGINNING);
	play_reach(BEGINNING);
	link_set(play.link, LINK_CUT);
	assert_true(link_hits(play.link) > 0);
	link_set(play.link, LINK_PASS);
	expect_both_end_while_the_disk_hangs("failed");
}

/* What comes after the decision does not depend on its record. */
struct afterwards {
	const char *name;
	enum hold of;	/* whose journal */
	enum hold from; /* the disk hangs from here on */
	char side;	/* who gets the command */
	const char *command, *source, *target;
	char only; /* c(opied), f(d), both: 0 */
	enum swo_journal_event kept;
};

static const struct afterwards afterwards[] = {
	{"taken-back", RECORDING, FINALISING, 's', "migrate_cancel", "cancelled", "failed", 0,
		SWO_JOURNAL_NOTHING},
	{"refused", RECORDING, GO_UNSENT, 't', "migrate_cancel", "failed", "cancelled", 0,
		SWO_JOURNAL_REFUSED},
	{"done", RECORDING, STARTING, 0, NULL, "completed", "completed", 0, SWO_JOURNAL_DONE},
	{"run-here", RECORDING, GO_LOST, 's', "x-migrate-resolve", "failed", NULL, 'c',
		SWO_JOURNAL_RUN_HERE},
	{"started", BEGINNING, STARTING, 0, NULL, "completed", "completed", 0, SWO_JOURNAL_DONE},
	{"refused by the target", READYING, GO_LOST, 't', "migrate_cancel", NULL, "cancelled", 'c',
		SWO_JOURNAL_REFUSED},
};

static void release_all_but_the_disk(void)
{
	if (play.held)
		fake_release(play.held);
	play.held = NULL;
	if (play.turn)
		channel_turn_leave(play.turn);
	play.turn = NULL;
}

static void expect_ends_while_the_disk_hangs(const struct afterwards *after)
{
	const bool moves = after->source && !strcmp(after->source, "completed");

	if (after->source) {
		play_await_status(&play.pair.s, after->source);
		play_await_vm(&play.pair.s, moves ? "postmigrate" : "running");
	}
	if (after->target) {
		play_await_status(&play.pair.t, after->target);
		play_await_vm(&play.pair.t, moves ? "running" : "inmigrate");
	}
	if (!slow_disk_hangs())
		fail_msg("%s: the disk does not hang", after->name);
}

static void what_follows_the_decision_does_not_wait_for_the_disk(void **state)
{
	const char other = play.handover == SWO_HANDOVER_FD ? 'c' : 'f';

	(void)state;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(afterwards); i++) {
		const struct afterwards *after = &afterwards[i];
		const struct row row = {.command = after->command, .side = after->side};
		struct talk *talk = after->side == 's' ? &play.pair.s : &play.pair.t;

		if (after->only == other)
			continue;
		play_up_recorded(after->of);
		play.kept = after->kept;
		play_reach(after->from);
		slow_disk_hang();
		if (after->command) {
			play_send(&row, talk);
			play_expect_answer(&row, talk);
		}
		release_all_but_the_disk();
		expect_ends_while_the_disk_hangs(after);
		play_release();
		if (!after->target)
			play_do(&play.pair.t, "migrate_cancel");
		if (!after->source)
			play_await_status(&play.pair.s, "failed");
		play_down();
	}
}

/* It is in doubt with or without the record of that, and the answer ends it. */
static void a_doubt_does_not_wait_for_the_disk(void **state)
{
	static const struct afterwards done = {
		.name = "in-doubt", .source = "completed", .target = "completed"};

	(void)state;
	play_up_recorded(RECORDING);
	set_source("x-commit-deadline-ms", 1500);
	play_reach(STARTING);
	slow_disk_hang();
	play_await_status(&play.pair.s, "in-doubt");
	assert_true(slow_disk_hangs());
	release_all_but_the_disk();
	expect_ends_while_the_disk_hangs(&done);
	play_release();
	play_down();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cancel_is_taken_while_migrate_is_still_beginning),
		cmocka_unit_test(
			a_cancel_or_quit_does_not_wait_for_the_name_of_an_incoming_migration),
		cmocka_unit_test(a_source_in_doubt_is_answered_after_the_vm_has_moved_on),
		cmocka_unit_test(a_target_that_has_failed_takes_the_next_migration),
		cmocka_unit_test(a_target_that_failed_after_ready_answers_before_it_may_exit),
		cmocka_unit_test(a_quit_that_came_before_go_waits_for_the_outcome),
		cmocka_unit_test(a_stop_before_the_launch_holds_the_guest_and_migrate_waits_for_it),
		cmocka_unit_test(a_ceiling_ends_a_stop_in_which_the_disk_hangs),
		cmocka_unit_test(a_link_that_is_lost_ends_a_stop_in_which_the_disk_hangs),
		cmocka_unit_test(a_link_that_is_lost_in_setup_frees_the_source_at_once),
		cmocka_unit_test(a_source_in_doubt_does_not_wait_for_the_target_s_disk),
		cmocka_unit_test(what_follows_the_decision_does_not_wait_for_the_disk),
		cmocka_unit_test(a_doubt_does_not_wait_for_the_disk),
		cmocka_unit_test(a_crash_fails_the_migration_at_every_phase),
		cmocka_unit_test(a_crash_that_is_not_reported_yet_is_noticed_by_the_stop),
	};

	if (!play_begins(argc, argv))
		return 2;
	return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
