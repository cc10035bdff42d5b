/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_kill.c - a machine, a device or the link is killed, or a machine frozen for longer than
 * any deadline, at each moment of a migration. Before GO the guest continues on the source with
 * nothing lost; the VM never runs on both hosts; and if both processes survive, it runs on one.
 */
#include "e2e.h"

#include <signal.h>
#include <unistd.h>

/* A frozen machine stays frozen for longer than the other waits for it. */
#define PATIENCE_MS 500
#define FROZEN_MS   1300

/* The victim, and the fault. */
struct victim {
	enum pair_side side;
	struct strike strike;
};
static const struct victim source_vm = {PAIR_SOURCE, {.kind = STRIKE_KILL_VM}},
			   target_vm = {PAIR_TARGET, {.kind = STRIKE_KILL_VM}},
			   source_device = {PAIR_SOURCE, {.kind = STRIKE_KILL_DEVICE}},
			   target_device = {PAIR_TARGET, {.kind = STRIKE_KILL_DEVICE}},
			   link_for_good = {PAIR_SOURCE, {.kind = STRIKE_LINK, .mode = LINK_CUT}},
			   link_for_a_while = {PAIR_SOURCE,
				   {.kind = STRIKE_LINK, .mode = LINK_CUT, .ms = 300}},
			   source_frozen = {PAIR_SOURCE, {.kind = STRIKE_FREEZE, .ms = FROZEN_MS}},
			   target_frozen = {PAIR_TARGET, {.kind = STRIKE_FREEZE, .ms = FROZEN_MS}};

static const struct pair_config *config(void)
{
	static struct pair_config shared;

	shared = e2e_config();
	shared.channels = 1;
	return &shared;
}

/* Devices that no longer respond. */
static unsigned dead_devices(const struct victim *victim, enum pair_side side)
{
	return victim->strike.kind == STRIKE_KILL_DEVICE && victim->side == side;
}

static void never_both(struct pair *pair)
{
	/* The target first: a source that took it back in between would be found out. */
	bool target = e2e_runs(pair, PAIR_TARGET), source = e2e_runs(pair, PAIR_SOURCE);

	assert_false(target && source);
}

/* The number of each outcome in one row of the matrix. */
struct tally {
	unsigned at_source, at_target, in_doubt;
};

/* The source is alive: its report must match its state. */
static void judge_living_source(struct pair *pair, const struct victim *victim, struct tally *tally)
{
	char status[PAIR_STATUS_MAX];

	e2e_must(pair, pair_wait_end(pair, E2E_GUARD_MS, status, err));
	print_message("#     %s\n", status);
	if (victim == &link_for_a_while && !strcmp(status, "in-doubt")) {
		/* Both are alive and connected again: the migration must be resolved without help. */
		tally->in_doubt++;
		swo_deadline guard = swo_deadline_ms(E2E_GUARD_MS);

		while (!e2e_runs(pair, PAIR_SOURCE) && !e2e_runs(pair, PAIR_TARGET)) {
			assert_false(swo_deadline_passed(guard));
			usleep(20000);
		}
		never_both(pair);
		return;
	}
	if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
		tally->at_source++;
		assert_true(e2e_comes_to_run(pair, PAIR_SOURCE, E2E_GUARD_MS));
		e2e_rings_on(pair, PAIR_SOURCE, dead_devices(victim, PAIR_SOURCE));
		assert_false(e2e_runs(pair, PAIR_TARGET));
	} else if (!strcmp(status, "in-doubt")) {
		tally->in_doubt++;
		assert_true(victim == &target_vm || victim == &link_for_good);
		assert_false(e2e_runs(pair, PAIR_SOURCE));
	} else {
		tally->at_target++;
		assert_string_equal(status, "completed");
		assert_false(e2e_runs(pair, PAIR_SOURCE));
		if (victim != &target_vm) {
			assert_true(e2e_comes_to_run(pair, PAIR_TARGET, E2E_GUARD_MS));
			e2e_rings_on(pair, PAIR_TARGET, dead_devices(victim, PAIR_TARGET));
		}
	}
	never_both(pair);
}

/* Both are alive and connected: after any timeout, the VM runs on one of them. */
static void judge_both_alive(struct pair *pair, struct tally *tally)
{
	swo_deadline guard = swo_deadline_ms(E2E_GUARD_MS);
	char status[PAIR_STATUS_MAX];

	do
		e2e_must(pair, pair_wait_end(pair, E2E_GUARD_MS, status, err));
	while (!strcmp(status, "in-doubt") && !swo_deadline_passed(guard));
	bool at_target = !strcmp(status, "completed");

	print_message("#     %s\n", status);
	assert_true(e2e_comes_to_run(pair, at_target ? PAIR_TARGET : PAIR_SOURCE, E2E_GUARD_MS));
	never_both(pair);
	e2e_rings_on(pair, at_target ? PAIR_TARGET : PAIR_SOURCE, 0);
	never_both(pair);
	tally->at_target += at_target;
	tally->at_source += !at_target;
}

