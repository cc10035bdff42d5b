/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of next hops: over all pairs and all sets of flags, against a search over single
 * arcs that implements only the rules of the uAPI's text.
 */
#include "switchover/device.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <string.h>

enum {
	ERR = SWO_DEVICE_ERROR,
	S = SWO_DEVICE_STOP,
	R = SWO_DEVICE_RUNNING,
	SC = SWO_DEVICE_STOP_COPY,
	RS = SWO_DEVICE_RESUMING,
	RP = SWO_DEVICE_RUNNING_P2P,
	P = SWO_DEVICE_PRE_COPY,
	PP = SWO_DEVICE_PRE_COPY_P2P
};

static const uint64_t all_flags[] = {
	SWO_MIG_STOP_COPY,
	SWO_MIG_STOP_COPY | SWO_MIG_P2P,
	SWO_MIG_STOP_COPY | SWO_MIG_PRE_COPY,
	SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY,
};

/* The oracle */

/* A single arc, the flags it needs, and those with which it does not exist. */
static const struct rule {
	int from, to;
	bool both_ways;
	uint64_t needs, not_with;
} rules[] = {
	{RS, S, true, 0, 0},
	{S, SC, true, 0, 0},
	{R, S, true, 0, SWO_MIG_P2P},
	{R, RP, true, SWO_MIG_P2P, 0},
	{RP, S, true, SWO_MIG_P2P, 0},
	{R, P, true, SWO_MIG_PRE_COPY, 0},
	{P, SC, false, SWO_MIG_PRE_COPY, SWO_MIG_P2P},
	{P, PP, true, SWO_MIG_PRE_COPY | SWO_MIG_P2P, 0},
	{RP, PP, true, SWO_MIG_PRE_COPY | SWO_MIG_P2P, 0},
	{PP, SC, false, SWO_MIG_PRE_COPY | SWO_MIG_P2P, 0},
};

static bool is_arc(int from, int to, uint64_t flags)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(rules); i++) {
		const struct rule *r = &rules[i];
		bool hit = (r->from == from && r->to == to) ||
			   (r->both_ways && r->from == to && r->to == from);

		if (hit && (flags & r->needs) == r->needs && !(flags & r->not_with))
			return true;
	}
	return false;
}

static bool is_saving(int state)
{
	return state == P || state == PP || state == SC;
}

/*
 * Steps from each state to `to`, or -1. Saving states are ends of a path, never inside it;
 * between two saving states the path stays inside the group.
 */
static void distances(int from, int to, uint64_t flags, int dist[SWO_DEVICE_STATES])
{
	bool within = is_saving(from) && is_saving(to);

	for (int i = 0; i < SWO_DEVICE_STATES; i++)
		dist[i] = -1;
	dist[to] = 0;
	for (int d = 0; d < SWO_DEVICE_STATES; d++)
		for (int a = 0; a < SWO_DEVICE_STATES; a++)
			for (int b = 0; b < SWO_DEVICE_STATES; b++) {
				if (dist[b] != d || dist[a] >= 0 || !is_arc(a, b, flags))
					continue;
				if (within ? !is_saving(a) : is_saving(a) && a != from)
					continue;
				dist[a] = d + 1;
			}
}

/* The cases */

static void every_pair_takes_the_shortest_legal_path(void **state)
{
	(void)state;
	int pairs = 0;

	for (size_t f = 0; f < SWO_ARRAY_SIZE(all_flags); f++)
		for (int from = 0; from < SWO_DEVICE_STATES; from++)
			for (int to = 0; to < SWO_DEVICE_STATES; to++) {
				uint64_t flags = all_flags[f];
				enum swo_device_state next = SWO_DEVICE_ERROR;
				int dist[SWO_DEVICE_STATES];
				int rc = swo_device_next_state((enum swo_device_state)from,
					(enum swo_device_state)to, flags, &next);

				pairs++;
				distances(from, to, flags, dist);
				bool exists = from != ERR && to != ERR &&
					      swo_device_state_supported(
						      (enum swo_device_state)from, flags) &&
					      swo_device_state_supported(
						      (enum swo_device_state)to, flags) &&
					      dist[from] >= 0;
				assert_int_equal(rc, exists ? 0 : -1);
				if (!exists)
					continue;
				if (from == to) {
					assert_int_equal(next, to);
					continue;
				}
				assert_true(is_arc(from, (int)next, flags));
				assert_int_equal(dist[next], dist[from] - 1);
			}
	assert_int_equal(pairs, 8 * 8 * 4);
}

