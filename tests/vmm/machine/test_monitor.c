/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_monitor.c - every command of the monitor that bears on who runs, at every phase of a
 * migration, on both sides: it takes effect or is refused with the reason, and none is acknowledged
 * without effect. docs/qmp.md is the same for people.
 */
#include "box.h"
#include "migration/internal.h"
#include "testbed/link.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BYTES 100000 /* of a device */

/* What holds the migration at its phase, until it is released. */
enum hold {
	WAITING,    /* the target listens; the release is `migrate` */
	CONNECTING, /* setup: the target's devices go to RESUMING */
	ENTERING,   /* setup: RUNNING->PRE_COPY */
	PRECOPY,    /* active: the target loads */
	STOPPING,   /* device: PRE_COPY->PRE_COPY_P2P */
	FINALISING, /* device: the source waits for READY */
	GO_LOST,    /* in doubt: the target waits for GO, and its link is cut */
	GO_UNSENT,  /* device: READY has come, and what sends GO waits for the channel */
	STARTING,   /* device: the source waits for STARTED */
	DOUBT,	    /* in doubt: it has done so for too long */
	ROLL_BACK,  /* cancelling: the source's devices go back to RUNNING */
	REFUSING,   /* cancelling: the target waits for an arc, and the source has the VM back */
	COMPLETED,
	FAILED,	   /* the target was cancelled */
	CANCELLED, /* the source was */
	HOLDS
};

static const char *const hold_names[HOLDS] = {"waiting", "connecting", "entering PRE_COPY",
	"pre-copy", "stopping", "finalising", "GO lost", "GO unsent", "starting", "in doubt",
	"roll-back", "refusing", "completed", "failed", "cancelled"};

/* How it ends: of the migration and the VM, at the source and the target. */
struct outcome {
	const char *source, *source_vm, *target, *target_vm;
};

static const struct outcome moved = {"completed", "postmigrate", "completed", "running"};
static const struct outcome moved_paused = {"completed", "postmigrate", "completed", "paused"};
static const struct outcome cancelled = {"cancelled", "running", "failed", "inmigrate"};
static const struct outcome cancelled_paused = {"cancelled", "paused", "failed", "inmigrate"};
static const struct outcome failed = {"failed", "running", "failed", "inmigrate"};
static const struct outcome failed_paused = {"failed", "paused", "cancelled", "inmigrate"};
static const struct outcome called_off = {"failed", "running", "cancelled", "inmigrate"};

struct row {
	enum hold hold;
	char side; /* s or t */
	const char *command;
	const char *refused; /* words of the error; NULL: it succeeds */
	const struct outcome *end;
	bool waits; /* it is answered when the devices are done */
};

