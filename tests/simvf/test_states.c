/* SPDX-License-Identifier: BSD-3-Clause */
/* The model's migration states: every pair, every set of flags, every cost and fault of an arc. */
#include "rig.h"

#define E SVF_ERROR
#define S SVF_STOP
#define R SVF_RUNNING
#define C SVF_STOP_COPY
#define L SVF_RESUMING
#define Q SVF_RUNNING_P2P
#define P SVF_PRE_COPY
#define K SVF_PRE_COPY_P2P

/*
 * The first step from row to column with all features offered, ERROR for a refusal. Facts of
 * the uAPI, written by hand and not by the model's search.
 */
static const unsigned first_step[8][8] = {
	/*       E  S  R  C  L  Q  P  K */
	[E] = {E, E, E, E, E, E, E, E},
	[S] = {E, S, Q, C, L, Q, Q, Q},
	[R] = {E, Q, R, Q, Q, Q, P, Q},
	[C] = {E, S, S, C, S, S, E, E},
	[L] = {E, S, S, S, L, S, S, S},
	[Q] = {E, S, R, S, S, Q, R, K},
	[P] = {E, R, R, K, R, R, P, K},
	[K] = {E, Q, Q, C, Q, Q, P, K},
};

static bool offered(unsigned state, unsigned flags)
{
	if (state == E)
		return false;
	if ((state == Q || state == K) && !(flags & SVF_MIG_P2P))
		return false;
	return (state != P && state != K) || (flags & SVF_MIG_PRE_COPY);
}

static int expected(unsigned from, unsigned to, unsigned flags)
{
	unsigned at = from;

	if (!offered(from, flags) || !offered(to, flags))
		return -SVF_EINVAL;
	do
		at = first_step[at][to];
	while (at != E && !offered(at, flags));
	return at == E ? -SVF_EINVAL : (int)at;
}

static const unsigned flag_sets[] = {1, 1 | 2, 1 | 4, 1 | 2 | 4};

static void every_pair_takes_the_uapis_next_arc_under_all_flags(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 4; f++)
		for (unsigned from = 0; from < 8; from++)
			for (unsigned to = 0; to < 8; to++)
				assert_int_equal(svf_next_state(from, to, flag_sets[f]),
					expected(from, to, flag_sets[f]));
	assert_int_equal(svf_next_state(8, R, 7), -SVF_EINVAL);
	assert_int_equal(svf_next_state(R, 8, 7), -SVF_EINVAL);
	assert_int_equal(svf_next_state(R, UINT32_MAX, 7), -SVF_EINVAL);
}

/* Goes into a state by legal arcs; RESUMING has a valid stream loaded. */
static void put_into(struct rig *rig, unsigned state)
{
	struct bytes stream = {0};

	if (state == L) {
		assert_int_equal(rig_go(rig, C), 0);
		assert_int_equal(rig_read_all(rig, &stream, 65536), 0);
	}
	assert_int_equal(rig_go(rig, state), 0);
	if (state == L)
		assert_int_equal(rig_write_all(rig, stream.data, stream.len, 65536), 0);
	free(stream.data);
}

static void a_path_ends_where_the_table_leads_or_does_not_start(void **state)
{
	(void)state;
	struct svf_profile profile = rig_profile(8 * 4096, 50);

	for (unsigned f = 0; f < 4; f++)
		for (unsigned from = 1; from < 8; from++)
			for (unsigned to = 0; to < 9; to++) {
				struct rig *rig;
				int want;

				if (!offered(from, flag_sets[f]))
					continue;
				rig = rig_new(&profile, flag_sets[f], 1);
				put_into(rig, from);
				want = to < 8 ? expected(from, to, flag_sets[f]) : -SVF_EINVAL;
				assert_int_equal(rig_go(rig, to), want < 0 ? want : 0);
				assert_int_equal(rig->dev.state, want < 0 ? from : to);
				rig_free(rig);
			}
}

