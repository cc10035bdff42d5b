/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Refusals of send and receive before anything starts: a VMM that has left out a required member,
 * each by its name. And the parameters: ranges, and the comparison of two sets.
 */
#include "fake_vm.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static struct fake_vm vm;

static int open_vm(void **state)
{
	(void)state;
	fake_vm_open(&vm, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	return 0;
}

static int close_vm(void **state)
{
	(void)state;
	fake_vm_close(&vm);
	return 0;
}

/* Both entry points refuse it, and the check itself. */
static void expect_missing(const struct swo_vm *broken, enum swo_side side, const char *member)
{
	struct swo_migration_params params = fake_params();
	struct swo_migration *migration = NULL;
	struct swo_error err = {0};

	for (int entry = 0; entry < 2; entry++) {
		int rc = !entry			   ? swo_vm_check(broken, side, &params, &err)
			 : side == SWO_SIDE_SOURCE ? swo_migration_send(broken, fake_uri(), &params,
							     NULL, NULL, &migration, &err)
						   : swo_migration_receive(broken, fake_uri(),
							     &params, NULL, NULL, &migration, &err);

		assert_int_equal(rc, -1);
		assert_null(migration);
		assert_int_equal(err.code, SWO_E_INVALID);
		if (!strstr(err.text, member))
			fail_msg("'%s' does not name %s", err.text, member);
	}
}

static void a_vm_with_everything_is_accepted(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();

	assert_int_equal(swo_vm_check(&vm.vm, SWO_SIDE_SOURCE, &params, NULL), 0);
	assert_int_equal(swo_vm_check(&vm.vm, SWO_SIDE_TARGET, &params, NULL), 0);
	/* No page is copied: no dirty log is needed. */
	struct swo_vm shared = vm.vm;

	params.handover = SWO_HANDOVER_FD;
	shared.cpu_dirty = NULL;
	assert_int_equal(swo_vm_check(&shared, SWO_SIDE_SOURCE, &params, NULL), 0);
}

static void a_missing_callback_is_named_by_the_side_that_needs_it(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		size_t offset;
		bool source, target;
	} callbacks[] = {
#define CALLBACK(name) "swo_vm_ops." #name, offsetof(struct swo_vm_ops, name)
		{CALLBACK(layout), true, true},
		{CALLBACK(stop), true, false},
		{CALLBACK(start), true, true},
		{CALLBACK(set_state), true, true},
		{CALLBACK(machine_save), true, false},
		{CALLBACK(machine_load), false, true},
		{CALLBACK(config_save), true, false},
		{CALLBACK(config_load), false, true},
		{CALLBACK(config_renew), false, false},
		{CALLBACK(finalise), false, false},
		{CALLBACK(ram_reach), false, false},
		{CALLBACK(agree), false, false},
		{CALLBACK(throttle), false, false},
	};
	struct swo_migration_params params = fake_params();

	/* Each member of the structure is in this list. */
	assert_int_equal(
		sizeof(struct swo_vm_ops), SWO_ARRAY_SIZE(callbacks) * sizeof(vm.vm.ops->layout));
	for (size_t i = 0; i < SWO_ARRAY_SIZE(callbacks); i++) {
		struct swo_vm_ops ops = *vm.vm.ops;
		struct swo_vm broken = vm.vm;

		memset((char *)&ops + callbacks[i].offset, 0, sizeof(ops.layout));
		broken.ops = &ops;
		if (callbacks[i].source)
			expect_missing(&broken, SWO_SIDE_SOURCE, callbacks[i].name);
		else
			assert_int_equal(swo_vm_check(&broken, SWO_SIDE_SOURCE, &params, NULL), 0);
		if (callbacks[i].target)
			expect_missing(&broken, SWO_SIDE_TARGET, callbacks[i].name);
		else
			assert_int_equal(swo_vm_check(&broken, SWO_SIDE_TARGET, &params, NULL), 0);
	}
}

static void a_missing_part_of_the_vm_is_named(void **state)
{
	(void)state;
	struct swo_vm broken = vm.vm;

	broken.ops = NULL;
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_vm.ops");
	broken = vm.vm;
	broken.runstate = NULL;
	expect_missing(&broken, SWO_SIDE_TARGET, "swo_vm.runstate");
	broken = vm.vm;
	broken.ram = NULL;
	expect_missing(&broken, SWO_SIDE_TARGET, "swo_vm.ram");
	broken = vm.vm;
	broken.devices = NULL;
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_vm.devices");
	broken = vm.vm;
	broken.device_count = SWO_DEVICES_MAX + 1;
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_vm.device_count");
}

static int say_nothing(void *opaque, struct swo_buf *out, struct swo_error *err)
{
	(void)opaque, (void)out, (void)err;
	return 0;
}

static void a_vm_without_content_is_refused(void **state)
{
	(void)state;
	struct swo_vm_ops ops = *vm.vm.ops;
	struct swo_vm broken = vm.vm;

	ops.layout = say_nothing;
	broken.ops = &ops;
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_vm_ops.layout");
	expect_missing(&broken, SWO_SIDE_TARGET, "swo_vm_ops.layout");
	broken = vm.vm;
	broken.ram = swo_ram_new();
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_vm.ram");
	expect_missing(&broken, SWO_SIDE_TARGET, "swo_vm.ram");
	swo_ram_free(broken.ram);
}

