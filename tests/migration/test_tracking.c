/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices whose writes to RAM nothing tracks: refused unless that is allowed; then nothing that they
 * write is lost, each page is sent once in the stop, and the predicted downtime includes it.
 */
#include "outcome.h"

#include <stdlib.h>
#include <string.h>

#define DEVICES 3

static struct pair {
	struct fake_vm source, target;
	uint64_t pages_before; /* sent when the stop began */
} pair;

/* Writes a page just before it stops, which no log of this process has. */
static void write_by_dma(struct fake_device *d, enum swo_device_state to)
{
	struct fake_vm *vm = d->opaque;
	const unsigned i = (unsigned)(d - vm->devices);

	if (to == SWO_DEVICE_STOP_COPY)
		memset(swo_ram_host(vm->vm.ram, (100 + i) * SWO_PAGE_SIZE, 8), 0x5a, 8);
}

static void count_pages(struct fake_vm *vm)
{
	struct swo_migration_info info;

	swo_migration_info(vm->migration, &info);
	pair.pages_before = info.ram_normal_pages + info.ram_zero_pages;
}

/* The last `untracked` of the devices have no log. */
static void open_pair(bool running, unsigned untracked)
{
	memset(&pair, 0, sizeof(pair));
	fake_vm_open(&pair.source, DEVICES, running, 300000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair.target, DEVICES, false, 300000, SWO_TRANSITIONS_PARALLEL);
	/* RAM that is not zero: it has to be sent. */
	memset(swo_ram_host(pair.source.vm.ram, 0, 8), 0x11,
		swo_ram_region(pair.source.vm.ram, 0)->size);
	/* What a device writes is no write of this process. */
	pair.source.dirty.own_writes = true;
	pair.source.on_stop = count_pages;
	pair.target.vm.autostart = false;
	for (unsigned i = DEVICES - untracked; i < DEVICES; i++) {
		pair.source.devices[i].fail_log_start = true;
		pair.source.devices[i].inside_arc = write_by_dma;
	}
}

static void close_pair(void)
{
	fake_vm_close(&pair.source);
	fake_vm_close(&pair.target);
}

static struct swo_migration_params allowing(void)
{
	struct swo_migration_params params = fake_params();

	params.allow_no_dirty_tracking = true;
	return params;
}

static void expect_refused(const char *device)
{
	const struct swo_migration_info left = fake_end(&pair.source);

	assert_int_equal(left.error.code, SWO_E_UNSUPPORTED);
	assert_non_null(strstr(left.error.text, "x-allow-no-dirty-tracking"));
	expect_source_runs_on(&pair.source, &pair.target, device);
}

static void expect_same_ram(void)
{
	assert_int_equal(swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
}

static void a_device_without_tracking_is_refused(void **state)
{
	(void)state;
	open_pair(true, 2);
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_refused("device vf1: ");
	close_pair();
}

static void the_devices_of_a_paused_vm_need_none(void **state)
{
	(void)state;
	open_pair(true, 1);
	fake_vm_run(&pair.source, false);
	assert_int_equal(swo_runstate_change(pair.source.vm.runstate, SWO_RUN_STATE_PAUSED,
				 SWO_ON_ERROR_ROLLBACK, NULL),
		0);
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_arrived(&pair.source, &pair.target, false);
	expect_same_ram();
	close_pair();
}

static void arrives_with_each_page_sent_once(unsigned untracked)
{
	const struct swo_migration_params params = allowing();

	open_pair(true, untracked);
	fake_migrate(&pair.source, &pair.target, &params);
	const struct swo_migration_info left = expect_arrived(&pair.source, &pair.target, false);

	expect_same_ram();
	assert_int_equal(left.ram_normal_pages + left.ram_zero_pages - pair.pages_before,
		swo_ram_region(pair.source.vm.ram, 0)->size / SWO_PAGE_SIZE);
	for (unsigned i = 0; i < DEVICES; i++)
		assert_int_equal(swo_device_dirty_tracking(pair.source.table[i]),
			i < DEVICES - untracked ? SWO_DIRTY_TRACKING_DEVICE
						: SWO_DIRTY_TRACKING_NONE);
	close_pair();
}

static void nothing_is_lost_and_nothing_is_sent_twice(void **state)
{
	(void)state;
	arrives_with_each_page_sent_once(1);
	arrives_with_each_page_sent_once(DEVICES);
}

static void ram_sent_in_the_stop_is_predicted(void **state)
{
	(void)state;
	struct swo_migration_params params = allowing();

	open_pair(true, 1);
	fake_migrate(&pair.source, &pair.target, &params);
	const struct swo_migration_info left = expect_arrived(&pair.source, &pair.target, false);

	/* Nothing here carries more than 20 GB/s. */
	assert_true(left.predicted_downtime_ns >= swo_ram_region(pair.source.vm.ram, 0)->size / 20);
	close_pair();

	open_pair(true, 1);
	params.downtime_limit_ms = 0;
	fake_migrate(&pair.source, &pair.target, &params);
	assert_int_equal(fake_end(&pair.source).error.code, SWO_E_TIMEOUT);
	expect_source_runs_on(&pair.source, &pair.target, "are not tracked, so that 6 MiB of RAM");
	close_pair();
}

/* Reports that fail */

static void reports_fail(struct fake_vm *vm)
{
	vm->devices[1].fail_log_report = true;
	vm->devices[1].inside_arc = write_by_dma;
}

/* With `late`, only once the VM stops. */
static void report_fails(bool late, bool allowed)
{
	const struct swo_migration_params params = allowed ? allowing() : fake_params();

	open_pair(true, 0);
	if (late)
		pair.source.on_stop = reports_fail;
	else
		reports_fail(&pair.source);
	fake_migrate(&pair.source, &pair.target, &params);
	if (allowed) {
		expect_arrived(&pair.source, &pair.target, false);
		expect_same_ram();
		assert_int_equal(
			swo_device_dirty_tracking(pair.source.table[1]), SWO_DIRTY_TRACKING_NONE);
	} else {
		expect_refused("device vf1: no report");
	}
	close_pair();
}

static void after_a_failing_report_a_device_is_not_tracked(void **state)
{
	(void)state;
	report_fails(false, false);
	report_fails(false, true);
	report_fails(true, false);
	report_fails(true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_without_tracking_is_refused),
		cmocka_unit_test(the_devices_of_a_paused_vm_need_none),
		cmocka_unit_test(nothing_is_lost_and_nothing_is_sent_twice),
		cmocka_unit_test(ram_sent_in_the_stop_is_predicted),
		cmocka_unit_test(after_a_failing_report_a_device_is_not_tracked),
	};

	swo_log_set(getenv("SWO_TEST_VERBOSE") ? SWO_LOG_DEBUG : SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
