/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stop of the source: RAM that the VMM itself writes meanwhile arrives, RAM that is written
 * after that ends the migration, and what the VMM's callbacks return is checked.
 */
#include "outcome.h"

#include <stdio.h>
#include <string.h>

#define WRITTEN_GPA UINT64_C(0x123000)

static struct pair {
	struct fake_vm source, target;
	struct swo_vm_ops ops, target_ops; /* to replace some */
	const struct swo_vm_ops *real;
	bool mark;
	atomic_int writes;
} pair;

static void open_pair(unsigned devices)
{
	memset(&pair, 0, sizeof(pair));
	fake_vm_open(&pair.source, devices, true, 300000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair.target, devices, false, 300000, SWO_TRANSITIONS_PARALLEL);
	pair.real = pair.source.vm.ops;
	pair.ops = pair.target_ops = *pair.real;
	pair.source.vm.ops = &pair.ops;
	pair.target.vm.ops = &pair.target_ops;
}

static void close_pair(void)
{
	fake_vm_close(&pair.source);
	fake_vm_close(&pair.target);
}

/* Writes of the VMM's own */

/* Each time another page. */
static void write_ram(void)
{
	uint64_t gpa = WRITTEN_GPA + (unsigned)atomic_fetch_add(&pair.writes, 1) * SWO_PAGE_SIZE;

	memset(swo_ram_host(pair.source.vm.ram, gpa, 8), 0xa5, 8);
	if (pair.mark)
		swo_ram_mark(pair.source.vm.ram, gpa, 8);
}

static int write_in_handler(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	(void)opaque, (void)state, (void)err;
	if (!running)
		write_ram();
	return 0;
}

static void write_in_machine_save(struct fake_vm *vm)
{
	(void)vm;
	write_ram();
}

static int write_in_config_save(
	void *opaque, unsigned index, struct swo_buf *out, struct swo_error *err)
{
	if (!fake_vm_runs(opaque))
		write_ram();
	return pair.real->config_save(opaque, index, out, err);
}

/* As a host thread that is only ended by the last of the handlers. */
static void write_in_arc(struct fake_device *d, enum swo_device_state to)
{
	(void)d;
	if (to == SWO_DEVICE_STOP_COPY)
		write_ram();
}

enum where { IN_PREPARE, IN_CHANGE, IN_MACHINE_SAVE, IN_CONFIG_SAVE, IN_ARC, WHERES };

static void place_write(enum where where)
{
	struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
		.name = "writes RAM",
		.rank = SWO_RANK_MIN,
		.prepare = where == IN_PREPARE ? write_in_handler : NULL,
		.change = where == IN_CHANGE ? write_in_handler : NULL};

	switch (where) {
	case IN_MACHINE_SAVE:
		pair.source.on_save = write_in_machine_save;
		break;
	case IN_CONFIG_SAVE:
		pair.ops.config_save = write_in_config_save;
		break;
	case IN_ARC:
		pair.source.devices[1].inside_arc = write_in_arc;
		break;
	default: /* the last of all handlers: the engine's are registered later */
		assert_int_equal(swo_runstate_add(pair.source.vm.runstate, &desc, NULL, NULL), 0);
	}
}

