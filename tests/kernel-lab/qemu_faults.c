/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qemu_faults.c - faults while stock QEMU migrates simvf.ko devices: every case is run with plain
 * QEMU and with QEMU under the library, which must do at least as well.
 */
#include "held.h"

#include <stdio.h>
#include <string.h>

#define DEVICES	   3
#define SETTLES_MS 10000

static struct held held;
static const struct pair_vmm *other; /* than plain QEMU */

/* How a case ended. */
struct outcome {
	char status[32]; /* of the migration, from the source; "" if it is dead */
	bool alive[PAIR_SIDES], runs[PAIR_SIDES];
	bool refused;		      /* a command in the middle of it */
	unsigned running[PAIR_SIDES]; /* devices in RUNNING */
	uint64_t resets[PAIR_SIDES];  /* since the pre-copy: a device that lost its state */
	uint64_t order_violations, p2p_violations, state_mismatches;
	bool state_equal;
	unsigned surprises; /* mismatches of the library: speculation was disabled */
};
static struct outcome ended;

struct scenario {
	const char *says;
	enum pair_side side; /* of the device with the fault */
	unsigned device;
	const char *fault;    /* injected after the pre-copy; NULL: none */
	void (*before)(void); /* the migration */
	void (*early)(void);  /* after the pre-copy */
	void (*late)(void);   /* while the machine is being stopped */
	void (*after)(void);  /* its end */
	bool nobody;	      /* runs in the end, plain QEMU neither */
};

/* What is done to them */

static void tell(enum pair_side side, const char *command)
{
	ended.refused |= !held_tell(&held, side, command, NULL);
}

static void cancel(void)
{
	tell(PAIR_SOURCE, "migrate_cancel");
}

static void pause_source(void)
{
	tell(PAIR_SOURCE, "stop");
}

static void pause_and_continue(void)
{
	for (unsigned i = 0; i < 2; i++) {
		tell(PAIR_SOURCE, "stop");
		tell(PAIR_SOURCE, "cont");
	}
}

static void continue_source(void)
{
	tell(PAIR_SOURCE, "cont");
}

static void continue_target(void)
{
	tell(PAIR_TARGET, "cont");
}

static void reset_source(void)
{
	tell(PAIR_SOURCE, "system_reset");
}

static void unplug_source(void)
{
	ended.refused |=
		!held_tell(&held, PAIR_SOURCE, "device_del", json_pack("{s:s}", "id", "vf1"));
}

/* The last device that plain QEMU stops is held in its arc to STOP_COPY. */
static void in_the_middle(void)
{
	held_await(&held, "prepare", 0);
	swo_sleep_until(swo_deadline_ms(300));
}

static void cancel_in_the_middle(void)
{
	in_the_middle();
	cancel();
}

static void kill_target(void)
{
	in_the_middle();
	held_kill(&held, PAIR_TARGET);
}

static void kill_source(void)
{
	in_the_middle();
	held_kill(&held, PAIR_SOURCE);
}

static void await_end(void)
{
	snprintf(ended.status, sizeof(ended.status), "%s",
		held_killed(&held, PAIR_SOURCE) ? "" : held_outcome(&held));
}

static void try_again(void)
{
	assert_string_not_equal(ended.status, "completed");
	assert_true(held_runs(&held, PAIR_SOURCE, SETTLES_MS));
	held_new_target(&held);
	held_precopy(&held);
	held_switch(&held);
	await_end();
}

/* One case */

static void settle(void)
{
	bool over = !strcmp(ended.status, "completed");

	for (unsigned side = 0; side < PAIR_SIDES; side++) {
		bool expected = (side == PAIR_TARGET) == over;

		ended.runs[side] = !held_killed(&held, side) &&
				   held_runs(&held, side, expected ? SETTLES_MS : 0);
		ended.alive[side] = !held_killed(&held, side) && held_alive(&held, side);
	}
}

static void gather(const uint64_t resets[PAIR_SIDES])
{
	for (unsigned side = 0; side < PAIR_SIDES; side++) {
		ended.resets[side] = held_counter(&held, side, "resets") - resets[side];
		ended.running[side] = ended.runs[side] ? held_count_in(&held, side, "RUNNING") : 0;
		ended.p2p_violations += held_counter(&held, side, "p2p_violations");
		ended.state_mismatches += held_counter(&held, side, "state_mismatches");
	}
	ended.order_violations = held_order_violations(&held);
	ended.surprises = held_surprises(&held);
	ended.state_equal = !strcmp(ended.status, "completed") && held_state_equal(&held);
}