static void reset_in_any_state_gives_a_running_device_like_new(void **state)
{
	(void)state;
	struct svf_profile profile = rig_profile(8 * 4096, 50);

	for (unsigned from = 1; from < 8; from++) {
		struct rig *rig = rig_new(&profile, 7, 1);
		uint64_t fresh = rig->dev.version_sum;

		rig_doorbell(rig, 3, 1);
		put_into(rig, from);
		assert_true(rig->dev.version_sum != fresh || from == L);
		svf_reset(&rig->dev, rig->now);
		assert_int_equal(rig->dev.state, R);
		assert_int_equal(rig->dev.version_sum, fresh);
		assert_int_equal(rig_get(rig, SIMVF_REG_DOORBELLS, 8), 0);
		assert_int_equal(rig->dev.stats.resets, 1);
		assert_int_equal(rig_go(rig, C), 0);
		rig_free(rig);
	}
}

static struct svf_profile slow_profile(void)
{
	struct svf_profile p = rig_profile(4096, 0);

	p.to_p2p_ns = 1 * MS;
	p.to_stop_copy_ns = 10 * MS;
	p.resuming_to_stop_ns = 100 * MS;
	p.to_running_p2p_ns = 1000 * MS;
	p.to_running_ns = 10000 * MS;
	return p;
}

static void arcs_cost_what_the_profile_says(void **state)
{
	(void)state;
	static const struct {
		unsigned from, to;
		uint64_t ms;
	} walks[] = {{R, P, 0}, {P, K, 1}, {K, C, 10}, {C, S, 0}, {S, Q, 1000}, {Q, R, 10000},
		{R, S, 11}, {S, R, 11000}, {R, C, 11}, {C, R, 11000}, {P, R, 0}, {K, P, 10000},
		{K, Q, 0}, {S, C, 0}, {S, L, 0}, {L, S, 100}, {L, R, 11100}, {P, C, 11}};
	struct svf_profile profile = slow_profile();

	for (unsigned f = 0; f < 2; f++)
		for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
			struct rig *rig;
			uint64_t start;

			if (f && (walks[i].from == K || walks[i].to == K || walks[i].from == Q ||
					 walks[i].to == Q))
				continue;
			rig = rig_new(&profile, f ? 5 : 7, 1);
			put_into(rig, walks[i].from);
			start = rig->now;
			assert_int_equal(rig_go(rig, walks[i].to), 0);
			assert_int_equal(rig->now - start, walks[i].ms * MS);
			rig_free(rig);
		}
}

static uint64_t reserved_at, reserved_for;

static uint64_t reserve(void *opaque, enum svf_lane lane, uint64_t earliest, uint64_t duration)
{
	(void)opaque;
	if (lane != SVF_LANE_ARC)
		return earliest + duration;
	reserved_at = earliest;
	reserved_for = duration;
	return earliest + 7 * MS + duration; /* after another reservation */
}

static void arcs_share_a_lane_only_if_configured(void **state)
{
	(void)state;
	struct svf_profile profile = slow_profile();
	struct svf_ops ops = rig_ops;

	ops.reserve = reserve;
	for (unsigned shared = 0; shared < 2; shared++) {
		struct rig *rig = rig_new(&profile, 7, 1);
		uint64_t start = rig->now;

		rig->dev.config.ops = &ops;
		rig->dev.config.arcs_reserve = shared;
		assert_int_equal(rig_go(rig, Q), 0);
		assert_int_equal(rig->now - start, shared ? 8 * MS : 1 * MS);
		assert_int_equal(reserved_at, shared ? start : 0);
		assert_int_equal(reserved_for, shared ? 1 * MS : 0);
		rig_free(rig);
	}
}

static struct rig *with_fault(const char *spec)
{
	struct svf_profile profile = slow_profile();
	struct rig *rig = rig_new(&profile, 7, 1);
	struct svf_fault fault;
	const char *why;

	assert_true(svf_fault_parse(spec, &fault, &why));
	assert_int_equal(svf_add_fault(&rig->dev, &fault), 0);
	return rig;
}

static void a_failing_arc_leaves_the_device_where_it_stands(void **state)
{
	(void)state;
	struct rig *rig = with_fault("arc=RUNNING_P2P->STOP:fail=ENOSPC,x1");

	assert_int_equal(rig_go(rig, S), -SVF_ENOSPC);
	assert_int_equal(rig->dev.state, Q);
	assert_int_equal(rig->dev.stats.arcs[Q][S].errors, 1);
	assert_int_equal(rig->dev.stats.arcs[Q][S].count, 0);
	assert_int_equal(rig_go(rig, S), 0); /* x1: only once */
	assert_int_equal(rig->dev.stats.arcs[Q][S].count, 1);
	rig_free(rig);
}