static const struct row rows[] = {
	{WAITING, 's', "stop", NULL, &moved_paused, 0},
	{WAITING, 's', "cont", NULL, &moved, 0},
	{WAITING, 's', "quit", NULL, &moved, 0},
	{WAITING, 's', "migrate_cancel", NULL, &moved, 0},
	{WAITING, 's', "migrate-incoming", "--incoming", &moved, 0},
	{WAITING, 's', "x-migrate-resolve", "no migration in doubt", &moved, 0},
	{WAITING, 't', "x-migrate-resolve", "only a source", &moved, 0},
	{WAITING, 't', "stop", NULL, &moved_paused, 0},
	{WAITING, 't', "cont", NULL, &moved, 0},
	{WAITING, 't', "quit", NULL, &moved, 0},
	{WAITING, 't', "migrate_cancel", NULL, &called_off, 0},
	{WAITING, 't', "migrate", "waiting for an incoming", &moved, 0},
	{WAITING, 't', "migrate-incoming", "already", &moved, 0},

	{CONNECTING, 's', "stop", NULL, &moved_paused, 0},
	{CONNECTING, 's', "cont", NULL, &moved, 0},
	{CONNECTING, 's', "quit", NULL, &moved, 0},
	{CONNECTING, 's', "migrate_cancel", NULL, &cancelled, 0},
	{CONNECTING, 's', "migrate", "in progress", &moved, 0},
	{CONNECTING, 't', "stop", NULL, &moved_paused, 0},
	{CONNECTING, 't', "cont", NULL, &moved, 0},
	{CONNECTING, 't', "quit", NULL, &moved, 0},
	{CONNECTING, 't', "migrate_cancel", NULL, &called_off, 0},
	{CONNECTING, 't', "migrate", "waiting for an incoming", &moved, 0},
	{CONNECTING, 't', "migrate-incoming", "already", &moved, 0},

	{ENTERING, 's', "stop", NULL, &moved_paused, true},
	{ENTERING, 's', "cont", NULL, &moved, 0},
	{ENTERING, 's', "quit", NULL, &moved, 0},
	{ENTERING, 's', "migrate_cancel", NULL, &cancelled, 0},
	{ENTERING, 's', "migrate", "in progress", &moved, 0},
	{ENTERING, 't', "stop", NULL, &moved_paused, 0},
	{ENTERING, 't', "migrate_cancel", NULL, &called_off, 0},

	{PRECOPY, 's', "stop", NULL, &moved_paused, 0},
	{PRECOPY, 's', "x-migrate-resolve", "not in doubt", &moved, 0},
	{PRECOPY, 's', "cont", NULL, &moved, 0},
	{PRECOPY, 's', "quit", NULL, &moved, 0},
	{PRECOPY, 's', "migrate_cancel", NULL, &cancelled, 0},
	{PRECOPY, 's', "migrate", "in progress", &moved, 0},
	{PRECOPY, 't', "stop", NULL, &moved_paused, 0},
	{PRECOPY, 't', "cont", NULL, &moved, 0},
	{PRECOPY, 't', "quit", NULL, &moved, 0},
	{PRECOPY, 't', "migrate_cancel", NULL, &called_off, 0},
	{PRECOPY, 't', "migrate", "waiting for an incoming", &moved, 0},
	{PRECOPY, 't', "migrate-incoming", "already", &moved, 0},

	{STOPPING, 's', "stop", "switchover is in progress", &moved, 0},
	{STOPPING, 's', "cont", "cannot start the VM", &moved, true},
	{STOPPING, 's', "quit", NULL, &moved, 0},
	{STOPPING, 's', "migrate_cancel", NULL, &cancelled, 0},
	{STOPPING, 's', "migrate", "in progress", &moved, 0},
	{STOPPING, 't', "stop", NULL, &moved_paused, 0},
	{STOPPING, 't', "cont", NULL, &moved, 0},
	{STOPPING, 't', "migrate_cancel", NULL, &called_off, 0},

	{FINALISING, 's', "stop", "switchover is in progress", &moved, 0},
	{FINALISING, 's', "x-migrate-resolve", "not in doubt", &moved, 0},
	{FINALISING, 's', "cont", "in progress", &moved, 0},
	{FINALISING, 's', "quit", NULL, &moved, 0},
	{FINALISING, 's', "migrate_cancel", NULL, &cancelled, 0},
	{FINALISING, 's', "migrate", "in progress", &moved, 0},
	{FINALISING, 't', "stop", NULL, &moved_paused, 0},
	{FINALISING, 't', "cont", NULL, &moved, 0},
	{FINALISING, 't', "quit", NULL, &moved, 0},
	{FINALISING, 't', "migrate_cancel", NULL, &called_off, 0},
	{FINALISING, 't', "migrate-incoming", "already", &moved, 0},

	{GO_LOST, 's', "stop", "in-doubt", &failed, 0},
	{GO_LOST, 's', "cont", "runs on the target, or may", &failed, 0},
	{GO_LOST, 's', "quit", "force", &failed, 0},
	{GO_LOST, 's', "migrate_cancel", "no return", &failed, 0},
	{GO_LOST, 's', "migrate", "in progress", &failed, 0},
	{GO_LOST, 't', "stop", NULL, &failed, 0},
	{GO_LOST, 't', "cont", NULL, &failed, 0},
	{GO_LOST, 't', "quit", NULL, &failed, 0},
	{GO_LOST, 't', "migrate_cancel", NULL, &called_off, 0},
	{GO_LOST, 't', "migrate-incoming", "already", &failed, 0},

	{GO_UNSENT, 's', "stop", "switchover is in progress", &moved, 0},
	{GO_UNSENT, 's', "x-migrate-resolve", "not in doubt", &moved, 0},
	{GO_UNSENT, 's', "cont", "runs on the target, or may", &moved, 0},
	{GO_UNSENT, 's', "quit", "force", &moved, 0},
	{GO_UNSENT, 's', "migrate_cancel", "no return", &moved, 0},
	{GO_UNSENT, 's', "migrate", "in progress", &moved, 0},
	{GO_UNSENT, 't', "stop", NULL, &moved_paused, 0},
	{GO_UNSENT, 't', "cont", NULL, &moved, 0},
	{GO_UNSENT, 't', "quit", NULL, &moved, 0},
	{GO_UNSENT, 't', "migrate_cancel", NULL, &called_off, 0},
	{GO_UNSENT, 't', "migrate", "waiting for an incoming", &moved, 0},
	{GO_UNSENT, 't', "migrate-incoming", "already", &moved, 0},

	{STARTING, 's', "stop", "switchover is in progress", &moved, 0},
	{STARTING, 's', "cont", "runs on the target, or may", &moved, 0},
	{STARTING, 's', "quit", "force", &moved, 0},
	{STARTING, 's', "migrate_cancel", "no return", &moved, 0},
	{STARTING, 's', "migrate", "in progress", &moved, 0},
	{STARTING, 't', "stop", NULL, &moved_paused, true},
	{STARTING, 't', "cont", NULL, &moved, true},
	{STARTING, 't', "quit", NULL, &moved, 0},
	{STARTING, 't', "migrate_cancel", "no return", &moved, 0},
	{STARTING, 't', "migrate", "waiting for an incoming", &moved, 0},
	{STARTING, 't', "migrate-incoming", "already", &moved, 0},

	{DOUBT, 's', "stop", "in-doubt", &moved, 0},
	{DOUBT, 's', "cont", "runs on the target, or may", &moved, 0},
	{DOUBT, 's', "quit", "force", &moved, 0},
	{DOUBT, 's', "migrate_cancel", "no return", &moved, 0},
	{DOUBT, 's', "migrate", "in progress", &moved, 0},
	{DOUBT, 't', "stop", NULL, &moved_paused, true},

	{ROLL_BACK, 's', "stop", NULL, &cancelled_paused, true},
	{ROLL_BACK, 's', "cont", NULL, &cancelled, true},
	{ROLL_BACK, 's', "x-migrate-resolve", "not in doubt", &cancelled, 0},
	{ROLL_BACK, 's', "quit", NULL, &cancelled, 0},
	{ROLL_BACK, 's', "migrate_cancel", NULL, &cancelled, 0},
	{ROLL_BACK, 's', "migrate", "in progress", &cancelled, 0},

	{REFUSING, 's', "stop", NULL, &failed_paused, 0},
	{REFUSING, 's', "cont", NULL, &called_off, 0},
	{REFUSING, 's', "migrate_cancel", NULL, &called_off, 0},
	{REFUSING, 't', "stop", NULL, &called_off, 0},
	{REFUSING, 't', "x-migrate-resolve", "only a source", &called_off, 0},
	{REFUSING, 't', "quit", NULL, &called_off, 0},
	{REFUSING, 't', "migrate_cancel", NULL, &called_off, 0},
	{REFUSING, 't', "migrate", "waiting for an incoming", &called_off, 0},
	{REFUSING, 't', "migrate-incoming", "already", &called_off, 0},
	{REFUSING, 't', "cont", "has failed", &called_off, 0},

	{COMPLETED, 's', "stop", NULL, &moved, 0},
	{COMPLETED, 's', "x-migrate-resolve", "not in doubt", &moved, 0},
	{COMPLETED, 's', "cont", "on the target", &moved, 0},
	{COMPLETED, 's', "quit", NULL, &moved, 0},
	{COMPLETED, 's', "migrate_cancel", NULL, &moved, 0},
	{COMPLETED, 's', "migrate", "on the target", &moved, 0},
	{COMPLETED, 's', "migrate-incoming", "--incoming", &moved, 0},
	{COMPLETED, 't', "stop", NULL, &moved_paused, 0},
	{COMPLETED, 't', "cont", NULL, &moved, 0},
	{COMPLETED, 't', "quit", NULL, &moved, 0},
	{COMPLETED, 't', "migrate_cancel", NULL, &moved, 0},
	{COMPLETED, 't', "migrate-incoming", "already", &moved, 0},

	{FAILED, 's', "stop", NULL, &failed_paused, 0},
	{FAILED, 's', "cont", NULL, &called_off, 0},
	{FAILED, 's', "quit", NULL, &called_off, 0},
	{FAILED, 's', "migrate_cancel", NULL, &called_off, 0},
	{FAILED, 't', "stop", NULL, &called_off, 0},
	{FAILED, 't', "cont", "has failed", &called_off, 0},
	{FAILED, 't', "quit", NULL, &called_off, 0},
	{FAILED, 't', "migrate_cancel", NULL, &called_off, 0},
	{FAILED, 't', "migrate", "waiting for an incoming", &called_off, 0},

	{CANCELLED, 's', "stop", NULL, &cancelled_paused, 0},
	{CANCELLED, 's', "cont", NULL, &cancelled, 0},
	{CANCELLED, 's', "quit", NULL, &cancelled, 0},
	{CANCELLED, 's', "migrate_cancel", NULL, &cancelled, 0},
	{CANCELLED, 't', "cont", "has failed", &cancelled, 0},
};

