/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is not predicted: faults, ways back, other calls, resets, descriptors that go and
 * come. It is honoured first, and nothing that was begun is left over.
 */
#include "check.h"
#include "devices.h"
#include "played.h"
#include "speculate.h"
#include "tests/support/cm.h"
#include "vmm.h"
#include "worker.h"

#include "device/core/vfio_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned begun(void)
{
	unsigned count, asked;

	speculate_counts(&count, &asked);
	return count;
}

static void stand_still(struct vmm *vmm)
{
	vmm_ask_all(vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(vmm, SWO_DEVICE_STOP);
}

/* All but the last are asked; that one has been begun, and is done or not. */
static void stop_all_but_the_last(struct vmm *vmm)
{
	vmm_ask_all(vmm, SWO_DEVICE_PRE_COPY);
	vmm_ask_all(vmm, SWO_DEVICE_PRE_COPY_P2P);
	for (unsigned i = 0; i + 1 < vmm->count; i++)
		assert_int_equal(vmm_ask(vmm, i, SWO_DEVICE_STOP_COPY), 0);
}

static void an_error_appears_where_the_vmm_expects_it(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	played_fail(1, SWO_DEVICE_STOP_COPY, EREMOTEIO, 1);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_STOP_COPY), EREMOTEIO);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_state(&vmm, 1), SWO_DEVICE_PRE_COPY_P2P);
	/* What QEMU does then, and what it does next. */
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_STOP), 0);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	assert_null(check_reason());
	assert_int_equal(played_violations(), 0);
	vmm_end(&vmm);
}

static void a_failure_of_the_first_leaves_the_others_to_their_own_requests(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	played_fail(0, SWO_DEVICE_RUNNING_P2P, EIO, 1);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), EIO);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_way_back_is_taken_and_the_session_that_nobody_saw_is_closed(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	/* Cancelled: the other two were begun and have sessions by now, or will. */
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_close_session(&vmm, 0);
	assert_int_equal(played_sessions(), 0);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vmm_state(&vmm, i), SWO_DEVICE_RUNNING);
	assert_null(check_reason());
	assert_int_equal(played_violations(), 0);
	vmm_end(&vmm);
}

static void another_request_is_honoured_and_is_the_last_surprise(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	stop_all_but_the_last(&vmm);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_RESUMING), 0);
	assert_int_equal(vmm_state(&vmm, 2), SWO_DEVICE_RESUMING);
	assert_non_null(check_reason());
	assert_non_null(strstr(check_reason(), "RESUMING was asked for where"));
	const unsigned before = begun();

	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	assert_int_equal(begun(), before);
	vmm_end(&vmm);
}

static void what_was_begun_before_a_surprise_is_still_handed_over(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 4);
	stand_still(&vmm);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RESUMING), 0);
	assert_non_null(check_reason());
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_ask(&vmm, 3, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(played_sets(2), 3);
	assert_int_equal(played_sessions(), 4);
	vmm_end(&vmm);
}

static void writing_state_to_a_device_that_was_begun_is_a_surprise(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 2);
	vmm_ask_all(&vmm, SWO_DEVICE_RESUMING);
	speculate_settle_write(vmm.data_fd[1]);
	assert_null(check_reason());
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	speculate_settle_write(vmm.data_fd[1]);
	assert_non_null(strstr(check_reason(), "still being written"));
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_end(&vmm);
}

/* Calls that wait */

struct caller {
	struct vmm *vmm;
	void (*call)(struct caller *caller);
	pthread_t thread;
	atomic_bool over;
};

static void *run_caller(void *arg)
{
	struct caller *caller = arg;

	caller->call(caller);
	atomic_store(&caller->over, true);
	return NULL;
}

static void get_state(struct caller *caller)
{
	if (vmm_state(caller->vmm, 1) != SWO_DEVICE_RUNNING_P2P)
		abort();
}

static void read_region(struct caller *caller)
{
	speculate_settle(caller->vmm->fd[1]);
}

static void close_it(struct caller *caller)
{
	vmm_close(caller->vmm, 1);
}

static void reset_it(struct caller *caller)
{
	if (speculate_ioctl(caller->vmm->fd[1], VFIO_DEVICE_RESET, NULL))
		abort();
}

/* The call must not be over while the device, which was begun ahead, is still at it. It is given a
   moment to be wrong in; a right one is never too slow for that. */
