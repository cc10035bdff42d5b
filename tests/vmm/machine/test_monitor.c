/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_monitor.c - every command of the monitor that bears on who runs, at every phase of a
 * migration, on both sides: it takes effect or is refused with the reason, and none is acknowledged
 * without effect. docs/qmp.md is the same for people.
 */
#include "play.h"
#include "tests/support/cm.h"
#include "tests/support/slow_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct row rows[] = {
	{WAITING, 's', "stop", NULL, &moved_paused, 0, 0},
	{WAITING, 's', "cont", NULL, &moved, 0, 0},
	{WAITING, 's', "quit", NULL, &moved, 0, 0},
	{WAITING, 's', "migrate_cancel", NULL, &moved, 0, 0},
	{WAITING, 's', "migrate-incoming", "--incoming", &moved, 0, 0},
	{WAITING, 's', "x-migrate-resolve", "no migration in doubt", &moved, 0, 0},
	{WAITING, 't', "x-migrate-resolve", "only a source", &moved, 0, 0},
	{WAITING, 't', "stop", NULL, &moved_paused, 0, 0},
	{WAITING, 't', "cont", NULL, &moved, 0, 0},
	{WAITING, 't', "quit", NULL, &moved, 0, 0},
	{WAITING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{WAITING, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{WAITING, 't', "migrate-incoming", "already", &moved, 0, 0},

	{OPENING, 's', "stop", NULL, &moved_paused, 0, 0},
	{OPENING, 's', "cont", NULL, &moved, 0, 0},
	{OPENING, 's', "quit", NULL, &moved, 0, 0},
	{OPENING, 's', "migrate_cancel", NULL, &both_cancelled, 0, 0},
	{OPENING, 's', "migrate", "in progress", &moved, 0, 0},
	{OPENING, 't', "stop", NULL, &moved_paused, 0, 0},
	{OPENING, 't', "quit", NULL, &moved, 0, 0},

	{OPENING_THERE, 's', "stop", NULL, &moved_paused, 0, 0},
	{OPENING_THERE, 's', "cont", NULL, &moved, 0, 0},
	{OPENING_THERE, 's', "quit", NULL, &moved, 0, 0},
	{OPENING_THERE, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{OPENING_THERE, 's', "migrate", "in progress", &moved, 0, 0},
	{OPENING_THERE, 't', "stop", NULL, &moved_paused, 0, 0},
	{OPENING_THERE, 't', "cont", NULL, &moved, 0, 0},
	{OPENING_THERE, 't', "quit", NULL, &moved, 0, 0},
	{OPENING_THERE, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{OPENING_THERE, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{OPENING_THERE, 't', "migrate-incoming", "already", &moved, 0, 0},

	{CONNECTING, 's', "stop", NULL, &moved_paused, 0, 0},
	{CONNECTING, 's', "cont", NULL, &moved, 0, 0},
	{CONNECTING, 's', "quit", NULL, &moved, 0, 0},
	{CONNECTING, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{CONNECTING, 's', "migrate", "in progress", &moved, 0, 0},
	{CONNECTING, 't', "stop", NULL, &moved_paused, 0, 0},
	{CONNECTING, 't', "cont", NULL, &moved, 0, 0},
	{CONNECTING, 't', "quit", NULL, &moved, 0, 0},
	{CONNECTING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{CONNECTING, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{CONNECTING, 't', "migrate-incoming", "already", &moved, 0, 0},

	{ENTERING, 's', "stop", NULL, &moved_paused, true, 0},
	{ENTERING, 's', "cont", NULL, &moved, 0, 0},
	{ENTERING, 's', "quit", NULL, &moved, 0, 0},
	{ENTERING, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{ENTERING, 's', "migrate", "in progress", &moved, 0, 0},
	{ENTERING, 't', "stop", NULL, &moved_paused, 0, 0},
	{ENTERING, 't', "migrate_cancel", NULL, &called_off, 0, 0},

	{PRECOPY, 's', "stop", NULL, &moved_paused, 0, 0},
	{PRECOPY, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{PRECOPY, 's', "cont", NULL, &moved, 0, 0},
	{PRECOPY, 's', "quit", NULL, &moved, 0, 0},
	{PRECOPY, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{PRECOPY, 's', "migrate", "in progress", &moved, 0, 0},
	{PRECOPY, 't', "stop", NULL, &moved_paused, 0, 0},
	{PRECOPY, 't', "cont", NULL, &moved, 0, 0},
	{PRECOPY, 't', "quit", NULL, &moved, 0, 0},
	{PRECOPY, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{PRECOPY, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{PRECOPY, 't', "migrate-incoming", "already", &moved, 0, 0},

	{STOPPING, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{STOPPING, 's', "cont", "cannot start the VM", &moved, true, 0},
	{STOPPING, 's', "quit", NULL, &moved, 0, 0},
	{STOPPING, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{STOPPING, 's', "migrate", "in progress", &moved, 0, 0},
	{STOPPING, 't', "stop", NULL, &moved_paused, 0, 0},
	{STOPPING, 't', "cont", NULL, &moved, 0, 0},
	{STOPPING, 't', "migrate_cancel", NULL, &called_off, 0, 0},

	{FINALISING, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{FINALISING, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{FINALISING, 's', "cont", "in progress", &moved, 0, 0},
	{FINALISING, 's', "quit", NULL, &moved, 0, 0},
	{FINALISING, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{FINALISING, 's', "migrate", "in progress", &moved, 0, 0},
	{FINALISING, 't', "stop", NULL, &moved_paused, 0, 0},
	{FINALISING, 't', "cont", NULL, &moved, 0, 0},
	{FINALISING, 't', "quit", NULL, &moved, 0, 0},
	{FINALISING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{FINALISING, 't', "migrate-incoming", "already", &moved, 0, 0},

	{GO_LOST, 's', "stop", "in-doubt", &failed, 0, 'c'},
	{GO_LOST, 's', "cont", "runs on the target, or may", &failed, 0, 'c'},
	{GO_LOST, 's', "quit", "force", &failed, 0, 'c'},
	{GO_LOST, 's', "migrate_cancel", "no return", &failed, 0, 'c'},
	{GO_LOST, 's', "migrate", "in progress", &failed, 0, 'c'},
	{GO_LOST, 't', "stop", NULL, &failed, 0, 'c'},
	{GO_LOST, 't', "cont", NULL, &failed, 0, 'c'},
	{GO_LOST, 't', "quit", NULL, &failed, 0, 'c'},
	{GO_LOST, 't', "migrate_cancel", NULL, &called_off, 0, 'c'},
	{GO_LOST, 't', "migrate-incoming", "already", &failed, 0, 'c'},

	{GO_LOST, 's', "stop", NULL, &lost_paused, 0, 'f'},
	{GO_LOST, 's', "cont", NULL, &failed, 0, 'f'},
	{GO_LOST, 's', "x-migrate-resolve", "not in doubt", &failed, 0, 'f'},
	{GO_LOST, 's', "quit", NULL, &failed, 0, 'f'},
	{GO_LOST, 's', "migrate_cancel", NULL, &failed, 0, 'f'},
	{GO_LOST, 't', "stop", NULL, &failed, 0, 'f'},
	{GO_LOST, 't', "cont", "has failed", &failed, 0, 'f'},
	{GO_LOST, 't', "quit", NULL, &failed, 0, 'f'},
	{GO_LOST, 't', "migrate_cancel", NULL, &failed, 0, 'f'},
	{GO_LOST, 't', "migrate", "waiting for an incoming", &failed, 0, 'f'},

	{GO_UNSENT, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{GO_UNSENT, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{GO_UNSENT, 's', "cont", "runs on the target, or may", &moved, 0, 0},
	{GO_UNSENT, 's', "quit", "force", &moved, 0, 0},
	{GO_UNSENT, 's', "migrate_cancel", "no return", &moved, 0, 0},
	{GO_UNSENT, 's', "migrate", "in progress", &moved, 0, 0},
	{GO_UNSENT, 't', "stop", NULL, &moved_paused, 0, 0},
	{GO_UNSENT, 't', "cont", NULL, &moved, 0, 0},
	{GO_UNSENT, 't', "quit", NULL, &moved, 0, 0},
	{GO_UNSENT, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{GO_UNSENT, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{GO_UNSENT, 't', "migrate-incoming", "already", &moved, 0, 0},

	{READYING, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{READYING, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{READYING, 's', "cont", "in progress", &moved, 0, 0},
	{READYING, 's', "quit", NULL, &moved, 0, 0},
	{READYING, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{READYING, 's', "migrate", "in progress", &moved, 0, 0},
	{READYING, 't', "stop", NULL, &moved_paused, 0, 0},
	{READYING, 't', "cont", NULL, &moved, 0, 0},
	{READYING, 't', "quit", NULL, &moved, 0, 0},
	{READYING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{READYING, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{READYING, 't', "migrate-incoming", "already", &moved, 0, 0},

	{RECORDING, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{RECORDING, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{RECORDING, 's', "cont", "in progress", &moved, 0, 0},
	{RECORDING, 's', "quit", NULL, &moved, 0, 0},
	{RECORDING, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{RECORDING, 's', "migrate", "in progress", &moved, 0, 0},
	{RECORDING, 't', "stop", NULL, &moved_paused, 0, 0},
	{RECORDING, 't', "cont", NULL, &moved, 0, 0},
	{RECORDING, 't', "quit", NULL, &moved, 0, 0},
	{RECORDING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{RECORDING, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{RECORDING, 't', "migrate-incoming", "already", &moved, 0, 0},

	{BEGINNING, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{BEGINNING, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{BEGINNING, 's', "cont", "runs on the target, or may", &moved, 0, 0},
	{BEGINNING, 's', "quit", "force", &moved, 0, 0},
	{BEGINNING, 's', "migrate_cancel", "no return", &moved, 0, 0},
	{BEGINNING, 's', "migrate", "in progress", &moved, 0, 0},
	{BEGINNING, 't', "stop", NULL, &moved_paused, 0, 0},
	{BEGINNING, 't', "cont", NULL, &moved, 0, 0},
	{BEGINNING, 't', "quit", NULL, &moved, 0, 0},
	{BEGINNING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{BEGINNING, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{BEGINNING, 't', "migrate-incoming", "already", &moved, 0, 0},

	{STARTING, 's', "stop", "switchover is in progress", &moved, 0, 0},
	{STARTING, 's', "cont", "runs on the target, or may", &moved, 0, 0},
	{STARTING, 's', "quit", "force", &moved, 0, 0},
	{STARTING, 's', "migrate_cancel", "no return", &moved, 0, 0},
	{STARTING, 's', "migrate", "in progress", &moved, 0, 0},
	{STARTING, 't', "stop", NULL, &moved_paused, true, 0},
	{STARTING, 't', "cont", NULL, &moved, true, 0},
	{STARTING, 't', "quit", NULL, &moved, 0, 0},
	{STARTING, 't', "migrate_cancel", "no return", &moved, 0, 0},
	{STARTING, 't', "migrate", "waiting for an incoming", &moved, 0, 0},
	{STARTING, 't', "migrate-incoming", "already", &moved, 0, 0},

	{DOUBT, 's', "stop", "in-doubt", &moved, 0, 0},
	{DOUBT, 's', "x-migrate-resolve", "in the RAM that both share", &moved, 0, 'f'},
	{DOUBT, 's', "cont", "runs on the target, or may", &moved, 0, 0},
	{DOUBT, 's', "quit", "force", &moved, 0, 0},
	{DOUBT, 's', "migrate_cancel", "no return", &moved, 0, 0},
	{DOUBT, 's', "migrate", "in progress", &moved, 0, 0},
	{DOUBT, 't', "stop", NULL, &moved_paused, true, 0},

	{ROLL_BACK, 's', "stop", NULL, &cancelled_paused, true, 0},
	{ROLL_BACK, 's', "cont", NULL, &cancelled, true, 0},
	{ROLL_BACK, 's', "x-migrate-resolve", "not in doubt", &cancelled, 0, 0},
	{ROLL_BACK, 's', "quit", NULL, &cancelled, 0, 0},
	{ROLL_BACK, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{ROLL_BACK, 's', "migrate", "in progress", &cancelled, 0, 0},

	{ROLL_BACK, 't', "stop", NULL, &cancelled, 0, 0},
	{ROLL_BACK, 't', "cont", NULL, &cancelled, 0, 0},
	{ROLL_BACK, 't', "x-migrate-resolve", "only a source", &cancelled, 0, 0},
	{ROLL_BACK, 't', "quit", NULL, &cancelled, 0, 0},
	{ROLL_BACK, 't', "migrate_cancel", NULL, &both_cancelled, 0, 0},
	{ROLL_BACK, 't', "migrate", "waiting for an incoming", &cancelled, 0, 0},
	{ROLL_BACK, 't', "migrate-incoming", "already", &cancelled, 0, 0},

	{REFUSING, 's', "stop", NULL, &failed_paused, 0, 0},
	{REFUSING, 's', "cont", NULL, &called_off, 0, 0},
	{REFUSING, 's', "migrate_cancel", NULL, &called_off, 0, 0},
	{REFUSING, 't', "stop", NULL, &called_off, 0, 0},
	{REFUSING, 't', "x-migrate-resolve", "only a source", &called_off, 0, 0},
	{REFUSING, 't', "quit", NULL, &called_off, 0, 0},
	{REFUSING, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{REFUSING, 't', "migrate", "waiting for an incoming", &called_off, 0, 0},
	{REFUSING, 't', "migrate-incoming", "already", &called_off, 0, 0},
	{REFUSING, 't', "cont", "has failed", &called_off, 0, 0},

	{COMPLETED, 's', "stop", NULL, &moved, 0, 0},
	{COMPLETED, 's', "x-migrate-resolve", "not in doubt", &moved, 0, 0},
	{COMPLETED, 's', "cont", "on the target", &moved, 0, 0},
	{COMPLETED, 's', "quit", NULL, &moved, 0, 0},
	{COMPLETED, 's', "migrate_cancel", NULL, &moved, 0, 0},
	{COMPLETED, 's', "migrate", "on the target", &moved, 0, 0},
	{COMPLETED, 's', "migrate-incoming", "--incoming", &moved, 0, 0},
	{COMPLETED, 't', "stop", NULL, &moved_paused, 0, 0},
	{COMPLETED, 't', "cont", NULL, &moved, 0, 0},
	{COMPLETED, 't', "quit", NULL, &moved, 0, 0},
	{COMPLETED, 't', "migrate_cancel", NULL, &moved, 0, 0},
	{COMPLETED, 't', "migrate-incoming", "already", &moved, 0, 0},

	{FAILED, 's', "stop", NULL, &failed_paused, 0, 0},
	{FAILED, 's', "cont", NULL, &called_off, 0, 0},
	{FAILED, 's', "quit", NULL, &called_off, 0, 0},
	{FAILED, 's', "migrate_cancel", NULL, &called_off, 0, 0},
	{FAILED, 't', "stop", NULL, &called_off, 0, 0},
	{FAILED, 't', "cont", "has failed", &called_off, 0, 0},
	{FAILED, 't', "quit", NULL, &called_off, 0, 0},
	{FAILED, 't', "migrate_cancel", NULL, &called_off, 0, 0},
	{FAILED, 't', "migrate", "waiting for an incoming", &called_off, 0, 0},

	{CANCELLED, 's', "stop", NULL, &cancelled_paused, 0, 0},
	{CANCELLED, 's', "cont", NULL, &cancelled, 0, 0},
	{CANCELLED, 's', "quit", NULL, &cancelled, 0, 0},
	{CANCELLED, 's', "migrate_cancel", NULL, &cancelled, 0, 0},
	{CANCELLED, 't', "cont", "has failed", &cancelled, 0, 0},
};

static void query_both(void)
{
	static const char *const queries[] = {"query-status", "query-migrate",
		"query-migrate-parameters", "query-migrate-capabilities", "x-query-timeline"};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(queries); i++) {
		play_do(&play.pair.s, queries[i]);
		play_do(&play.pair.t, queries[i]);
	}
	assert_true(slow_disk_hangs());
}

static void play_row(const struct row *row)
{
	struct box *box = row->side == 's' ? &play.pair.source : &play.pair.target;
	struct talk *talk = row->side == 's' ? &play.pair.s : &play.pair.t;

	if (play_is_recorded(row->hold))
		play_up_recorded(row->hold);
	else
		play_up();
	play_reach(row->hold);
	play_send(row, talk);
	if (row->waits)
		play_release();
	play_expect_answer(row, talk);
	if (!strcmp(row->command, "quit"))
		assert_int_equal(play_quit_was_taken(box), !row->refused);
	if (!strcmp(row->command, "stop") && !row->refused) {
		assert_false(play_runs(talk));
		if (row->side == 's')
			play_watch_paused(box);
	}
	assert_false(play_runs(&play.pair.s) && play_runs(&play.pair.t));
	/* Neither monitor waits for the disk, nor does the end. */
	if (play_is_recorded(row->hold))
		query_both();
	if (play_is_recorded(row->hold) && !strcmp(row->command, "migrate_cancel") &&
		!row->refused) {
		play_await_status(talk, "cancelled");
		assert_true(slow_disk_hangs());
	}
	if (play_is_recorded(row->hold) && !strcmp(row->end->source_vm, "running")) {
		play_await_status(&play.pair.s, row->end->source);
		assert_true(play_runs(&play.pair.s));
		assert_true(slow_disk_hangs());
	}
	play_release();
	if (row->hold == WAITING && row->end == &called_off)
		play_await_status(&play.pair.t, "cancelled");
	/* The source did not come to it. */
	if (row->hold == OPENING && row->end == &both_cancelled)
		play_do(&play.pair.t, "migrate_cancel");
	if (row->hold == WAITING)
		play_migrate();
	play_expect_outcome(row);
	play_down();
}

static void play_holds(enum hold from, enum hold to)
{
	const char other = play.handover == SWO_HANDOVER_FD ? 'c' : 'f';

	for (size_t i = 0; i < SWO_ARRAY_SIZE(rows); i++)
		if (rows[i].hold >= from && rows[i].hold <= to && rows[i].only != other)
			play_row(&rows[i]);
}

static void commands_while_the_target_waits(void **state)
{
	(void)state;
	play_holds(WAITING, WAITING);
}

static void commands_in_setup(void **state)
{
	(void)state;
	play_holds(OPENING, ENTERING);
}

static void commands_in_precopy(void **state)
{
	(void)state;
	play_holds(PRECOPY, PRECOPY);
}

static void commands_in_the_stop(void **state)
{
	(void)state;
	play_holds(STOPPING, FINALISING);
}

static void commands_from_go_on(void **state)
{
	(void)state;
	play_holds(GO_LOST, DOUBT);
}

static void commands_in_the_roll_back(void **state)
{
	(void)state;
	play_holds(ROLL_BACK, REFUSING);
}

static void commands_after_the_end(void **state)
{
	(void)state;
	play_holds(COMPLETED, CANCELLED);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_while_the_target_waits),
		cmocka_unit_test(commands_in_setup),
		cmocka_unit_test(commands_in_precopy),
		cmocka_unit_test(commands_in_the_stop),
		cmocka_unit_test(commands_from_go_on),
		cmocka_unit_test(commands_in_the_roll_back),
		cmocka_unit_test(commands_after_the_end),
	};

	if (!play_begins(argc, argv))
		return 2;
	return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