static void print(const struct scenario *s)
{
	json_t *out = json_pack(
		"{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:i, s:i, s:I, s:I, s:I, s:I, "
		"s:I, s:b, s:i}",
		"case", s->says, "vmm", held.pair.vmm->name, "migration", ended.status,
		"source_alive", (int)ended.alive[0], "target_alive", (int)ended.alive[1],
		"source_runs", (int)ended.runs[0], "target_runs", (int)ended.runs[1], "refused",
		(int)ended.refused, "source_devices_running", (int)ended.running[0],
		"target_devices_running", (int)ended.running[1], "source_resets",
		(json_int_t)ended.resets[0], "target_resets", (json_int_t)ended.resets[1],
		"p2p_order_violations", (json_int_t)ended.order_violations, "p2p_violations",
		(json_int_t)ended.p2p_violations, "state_mismatches",
		(json_int_t)ended.state_mismatches, "state_equal", (int)ended.state_equal,
		"surprises", (int)ended.surprises);
	assert_non_null(out);
	json_dumpf(out, stdout, 0);
	putchar('\n');
	fflush(stdout);
	json_decref(out);
}

static struct outcome run(const struct scenario *s, const struct pair_vmm *vmm)
{
	uint64_t resets[PAIR_SIDES];

	ended = (struct outcome){.refused = false};
	held_start(&held, vmm, DEVICES, "even");
	if (s->before)
		s->before();
	/* A machine that stands has no pre-copy. */
	if (s->before == pause_source)
		held_begin(&held);
	else
		held_precopy(&held);
	for (unsigned side = 0; side < PAIR_SIDES; side++)
		resets[side] = held_counter(&held, side, "resets");
	if (s->fault)
		assert_int_equal(
			bed_put(held_device(&held, s->side, s->device), "faults", s->fault), 0);
	if (s->early)
		s->early();
	held_switch(&held);
	if (s->late)
		s->late();
	await_end();
	if (s->after)
		s->after();
	settle();
	gather(resets);
	print(s);
	held_stop(&held);
	return ended;
}

/* As without, or better */

static void no_worse(const struct outcome *plain, const struct outcome *now)
{
	bool plain_completed = !strcmp(plain->status, "completed");

	if (strcmp(plain->status, now->status) != 0 && strcmp(now->status, "completed") != 0)
		fail_msg("the migration ended as '%s', and without as '%s'", now->status,
			plain->status);
	assert_false(now->runs[PAIR_SOURCE] && now->runs[PAIR_TARGET]);
	/* The machine runs somewhere, if it did without. */
	assert_true(now->runs[PAIR_SOURCE] || now->runs[PAIR_TARGET] ||
		    !(plain->runs[PAIR_SOURCE] || plain->runs[PAIR_TARGET]));
	assert_true(now->running[PAIR_SOURCE] + now->running[PAIR_TARGET] >=
		    plain->running[PAIR_SOURCE] + plain->running[PAIR_TARGET]);
	for (unsigned side = 0; side < PAIR_SIDES; side++) {
		if (plain->alive[side])
			assert_true(now->alive[side]);
		assert_true(now->resets[side] <= plain->resets[side]);
	}
	assert_int_equal(now->refused, plain->refused);
	assert_true(now->order_violations <= plain->order_violations);
	assert_true(now->p2p_violations <= plain->p2p_violations);
	assert_true(now->state_mismatches <= plain->state_mismatches);
	/* Whatever failed, the library had predicted the requests. */
	assert_int_equal(now->surprises, 0);
	if (plain_completed && plain->state_equal)
		assert_true(now->state_equal);
}

static void compare(void **state)
{
	const struct scenario *s = *state;
	struct outcome plain = run(s, pair_vmm_named("qemu"));

	/* "At least as well" means nothing if plain QEMU fails. */
	assert_int_equal(plain.runs[PAIR_SOURCE] + plain.runs[PAIR_TARGET], s->nobody ? 0 : 1);
	if (other != pair_vmm_named("qemu")) {
		struct outcome now = run(s, other);

		no_worse(&plain, &now);
	}
}

static int teardown(void **state)
{
	(void)state;
	held_stop(&held);
	return bed_teardown(NULL);
}

/* The cases */

#define FAIL(arc) "arc=" arc ":fail=EIO,x1"
#define HELD	  .fault = "arc=PRE_COPY_P2P->STOP_COPY:slow=1500,x1"
/* Plain QEMU stops the last device first, and starts the first one first. */
#define ARC(name, where, which, what)                                                              \
	{                                                                                          \
		.says = name, .side = where, .device = which, .fault = what                        \
	}

