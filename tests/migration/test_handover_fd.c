/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM handed over by descriptor, with both sides in this process: it is the same memory, the target
 * cannot write it before GO nor the source after it, and a failure leaves it as it was.
 */
#include "outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct pair {
	struct fake_vm source, target;
	struct swo_migration_params params;
	ino_t memory; /* the memfd of the source's RAM */
	/* recorded during the migration */
	_Atomic uint64_t at_stop; /* RAM's hash at the stop of the source */
	uint64_t at_load;	  /* the target's, then */
	uint64_t at_resume;
	bool target_could_write;
	atomic_int resets, resets_in_reach;
};

static ino_t memory_of(struct fake_vm *vm)
{
	struct stat st;

	assert_int_equal(fstat(swo_ram_region(vm->vm.ram, 0)->fd, &st), 0);
	return st.st_ino;
}

/* Checked by a system call that writes there. */
static bool can_write(struct fake_vm *vm)
{
	uint8_t *host = swo_ram_region(vm->vm.ram, 0)->host;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	/* A written value is read back. */
	assert_int_equal(write(ends[1], host + 12345, 1), 1);
	bool can = read(ends[0], host + 12345, 1) == 1;

	close(ends[0]);
	close(ends[1]);
	return can;
}

static void hash_at_stop(struct fake_vm *vm)
{
	((struct pair *)vm->hook)->at_stop = swo_ram_hash(vm->vm.ram);
}

static void hash_at_load(struct fake_vm *vm)
{
	struct pair *pair = vm->hook;

	pair->at_load = swo_ram_hash(vm->vm.ram);
	pair->target_could_write = can_write(vm) || swo_ram_is_writable(vm->vm.ram);
}

static void hash_at_resume(struct fake_vm *vm)
{
	((struct pair *)vm->hook)->at_resume = swo_ram_hash(vm->vm.ram);
}

static void open_pair(struct pair *pair, unsigned devices, enum swo_transitions transitions)
{
	memset(pair, 0, sizeof(*pair));
	fake_vm_open(&pair->source, devices, true, 300000, transitions);
	fake_vm_open(&pair->target, devices, false, 300000, transitions);
	pair->source.hook = pair->target.hook = pair;
	pair->source.on_save = hash_at_stop;
	pair->source.on_start = hash_at_resume;
	pair->target.on_load = hash_at_load;
	pair->params = fake_params();
	pair->params.handover = SWO_HANDOVER_FD;
	pair->memory = memory_of(&pair->source);
}

static void close_pair(struct pair *pair)
{
	fake_vm_close(&pair->source);
	fake_vm_close(&pair->target);
}

static void expect_moved(struct pair *pair, bool running)
{
	struct swo_migration_info source = expect_arrived(&pair->source, &pair->target, running);

	/* The same memory, not a copy of it, and no dirty log. */
	assert_int_equal(memory_of(&pair->target), pair->memory);
	assert_int_equal(pair->at_load, pair->at_stop);
	assert_int_equal(source.ram_sent, 0);
	assert_int_equal(source.ram_passes, 0);
	assert_int_equal(atomic_load(&pair->source.log_starts), 0);
	/* Each wrote it in its own time only. */
	assert_false(pair->target_could_write);
	assert_true(can_write(&pair->target));
	assert_true(swo_ram_is_writable(pair->target.vm.ram));
	assert_false(can_write(&pair->source));
	assert_true(swo_ram_is_gone(pair->source.vm.ram));
	assert_int_equal(swo_ram_region(pair->source.vm.ram, 0)->fd, -1);
	assert_true(pair->source.out_of_reach);
	assert_false(pair->target.out_of_reach);
}

/* It has RAM of its own, which its devices reach, for the next migration. */
static void expect_own_ram(struct fake_vm *target, ino_t memory)
{
	assert_int_not_equal(memory_of(target), memory);
	assert_true(can_write(target));
	assert_true(swo_ram_is_writable(target->vm.ram));
	assert_false(target->out_of_reach);
}

