/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that writes faster than the link carries: what its user sees, and that the migration ends
 * as its parameters require. The "vCPU" writes all of RAM again in some 100 ms.
 */
#include "migration/internal.h"
#include "outcome.h"
#include "testbed/link.h"

#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct pair {
	struct fake_vm source, target;
	struct link *link; /* NULL: before migrate */
};

static void open_pair(struct pair *pair, unsigned devices)
{
	struct swo_ram_region *region;

	pair->link = NULL;
	fake_vm_open(&pair->source, devices, true, 100000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair->target, devices, false, 100000, SWO_TRANSITIONS_PARALLEL);
	pair->target.vm.autostart = false;
	region = swo_ram_region(pair->source.vm.ram, 0);
	memset(region->host, 0x5a, region->size);
}

static void close_pair(struct pair *pair)
{
	fake_vm_close(&pair->source);
	fake_vm_close(&pair->target);
	if (pair->link)
		link_stop(pair->link);
}

/* Over a link that carries 20 MiB/s. */
static void migrate(struct pair *pair, const struct swo_migration_params *params)
{
	char there[128], here[128];
	struct swo_error err = {0};

	strcpy(there, fake_uri());
	strcpy(here, fake_uri());
	pair->link = link_start(here, there, NULL);
	assert_non_null(pair->link);
	link_set_rate(pair->link, 20 * MIB);
	if (swo_migration_receive(
		    &pair->target.vm, there, params, NULL, NULL, &pair->target.migration, &err) ||
		swo_migration_send(
			&pair->source.vm, here, params, NULL, NULL, &pair->source.migration, &err))
		fail_msg("%s", err.text);
}

/* RAM of 6 MiB takes a third of a second, and so does the stop: never within the limit. */
static struct swo_migration_params hopeless(void)
{
	struct swo_migration_params params = fake_params();

	params.downtime_limit_ms = 100;
	return params;
}

static struct swo_migration_info info_of(struct fake_vm *vm)
{
	struct swo_migration_info info;

	swo_migration_info(vm->migration, &info);
	return info;
}

static void expect_failed(struct pair *pair, const char *words)
{
	const struct swo_migration_info info = fake_end(&pair->source);

	fake_end(&pair->target);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_int_equal(info.error.code, SWO_E_TIMEOUT);
	if (!strstr(info.error.text, words) || !strstr(info.error.text, "the guest dirties") ||
		!strstr(info.error.text, "downtime-limit"))
		fail_msg("unexpected error: %s", info.error.text);
	assert_int_equal(info.downtime_ns, 0);
	assert_true(fake_vm_runs(&pair->source));
	assert_int_equal(swo_runstate_get(pair->source.vm.runstate), SWO_RUN_STATE_RUNNING);
	assert_int_equal(atomic_load(&pair->target.starts), 0);
}

static struct swo_migration_info expect_arrived_whole(struct pair *pair)
{
	const struct swo_migration_info info = expect_arrived(&pair->source, &pair->target, false);

	assert_int_equal(swo_ram_hash(pair->source.vm.ram), swo_ram_hash(pair->target.vm.ram));
	return info;
}

/* Timeouts */

static void a_timeout_ends_the_migration_in_the_middle_of_a_pass(void **state)
{
	(void)state;
	struct swo_migration_params params = hopeless();
	static struct pair pair;

	open_pair(&pair, 1);
	params.max_bandwidth = MIB / 4; /* the first pass would take 24 s */
	params.converge.timeout_ms = 300;
	migrate(&pair, &params);
	expect_failed(&pair, "within the timeout of 300 ms");
	assert_true(info_of(&pair.source).ram_passes == 1);
	close_pair(&pair);
}