struct play {
	struct box_pair pair;
	struct link *link;
	struct channel_turn *turn; /* taken: what sends GO waits for it; NULL: none */
	struct fake_device *held;  /* hangs; NULL: none */
	atomic_int woken;	   /* arcs that made a device of the paused guest run */
	struct swo_job guard;	   /* keeps a worker busy */
	atomic_bool busy;
};
static struct play play; /* big */

static void incoming(struct vmm_machine_config *config)
{
	config->incoming = true;
}

static void hang_at(struct box *box, enum swo_device_state from, enum swo_device_state to)
{
	play.held = &box->fake[0].device;
	fake_script(play.held, from, to, FAKE_HANG, 1);
}

static void use_link(void)
{
	char from[128], to[128];
	struct swo_error err;

	snprintf(from, sizeof(from), "unix:%s/link", play.pair.target.dir);
	snprintf(to, sizeof(to), "unix:%s/mig", play.pair.target.dir);
	play.link = link_start(from, to, &err);
	assert_non_null(play.link);
}

static void do_command(struct talk *talk, const char *command)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"execute\": \"%s\"}", command);
	json_decref(talk_do(talk, text));
}

static void migrate(void)
{
	char text[256];

	if (!play.link) {
		box_migrate(&play.pair);
		return;
	}
	snprintf(text, sizeof(text), "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"%s\"}}",
		link_uri(play.link));
	json_decref(talk_do(&play.pair.s, text));
}

