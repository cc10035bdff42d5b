/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that is reset in mid-migration without a request of the VMM, as by its PF: it is in
 * RUNNING then, with a blank state. It is noticed on either side, and the guest goes on at the
 * source.
 */
#include "migration/source/source.h"
#include "outcome.h"

#include <stdio.h>
#include <string.h>

static struct pair {
	struct fake_vm source, target;
	struct swo_vm_ops ops; /* of the target */
	struct swo_migration_params params;
	struct swo_dirty_source log;
	int resets;
} pair;

static void open_pair(size_t device_size)
{
	memset(&pair, 0, sizeof(pair));
	fake_vm_open(&pair.source, 3, true, device_size, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair.target, 3, false, device_size, SWO_TRANSITIONS_PARALLEL);
	pair.ops = *pair.target.vm.ops;
	pair.target.vm.ops = &pair.ops;
	pair.params = fake_params();
}

static void reset_behind(struct fake_device *d)
{
	pthread_mutex_lock(&d->group->mutex);
	d->state = SWO_DEVICE_RUNNING;
	pthread_mutex_unlock(&d->group->mutex);
	pair.resets++;
}

static void expect_noticed(const char *words)
{
	fake_migrate(&pair.source, &pair.target, &pair.params);
	expect_source_runs_on(&pair.source, &pair.target, words);
	assert_int_equal(pair.resets, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_state(&pair.source.devices[i]), SWO_DEVICE_RUNNING);
	/* Another round may have read it before the check. */
	if (pair.log.collect)
		atomic_store(&pair.source.devices[1].offences, 0);
	fake_vm_close(&pair.source);
	fake_vm_close(&pair.target);
}

/* On the source */

static int reset_after_a_round(void *self, struct swo_ram *ram, struct swo_error *err)
{
	struct fake_vm *vm = &pair.source;

	if (fake_vm_runs(vm) && !pair.resets)
		reset_behind(&vm->devices[1]);
	return pair.log.collect(self, ram, err);
}

static void a_reset_before_the_stop_is_noticed(void **state)
{
	(void)state;
	/* Small enough for the first round to be the last. */
	open_pair(1000);
	pair.log = pair.source.dirty;
	pair.source.dirty.collect = reset_after_a_round;
	expect_noticed("device vf1: it is in RUNNING, expected PRE_COPY");
}

static void reset_when_read(struct fake_vm *vm)
{
	struct source *s = (struct source *)vm->migration;
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	unsigned ended = 0;

	while (ended < vm->vm.device_count && !swo_deadline_passed(guard)) {
		swo_sleep_until(swo_now_ns() + 1000000);
		pthread_mutex_lock(&s->m.mutex);
		ended = s->ended;
		pthread_mutex_unlock(&s->m.mutex);
	}
	reset_behind(&vm->devices[2]);
}

static void a_reset_in_stop_copy_is_noticed_before_go(void **state)
{
	(void)state;
	open_pair(300000);
	pair.source.on_save = reset_when_read;
	expect_noticed("device vf2: it is in RUNNING, expected STOP_COPY");
}

/* On the target */

static int reset_in_config_load(
	void *opaque, unsigned index, const void *data, size_t len, struct swo_error *err)
{
	struct fake_vm *vm = opaque;
	int rc = 0;

	(void)data, (void)len, (void)err;
	vm->config_seen[index] = 1;
	if (index == 1 && !pair.resets)
		reset_behind(&vm->devices[index]);
	return rc;
}

static void a_reset_in_resuming_is_noticed_before_it_is_left(void **state)
{
	(void)state;
	/* With no data to write, nothing else fails. */
	for (int when = SWO_WHEN_EARLY; when <= SWO_WHEN_LATE; when++) {
		open_pair(0);
		pair.params.finalise = (enum swo_when)when;
		pair.ops.config_load = reset_in_config_load;
		pair.ops.config_renew = NULL; /* it would find the device reset already */
		expect_noticed("device vf1: it is in RUNNING, expected RESUMING");
	}
}

static void data_that_a_reset_device_does_not_take_is_not_the_reason(void **state)
{
	(void)state;
	open_pair(300000);
	pair.ops.config_load = reset_in_config_load;
	fake_migrate(&pair.source, &pair.target, &pair.params);
	expect_source_runs_on(
		&pair.source, &pair.target, "device vf1: it is in RUNNING, expected RESUMING");
	/* The fake counts each write in a wrong state. */
	assert_int_equal(atomic_exchange(&pair.target.devices[1].offences, 0), 1);
	fake_vm_close(&pair.source);
	fake_vm_close(&pair.target);
}

static void reset_when_stopped(struct fake_vm *vm)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	while (fake_state(&vm->devices[1]) != SWO_DEVICE_STOP && !swo_deadline_passed(guard))
		swo_sleep_until(swo_now_ns() + 1000000);
	reset_behind(&vm->devices[1]);
	/* What was seen less than 10 ms ago is not requested again. */
	swo_sleep_until(swo_now_ns() + 30000000);
}

static void a_reset_after_resuming_is_noticed_before_ready(void **state)
{
	(void)state;
	open_pair(300000);
	pair.target.on_load = reset_when_stopped;
	expect_noticed("device vf1: it is in RUNNING, expected STOP");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reset_before_the_stop_is_noticed),
		cmocka_unit_test(a_reset_in_stop_copy_is_noticed_before_go),
		cmocka_unit_test(a_reset_in_resuming_is_noticed_before_it_is_left),
		cmocka_unit_test(data_that_a_reset_device_does_not_take_is_not_the_reason),
		cmocka_unit_test(a_reset_after_resuming_is_noticed_before_ready),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