static void a_timeout_that_forces_switches_over_in_the_middle_of_a_pass(void **state)
{
	(void)state;
	for (unsigned devices = 0; devices <= 2; devices += 2) {
		struct swo_migration_params params = hopeless();
		static struct pair pair;

		open_pair(&pair, devices);
		params.max_bandwidth = MIB / 4;
		params.converge.timeout_ms = 300;
		params.converge.on_timeout = SWO_TIMEOUT_FORCE;
		migrate(&pair, &params);
		const struct swo_migration_info info = expect_arrived_whole(&pair);

		/* Not the whole of the pass: it was cut. */
		assert_true(info.end_ns - info.start_ns < UINT64_C(20000000000));
		assert_true(info.downtime_ns > 0);
		close_pair(&pair);
	}
}

static void take_time(struct fake_device *d, enum swo_device_state to)
{
	(void)d;
	if (to == SWO_DEVICE_STOP_COPY)
		usleep(100000);
}

static void a_forced_stop_is_still_under_the_ceiling(void **state)
{
	(void)state;
	struct swo_migration_params params = hopeless();
	static struct pair pair;

	open_pair(&pair, 1);
	pair.source.devices[0].inside_arc = take_time;
	params.downtime_ceiling_ms = 20;
	params.converge.timeout_ms = 200;
	params.converge.on_timeout = SWO_TIMEOUT_FORCE;
	migrate(&pair, &params);
	const struct swo_migration_info info = fake_end(&pair.source);

	fake_end(&pair.target);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "downtime-ceiling"));
	assert_true(fake_vm_runs(&pair.source));
	close_pair(&pair);
}

static void a_migration_that_does_not_converge_reports_it_and_its_rates(void **state)
{
	(void)state;
	struct swo_migration_params params = hopeless();
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	struct swo_migration_limits limits = {.size = sizeof(limits)};
	struct swo_migration_info info;
	static struct pair pair;

	open_pair(&pair, 0);
	migrate(&pair, &params);
	do {
		assert_false(swo_deadline_passed(guard));
		usleep(10000);
		info = info_of(&pair.source);
		assert_int_equal(info.status <= SWO_MIGRATION_ACTIVE, 1);
	} while (!info.stalled);
	assert_true(info.dirty_rate > 0 && info.rate > 0);
	assert_int_equal(info.throttle_percent, 0);
	/* It would go on for ever; what ends it can be set now. */
	assert_int_equal(swo_migration_get_limits(pair.source.migration, &limits, NULL), 0);
	limits.converge.stall_timeout_ms = 1;
	assert_int_equal(swo_migration_set_limits(pair.source.migration, &limits, NULL), 0);
	expect_failed(&pair, "within the stall-timeout of 1 ms");
	assert_int_equal(atomic_load(&pair.source.throttle_calls), 0);
	close_pair(&pair);
}

/* Auto-converge */

static struct swo_migration_params throttling(void)
{
	struct swo_migration_params params = hopeless();

	params.converge.auto_converge = true;
	/* Hopeless but for the last step. */
	params.converge.throttle_initial = 9;
	params.converge.throttle_increment = 91;
	return params;
}

static void throttling_the_vcpus_makes_it_converge(void **state)
{
	(void)state;
	struct swo_migration_params params = throttling();
	static struct pair pair;

	open_pair(&pair, 0);
	migrate(&pair, &params);
	expect_arrived_whole(&pair);
	/* As set, not above the most, and not for longer than the migration. */
	assert_int_equal(atomic_load(&pair.source.throttle_calls), 3);
	assert_int_equal(pair.source.throttles[0], 9);
	assert_int_equal(pair.source.throttles[1], 99);
	assert_int_equal(pair.source.throttles[2], 0);
	assert_int_equal(info_of(&pair.source).throttle_percent, 0);
	close_pair(&pair);
}