/* Before `migrate`: what will hold it. */
static void arrange(enum hold hold)
{
	struct box *source = &play.pair.source, *target = &play.pair.target;

	switch (hold) {
	case CONNECTING:
		hang_at(target, SWO_DEVICE_STOP, SWO_DEVICE_RESUMING);
		break;
	case ENTERING:
		hang_at(source, SWO_DEVICE_RUNNING, SWO_DEVICE_PRE_COPY);
		break;
	case PRECOPY:
	case FAILED:
	case CANCELLED:
		play.held = &target->fake[0].device;
		play.held->hang_in = FAKE_CALL_WRITE;
		break;
	case STOPPING:
		hang_at(source, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P);
		break;
	case ROLL_BACK:
		fake_script(&source->fake[0].device, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P,
			FAKE_HANG, 1);
		/* fall through */
	case FINALISING:
	case REFUSING:
		hang_at(target, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP);
		break;
	case GO_UNSENT:
		use_link();
		hang_at(target, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP);
		break;
	case GO_LOST:
		use_link();
		link_at(play.link, WIRE_GO, LINK_CUT);
		break;
	case DOUBT:
		json_decref(talk_do(&play.pair.s,
			"{\"execute\": \"migrate-set-parameters\", \"arguments\": "
			"{\"x-commit-deadline-ms\": 300}}"));
		/* fall through */
	case STARTING:
		hang_at(target, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P);
		break;
	default:
		break;
	}
}