static void an_arc_into_error_is_left_by_reset_only(void **state)
{
	(void)state;
	struct rig *rig = with_fault("arc=*->STOP:error");

	assert_int_equal(rig_go(rig, S), -SVF_EIO);
	assert_int_equal(rig->dev.state, E);
	for (unsigned to = 0; to < 8; to++)
		assert_int_equal(rig_go(rig, to), -SVF_EINVAL);
	svf_reset(&rig->dev, rig->now);
	assert_int_equal(rig->dev.state, R);
	rig_free(rig);
}

static void a_hung_arc_ends_when_it_is_released(void **state)
{
	(void)state;
	struct rig *rig = with_fault("arc=RUNNING->RUNNING_P2P:hang");

	assert_int_equal(svf_set_state(&rig->dev, Q, rig->now), SVF_PENDING);
	assert_true(svf_next(&rig->dev) == SVF_NEVER);
	rig->now += 3600 * 1000 * MS;
	assert_int_equal(svf_advance(&rig->dev, rig->now), SVF_PENDING);
	assert_int_equal(svf_set_state(&rig->dev, R, rig->now), -SVF_EBUSY);
	svf_release(&rig->dev, rig->now);
	assert_int_equal(svf_advance(&rig->dev, rig->now), 0);
	assert_int_equal(rig->dev.state, Q);
	rig_free(rig);
}

static void a_slow_arc_takes_so_much_longer(void **state)
{
	(void)state;
	struct rig *rig = with_fault("arc=RUNNING->*:slow=500");
	uint64_t start = rig->now;

	assert_int_equal(rig_go(rig, Q), 0);
	assert_int_equal(rig->now - start, 501 * MS);
	rig_free(rig);
}

static void an_arc_can_end_the_process_or_the_connection(void **state)
{
	(void)state;
	struct rig *rig = with_fault("die@arc=RUNNING_P2P->RUNNING");

	assert_int_equal(rig_go(rig, Q), 0);
	assert_int_equal(rig->dies, 0);
	assert_int_equal(rig_go(rig, R), 0);
	assert_int_equal(rig->dies, 1);
	rig_free(rig);
	rig = with_fault("socket:close@arc=*->RUNNING_P2P");
	assert_int_equal(rig_go(rig, Q), 0);
	assert_int_equal(rig->closes, 1);
	rig_free(rig);
}

static void a_device_that_resets_itself_as_an_arc_ends_has_reported_the_arc(void **state)
{
	(void)state;
	struct rig *rig = with_fault("reset@arc=RUNNING_P2P->STOP,x1");

	assert_int_equal(rig_go(rig, Q), 0);
	rig->dev.regs.doorbells = 7;
	assert_int_equal(rig_go(rig, S), 0);
	assert_int_equal(rig->dev.state, R);
	assert_int_equal(rig->dev.regs.doorbells, 0);
	assert_int_equal(rig->dev.stats.resets, 1);
	assert_int_equal(rig->dev.stats.fault_hits, 1);
	/* On the way to another state it cannot have reported anything but a failure. */
	rig_free(rig);
	rig = with_fault("reset@arc=RUNNING->RUNNING_P2P,x1");
	assert_int_equal(rig_go(rig, S), -SVF_EIO);
	assert_int_equal(rig->dev.state, R);
	assert_int_equal(rig_go(rig, S), 0);
	rig_free(rig);
}