static const struct scenario scenarios[] = {
	ARC("source_to_p2p_fails_on_the_first_asked", PAIR_SOURCE, DEVICES - 1,
		FAIL("PRE_COPY->PRE_COPY_P2P")),
	ARC("source_to_p2p_fails_on_the_last_asked", PAIR_SOURCE, 0,
		FAIL("PRE_COPY->PRE_COPY_P2P")),
	ARC("source_to_stop_copy_fails_on_the_first_asked", PAIR_SOURCE, DEVICES - 1,
		FAIL("PRE_COPY_P2P->STOP_COPY")),
	ARC("source_to_stop_copy_fails_on_the_last_asked", PAIR_SOURCE, 0,
		FAIL("PRE_COPY_P2P->STOP_COPY")),
	ARC("source_to_stop_copy_ends_in_error", PAIR_SOURCE, 1,
		"arc=PRE_COPY_P2P->STOP_COPY:error=EIO,x1"),
	ARC("source_is_slow_to_stop_copy", PAIR_SOURCE, 1,
		"arc=PRE_COPY_P2P->STOP_COPY:slow=2000,x1"),
	ARC("source_saving_breaks", PAIR_SOURCE, 1, "save:break@40000=EIO"),
	ARC("target_load_is_refused_at_a_write", PAIR_TARGET, 1, "load:fail@40000=EIO,x1"),
	ARC("target_load_fails_on_the_first_asked", PAIR_TARGET, 0, FAIL("RESUMING->STOP")),
	ARC("target_load_fails_on_the_last_asked", PAIR_TARGET, DEVICES - 1,
		FAIL("RESUMING->STOP")),
	ARC("target_to_p2p_fails", PAIR_TARGET, 1, FAIL("STOP->RUNNING_P2P")),
	ARC("target_to_running_fails_on_the_first_asked", PAIR_TARGET, 0,
		FAIL("RUNNING_P2P->RUNNING")),
	ARC("target_to_running_fails_on_the_last_asked", PAIR_TARGET, DEVICES - 1,
		FAIL("RUNNING_P2P->RUNNING")),
	ARC("target_to_running_ends_in_error", PAIR_TARGET, 1,
		"arc=RUNNING_P2P->RUNNING:error=EIO,x1"),
	{.says = "life_cancel_before_the_stop", .early = cancel},
	{.says = "life_cancel_in_the_stop", HELD, .late = cancel_in_the_middle},
	{.says = "life_cancel_in_the_stop_and_again",
		HELD,
		.late = cancel_in_the_middle,
		.after = try_again},
	{.says = "life_target_killed_in_the_stop", HELD, .late = kill_target},
	{.says = "life_target_killed_in_the_stop_and_again",
		HELD,
		.late = kill_target,
		.after = try_again},
	{.says = "life_source_killed_in_the_stop", HELD, .late = kill_source, .nobody = true},
	{.says = "life_paused_and_continued_before", .before = pause_and_continue},
	{.says = "life_paused_and_continued_in_pre_copy", .early = pause_and_continue},
	{.says = "life_stopped_and_continued_on_the_target",
		.before = pause_source,
		.after = continue_target},
	{.says = "life_stopped_saved_and_continued_on_the_source",
		.before = pause_source,
		.after = continue_source},
	{.says = "life_reset_in_pre_copy", .early = reset_source},
	{.says = "life_unplug_in_pre_copy", .early = unplug_source},
};

/* lab-qemu-faults VMM [PATTERN]: the cases whose name fits the pattern, such as 'source_*' */
int main(int argc, char **argv)
{
	struct CMUnitTest tests[SWO_ARRAY_SIZE(scenarios)];

	other = pair_vmm_named(argc > 1 ? argv[1] : "");
	if (!other || argc > 3) {
		fprintf(stderr, "no VMM '%s'\n", argc > 1 ? argv[1] : "");
		return 2;
	}
	for (size_t i = 0; i < SWO_ARRAY_SIZE(scenarios); i++)
		tests[i] = (struct CMUnitTest){.name = scenarios[i].says,
			.test_func = compare,
			.teardown_func = teardown,
			.initial_state = (void *)&scenarios[i]};
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	process_init();
	return cmocka_run_group_tests_name("faults", tests, NULL, NULL) ? 1 : 0;
}