static void release(void)
{
	struct fake_device *held = play.held;

	play.held = NULL;
	if (held)
		fake_release(held);
	if (play.turn)
		channel_turn_leave(play.turn);
	play.turn = NULL;
	if (play.link)
		link_set(play.link, LINK_PASS);
}

static void await_status(struct talk *talk, const char *status)
{
	box_wait_migration(talk, status);
}

static bool runs(struct talk *talk);

/* READY comes, and the source has committed: GO waits for its turn on the control connection. */
static void hold_go(void)
{
	struct swo_migration *m = play.pair.source.machine->migration;
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	/* The last before GO that the source sends: it must not wait for the turn. */
	while (!link_seen(play.link, WIRE_END_ALL))
		assert_false(swo_deadline_passed(deadline));
	while (!channel_turn_try(&m->control.turn))
		assert_false(swo_deadline_passed(deadline));
	play.turn = &m->control.turn;
	fake_release(play.held);
	play.held = NULL;
	while (!handover_committed(&m->handover))
		assert_false(swo_deadline_passed(deadline));
	await_status(&play.pair.s, "device");
	assert_int_equal(fake_state(&play.pair.target.fake[0].device), SWO_DEVICE_STOP);
}

static void reach(enum hold hold)
{
	static const char *const sources[HOLDS] = {"", "setup", "setup", "active", "device",
		"device", "in-doubt", "device", "device", "in-doubt", "device", "device",
		"completed", "active", "active"};

	arrange(hold);
	if (hold == WAITING)
		return;
	migrate();
	if (play.held)
		assert_true(fake_await_hang(play.held));
	await_status(&play.pair.s, sources[hold]);
	switch (hold) {
	case GO_LOST:
		assert_true(link_hits(play.link) > 0);
		break;
	case GO_UNSENT:
		hold_go();
		break;
	case REFUSING:
		do_command(&play.pair.t, "migrate_cancel");
		await_status(&play.pair.t, "cancelling");
		await_status(&play.pair.s, "failed");
		assert_true(runs(&play.pair.s));
		break;
	case ROLL_BACK:
		do_command(&play.pair.s, "migrate_cancel");
		release();
		play.held = &play.pair.source.fake[0].device;
		assert_true(fake_await_hang(play.held));
		await_status(&play.pair.s, "cancelling");
		break;
	case COMPLETED:
		await_status(&play.pair.t, "completed");
		break;
	case FAILED:
		do_command(&play.pair.t, "migrate_cancel");
		release();
		await_status(&play.pair.s, "failed");
		await_status(&play.pair.t, "cancelled");
		break;
	case CANCELLED:
		do_command(&play.pair.s, "migrate_cancel");
		await_status(&play.pair.s, "cancelled");
		release();
		await_status(&play.pair.t, "failed");
		break;
	default:
		break;
	}
}

/* Such an arc is no business of a guest that is paused. */
static void count_woken(struct fake_device *fake, enum swo_device_state to)
{
	(void)fake;
	if (to != SWO_DEVICE_STOP && to != SWO_DEVICE_STOP_COPY)
		atomic_fetch_add(&play.woken, 1);
}

static void watch_paused(const struct box *box)
{
	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		struct fake_device *fake = (struct fake_device *)&box->fake[i].device;

		pthread_mutex_lock(&fake->group->mutex);
		fake->inside_arc = count_woken;
		pthread_mutex_unlock(&fake->group->mutex);
	}
}

static json_t *run_state(struct talk *talk)
{
	return talk_do(talk, "{\"execute\": \"query-status\"}");
}

static bool runs(struct talk *talk)
{
	json_t *ret = run_state(talk);
	const bool running = json_is_true(json_object_get(ret, "running"));

	json_decref(ret);
	return running;
}