/* The source continues in its RAM as of the stop; the target has released it. */
static void expect_taken_back(struct pair *pair, const char *words)
{
	expect_source_runs_on(&pair->source, &pair->target, words);
	assert_int_equal(memory_of(&pair->source), pair->memory);
	assert_true(can_write(&pair->source));
	assert_false(pair->source.out_of_reach);
	expect_own_ram(&pair->target, pair->memory);
	if (pair->at_stop && pair->at_resume)
		assert_int_equal(pair->at_resume, pair->at_stop);
}

/* It works */

static void ram_that_is_handed_over_is_the_same_memory_and_is_written_by_one_side_at_a_time(
	void **state)
{
	(void)state;
	for (unsigned devices = 0; devices <= 4; devices += 2)
		for (unsigned running = 0; running < 2; running++) {
			static struct pair pair;

			open_pair(&pair, devices, SWO_TRANSITIONS_PARALLEL);
			pair.target.vm.autostart = running;
			fake_migrate(&pair.source, &pair.target, &pair.params);
			expect_moved(&pair, running);
			if (!running)
				assert_int_equal(swo_ram_hash(pair.target.vm.ram), pair.at_stop);
			close_pair(&pair);
		}
}

static void it_moves_with_every_switch_thrown(void **state)
{
	(void)state;
	for (int i = 0; i < 3 * 2 * 2 * 2; i++) {
		static struct pair pair;

		open_pair(&pair, 3, i / 12 ? SWO_TRANSITIONS_SERIAL : SWO_TRANSITIONS_PARALLEL);
		pair.params.finalise = (enum swo_when)(i % 3);
		pair.params.stream = i / 3 % 2 ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		pair.params.config = i / 6 % 2 ? SWO_WHEN_LATE : SWO_WHEN_EARLY;
		pair.params.channels = 1 + (unsigned)i % 4;
		fake_migrate(&pair.source, &pair.target, &pair.params);
		expect_moved(&pair, true);
		close_pair(&pair);
	}
}

static void a_paused_vm_arrives_paused_with_its_ram(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	fake_vm_run(&pair.source, false);
	assert_int_equal(swo_runstate_change(pair.source.vm.runstate, SWO_RUN_STATE_PAUSED,
				 SWO_ON_ERROR_CONTINUE, NULL),
		0);
	uint64_t before = swo_ram_hash(pair.source.vm.ram);

	fake_migrate(&pair.source, &pair.target, &pair.params);
	expect_moved(&pair, false);
	assert_int_equal(swo_ram_hash(pair.target.vm.ram), before);
	close_pair(&pair);
}

static void ram_that_was_handed_over_can_be_handed_over_again(void **state)
{
	(void)state;
	struct swo_migration_info info;
	struct fake_vm third;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	fake_migrate(&pair.source, &pair.target, &pair.params);
	expect_moved(&pair, true);
	swo_migration_free(pair.target.migration);
	pair.target.migration = NULL;
	fake_vm_open(&third, 2, false, 300000, SWO_TRANSITIONS_PARALLEL);
	fake_migrate(&pair.target, &third, &pair.params);
	info = fake_end(&pair.target);
	if (info.status != SWO_MIGRATION_COMPLETED)
		fail_msg("%s", info.error.text);
	fake_end(&third);
	assert_int_equal(memory_of(&third), pair.memory);
	assert_true(fake_vm_runs(&third));
	assert_true(can_write(&third));
	assert_false(can_write(&pair.target));
	fake_vm_close(&third);
	close_pair(&pair);
}

static void a_copy_follows_a_handover_that_failed_and_loses_nothing(void **state)
{
	(void)state;
	struct swo_migration_info info;
	struct fake_vm third;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	pair.target.fail_machine_load = true;
	fake_migrate(&pair.source, &pair.target, &pair.params);
	expect_taken_back(&pair, "does not fit");
	swo_migration_free(pair.source.migration);
	pair.source.migration = NULL;
	fake_vm_open(&third, 2, false, 300000, SWO_TRANSITIONS_PARALLEL);
	third.vm.autostart = false;
	fake_migrate(&pair.source, &third, NULL);
	info = fake_end(&pair.source);
	if (info.status != SWO_MIGRATION_COMPLETED)
		fail_msg("%s", info.error.text);
	fake_end(&third);
	assert_int_equal(swo_ram_hash(third.vm.ram), swo_ram_hash(pair.source.vm.ram));
	assert_int_not_equal(memory_of(&third), pair.memory);
	fake_vm_close(&third);
	close_pair(&pair);
}

