/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process that migrates repeatedly leaks nothing: descriptors, threads and heap are as before,
 * for every outcome of the migrations.
 */
#include "fake_vm.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS	  24
#define WARM_UP	  6	/* until caches of libc and of the resolver are filled */
#define HEAP_SLOP 65536 /* much less than one migration needs, much more than the noise of caches */

struct held {
	unsigned fds, threads;
	size_t heap;
};

static struct held held(void)
{
	return (struct held){.fds = fake_entries("/proc/self/fd"),
		.threads = fake_entries("/proc/self/task"),
		.heap = mallinfo2().uordblks + mallinfo2().hblkhd};
}

static void arrive(struct fake_vm *source, struct fake_vm *target)
{
	fake_migrate(source, target, NULL);
	assert_int_equal(fake_end(source).status, SWO_MIGRATION_COMPLETED);
	assert_int_equal(fake_end(target).status, SWO_MIGRATION_COMPLETED);
}

static void fail_at_the_target(struct fake_vm *source, struct fake_vm *target)
{
	target->devices[1].refuse = true;
	fake_migrate(source, target, NULL);
	assert_int_equal(fake_end(source).status, SWO_MIGRATION_FAILED);
	assert_int_equal(fake_end(target).status, SWO_MIGRATION_FAILED);
}

static void fail_at_the_source(struct fake_vm *source, struct fake_vm *target)
{
	fake_script(
		&source->devices[2], SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, FAKE_FAIL, 1);
	fake_migrate(source, target, NULL);
	assert_int_equal(fake_end(source).status, SWO_MIGRATION_FAILED);
	assert_int_equal(fake_end(target).status, SWO_MIGRATION_FAILED);
}

static void be_cancelled(struct fake_vm *source, struct fake_vm *target)
{
	fake_migrate(source, target, NULL);
	(void)swo_migration_cancel(source->migration, NULL); /* or it is over already */
	(void)fake_end(source);
	(void)target; /* it may have received nothing, and still listen */
}

static void keeps_nothing(void (*end)(struct fake_vm *source, struct fake_vm *target))
{
	struct held before = {0};

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct fake_vm source, target;

		if (round == WARM_UP)
			before = held();
		fake_vm_open(&source, 4, true, 100000, SWO_TRANSITIONS_PARALLEL);
		fake_vm_open(&target, 4, false, 100000, SWO_TRANSITIONS_PARALLEL);
		end(&source, &target);
		fake_vm_close(&source);
		fake_vm_close(&target);
	}
	const struct held after = held();

	assert_int_equal(after.fds, before.fds);
	assert_int_equal(after.threads, before.threads);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	/* A sanitizer has another heap, and its own leak detection. */
	if (after.heap > before.heap + HEAP_SLOP)
		fail_msg("%zu bytes of heap became %zu in %d migrations", before.heap, after.heap,
			ROUNDS - WARM_UP);
#endif
}

static void migrations_that_arrive_leave_nothing(void **state)
{
	(void)state;
	keeps_nothing(arrive);
}

static void migrations_that_fail_leave_nothing(void **state)
{
	(void)state;
	keeps_nothing(fail_at_the_target);
	keeps_nothing(fail_at_the_source);
}

static void migrations_that_are_cancelled_leave_nothing(void **state)
{
	(void)state;
	keeps_nothing(be_cancelled);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(migrations_that_arrive_leave_nothing),
		cmocka_unit_test(migrations_that_fail_leave_nothing),
		cmocka_unit_test(migrations_that_are_cancelled_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