static void send_command(const struct row *row, struct talk *talk)
{
	char text[256];

	if (!strncmp(row->command, "migrate", 7) && row->command[7] != '_')
		box_uri_command(text, row->command, &play.pair.target);
	else if (!strcmp(row->command, "x-migrate-resolve"))
		snprintf(text, sizeof(text),
			"{\"execute\": \"%s\", \"arguments\": {\"run-here\": true}}", row->command);
	else
		snprintf(text, sizeof(text), "{\"execute\": \"%s\"}", row->command);
	talk_send(talk, text, strlen(text));
}

static void expect_answer(const struct row *row, struct talk *talk)
{
	json_t *reply = talk_reply(talk);
	const char *desc =
		json_string_value(json_object_get(json_object_get(reply, "error"), "desc"));

	if (!row->refused && desc)
		fail_msg("%s, %c: %s was refused: %s", hold_names[row->hold], row->side,
			row->command, desc);
	if (row->refused && (!desc || !strstr(desc, row->refused)))
		fail_msg("%s, %c: %s: %s; expected: %s", hold_names[row->hold], row->side,
			row->command, desc ? desc : "taken", row->refused);
	json_decref(reply);
}

static bool quit_was_taken(struct box *box)
{
	struct pollfd pfd = {.fd = vmm_machine_quit_fd(box->machine), .events = POLLIN};

	return poll(&pfd, 1, 0) == 1;
}

/* The VM's run state, in the end; the migration has ended. */
static void expect_vm(const struct row *row, char side, const char *expected)
{
	struct box *box = side == 's' ? &play.pair.source : &play.pair.target;
	json_t *ret = run_state(side == 's' ? &play.pair.s : &play.pair.t);
	const char *now = json_string_value(json_object_get(ret, "status"));

	if (strcmp(now, expected) != 0)
		fail_msg("%s, %c: after %s the VM is %s at %c; expected: %s", hold_names[row->hold],
			row->side, row->command, now, side, expected);
	if (!strcmp(expected, "running"))
		box_rings(box);
	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		const enum swo_device_state state = fake_state(&box->fake[i].device);

		if (!strcmp(expected, "running") && state != SWO_DEVICE_RUNNING)
			fail_msg("%s: device %u: %s, but the guest runs", row->command, i,
				swo_device_state_name(state));
		if ((!strcmp(expected, "paused") || !strcmp(expected, "postmigrate")) &&
			state != SWO_DEVICE_STOP)
			fail_msg("%s, %c: %s: device %u at %c is in %s, and the guest is %s",
				hold_names[row->hold], row->side, row->command, i, side,
				swo_device_state_name(state), expected);
	}
	json_decref(ret);
}

static bool is_final(const char *status)
{
	return !strcmp(status, "completed") || !strcmp(status, "failed") ||
	       !strcmp(status, "cancelled");
}

/* One end, and nothing after it; and cancelled comes after cancelling. */
static void expect_events(const struct row *row, struct talk *talk, const char *end)
{
	const char *last = "";
	json_t *event;
	size_t i;

	/* What was sent before this reply is in. */
	json_decref(run_state(talk));
	json_array_foreach (talk->events, i, event) {
		const char *status;

		if (strcmp(json_string_value(json_object_get(event, "event")), "MIGRATION") != 0)
			continue;
		status = json_string_value(
			json_object_get(json_object_get(event, "data"), "status"));
		if (is_final(last) ||
			(!strcmp(status, "cancelled") && strcmp(last, "cancelling") != 0))
			fail_msg("%s, %c: %s: event %s after %s", hold_names[row->hold], row->side,
				row->command, status, last);
		last = status;
	}
	if (strcmp(last, end) != 0)
		fail_msg("%s, %c: %s: the last event is %s; expected: %s", hold_names[row->hold],
			row->side, row->command, last, end);
}

static void await_vm(struct talk *talk, const char *status)
{
	swo_deadline deadline = swo_deadline_ms(TALK_MS);
	bool there = false;

	while (!there && !swo_deadline_passed(deadline)) {
		json_t *ret = run_state(talk);

		there = !strcmp(json_string_value(json_object_get(ret, "status")), status);
		json_decref(ret);
	}
	assert_true(there);
}