/* Faults before GO */

static void note_reset(struct fake_device *fake, const char *what)
{
	struct fake_vm *vm = fake->opaque;
	struct pair *pair = vm->hook;

	if (strcmp(what, "reset") != 0)
		return;
	atomic_fetch_add(&pair->resets, 1);
	if (!vm->out_of_reach)
		atomic_fetch_add(&pair->resets_in_reach, 1);
}

/* A device with a past may do anything in its reset, and the RAM is the source's again. */
static void a_target_that_refuses_resets_its_devices_out_of_reach_of_ram(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
	pair.target.fail_machine_load = true;
	for (unsigned i = 0; i < 3; i++)
		pair.target.devices[i].record = note_reset;
	fake_migrate(&pair.source, &pair.target, &pair.params);
	expect_taken_back(&pair, "does not fit");
	assert_int_equal(atomic_load(&pair.resets), 3);
	assert_int_equal(atomic_load(&pair.resets_in_reach), 0);
	close_pair(&pair);
}

static void any_failing_arc_before_go_leaves_ram_as_it_was(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARCS_BEFORE_GO; i++)
		for (unsigned serial = 0; serial < 2; serial++) {
			static struct pair pair;

			open_pair(&pair, 3,
				serial ? SWO_TRANSITIONS_SERIAL : SWO_TRANSITIONS_PARALLEL);
			fail_arc(&pair.source, &pair.target, &arcs_before_go[i]);
			fake_migrate(&pair.source, &pair.target, &pair.params);
			expect_taken_back(&pair, arcs_before_go[i].words);
			close_pair(&pair);
		}
}

/* One more than elsewhere: RAM that was handed over must be returned. */
static const char *fail_one(struct pair *pair, unsigned which)
{
	if (which < FAILURES_BEFORE_GO)
		return fail_before_go(&pair->source, &pair->target, which);
	pair->target.fail_reach = true;
	return "the devices do not reach RAM";
}

static void any_other_failure_before_go_leaves_ram_as_it_was(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= FAILURES_BEFORE_GO; i++) {
		static struct pair pair;

		open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
		const char *words = fail_one(&pair, i);
		fake_migrate(&pair.source, &pair.target, &pair.params);
		expect_taken_back(&pair, words);
		close_pair(&pair);
	}
}

static void a_paused_vm_whose_migration_fails_has_the_same_ram_byte_by_byte(void **state)
{
	(void)state;
	/* Neither in the first pre-copy nor at the stop: there is none. */
	for (unsigned i = 1; i <= FAILURES_BEFORE_GO; i++) {
		static struct pair pair;

		if (i == FAILURES_BEFORE_GO - 1)
			continue;

		open_pair(&pair, 3, SWO_TRANSITIONS_PARALLEL);
		fake_vm_run(&pair.source, false);
		assert_int_equal(swo_runstate_change(pair.source.vm.runstate, SWO_RUN_STATE_PAUSED,
					 SWO_ON_ERROR_CONTINUE, NULL),
			0);
		uint64_t before = swo_ram_hash(pair.source.vm.ram);

		fail_one(&pair, i);
		fake_migrate(&pair.source, &pair.target, &pair.params);
		assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_FAILED);
		fake_end(&pair.target);
		assert_int_equal(swo_ram_hash(pair.source.vm.ram), before);
		assert_true(can_write(&pair.source));
		expect_own_ram(&pair.target, pair.memory);
		close_pair(&pair);
	}
}