static void written_in_the_stop(enum where where, bool mark, enum swo_handover handover)
{
	struct swo_migration_params params = fake_params();

	open_pair(2);
	params.handover = handover;
	pair.mark = mark;
	/* With a mark nothing else may be needed. */
	pair.source.dirty.own_writes = mark;
	pair.target.vm.autostart = false;
	place_write(where);
	fake_migrate(&pair.source, &pair.target, &params);
	expect_arrived(&pair.source, &pair.target, false);
	const int writes = atomic_load(&pair.writes);

	assert_true(writes > 0);
	for (int i = 0; i < writes; i++) {
		const uint8_t *got = swo_ram_host(
			pair.target.vm.ram, WRITTEN_GPA + (unsigned)i * SWO_PAGE_SIZE, 8);

		if (got[0] != 0xa5)
			fail_msg("write %d of %d at place %d, %s: it is lost", i, writes, where,
				mark ? "marked" : "not marked");
	}
	if (handover == SWO_HANDOVER_COPY)
		assert_int_equal(
			swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
	close_pair();
}

static void what_the_vmm_marks_in_the_stop_arrives(void **state)
{
	(void)state;
	for (int where = 0; where < WHERES; where++)
		written_in_the_stop((enum where)where, true, SWO_HANDOVER_COPY);
}

/* The kernel lists what this process writes from Linux 6.7 on. */
static bool kernel_lists_writes(void)
{
	struct swo_dirty_source source;
	struct swo_ram *ram = swo_ram_new();
	bool has;

	assert_int_equal(swo_ram_add(ram, "ram", 0, SWO_PAGE_SIZE, -1, NULL), 0);
	has = !swo_dirty_native(ram, false, &source, NULL);
	if (has) {
		has = !strcmp(source.name, "pagemap-scan");
		source.destroy(source.self);
	}
	swo_ram_free(ram);
	if (!has)
		print_message("# SKIP no PAGEMAP_SCAN: Linux 6.7\n");
	return has;
}

static void what_the_vmm_writes_in_the_stop_without_a_mark_arrives(void **state)
{
	(void)state;
	if (!kernel_lists_writes())
		skip();
	for (int where = 0; where < WHERES; where++) {
		written_in_the_stop((enum where)where, false, SWO_HANDOVER_COPY);
		written_in_the_stop((enum where)where, false, SWO_HANDOVER_FD);
	}
}

/* Writes that come too late */

static void write_at_source(struct fake_device *d, enum swo_device_state to)
{
	struct fake_vm *source = &pair.source;

	if (to != SWO_DEVICE_STOP || d->state != SWO_DEVICE_RESUMING)
		return;
	atomic_fetch_add(&pair.writes, 1);
	/* A vCPU: the VMM's log has it. */
	pthread_mutex_lock(&source->mutex);
	memset(swo_ram_host(source->vm.ram, WRITTEN_GPA, 8), 0xa5, 8);
	if (source->dirty.own_writes)
		source->written[WRITTEN_GPA / SWO_PAGE_SIZE / 64] |=
			UINT64_C(1) << (WRITTEN_GPA / SWO_PAGE_SIZE % 64);
	pthread_mutex_unlock(&source->mutex);
	/* What no log of vCPUs has is found while READY is waited for. */
	while (!source->dirty.own_writes && !swo_migration_wait(source->migration, swo_now_ns()))
		swo_sleep_until(swo_now_ns() + 1000000);
}

static void written_too_late(bool by_vcpu_log, enum swo_handover handover)
{
	struct swo_migration_params params = fake_params();

	open_pair(2);
	params.handover = handover;
	params.finalise = SWO_WHEN_RAM; /* the source has sent its last page by then */
	pair.source.dirty.own_writes = by_vcpu_log;
	pair.target.devices[1].inside_arc = write_at_source;
	fake_migrate(&pair.source, &pair.target, &params);
	expect_source_runs_on(&pair.source, &pair.target, "RAM at 0x123000 was written");
	assert_int_equal(atomic_load(&pair.writes), 1);
	assert_non_null(strstr(fake_end(&pair.source).error.text, "vCPUs still run"));
	close_pair();
}

static void a_vcpu_that_runs_on_is_noticed_before_go(void **state)
{
	(void)state;
	written_too_late(true, SWO_HANDOVER_COPY);
}

static void a_thread_that_writes_on_is_noticed_before_go(void **state)
{
	(void)state;
	if (!kernel_lists_writes())
		skip();
	written_too_late(false, SWO_HANDOVER_COPY);
	written_too_late(false, SWO_HANDOVER_FD);
}

/* Configs that change until the device has stopped */

static void change_config(struct fake_device *d, enum swo_device_state to)
{
	struct fake_vm *vm = d->opaque;

	/* An interrupt on a masked vector, for instance. */
	if (to == SWO_DEVICE_STOP_COPY && d->state != to)
		vm->config[d - vm->devices] += 50;
}

static void moves_its_config(const struct swo_migration_params *params, bool running)
{
	open_pair(3);
	for (unsigned i = 0; i < 3; i++)
		pair.source.devices[i].inside_arc = change_config;
	if (!running) {
		fake_vm_run(&pair.source, false);
		assert_int_equal(swo_runstate_change(pair.source.vm.runstate, SWO_RUN_STATE_PAUSED,
					 SWO_ON_ERROR_ROLLBACK, NULL),
			0);
	}
	fake_migrate(&pair.source, &pair.target, params);
	expect_arrived(&pair.source, &pair.target, running);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pair.source.config[i], 150 + i);
		assert_int_equal(pair.target.config_seen[i], 150 + i);
	}
	close_pair();
}