static void expect_outcome(const struct row *row)
{
	await_status(&play.pair.s, row->end->source);
	await_status(&play.pair.t, row->end->target);
	/* The status is there before the last of the migration's threads has ended. */
	assert_true(vmm_machine_migration_wait(play.pair.source.machine, swo_deadline_ms(TALK_MS)));
	assert_true(vmm_machine_migration_wait(play.pair.target.machine, swo_deadline_ms(TALK_MS)));
	if (!strcmp(row->end->source_vm, "internal-error"))
		await_vm(&play.pair.s, "internal-error");
	expect_vm(row, 's', row->end->source_vm);
	expect_vm(row, 't', row->end->target_vm);
	expect_events(row, &play.pair.s, row->end->source);
	expect_events(row, &play.pair.t, row->end->target);
	assert_int_equal(atomic_load(&play.woken), 0);
}

static void play_up_with(box_change *target)
{
	play.link = NULL;
	play.turn = NULL;
	play.held = NULL;
	atomic_store(&play.woken, 0);
	box_pair_up(&play.pair, target);
	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		assert_true(fake_device_give_state(
			&play.pair.source.fake[i].device, STATE_BYTES, (uint8_t)(i + 1)));
		assert_true(fake_device_give_state(
			&play.pair.target.fake[i].device, STATE_BYTES, (uint8_t)(i + 1)));
	}
}

static void play_up(void)
{
	play_up_with(incoming);
}

static void play_down(void)
{
	link_stop(play.link);
	box_pair_down(&play.pair);
}

static void play_row(const struct row *row)
{
	struct box *box = row->side == 's' ? &play.pair.source : &play.pair.target;
	struct talk *talk = row->side == 's' ? &play.pair.s : &play.pair.t;

	play_up();
	reach(row->hold);
	send_command(row, talk);
	if (row->waits)
		release();
	expect_answer(row, talk);
	if (!strcmp(row->command, "quit"))
		assert_int_equal(quit_was_taken(box), !row->refused);
	if (!strcmp(row->command, "stop") && !row->refused) {
		assert_false(runs(talk));
		if (row->side == 's')
			watch_paused(box);
	}
	assert_false(runs(&play.pair.s) && runs(&play.pair.t));
	release();
	if (row->hold == WAITING && row->end == &called_off)
		await_status(&play.pair.t, "cancelled");
	if (row->hold == WAITING)
		migrate();
	expect_outcome(row);
	play_down();
}

static void play_holds(enum hold from, enum hold to)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(rows); i++)
		if (rows[i].hold >= from && rows[i].hold <= to)
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
	play_holds(CONNECTING, ENTERING);
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
	play_holds(ROLL_BACK, ROLL_BACK);
}