static void a_cancel_at_either_side_leaves_ram_with_the_source(void **state)
{
	(void)state;
	for (unsigned at_target = 0; at_target < 2; at_target++) {
		struct fake_vm *who;
		static struct pair pair;

		open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
		/* Until the cancel is in, the target does not become READY. */
		fake_script(&pair.target.devices[0], SWO_DEVICE_RESUMING, SWO_DEVICE_STOP,
			FAKE_HANG, 1);
		fake_migrate(&pair.source, &pair.target, &pair.params);
		while (!pair.at_stop)
			swo_sleep_until(swo_now_ns() + 1000000);
		who = at_target ? &pair.target : &pair.source;
		assert_int_equal(swo_migration_cancel(who->migration, NULL), 0);
		fake_release(&pair.target.devices[0]);
		fake_end(&pair.source);
		fake_end(&pair.target);
		assert_true(fake_vm_runs(&pair.source));
		assert_true(can_write(&pair.source));
		expect_own_ram(&pair.target, pair.memory);
		assert_int_equal(pair.at_resume, pair.at_stop);
		close_pair(&pair);
	}
}

static void a_failure_after_go_leaves_ram_with_the_target(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair, 2, SWO_TRANSITIONS_PARALLEL);
	fake_script(
		&pair.target.devices[1], SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, FAKE_FAIL, 1);
	fake_migrate(&pair.source, &pair.target, &pair.params);
	expect_moved(&pair, true);
	assert_int_equal(pair.target.devices[1].state, SWO_DEVICE_RUNNING);
	close_pair(&pair);
}

/* Refused:
 */

static void expect_no_start(
	struct fake_vm *vm, const char *uri, struct swo_migration_params *params, const char *words)
{
	struct swo_error err = {0};

	assert_int_equal(
		swo_migration_send(&vm->vm, uri, params, NULL, NULL, &vm->migration, &err), -1);
	if (!strstr(err.text, words))
		fail_msg("error '%s' without '%s'", err.text, words);
	vm->migration = NULL;
}

static void ram_that_cannot_be_handed_over_is_refused_before_the_start(void **state)
{
	(void)state;
	struct swo_vm_ops without;
	struct swo_error err = {0};
	static struct pair pair;

	open_pair(&pair, 1, SWO_TRANSITIONS_PARALLEL);
	expect_no_start(&pair.source, "tcp:127.0.0.1:1", &pair.params, "requires a unix: URI");
	assert_int_equal(swo_migration_receive(&pair.target.vm, "tcp:127.0.0.1:0", &pair.params,
				 NULL, NULL, &pair.target.migration, &err),
		-1);
	assert_non_null(strstr(err.text, "requires a unix: URI"));
	pair.target.migration = NULL;
	strcpy(pair.params.tls.creds, "/nonexistent");
	expect_no_start(&pair.source, fake_uri(), &pair.params, "and tls-creds exclude each other");
	pair.params.tls.creds[0] = 0;
	without = *pair.source.vm.ops;
	without.ram_reach = NULL;
	const struct swo_vm_ops *with = pair.source.vm.ops;
	pair.source.vm.ops = &without;
	expect_no_start(&pair.source, fake_uri(), &pair.params, "has no ram_reach callback");
	pair.source.vm.ops = with;
	pair.params.handover = (enum swo_handover)7;
	expect_no_start(&pair.source, fake_uri(), &pair.params, "handover must be copy or fd");
	close_pair(&pair);
}