static void a_config_that_changes_until_its_device_has_stopped_arrives(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		struct swo_migration_params params = fake_params();

		params.config = i & 1 ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		params.stream = i & 2 ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		moves_its_config(&params, i & 4);
	}
}

/* What the callbacks return */

static int do_nothing(void *opaque, struct swo_error *err)
{
	(void)opaque, (void)err;
	return 0;
}

static int stop_without_a_device(void *opaque, struct swo_error *err)
{
	swo_device_unfollow(pair.source.devices[1].dev);
	return pair.real->stop(opaque, err);
}

static int start_without_a_device(void *opaque, struct swo_error *err)
{
	swo_device_unfollow(pair.target.devices[1].dev);
	return pair.real->start(opaque, err);
}

static void a_stop_that_changes_nothing_fails_at_once(void **state)
{
	(void)state;
	open_pair(2);
	pair.ops.stop = do_nothing;
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_source_runs_on(&pair.source, &pair.target, "swo_vm_ops.stop returned 0");
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fake_state(&pair.source.devices[i]), SWO_DEVICE_RUNNING);
	close_pair();
}

static void a_device_that_does_not_stop_with_the_vm_is_named(void **state)
{
	(void)state;
	open_pair(2);
	pair.ops.stop = stop_without_a_device;
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_source_runs_on(&pair.source, &pair.target, "device vf1 is in PRE_COPY");
	assert_int_equal(fake_state(&pair.source.devices[1]), SWO_DEVICE_RUNNING);
	close_pair();
}

static void a_start_that_does_not_start_the_source_again_is_reported(void **state)
{
	(void)state;
	open_pair(2);
	pair.target.fail_machine_load = true;
	pair.ops.start = do_nothing;
	fake_migrate(&pair.source, &pair.target, NULL);
	const struct swo_migration_info info = fake_end(&pair.source);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "the vCPUs' state does not fit"));
	assert_non_null(strstr(info.error.text, "swo_vm_ops.start returned 0"));
	assert_int_not_equal(fake_end(&pair.target).status, SWO_MIGRATION_COMPLETED);
	close_pair();
}

static void a_device_that_does_not_start_with_the_vm_is_named_and_started(void **state)
{
	(void)state;
	open_pair(2);
	pair.target_ops.start = start_without_a_device;
	fake_migrate(&pair.source, &pair.target, NULL);
	const struct swo_migration_info info = expect_arrived(&pair.source, &pair.target, true);

	assert_non_null(strstr(info.error.text, "device vf1 is in STOP"));
	assert_int_equal(fake_state(&pair.target.devices[1]), SWO_DEVICE_RUNNING);
	assert_int_equal(pair.target.devices[1].resets, 0);
	close_pair();
}

static void a_start_without_a_change_leaves_the_vm_paused(void **state)
{
	(void)state;
	open_pair(2);
	pair.target_ops.start = do_nothing;
	fake_migrate(&pair.source, &pair.target, NULL);
	expect_arrived(&pair.source, &pair.target, false);
	assert_int_equal(swo_runstate_get(pair.target.vm.runstate), SWO_RUN_STATE_PAUSED);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fake_state(&pair.target.devices[i]), SWO_DEVICE_STOP);
	close_pair();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_config_that_changes_until_its_device_has_stopped_arrives),
		cmocka_unit_test(a_stop_that_changes_nothing_fails_at_once),
		cmocka_unit_test(a_device_that_does_not_stop_with_the_vm_is_named),
		cmocka_unit_test(a_start_that_does_not_start_the_source_again_is_reported),
		cmocka_unit_test(a_device_that_does_not_start_with_the_vm_is_named_and_started),
		cmocka_unit_test(a_start_without_a_change_leaves_the_vm_paused),
		cmocka_unit_test(what_the_vmm_marks_in_the_stop_arrives),
		cmocka_unit_test(what_the_vmm_writes_in_the_stop_without_a_mark_arrives),
		cmocka_unit_test(a_vcpu_that_runs_on_is_noticed_before_go),
		cmocka_unit_test(a_thread_that_writes_on_is_noticed_before_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