static void commands_after_the_end(void **state)
{
	(void)state;
	play_holds(COMPLETED, CANCELLED);
}

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
	box_pair_up(pair, incoming);
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
	do_command(other, "migrate_cancel");
	pthread_mutex_unlock(&m->run_lock);
	assert_true(begins);
	json_decref(talk_reply(&pair->s));
	await_status(&pair->s, "cancelled");
	box_expect_status(&pair->s, "running", true);
	talk_close(other);
	free(other);
	box_pair_down(pair);
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
	config->incoming = true;
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
	use_link();
	link_at(play.link, WIRE_STARTED, LINK_CUT);
	json_decref(
		talk_do(&play.pair.s, "{\"execute\": \"migrate-set-parameters\", \"arguments\": "
				      "{\"x-commit-deadline-ms\": 300}}"));
	migrate();
	await_status(&play.pair.s, "in-doubt");
	assert_true(link_hits(play.link) > 0);
	await_status(&play.pair.t, "completed");
	box_up(&third, incoming);
	for (unsigned i = 0; i < BOX_DEVICES; i++)
		assert_true(fake_device_give_state(
			&third.fake[i].device, STATE_BYTES, (uint8_t)(i + 1)));
	talk_open(talk, third.path, true);
	box_uri_command(text, "migrate-incoming", &third);
	json_decref(talk_do(talk, text));
	box_uri_command(text, "migrate", &third);
	json_decref(talk_do(&play.pair.t, text));
	await_status(&play.pair.t, "completed");
	await_status(talk, "completed");
	await_vm(&play.pair.t, "postmigrate");
	/* Over and over, until the link is back; and `switchover resolve` has the journal. */
	await_status(&play.pair.s, "in-doubt");
	struct swo_journal_info info = target_journal();

	assert_int_equal(info.last, SWO_JOURNAL_STARTED);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_RAN);
	release();
	await_status(&play.pair.s, "completed");
	await_vm(&play.pair.s, "postmigrate");
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
	reach(CANCELLED);
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
	migrate();
	await_status(&play.pair.s, "completed");
	await_vm(&play.pair.t, "running");
	do_command(&play.pair.t, "stop");
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
	for (unsigned next = 0; next < 2; next++) {
		play_up();
		m = play.pair.target.machine;
		do_command(&play.pair.t, "migrate_cancel");
		await_status(&play.pair.t, "cancelled");
		incoming_on(&play.pair.t, "mig", true);
		reach(GO_LOST);
		do_command(&play.pair.t, "migrate_cancel");
		await_status(&play.pair.t, "cancelled");
		assert_int_equal(vmm_machine_incoming_failed(m), VMM_INCOMING_ANSWERS);
		if (next)
			incoming_on(&play.pair.t, "next", true);
		release();
		await_status(&play.pair.s, "failed");
		await_vm(&play.pair.s, "running");
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
	reach(FINALISING);
	do_command(&play.pair.s, "quit");
	release();
	assert_true(fake_await_hang(device));
	play.held = device;
	atomic_store(&play.busy, true);
	assert_int_equal(pthread_create(&thread, NULL, end_source, NULL), 0);
	for (int i = 0; i < 100; i++) {
		assert_true(atomic_load(&play.busy));
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	release();
	pthread_join(thread, NULL);
	await_status(&play.pair.t, "completed");
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
		const struct row row = {holds[i], 's', "crash", NULL, &crashed, 0};
		swo_deadline deadline = swo_deadline_ms(TALK_MS);

		play_up();
		reach(holds[i]);
		machine_vcpu_failed(play.pair.source.machine, 0, "triple fault");
		/* The report is a job of a worker. */
		while (!migration_broken(play.pair.source.machine->migration, NULL))
			assert_false(swo_deadline_passed(deadline));
		release();
		expect_outcome(&row);
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
	reach(PRECOPY);
	/* The report is a job of the worker, which is busy. */
	play.guard = (struct swo_job){.fn = wait_for_release, .opaque = &play};
	atomic_store(&play.busy, true);
	swo_worker_submit(vmm_machine_worker(play.pair.source.machine), &play.guard);
	machine_vcpu_failed(play.pair.source.machine, 0, "triple fault");
	release();
	await_status(&play.pair.s, "failed");
	expect_error("vCPU 0 failed: triple fault");
	assert_int_equal(fake_state(device), SWO_DEVICE_RUNNING);
	atomic_store(&play.busy, false);
	await_vm(&play.pair.s, "internal-error");
	play_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_while_the_target_waits),
		cmocka_unit_test(commands_in_setup),
		cmocka_unit_test(commands_in_precopy),
		cmocka_unit_test(commands_in_the_stop),
		cmocka_unit_test(commands_from_go_on),
		cmocka_unit_test(commands_in_the_roll_back),
		cmocka_unit_test(commands_after_the_end),
		cmocka_unit_test(a_cancel_is_taken_while_migrate_is_still_beginning),
		cmocka_unit_test(a_source_in_doubt_is_answered_after_the_vm_has_moved_on),
		cmocka_unit_test(a_target_that_has_failed_takes_the_next_migration),
		cmocka_unit_test(a_target_that_failed_after_ready_answers_before_it_may_exit),
		cmocka_unit_test(a_quit_that_came_before_go_waits_for_the_outcome),
		cmocka_unit_test(a_stop_before_the_launch_holds_the_guest_and_migrate_waits_for_it),
		cmocka_unit_test(a_crash_fails_the_migration_at_every_phase),
		cmocka_unit_test(a_crash_that_is_not_reported_yet_is_noticed_by_the_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