static void a_call_of_the_log_fails_or_waits(void **state)
{
	(void)state;
	struct rig *rig = with_fault("log=report@RUNNING_P2P:hang,x1");

	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_START, rig->now), 0);
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_REPORT, rig->now), 0);
	assert_int_equal(rig_go(rig, Q), 0);
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_REPORT, rig->now), SVF_PENDING);
	rig->now += 3600 * 1000 * MS;
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_REPORT, rig->now), SVF_PENDING);
	svf_release(&rig->dev, rig->now);
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_REPORT, rig->now), 0);
	assert_int_equal(rig->dev.stats.fault_hits, 1);
	rig_free(rig);
	rig = with_fault("log=stop:fail=ENOSPC,x1");
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_STOP, rig->now), -SVF_ENOSPC);
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_STOP, rig->now), 0);
	rig_free(rig);
	rig = with_fault("log=start:slow=30");
	uint64_t start = rig->now;

	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_START, rig->now), SVF_PENDING);
	assert_int_equal(svf_next(&rig->dev) - start, 30 * MS);
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_START, start + 30 * MS), 0);
	/* The client has gone: the hold ends with its call. */
	assert_int_equal(svf_log_enter(&rig->dev, SVF_LOG_START, rig->now), SVF_PENDING);
	svf_abandon(&rig->dev);
	assert_true(svf_next(&rig->dev) == SVF_NEVER);
	rig_free(rig);
}

static void a_fault_spec_is_accepted_or_refused_completely(void **state)
{
	(void)state;
	static const char *const good[] = {"arc=PRE_COPY_P2P->STOP_COPY:fail",
		"arc=*->*:fail=22,x3", "arc=STOP->RESUMING:slow=0", "save:break",
		"save:break@7=EIO", "save:short@10,x1", "save:corrupt@0", "load:fail@4096=ENOMEM",
		"load:refuse", "die@doorbell=5", "die@save=1", "socket:close@load=9,x2",
		"arc=STOP->STOP_COPY:die", "save:hang", "save:hang@7,x1", "load:slow=5@9",
		"log=start:fail", "log=report@STOP_COPY:hang,x2", "log=stop:slow=7",
		"reset@arc=*->STOP", "reset@save=5", "reset@doorbell=9,x1"};
	static const char *const bad[] = {"", "arc", "arc=", "arc=STOP", "arc=STOP->:fail",
		"arc=STOP->RUNNING", "arc=STOP->RUNNING:", "arc=STOP->RUNNING:slow",
		"arc=STOP->RUNNING:slow=x", "arc=STOP->RUNNING:fail=EWHAT",
		"arc=STOP->RUNNING:fail=0", "arc=STOP->RUNNING:hang,x0", "arc=STOP->RUNNIN:hang",
		"arc=STOP->RUNNING:hang,", "arc=STOP->RUNNING:hang x2", "save:short",
		"save:corrupt", "save:fail", "load:break", "load:fail@", "die@", "die@doorbell",
		"die@doorbell=x", "socket:close", "save:break@99999999999999999999",
		"arc=STOP->RUNNING:fail=99999", "save:slow", "save:slow=x", "save:hang=EIO",
		"load:slow@7", "log", "log=", "log=report", "log=begin:fail", "log=report@:fail",
		"log=report@STOPPED:fail", "log=stop:die", "log=stop:slow", "reset@", "reset"};
	struct svf_fault fault;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const char *why = NULL;

		assert_true(svf_fault_parse(good[i], &fault, &why));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *why = NULL;

		if (svf_fault_parse(bad[i], &fault, &why))
			fail_msg("'%s' was accepted", bad[i]);
		assert_non_null(why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_takes_the_uapis_next_arc_under_all_flags),
		cmocka_unit_test(a_path_ends_where_the_table_leads_or_does_not_start),
		cmocka_unit_test(reset_in_any_state_gives_a_running_device_like_new),
		cmocka_unit_test(arcs_cost_what_the_profile_says),
		cmocka_unit_test(arcs_share_a_lane_only_if_configured),
		cmocka_unit_test(a_failing_arc_leaves_the_device_where_it_stands),
		cmocka_unit_test(an_arc_into_error_is_left_by_reset_only),
		cmocka_unit_test(a_hung_arc_ends_when_it_is_released),
		cmocka_unit_test(a_slow_arc_takes_so_much_longer),
		cmocka_unit_test(an_arc_can_end_the_process_or_the_connection),
		cmocka_unit_test(a_device_that_resets_itself_as_an_arc_ends_has_reported_the_arc),
		cmocka_unit_test(a_call_of_the_log_fails_or_waits),
		cmocka_unit_test(a_fault_spec_is_accepted_or_refused_completely),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