/* The source is dead. If the target had received GO, it runs and passes the checks; if not, neither side runs. */
static void judge_dead_source(struct pair *pair, struct tally *tally)
{
	bool taken = e2e_comes_to_run(pair, PAIR_TARGET, 1000);

	print_message("#     the target %s\n", taken ? "runs" : "does not run");
	tally->at_source += !taken;
	tally->at_target += taken;
	if (taken)
		e2e_rings_on(pair, PAIR_TARGET, 0);
}

static void kill_at(const struct victim *victim, const char *moment, struct tally *tally)
{
	static struct pair pair;
	struct link *link = NULL;

	e2e_must(&pair, pair_init(&pair, config(), 2, "parallel", err));
	if (victim->strike.kind == STRIKE_LINK)
		e2e_must(&pair, !(link = pair_put_link(&pair, err)));
	e2e_must(&pair, pair_start(&pair, err) || pair_boot(&pair, err));
	if (victim->strike.kind == STRIKE_FREEZE)
		pair.parameters = json_pack("{s:i, s:i}", "x-commit-deadline-ms", PATIENCE_MS,
			"x-idle-deadline-ms", PATIENCE_MS);
	e2e_must(&pair, pair_migrate(&pair, err));
	pair.deaths_expected = true;
	e2e_await(&pair, moment);
	assert_true(strike(&pair, link, victim->side, 0, &victim->strike).hit);
	if (victim == &source_vm)
		judge_dead_source(&pair, tally);
	else if (victim->strike.kind == STRIKE_FREEZE)
		judge_both_alive(&pair, tally);
	else
		judge_living_source(&pair, victim, tally);
	/* A cut without a connection would have tested nothing. */
	if (link)
		assert_true(link_hits(link) > 0);
	link_stop(link);
	json_decref(pair.parameters);
	pair_free(&pair, false);
}

static void kill_at_each_moment(const struct victim *victim)
{
	struct tally tally = {0};

	for (size_t m = 0; m < MOMENTS; m++) {
		print_message("# at '%s', the %s's %s\n", moments[m].name,
			pair_side_name(moments[m].side), moments[m].word);
		kill_at(victim, moments[m].name, &tally);
	}
	/* The moments must be on both sides of GO, or half of the rules is not tested. */
	assert_true(tally.at_source > 0);
	assert_true(tally.at_target + tally.in_doubt > 0);
}

static void the_target_is_killed_at_ten_moments(void **state)
{
	(void)state;
	kill_at_each_moment(&target_vm);
}

static void the_source_is_killed_at_ten_moments(void **state)
{
	(void)state;
	kill_at_each_moment(&source_vm);
}

static void a_device_of_the_source_is_killed_at_ten_moments(void **state)
{
	(void)state;
	kill_at_each_moment(&source_device);
}

static void a_device_of_the_target_is_killed_at_ten_moments(void **state)
{
	(void)state;
	kill_at_each_moment(&target_device);
}

static void the_link_is_cut_at_ten_moments(void **state)
{
	(void)state;
	kill_at_each_moment(&link_for_good);
}

static void the_link_is_cut_for_a_while_at_ten_moments(void **state)
{
	(void)state;
	kill_at_each_moment(&link_for_a_while);
}

static void the_target_is_frozen_at_ten_moments_and_one_runs_when_it_is_back(void **state)
{
	(void)state;
	kill_at_each_moment(&target_frozen);
}

static void the_source_is_frozen_at_ten_moments_and_one_runs_when_it_is_back(void **state)
{
	(void)state;
	kill_at_each_moment(&source_frozen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		e2e_test(the_target_is_killed_at_ten_moments),
		e2e_test(the_source_is_killed_at_ten_moments),
		e2e_test(a_device_of_the_source_is_killed_at_ten_moments),
		e2e_test(a_device_of_the_target_is_killed_at_ten_moments),
		e2e_test(the_link_is_cut_at_ten_moments),
		e2e_test(the_link_is_cut_for_a_while_at_ten_moments),
		e2e_test(the_target_is_frozen_at_ten_moments_and_one_runs_when_it_is_back),
		e2e_test(the_source_is_frozen_at_ten_moments_and_one_runs_when_it_is_back),
	};
	process_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
