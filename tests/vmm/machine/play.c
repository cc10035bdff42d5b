/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * play.c - see play.h.
 */
#include "play.h"

#include "tests/support/cm.h"
#include "tests/support/dir.h"
#include "tests/support/slow_disk.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const hold_names[HOLDS] = {"waiting", "opening a journal",
	"opening the target's journal", "connecting", "entering PRE_COPY", "pre-copy", "stopping",
	"finalising", "GO lost", "GO unsent", "recording READY", "recording", "recording GO",
	"starting", "in doubt", "roll-back", "refusing", "completed", "failed", "cancelled"};

const struct outcome moved = {"completed", "postmigrate", "completed", "running"};
const struct outcome moved_paused = {"completed", "postmigrate", "completed", "paused"};
const struct outcome cancelled = {"cancelled", "running", "failed", "inmigrate"};
const struct outcome cancelled_paused = {"cancelled", "paused", "failed", "inmigrate"};
const struct outcome failed = {"failed", "running", "failed", "inmigrate"};
const struct outcome failed_paused = {"failed", "paused", "cancelled", "inmigrate"};
const struct outcome lost_paused = {"failed", "paused", "failed", "inmigrate"};
const struct outcome both_cancelled = {"cancelled", "running", "cancelled", "inmigrate"};
const struct outcome called_off = {"failed", "running", "cancelled", "inmigrate"};

struct play play; /* big */

static char journals[32];
static enum hold recorded; /* whose side's it is */
static const struct swo_journal_config journal = {.dir = journals, .vm = "guest", .sync = true};

bool play_begins(int argc, char **argv)
{
	const bool by_fd = argc == 2 && !strcmp(argv[1], "fd");

	play.handover = by_fd ? SWO_HANDOVER_FD : SWO_HANDOVER_COPY;
	return by_fd || (argc == 2 && !strcmp(argv[1], "copy"));
}

void play_outgoing(struct vmm_machine_config *config)
{
	config->handover = play.handover;
	if (journals[0] && (recorded == OPENING || recorded == RECORDING))
		config->journal = &journal;
}

void play_incoming(struct vmm_machine_config *config)
{
	config->incoming = true;
	if (journals[0] && recorded != OPENING && recorded != RECORDING)
		config->journal = &journal;
	config->handover = play.handover;
}

static void hang_at(struct box *box, enum swo_device_state from, enum swo_device_state to)
{
	play.held = &box->fake[0].device;
	fake_script(play.held, from, to, FAKE_HANG, 1);
}

void play_use_link(void)
{
	char from[128], to[128];
	struct swo_error err;

	snprintf(from, sizeof(from), "unix:%s/link", play.pair.target.dir);
	snprintf(to, sizeof(to), "unix:%s/mig", play.pair.target.dir);
	play.link = link_start(from, to, &err);
	assert_non_null(play.link);
}

void play_do(struct talk *talk, const char *command)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"execute\": \"%s\"}", command);
	json_decref(talk_do(talk, text));
}

void play_migrate(void)
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
	case OPENING:
	case OPENING_THERE:
		slow_disk_hang_creation();
		break;
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
		play_use_link();
		fake_script(&source->fake[0].device, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P,
			FAKE_HANG, 1);
		/* fall through */
	case FINALISING:
	case REFUSING:
		hang_at(target, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP);
		break;
	case READYING:
	case RECORDING:
		slow_disk_hang();
		break;
	case BEGINNING:
	case GO_UNSENT:
		play_use_link();
		hang_at(target, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP);
		break;
	case GO_LOST:
		play_use_link();
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

void play_release(void)
{
	struct fake_device *held = play.held;

	play.held = NULL;
	if (held)
		fake_release(held);
	slow_disk_answer();
	if (play.turn)
		channel_turn_leave(play.turn);
	play.turn = NULL;
	if (play.link)
		link_set(play.link, LINK_PASS);
}

void play_await_status(struct talk *talk, const char *status)
{
	box_wait_migration(talk, status);
}

static void await_message(unsigned message)
{
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	while (!link_seen(play.link, message))
		assert_false(swo_deadline_passed(deadline));
}

/* READY comes, and the source has committed: GO waits for its turn on the control connection. */
static void hold_go(void)
{
	struct swo_migration *m = play.pair.source.machine->migration;
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	/* The last before GO that the source sends: it must not wait for the turn. */
	await_message(WIRE_END_ALL);
	while (!channel_turn_try(&m->control.turn))
		assert_false(swo_deadline_passed(deadline));
	play.turn = &m->control.turn;
	fake_release(play.held);
	play.held = NULL;
	while (!handover_committed(&m->handover))
		assert_false(swo_deadline_passed(deadline));
	play_await_status(&play.pair.s, "device");
	assert_int_equal(fake_state(&play.pair.target.fake[0].device), SWO_DEVICE_STOP);
}