static void a_source_that_copies_ram_without_a_dirty_log_is_refused(void **state)
{
	(void)state;
	struct swo_dirty_source dirty = *vm.vm.cpu_dirty;
	struct swo_vm broken = vm.vm;

	broken.cpu_dirty = NULL;
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_vm.cpu_dirty");
	broken.cpu_dirty = &dirty;
	dirty.collect = NULL;
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_dirty_source.collect");
}

static void a_device_that_does_not_follow_the_run_state_is_refused(void **state)
{
	(void)state;
	swo_device_unfollow(vm.devices[1].dev);
	expect_missing(&vm.vm, SWO_SIDE_SOURCE, "vf1 does not follow");
	expect_missing(&vm.vm, SWO_SIDE_TARGET, "vf1 does not follow");
}

static void a_device_without_its_data_is_refused(void **state)
{
	(void)state;
	const struct swo_device_params params = {.size = sizeof(struct swo_device_params)};
	struct swo_device_ops ops = fake_device_ops;
	struct fake_device bare;
	struct swo_device *table[1];
	struct swo_vm broken = vm.vm;

	ops.data_read = NULL;
	ops.data_write = NULL;
	fake_device_init(&bare, "bare", NULL);
	assert_int_equal(swo_device_create("bare", &ops, &bare, &params, &table[0], NULL), 0);
	broken.devices = table;
	broken.device_count = 1;
	expect_missing(&broken, SWO_SIDE_SOURCE, "swo_device_ops.data_read");
	expect_missing(&broken, SWO_SIDE_TARGET, "swo_device_ops.data_write");
	swo_device_destroy(table[0]);
	fake_device_fini(&bare);
}

static void a_parameter_out_of_range_is_named(void **state)
{
	(void)state;
	struct swo_migration_params params;
	struct swo_error err = {0};

	swo_migration_params_init(&params);
	assert_int_equal(swo_migration_params_check(&params, &err), 0);
	params.channels = 17;
	assert_int_equal(swo_migration_params_check(&params, &err), -1);
	assert_string_equal(err.text, "parameter channels is 17, but must be from 1 to 16");
	swo_migration_params_init(&params);
	params.stream = SWO_WHEN_RAM;
	assert_int_equal(swo_migration_params_check(&params, &err), -1);
	assert_string_equal(err.text, "parameter stream must be early or late");
	params.stream = SWO_WHEN_LATE;
	params.finalise = SWO_WHEN_RAM;
	assert_int_equal(swo_migration_params_check(&params, &err), 0);
	params.finalise = (enum swo_when)3;
	assert_int_equal(swo_migration_params_check(&params, &err), -1);
	assert_string_equal(err.text, "parameter finalise must be early, ram or late");
	swo_migration_params_init(&params);
	memset(params.tls.authz, 'x', sizeof(params.tls.authz));
	assert_int_equal(swo_migration_params_check(&params, &err), -1);
	assert_string_equal(err.text, "parameter tls-authz is too long");
}

static void parameters_that_differ_in_any_one_are_not_equal(void **state)
{
	(void)state;
	struct swo_migration_params a, b;

	swo_migration_params_init(&a);
	b = a;
	assert_true(swo_migration_params_equal(&a, &b));
	/* Bytes after the end of a text are not part of it. */
	b.tls.creds[5] = 'x';
	assert_true(swo_migration_params_equal(&a, &b));
#define DIFFER(field)                                                                              \
	do {                                                                                       \
		b = a;                                                                             \
		b.field++;                                                                         \
		assert_false(swo_migration_params_equal(&a, &b));                                  \
	} while (0)
	DIFFER(downtime_limit_ms);
	DIFFER(downtime_ceiling_ms);
	DIFFER(max_bandwidth);
	DIFFER(channels);
	DIFFER(device_window);
	DIFFER(link_window);
	DIFFER(stream);
	DIFFER(finalise);
	DIFFER(config);
	DIFFER(setup_deadline_ms);
	DIFFER(switchover_deadline_ms);
	DIFFER(commit_deadline_ms);
	DIFFER(idle_deadline_ms);
	DIFFER(handover);
	DIFFER(overhead.fixed_ns);
	DIFFER(overhead.arc_ns);
	DIFFER(overhead.stream_ns);
	DIFFER(overhead.state_rate);
	DIFFER(tls.kind);
	DIFFER(tls.creds[0]);
	DIFFER(tls.hostname[0]);
	DIFFER(tls.authz[0]);
	DIFFER(tls.username[0]);
	b = a;
	b.insecure = !a.insecure;
	assert_false(swo_migration_params_equal(&a, &b));
}

#define check_test(f) cmocka_unit_test_setup_teardown(f, open_vm, close_vm)

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(a_vm_with_everything_is_accepted),
		check_test(a_missing_callback_is_named_by_the_side_that_needs_it),
		check_test(a_missing_part_of_the_vm_is_named),
		check_test(a_vm_without_content_is_refused),
		check_test(a_source_that_copies_ram_without_a_dirty_log_is_refused),
		check_test(a_device_that_does_not_follow_the_run_state_is_refused),
		check_test(a_device_without_its_data_is_refused),
		cmocka_unit_test(a_parameter_out_of_range_is_named),
		cmocka_unit_test(parameters_that_differ_in_any_one_are_not_equal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
