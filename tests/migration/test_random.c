/* SPDX-License-Identifier: BSD-3-Clause */
/* Without random numbers there is no migration: an ID or a secret that can be guessed is none. */
#include "fake_vm.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int calls, fail_at;

ssize_t getrandom(void *buffer, size_t len, unsigned flags)
{
	if (atomic_fetch_add(&calls, 1) != atomic_load(&fail_at))
		return syscall(SYS_getrandom, buffer, len, flags);
	errno = EIO;
	return -1;
}

static void open_both(struct fake_vm *source, struct fake_vm *target, int fail)
{
	fake_vm_open(source, 1, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(target, 1, false, 1000, SWO_TRANSITIONS_PARALLEL);
	atomic_store(&calls, 0);
	atomic_store(&fail_at, fail);
}

static void close_both(struct fake_vm *source, struct fake_vm *target)
{
	fake_vm_close(source);
	fake_vm_close(target);
}

/* The first three are the source's: its ID in two parts, and the nonce of HELLO. */
static void a_source_does_not_start_without(void **state)
{
	(void)state;
	static struct fake_vm source, target;
	const struct swo_migration_params params = fake_params();
	struct swo_error err = {0};

	for (int fail = 0; fail < 3; fail++) {
		open_both(&source, &target, fail);
		assert_int_equal(swo_migration_send(&source.vm, fake_uri(), &params, NULL, NULL,
					 &source.migration, &err),
			-1);
		assert_non_null(strstr(err.text, "no random numbers"));
		assert_true(fake_vm_runs(&source));
		assert_int_equal(atomic_load(&calls), fail + 1);
		close_both(&source, &target);
	}
}

/* Then come the target's ticket, and the nonce of READY. */
static void a_target_fails_without_and_the_source_runs_on(void **state)
{
	(void)state;
	static struct fake_vm source, target;

	for (int fail = 3; fail < 5; fail++) {
		open_both(&source, &target, fail);
		fake_migrate(&source, &target, NULL);
		assert_int_equal(fake_end(&source).status, SWO_MIGRATION_FAILED);
		const struct swo_migration_info info = fake_end(&target);

		assert_int_equal(info.status, SWO_MIGRATION_FAILED);
		assert_non_null(strstr(info.error.text, "no random numbers"));
		assert_true(fake_vm_runs(&source));
		assert_int_equal(atomic_load(&target.starts), 0);
		close_both(&source, &target);
	}
}

static void with_all_of_them_it_completes(void **state)
{
	(void)state;
	static struct fake_vm source, target;

	open_both(&source, &target, 5);
	fake_migrate(&source, &target, NULL);
	assert_int_equal(fake_end(&source).status, SWO_MIGRATION_COMPLETED);
	assert_int_equal(fake_end(&target).status, SWO_MIGRATION_COMPLETED);
	assert_int_equal(atomic_load(&calls), 5);
	close_both(&source, &target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_does_not_start_without),
		cmocka_unit_test(a_target_fails_without_and_the_source_runs_on),
		cmocka_unit_test(with_all_of_them_it_completes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