void play_reach(enum hold hold)
{
	static const char *const sources[HOLDS] = {"", "setup", "setup", "setup", "setup", "active",
		"device", "device", "in-doubt", "device", "device", "device", "device", "device",
		"in-doubt", "device", "device", "completed", "active", "active"};

	arrange(hold);
	if (hold == WAITING)
		return;
	play_migrate();
	if (play.held)
		assert_true(fake_await_hang(play.held));
	/* The word in the RAM of both has settled the doubt. */
	if (hold == GO_LOST && play.handover == SWO_HANDOVER_FD) {
		play_await_status(&play.pair.s, "failed");
		play_await_status(&play.pair.t, "failed");
	} else {
		play_await_status(&play.pair.s, sources[hold]);
	}
	switch (hold) {
	case OPENING:
	case OPENING_THERE:
	case READYING:
	case RECORDING:
		slow_disk_await();
		break;
	case BEGINNING:
		hold_go();
		slow_disk_hang();
		channel_turn_leave(play.turn);
		play.turn = NULL;
		slow_disk_await();
		break;
	case GO_LOST:
		assert_true(link_hits(play.link) > 0);
		break;
	case GO_UNSENT:
		hold_go();
		break;
	case REFUSING:
		play_do(&play.pair.t, "migrate_cancel");
		play_await_status(&play.pair.t, "cancelling");
		play_await_status(&play.pair.s, "failed");
		assert_true(play_runs(&play.pair.s));
		break;
	case ROLL_BACK:
		await_message(WIRE_END_ALL);
		play_do(&play.pair.s, "migrate_cancel");
		play_release();
		play.held = &play.pair.source.fake[0].device;
		assert_true(fake_await_hang(play.held));
		/* It crosses ABORT, which is sent when the VM runs again. */
		await_message(WIRE_READY);
		play_await_status(&play.pair.s, "cancelling");
		play_await_status(&play.pair.t, "active");
		break;
	case COMPLETED:
		play_await_status(&play.pair.t, "completed");
		break;
	case FAILED:
		play_do(&play.pair.t, "migrate_cancel");
		play_release();
		play_await_status(&play.pair.s, "failed");
		play_await_status(&play.pair.t, "cancelled");
		break;
	case CANCELLED:
		play_do(&play.pair.s, "migrate_cancel");
		play_await_status(&play.pair.s, "cancelled");
		play_release();
		play_await_status(&play.pair.t, "failed");
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

void play_watch_paused(const struct box *box)
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

bool play_runs(struct talk *talk)
{
	json_t *ret = run_state(talk);
	const bool running = json_is_true(json_object_get(ret, "running"));

	json_decref(ret);
	return running;
}

void play_send(const struct row *row, struct talk *talk)
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

void play_expect_answer(const struct row *row, struct talk *talk)
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

bool play_quit_was_taken(struct box *box)
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

void play_await_vm(struct talk *talk, const char *status)
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

void play_expect_outcome(const struct row *row)
{
	play_await_status(&play.pair.s, row->end->source);
	play_await_status(&play.pair.t, row->end->target);
	/* The status is there before the last of the migration's threads has ended. */
	assert_true(vmm_machine_migration_wait(play.pair.source.machine, swo_deadline_ms(TALK_MS)));
	assert_true(vmm_machine_migration_wait(play.pair.target.machine, swo_deadline_ms(TALK_MS)));
	if (!strcmp(row->end->source_vm, "internal-error"))
		play_await_vm(&play.pair.s, "internal-error");
	expect_vm(row, 's', row->end->source_vm);
	expect_vm(row, 't', row->end->target_vm);
	expect_events(row, &play.pair.s, row->end->source);
	expect_events(row, &play.pair.t, row->end->target);
	assert_int_equal(atomic_load(&play.woken), 0);
}

void play_up_with(box_change *target)
{
	play.link = NULL;
	play.turn = NULL;
	play.held = NULL;
	atomic_store(&play.woken, 0);
	box_pair_up(&play.pair, play_outgoing, target);
	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		assert_true(fake_device_give_state(
			&play.pair.source.fake[i].device, PLAY_STATE_BYTES, (uint8_t)(i + 1)));
		assert_true(fake_device_give_state(
			&play.pair.target.fake[i].device, PLAY_STATE_BYTES, (uint8_t)(i + 1)));
	}
}

void play_up(void)
{
	/* A row that failed has left them. */
	journals[0] = 0;
	slow_disk_answer();
	play_up_with(play_incoming);
}

bool play_is_recorded(enum hold hold)
{
	return hold == OPENING || hold == OPENING_THERE || hold == READYING || hold == RECORDING ||
	       hold == BEGINNING;
}

void play_up_recorded(enum hold hold)
{
	recorded = hold;
	play.kept = SWO_JOURNAL_NOTHING;
	assert_int_equal(dir_make(journals), 0);
	slow_disk_answer();
	play_up_with(play_incoming);
}

/* One whose migration has failed is gone, but for that of a target that may have been READY; that
   of a VM that has moved is complete. */
static void expect_journal(bool moved_away)
{
	struct swo_journal_info *list;
	size_t count;

	assert_int_equal(swo_journal_list(journals, &list, &count, NULL), 0);
	const bool refused = !moved_away && (recorded == READYING || recorded == BEGINNING);
	const enum swo_journal_event last = play.kept	 ? play.kept
					    : moved_away ? SWO_JOURNAL_DONE
					    : refused	 ? SWO_JOURNAL_REFUSED
							 : SWO_JOURNAL_NOTHING;

	assert_int_equal(count, last != SWO_JOURNAL_NOTHING);
	assert_true(!count || list[0].last == last);
	free(list);
}

void play_down(void)
{
	const bool moved_away =
		vmm_machine_state(play.pair.source.machine) == SWO_RUN_STATE_POSTMIGRATE;

	link_stop(play.link);
	box_pair_down(&play.pair);
	if (!journals[0])
		return;
	expect_journal(moved_away);
	assert_int_equal(dir_remove(journals), 0);
	journals[0] = 0;
}