static void a_cancelled_or_failed_migration_leaves_no_throttling(void **state)
{
	(void)state;
	for (int fails = 0; fails < 2; fails++) {
		struct swo_migration_params params = throttling();
		swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
		static struct pair pair;

		open_pair(&pair, 0);
		params.converge.throttle_increment = 1;
		pair.source.fail_stop = fails;
		migrate(&pair, &params);
		while (!info_of(&pair.source).throttle_percent) {
			assert_false(swo_deadline_passed(guard));
			usleep(1000);
		}
		if (fails) {
			struct swo_migration_limits limits = {.size = sizeof(limits)};

			assert_int_equal(
				swo_migration_get_limits(pair.source.migration, &limits, NULL), 0);
			limits.downtime_limit_ms = 60000;
			assert_int_equal(
				swo_migration_set_limits(pair.source.migration, &limits, NULL), 0);
		} else {
			assert_int_equal(swo_migration_cancel(pair.source.migration, NULL), 0);
		}
		const struct swo_migration_info info = fake_end(&pair.source);

		fake_end(&pair.target);
		assert_int_equal(
			info.status, fails ? SWO_MIGRATION_FAILED : SWO_MIGRATION_CANCELLED);
		assert_int_equal(info.throttle_percent, 0);
		assert_true(atomic_load(&pair.source.throttle_calls) >= 2);
		assert_int_equal(atomic_load(&pair.source.throttle), 0);
		assert_true(fake_vm_runs(&pair.source));
		close_pair(&pair);
	}
}

static void vcpus_that_cannot_be_throttled_are_refused_by_name(void **state)
{
	(void)state;
	struct swo_migration_params params = throttling();
	struct swo_migration *migration;
	struct swo_migration_limits limits = {.size = sizeof(limits)};
	struct swo_error err = {0};
	static struct pair pair;

	open_pair(&pair, 0);
	struct swo_vm_ops ops = *pair.source.vm.ops;

	ops.throttle = NULL;
	pair.source.vm.ops = &ops;
	assert_int_equal(swo_migration_send(&pair.source.vm, fake_uri(), &params, NULL, NULL,
				 &migration, &err),
		-1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_non_null(strstr(err.text, "swo_vm_ops.throttle"));
	/* Nor later; without it there is nothing to throttle. */
	params = hopeless();
	migrate(&pair, &params);
	assert_int_equal(swo_migration_get_limits(pair.source.migration, &limits, NULL), 0);
	limits.converge.auto_converge = true;
	assert_int_equal(swo_migration_set_limits(pair.source.migration, &limits, &err), -1);
	assert_non_null(strstr(err.text, "swo_vm_ops.throttle"));
	assert_int_equal(swo_migration_cancel(pair.source.migration, NULL), 0);
	fake_end(&pair.source);
	close_pair(&pair);
}

static void impossible_percentages_are_refused_with_their_range(void **state)
{
	(void)state;
	struct swo_migration_params params;
	struct swo_error err = {0};

	swo_migration_params_init(&params);
	assert_int_equal(params.converge.throttle_initial, 20);
	assert_int_equal(params.converge.throttle_increment, 10);
	assert_int_equal(params.converge.throttle_max, 99);
	params.converge.throttle_max = 100;
	assert_int_equal(swo_migration_params_check(&params, &err), -1);
	assert_string_equal(
		err.text, "parameter max-cpu-throttle is 100, but must be from 1 to 99");
	params.converge.throttle_max = 19;
	assert_int_equal(swo_migration_params_check(&params, &err), -1);
	assert_non_null(strstr(err.text, "from cpu-throttle-initial (20) to 99"));
	params.converge.throttle_initial = 19;
	assert_int_equal(swo_migration_params_check(&params, &err), 0);
	params.converge.throttle_increment = 0;
	assert_int_equal(swo_migration_params_check(&params, &err), -1);
	assert_non_null(strstr(err.text, "cpu-throttle-increment"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_timeout_ends_the_migration_in_the_middle_of_a_pass),
		cmocka_unit_test(a_timeout_that_forces_switches_over_in_the_middle_of_a_pass),
		cmocka_unit_test(a_forced_stop_is_still_under_the_ceiling),
		cmocka_unit_test(a_migration_that_does_not_converge_reports_it_and_its_rates),
		cmocka_unit_test(throttling_the_vcpus_makes_it_converge),
		cmocka_unit_test(a_cancelled_or_failed_migration_leaves_no_throttling),
		cmocka_unit_test(vcpus_that_cannot_be_throttled_are_refused_by_name),
		cmocka_unit_test(impossible_percentages_are_refused_with_their_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
