/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device state before the stop, with devices that behave as drivers do: an increment is saved only
 * when PRECOPY_INFO is requested, the size is that of the complete state, initial data comes again.
 */
#include "outcome.h"

#include "migration/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The lowest rate that an estimate counts, bytes/s. */
#define SLOWEST 100000

/* Of the only device. */
struct pair {
	struct fake_vm source, target;
	struct fake_device *here, *there;
	struct swo_migration_params params;
};

static void open_pair(struct pair *pair, size_t size, size_t precopy)
{
	fake_vm_open(&pair->source, 1, true, size, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair->target, 1, false, size, SWO_TRANSITIONS_PARALLEL);
	pair->here = &pair->source.devices[0];
	pair->there = &pair->target.devices[0];
	pair->here->precopy = pair->there->precopy = precopy;
	pair->params = fake_params();
	/* What RAM takes would blur what the device takes. */
	fake_vm_run(&pair->source, false);
}

static void set_increments(struct pair *pair, const size_t *increments, unsigned count)
{
	struct fake_device *sides[] = {pair->here, pair->there};

	for (unsigned i = 0; i < 2; i++) {
		sides[i]->increments = increments;
		sides[i]->increment_count = count;
	}
}

static void set_save_rate(struct pair *pair, uint64_t rate)
{
	struct swo_device_costs costs = {.save_rate = rate, .pf = -1};

	swo_device_expect(pair->source.table[0], &costs);
}

static void close_pair(struct pair *pair)
{
	fake_vm_close(&pair->source);
	fake_vm_close(&pair->target);
}

/* A guest that changes its device less and less. */
#define SHRINKING 23

static const size_t *shrinking(void)
{
	static size_t increments[SHRINKING];
	double bytes = 200000;

	for (unsigned i = 0; i < SHRINKING; i++, bytes *= 0.8)
		increments[i] = (size_t)bytes;
	return increments;
}

static void what_changes_is_requested_and_sent_in_every_round(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 220000, 220000);
	set_increments(&pair, shrinking(), SHRINKING);
	/* Too slow to be read after the stop: even the smallest would take 14 ms. */
	set_save_rate(&pair, SLOWEST);
	pair.params.downtime_limit_ms = 10;
	fake_migrate(&pair.source, &pair.target, &pair.params);
	struct swo_migration_info info = expect_arrived(&pair.source, &pair.target, true);

	/* With the first image 24 have been saved, all of them before the stop. */
	assert_int_equal(pair.here->increments_saved, SHRINKING);
	assert_true(pair.here->info_calls > SHRINKING);
	assert_int_equal(info.device_sent_stopped, 0);
	close_pair(&pair);
}

static void complete_size_is_not_what_is_left(void **state)
{
	(void)state;
	/* Too little to learn a rate from. It does not change; in the stop it would take 2.4 s. */
	const size_t size = 240000;
	static struct pair pair;

	open_pair(&pair, size, size);
	set_save_rate(&pair, SLOWEST);
	pair.params.downtime_limit_ms = 300;
	fake_migrate(&pair.source, &pair.target, &pair.params);
	struct swo_migration_info info = expect_arrived(&pair.source, &pair.target, true);

	assert_int_equal(info.device_sent, size);
	assert_int_equal(info.device_sent_stopped, 0);
	assert_true(info.predicted_downtime_ns < UINT64_C(300000000));
	close_pair(&pair);
}

/* As QAT and HiSilicon: pre-copy has a header only. Nor does a device without pre-copy send any. */
static void state_that_precopy_never_has_is_in_the_estimate(void **state)
{
	(void)state;
	for (int without = 0; without < 2; without++) {
		static struct pair pair;

		fake_vm_flags = without ? FAKE_FLAGS_ALL & ~SWO_MIG_PRE_COPY : FAKE_FLAGS_ALL;
		open_pair(&pair, 3 << 20, 4096);
		fake_vm_flags = FAKE_FLAGS_ALL;
		set_save_rate(&pair, 1 << 20);
		pair.params.downtime_limit_ms = 300;
		fake_migrate(&pair.source, &pair.target, &pair.params);
		struct swo_migration_info info = fake_end(&pair.source);

		assert_int_equal(info.status, SWO_MIGRATION_FAILED);
		assert_non_null(strstr(info.error.text, "its devices alone take about"));
		assert_in_range(info.predicted_downtime_ns / 1000000, 2900, 3300);
		assert_int_equal(atomic_load(&pair.source.starts), 0);
		fake_end(&pair.target);
		close_pair(&pair);
	}
}

/* What is not known */

static atomic_int sizeless, failed_sizes;