static void with_every_flag_the_table_is_the_kernels(void **state)
{
	(void)state;
	/* Rows: now; columns: wanted; ERR: refused. */
	static const int order[] = {S, R, P, PP, SC, RS, RP};
	static const int table[7][7] = {
		{S, RP, RP, RP, SC, RS, RP},
		{RP, R, P, RP, RP, RP, RP},
		{R, R, P, PP, PP, R, R},
		{RP, RP, P, PP, SC, RP, RP},
		{S, S, ERR, ERR, SC, S, S},
		{S, S, S, S, S, RS, S},
		{S, R, R, PP, S, S, RP},
	};

	for (int i = 0; i < 7; i++)
		for (int j = 0; j < 7; j++) {
			enum swo_device_state next = SWO_DEVICE_ERROR;
			int rc = swo_device_next_state((enum swo_device_state)order[i],
				(enum swo_device_state)order[j], all_flags[3], &next);

			assert_int_equal(rc, table[i][j] == ERR ? -1 : 0);
			assert_int_equal(next, table[i][j]);
		}
}

static void every_walk_arrives(void **state)
{
	(void)state;
	for (size_t f = 0; f < SWO_ARRAY_SIZE(all_flags); f++)
		for (int from = 0; from < SWO_DEVICE_STATES; from++)
			for (int to = 0; to < SWO_DEVICE_STATES; to++) {
				enum swo_device_state at = (enum swo_device_state)from;
				int dist[SWO_DEVICE_STATES], steps = 0;

				if (swo_device_next_state(
					    at, (enum swo_device_state)to, all_flags[f], &at))
					continue;
				distances(from, to, all_flags[f], dist);
				for (steps = from != to; (int)at != to; steps++) {
					assert_true(steps < SWO_DEVICE_STATES);
					assert_int_equal(
						swo_device_next_state(at, (enum swo_device_state)to,
							all_flags[f], &at),
						0);
				}
				assert_int_equal(steps, dist[from]);
			}
}

static void an_invalid_state_has_no_path_and_no_name(void **state)
{
	(void)state;
	enum swo_device_state next;

	assert_int_equal(swo_device_next_state(
				 (enum swo_device_state)8, SWO_DEVICE_STOP, all_flags[3], &next),
		-1);
	assert_int_equal(swo_device_next_state(
				 SWO_DEVICE_STOP, (enum swo_device_state) - 1, all_flags[3], &next),
		-1);
	assert_string_equal(swo_device_state_name((enum swo_device_state)8), "unknown");
	assert_string_equal(swo_device_state_name((enum swo_device_state) - 1), "unknown");
	assert_false(swo_device_state_supported((enum swo_device_state)8, all_flags[3]));
}

static void flags_decide_which_states_there_are(void **state)
{
	(void)state;
	static const struct {
		int state;
		bool there[4]; /* in the order of all_flags */
	} want[] = {
		{ERR, {true, true, true, true}},
		{S, {true, true, true, true}},
		{R, {true, true, true, true}},
		{SC, {true, true, true, true}},
		{RS, {true, true, true, true}},
		{RP, {false, true, false, true}},
		{P, {false, false, true, true}},
		{PP, {false, false, false, true}},
	};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(want); i++)
		for (size_t f = 0; f < SWO_ARRAY_SIZE(all_flags); f++)
			assert_int_equal(
				swo_device_state_supported(
					(enum swo_device_state)want[i].state, all_flags[f]),
				want[i].there[f]);
	assert_false(swo_device_state_supported(SWO_DEVICE_RUNNING, 0));
}

static void states_have_the_uapis_names_and_numbers(void **state)
{
	(void)state;
	static const char *const names[] = {"ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING",
		"RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P"};

	for (int i = 0; i < SWO_DEVICE_STATES; i++) {
		assert_string_equal(swo_device_state_name((enum swo_device_state)i), names[i]);
		assert_int_equal(swo_device_state_parse(names[i], strlen(names[i])), i);
		/* Neither a beginning of a name nor more than one. */
		assert_int_equal(
			swo_device_state_parse(names[i], strlen(names[i]) - 1), SWO_DEVICE_STATES);
	}
	assert_int_equal(swo_device_state_parse("STOP_COPY", 4), SWO_DEVICE_STOP);
	assert_int_equal(swo_device_state_parse("stop", 4), SWO_DEVICE_STATES);
	assert_int_equal(swo_device_state_parse("", 0), SWO_DEVICE_STATES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_takes_the_shortest_legal_path),
		cmocka_unit_test(with_every_flag_the_table_is_the_kernels),
		cmocka_unit_test(every_walk_arrives),
		cmocka_unit_test(an_invalid_state_has_no_path_and_no_name),
		cmocka_unit_test(flags_decide_which_states_there_are),
		cmocka_unit_test(states_have_the_uapis_names_and_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