static void ram_that_is_not_in_a_sealed_memfd_is_not_handed_over(void **state)
{
	(void)state;
	char path[] = "/tmp/swo-test-XXXXXX";
	int file = mkstemp(path), open_memfd = memfd_create("x", MFD_ALLOW_SEALING);
	static struct pair pair;

	open_pair(&pair, 1, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(ftruncate(file, 65536), 0);
	assert_int_equal(ftruncate(open_memfd, 65536), 0);
	assert_int_equal(
		swo_ram_add(pair.source.vm.ram, "file", UINT64_C(1) << 30, 65536, file, NULL), 0);
	expect_no_start(&pair.source, fake_uri(), &pair.params, "'file'");
	swo_ram_region(pair.source.vm.ram, 1)->fd = open_memfd;
	expect_no_start(&pair.source, fake_uri(), &pair.params, "its memfd is not sealed against");
	assert_int_equal(fcntl(open_memfd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(ftruncate(open_memfd, 2 * 65536), 0);
	expect_no_start(
		&pair.source, fake_uri(), &pair.params, "memfd of 131072 bytes, expected 65536");
	close(file);
	unlink(path);
	close_pair(&pair);
}

static void a_target_without_ram_reach_reports_it_and_keeps_waiting(void **state)
{
	(void)state;
	struct swo_vm_ops without;
	static struct pair pair;

	open_pair(&pair, 1, SWO_TRANSITIONS_PARALLEL);
	pair.target.on_load = NULL; /* a copy is still being received then */
	without = *pair.target.vm.ops;
	without.ram_reach = NULL;
	pair.target.vm.ops = &without;

	const struct swo_migration_params copy = fake_params();
	const char *uri = fake_uri();

	assert_int_equal(swo_migration_receive(&pair.target.vm, uri, &copy, NULL, NULL,
				 &pair.target.migration, NULL),
		0);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &pair.params, NULL, NULL,
				 &pair.source.migration, NULL),
		0);
	struct swo_migration_info info = fake_end(&pair.source);

	if (!strstr(info.error.text, "the target's VMM has no ram_reach callback"))
		fail_msg("%s", info.error.text);
	assert_true(fake_vm_runs(&pair.source));
	swo_migration_free(pair.source.migration);
	assert_int_equal(swo_migration_send(&pair.source.vm, uri, &copy, NULL, NULL,
				 &pair.source.migration, NULL),
		0);
	assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_COMPLETED);
	close_pair(&pair);
}

static void a_target_without_the_parameter_follows_the_source(void **state)
{
	(void)state;
	for (unsigned fd = 0; fd < 2; fd++) {
		struct swo_migration_params at_target = fake_params();
		const char *uri = fake_uri();
		static struct pair pair;

		open_pair(&pair, 1, SWO_TRANSITIONS_PARALLEL);
		if (!fd)
			pair.target.on_load = NULL; /* a copy is still being received then */
		at_target.handover = fd ? SWO_HANDOVER_COPY : SWO_HANDOVER_FD;
		pair.params.handover = fd ? SWO_HANDOVER_FD : SWO_HANDOVER_COPY;
		assert_int_equal(swo_migration_receive(&pair.target.vm, uri, &at_target, NULL, NULL,
					 &pair.target.migration, NULL),
			0);
		assert_int_equal(swo_migration_send(&pair.source.vm, uri, &pair.params, NULL, NULL,
					 &pair.source.migration, NULL),
			0);
		if (fd)
			expect_moved(&pair, true);
		else
			assert_int_equal(fake_end(&pair.source).status, SWO_MIGRATION_COMPLETED);
		assert_int_equal(memory_of(&pair.target) == pair.memory, fd);
		close_pair(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			ram_that_is_handed_over_is_the_same_memory_and_is_written_by_one_side_at_a_time),
		cmocka_unit_test(it_moves_with_every_switch_thrown),
		cmocka_unit_test(a_paused_vm_arrives_paused_with_its_ram),
		cmocka_unit_test(ram_that_was_handed_over_can_be_handed_over_again),
		cmocka_unit_test(a_copy_follows_a_handover_that_failed_and_loses_nothing),
		cmocka_unit_test(a_target_that_refuses_resets_its_devices_out_of_reach_of_ram),
		cmocka_unit_test(any_failing_arc_before_go_leaves_ram_as_it_was),
		cmocka_unit_test(any_other_failure_before_go_leaves_ram_as_it_was),
		cmocka_unit_test(a_paused_vm_whose_migration_fails_has_the_same_ram_byte_by_byte),
		cmocka_unit_test(a_cancel_at_either_side_leaves_ram_with_the_source),
		cmocka_unit_test(a_failure_after_go_leaves_ram_with_the_target),
		cmocka_unit_test(ram_that_cannot_be_handed_over_is_refused_before_the_start),
		cmocka_unit_test(ram_that_is_not_in_a_sealed_memfd_is_not_handed_over),
		cmocka_unit_test(a_target_without_ram_reach_reports_it_and_keeps_waiting),
		cmocka_unit_test(a_target_without_the_parameter_follows_the_source),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