static void waits(void (*call)(struct caller *))
{
	struct vmm vmm;
	struct caller caller = {.vmm = &vmm, .call = call};

	vmm_start(&vmm, FORESEE_QEMU, 2);
	played_hold(1, true);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_true(played_inside(1));
	assert_int_equal(pthread_create(&caller.thread, NULL, run_caller, &caller), 0);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	assert_false(atomic_load(&caller.over));
	played_hold(1, false);
	assert_int_equal(pthread_join(caller.thread, NULL), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void an_ioctl_waits_for_what_was_begun(void **state)
{
	(void)state;
	waits(get_state);
}

static void a_read_waits_for_what_was_begun(void **state)
{
	(void)state;
	waits(read_region);
}

static void a_close_waits_for_what_was_begun(void **state)
{
	(void)state;
	waits(close_it);
}

static void a_reset_waits_for_what_was_begun(void **state)
{
	(void)state;
	waits(reset_it);
}

static void a_held_device_keeps_nobody_else_waiting(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	played_hold(1, true);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_state(&vmm, 2), SWO_DEVICE_RUNNING_P2P);
	speculate_settle(vmm.fd[0]);
	played_hold(1, false);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_end(&vmm);
}

/* Resets and descriptors */

static void a_reset_drops_what_was_begun(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(speculate_ioctl(vmm.fd[1], VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(vmm_state(&vmm, 1), SWO_DEVICE_RUNNING);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(played_sessions(), 2);
	assert_null(check_reason());
	/* And it is known where it is: a RUNNING one goes along with none that is elsewhere. */
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_state(&vmm, 1), SWO_DEVICE_RUNNING);
	vmm_end(&vmm);
}

static void a_hot_reset_drops_all_that_was_begun(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(speculate_ioctl(vmm.fd[0], VFIO_DEVICE_PCI_HOT_RESET, NULL), 0);
	vmm_close_session(&vmm, 0);
	assert_int_equal(played_sessions(), 0);
	assert_int_equal(fleet.ahead, 0);
	/* Where they are then, the devices are asked. */
	played_meet(3);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	assert_int_equal(played_missed(), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void an_unplugged_device_leaves_nothing(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	vmm_close(&vmm, 1);
	assert_int_equal(fleet.count, 2);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(played_sessions(), 2);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_hot_added_device_goes_along(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 1);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	vmm_add(&vmm, PLAYED_ALL);
	vmm_add(&vmm, PLAYED_ALL);
	played_meet(3);
	stand_still(&vmm);
	assert_int_equal(played_missed(), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_duplicate_is_the_same_device(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 2);
	const int first = vmm.fd[1];

	vmm.fd[1] = dup(first);
	speculate_dup(first, vmm.fd[1]);
	assert_int_equal(fleet.count, 2);
	played_hold(1, true);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	/* Its first number goes while it is at work, and another one keeps it open. */
	assert_true(played_inside(1));
	speculate_close(first);
	close(first);
	played_hold(1, false);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(played_sets(1), 1);
	played_meet(2);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	assert_int_equal(played_missed(), 0);
	vmm_end(&vmm);
}

static void a_device_that_nobody_introduced_is_known_by_its_first_arc(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 1);
	vmm.fd[vmm.count] = played_open(PLAYED_ALL);
	vmm.data_fd[vmm.count++] = -1;
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(fleet.count, 2);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(played_sets(0), 1);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_file_that_is_no_device_is_passed_on(void **state)
{
	(void)state;
	struct vmm vmm;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	vmm_start(&vmm, FORESEE_QEMU, 2);
	vmm.fd[vmm.count] = fd;
	vmm.data_fd[vmm.count++] = -1;
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_RUNNING_P2P), ENOTTY);
	assert_int_equal(fleet.count, 2);
	vmm_end(&vmm);
}

/* Processes and threads */

static void a_child_begins_nothing_and_hangs_on_nothing(void **state)
{
	(void)state;
	struct vmm vmm;
	int status;

	vmm_start(&vmm, FORESEE_QEMU, 2);
	played_hold(1, true);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_true(played_inside(1));
	speculate_fork_before();
	const pid_t child = fork();

	if (child == 0) {
		speculate_fork_child();
		speculate_settle(vmm.fd[1]); /* would wait for a thread that is not there */
		_exit(check_reason() && fleet.ahead == 0 ? 0 : 1);
	}
	speculate_fork_parent();
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	played_hold(1, false);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void close_in_vfork(const struct vmm *vmm)
{
	const pid_t child = vfork();

	if (child == 0) {
		speculate_close(vmm->fd[0]);
		speculate_close(vmm->fd[1]);
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void what_a_child_of_vfork_closes_is_kept(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 2);
	close_in_vfork(&vmm);
	assert_int_equal(fleet.count, 2);
	vmm_end(&vmm);
}

struct asker {
	struct vmm *vmm;
	unsigned index;
	pthread_t thread;
	int error;
};

static void *run_asker(void *arg)
{
	static const uint32_t way[] = {SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP};
	struct asker *asker = arg;

	for (unsigned i = 0; i < 2 && !asker->error; i++)
		asker->error = vmm_ask(asker->vmm, asker->index, way[i]);
	return NULL;
}

static void a_vmm_that_asks_in_threads_itself_gets_each_answer_once(void **state)
{
	(void)state;

	for (int round = 0; round < 50; round++) {
		struct asker asker[4];
		struct vmm vmm;

		vmm_start(&vmm, FORESEE_QEMU, 4);
		for (unsigned i = 0; i < 4; i++) {
			asker[i] = (struct asker){.vmm = &vmm, .index = i};
			assert_int_equal(
				pthread_create(&asker[i].thread, NULL, run_asker, &asker[i]), 0);
		}
		for (unsigned i = 0; i < 4; i++) {
			pthread_join(asker[i].thread, NULL);
			assert_int_equal(asker[i].error, 0);
			assert_int_equal(played_state(i), SWO_DEVICE_STOP);
			assert_int_equal(played_sets(i), 2);
		}
		assert_null(check_reason());
		vmm_end(&vmm);
	}
}

/* Only hang guards here: the condition comes about whenever it does. */
static void await_state(unsigned index, uint32_t wanted)
{
	for (int i = 0; i < 10000 && (played_state(index) != wanted || fleet.ahead); i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(played_state(index), wanted);
}

static void what_nobody_asks_for_is_taken_back(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 2);
	worker_patience_ns = 1000000;
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	await_state(1, SWO_DEVICE_RUNNING);
	assert_int_equal(played_sets(1), 2);
	assert_non_null(strstr(check_reason(), "nobody asked for RUNNING->RUNNING_P2P"));
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_end(&vmm);
}

static void a_session_that_nobody_asks_for_is_taken_back(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 2);
	stand_still(&vmm);
	worker_patience_ns = 1000000;
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	await_state(1, SWO_DEVICE_STOP);
	assert_int_equal(played_sessions(), 1);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_appears_where_the_vmm_expects_it),
		cmocka_unit_test(a_failure_of_the_first_leaves_the_others_to_their_own_requests),
		cmocka_unit_test(a_way_back_is_taken_and_the_session_that_nobody_saw_is_closed),
		cmocka_unit_test(another_request_is_honoured_and_is_the_last_surprise),
		cmocka_unit_test(what_was_begun_before_a_surprise_is_still_handed_over),
		cmocka_unit_test(writing_state_to_a_device_that_was_begun_is_a_surprise),
		cmocka_unit_test(an_ioctl_waits_for_what_was_begun),
		cmocka_unit_test(a_read_waits_for_what_was_begun),
		cmocka_unit_test(a_close_waits_for_what_was_begun),
		cmocka_unit_test(a_reset_waits_for_what_was_begun),
		cmocka_unit_test(a_held_device_keeps_nobody_else_waiting),
		cmocka_unit_test(a_reset_drops_what_was_begun),
		cmocka_unit_test(a_hot_reset_drops_all_that_was_begun),
		cmocka_unit_test(an_unplugged_device_leaves_nothing),
		cmocka_unit_test(a_hot_added_device_goes_along),
		cmocka_unit_test(a_duplicate_is_the_same_device),
		cmocka_unit_test(a_device_that_nobody_introduced_is_known_by_its_first_arc),
		cmocka_unit_test(a_file_that_is_no_device_is_passed_on),
		cmocka_unit_test(a_child_begins_nothing_and_hangs_on_nothing),
		cmocka_unit_test(what_a_child_of_vfork_closes_is_kept),
		cmocka_unit_test(a_vmm_that_asks_in_threads_itself_gets_each_answer_once),
		cmocka_unit_test(what_nobody_asks_for_is_taken_back),
		cmocka_unit_test(a_session_that_nobody_asks_for_is_taken_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