static void count_warnings(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level;
	if (strstr(text, "the state of 1 device of unknown size (vf0)"))
		atomic_fetch_add(&sizeless, 1);
	if (strstr(text, "MIG_DATA_SIZE") && strstr(text, "unknown"))
		atomic_fetch_add(&failed_sizes, 1);
}

static void unknown_size_is_reported_and_is_not_zero(void **state)
{
	(void)state;
	enum { KNOWN, NOT_OFFERED, FAILS, CASES };

	swo_log_set(SWO_LOG_WARN, count_warnings, NULL);
	for (int what = 0; what < CASES; what++) {
		static struct pair pair;

		fake_vm_flags = FAKE_FLAGS_ALL & ~SWO_MIG_PRE_COPY;
		open_pair(&pair, 300000, 0);
		fake_vm_flags = FAKE_FLAGS_ALL;
		atomic_store(&sizeless, 0);
		atomic_store(&failed_sizes, 0);
		set_save_rate(&pair, 0);
		pair.here->no_size = what == NOT_OFFERED;
		pair.here->fail_size = what == FAILS;
		fake_migrate(&pair.source, &pair.target, &pair.params);
		struct swo_migration_info info = expect_arrived(&pair.source, &pair.target, true);

		assert_int_equal(info.predicted_without, what != KNOWN);
		assert_int_equal(atomic_load(&sizeless), what != KNOWN);
		assert_int_equal(atomic_load(&failed_sizes), what == FAILS);
		close_pair(&pair);
	}
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
}

/* Initial data that comes again */

static atomic_bool stopped_early;

static void stop_before_all_is_loaded(struct fake_vm *source)
{
	struct fake_device *there = source->hook;

	pthread_mutex_lock(&there->group->mutex);
	if (there->hanging)
		atomic_store(&stopped_early, true);
	pthread_mutex_unlock(&there->group->mutex);
}

static void new_initial_data_is_loaded_before_the_stop(void **state)
{
	(void)state;
	static const size_t increments[] = {90000, 150000, 70000};
	static struct pair pair;

	open_pair(&pair, 220000, 220000);
	set_increments(&pair, increments, SWO_ARRAY_SIZE(increments));
	pair.here->reinit_at = 2;
	/* The first acknowledgement has come by then. */
	pair.there->hang_write_at = 220000 + 90000 + 150000;
	pair.source.hook = pair.there;
	pair.source.on_stop = stop_before_all_is_loaded;
	atomic_store(&stopped_early, false);
	/* Slow enough for a round for each, and for none but them. */
	set_save_rate(&pair, SLOWEST);
	pair.params.downtime_limit_ms = 500;
	fake_migrate(&pair.source, &pair.target, &pair.params);
	assert_true(fake_await_hang(pair.there));
	/* A source that does not wait would stop the VM at once. */
	swo_sleep_until(swo_deadline_ms(200));
	fake_release(pair.there);
	expect_arrived(&pair.source, &pair.target, true);
	assert_false(atomic_load(&stopped_early));
	assert_true(pair.here->increments_saved >= 2);
	close_pair(&pair);
}

static void device_that_reinitialises_after_the_decision_fails_the_switchover(void **state)
{
	(void)state;
	struct swo_migration_info info;
	static struct pair pair;

	open_pair(&pair, 220000, 220000);
	fake_vm_run(&pair.source, true);
	pair.here->reinit_stopped = true;
	fake_migrate(&pair.source, &pair.target, &pair.params);
	info = fake_end(&pair.source);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	if (!strstr(info.error.text, "vf0 has re-initialised after the decision to stop"))
		fail_msg("'%s'", info.error.text);
	/* The guest runs on, and so does the device, as it was. */
	assert_true(fake_vm_runs(&pair.source));
	assert_int_equal(fake_state(pair.here), SWO_DEVICE_RUNNING);
	assert_int_equal(swo_device_health(pair.source.table[0]), SWO_DEVICE_SOUND);
	fake_end(&pair.target);
	assert_int_equal(atomic_load(&pair.target.starts), 0);
	close_pair(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_changes_is_requested_and_sent_in_every_round),
		cmocka_unit_test(complete_size_is_not_what_is_left),
		cmocka_unit_test(state_that_precopy_never_has_is_in_the_estimate),
		cmocka_unit_test(unknown_size_is_reported_and_is_not_zero),
		cmocka_unit_test(new_initial_data_is_loaded_before_the_stop),
		cmocka_unit_test(device_that_reinitialises_after_the_decision_fails_the_switchover),
	};
	swo_log_set(getenv("SWO_TEST_VERBOSE") ? SWO_LOG_DEBUG : SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
