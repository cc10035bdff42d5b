/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unpredicted events: faults, roll-backs, other calls, resets, descriptors that are opened and
 * closed. Each is handled before anything else, and no speculative arc is left over.
 */
#include "check.h"
#include "devices.h"
#include "fake_vfio.h"
#include "speculate.h"
#include "tests/support/blocked.h"
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
	vmm_set_all(vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(vmm, SWO_DEVICE_STOP);
}

/* All but the last are requested; the last has been started, and may be done. */
static void stop_all_but_the_last(struct vmm *vmm)
{
	vmm_set_all(vmm, SWO_DEVICE_PRE_COPY);
	vmm_set_all(vmm, SWO_DEVICE_PRE_COPY_P2P);
	for (unsigned i = 0; i + 1 < vmm->count; i++)
		assert_int_equal(vmm_set(vmm, i, SWO_DEVICE_STOP_COPY), 0);
}

static void an_error_is_returned_to_the_request_of_its_device(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	fake_vfio_fail(1, SWO_DEVICE_STOP_COPY, EREMOTEIO, 1);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_STOP_COPY), EREMOTEIO);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_state(&vmm, 1), SWO_DEVICE_PRE_COPY_P2P);
	/* The roll-back of QEMU, and what follows it. */
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_STOP), 0);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	assert_null(check_reason());
	assert_int_equal(fake_vfio_violations(), 0);
	vmm_end(&vmm);
}

static void a_failure_of_the_first_leaves_the_others_to_their_own_requests(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	fake_vfio_fail(0, SWO_DEVICE_RUNNING_P2P, EIO, 1);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), EIO);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_roll_back_closes_the_session_that_the_vmm_has_not_seen(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	/* Cancelled: on the other two the arc was started; they have sessions now, or will. */
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_close_session(&vmm, 0);
	assert_int_equal(fake_vfio_sessions(), 0);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vmm_state(&vmm, i), SWO_DEVICE_RUNNING);
	assert_null(check_reason());
	assert_int_equal(fake_vfio_violations(), 0);
	vmm_end(&vmm);
}

static void an_unpredicted_request_is_honoured_and_disables_speculation(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	stop_all_but_the_last(&vmm);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_RESUMING), 0);
	assert_int_equal(vmm_state(&vmm, 2), SWO_DEVICE_RESUMING);
	assert_non_null(check_reason());
	assert_non_null(strstr(check_reason(), "RESUMING requested"));
	const unsigned before = begun();

	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	assert_int_equal(begun(), before);
	vmm_end(&vmm);
}

static void an_arc_started_before_a_mismatch_is_still_returned(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 4);
	stand_still(&vmm);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RESUMING), 0);
	assert_non_null(check_reason());
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(vmm_set(&vmm, 3, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(fake_vfio_sets(2), 3);
	assert_int_equal(fake_vfio_sessions(), 4);
	vmm_end(&vmm);
}

static void writing_state_during_a_speculative_arc_is_a_mismatch(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 2);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	speculate_settle_write(vmm.data_fd[1]);
	assert_null(check_reason());
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	speculate_settle_write(vmm.data_fd[1]);
	assert_non_null(strstr(check_reason(), "write to the data session"));
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_end(&vmm);
}

/* Calls that wait */

struct caller {
	struct vmm *vmm;
	void (*call)(struct caller *caller);
	pthread_t thread;
	blocked_tid tid;
	atomic_bool over;
};

static void *run_caller(void *arg)
{
	struct caller *caller = arg;

	atomic_store(&caller->tid, gettid());
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

/* The call must not return while the speculative arc still runs. */
static void waits(void (*call)(struct caller *))
{
	struct vmm vmm;
	struct caller caller = {.vmm = &vmm, .call = call};

	vmm_start(&vmm, VMM_QEMU, 2);
	fake_vfio_hold(1, true);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_true(fake_vfio_inside(1));
	assert_int_equal(pthread_create(&caller.thread, NULL, run_caller, &caller), 0);
	assert_true(blocked_await(&caller.tid));
	assert_false(atomic_load(&caller.over));
	fake_vfio_hold(1, false);
	assert_int_equal(pthread_join(caller.thread, NULL), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void an_ioctl_waits_for_a_speculative_arc(void **state)
{
	(void)state;
	waits(get_state);
}

static void a_read_waits_for_a_speculative_arc(void **state)
{
	(void)state;
	waits(read_region);
}

static void a_close_waits_for_a_speculative_arc(void **state)
{
	(void)state;
	waits(close_it);
}

static void a_reset_waits_for_a_speculative_arc(void **state)
{
	(void)state;
	waits(reset_it);
}

static void a_held_device_blocks_no_other_device(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	fake_vfio_hold(1, true);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_state(&vmm, 2), SWO_DEVICE_RUNNING_P2P);
	speculate_settle(vmm.fd[0]);
	fake_vfio_hold(1, false);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_end(&vmm);
}

/* Resets and descriptors */

static void a_reset_drops_a_speculative_arc(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(speculate_ioctl(vmm.fd[1], VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(vmm_state(&vmm, 1), SWO_DEVICE_RUNNING);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(fake_vfio_sessions(), 2);
	assert_null(check_reason());
	/* Its state is recorded: a RUNNING device follows none that is in another state. */
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_state(&vmm, 1), SWO_DEVICE_RUNNING);
	vmm_end(&vmm);
}

static void a_hot_reset_drops_all_speculative_arcs(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(speculate_ioctl(vmm.fd[0], VFIO_DEVICE_PCI_HOT_RESET, NULL), 0);
	vmm_close_session(&vmm, 0);
	assert_int_equal(fake_vfio_sessions(), 0);
	assert_int_equal(devices.speculating, 0);
	/* After this the state is read from the devices. */
	fake_vfio_meet(3);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	assert_int_equal(fake_vfio_missed(), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void an_unplugged_device_leaves_nothing(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	stand_still(&vmm);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	vmm_close(&vmm, 1);
	assert_int_equal(devices.count, 2);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_STOP_COPY), 0);
	assert_int_equal(fake_vfio_sessions(), 2);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_hot_added_device_follows(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 1);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	vmm_add(&vmm, FAKE_VFIO_ALL);
	vmm_add(&vmm, FAKE_VFIO_ALL);
	fake_vfio_meet(3);
	stand_still(&vmm);
	assert_int_equal(fake_vfio_missed(), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_duplicate_is_the_same_device(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 2);
	const int first = vmm.fd[1];

	vmm.fd[1] = dup(first);
	speculate_dup(first, vmm.fd[1]);
	assert_int_equal(devices.count, 2);
	fake_vfio_hold(1, true);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	/* Its first descriptor is closed during an arc, and another one keeps it open. */
	assert_true(fake_vfio_inside(1));
	speculate_close(first);
	close(first);
	fake_vfio_hold(1, false);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(fake_vfio_sets(1), 1);
	fake_vfio_meet(2);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	assert_int_equal(fake_vfio_missed(), 0);
	vmm_end(&vmm);
}

static void an_inherited_device_is_recognised_by_its_first_arc(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 1);
	vmm.fd[vmm.count] = fake_vfio_open(FAKE_VFIO_ALL);
	vmm.data_fd[vmm.count++] = -1;
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(devices.count, 2);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(fake_vfio_sets(0), 1);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_file_that_is_no_device_is_passed_on(void **state)
{
	(void)state;
	struct vmm vmm;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	vmm_start(&vmm, VMM_QEMU, 2);
	vmm.fd[vmm.count] = fd;
	vmm.data_fd[vmm.count++] = -1;
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_RUNNING_P2P), ENOTTY);
	assert_int_equal(devices.count, 2);
	vmm_end(&vmm);
}

/* Processes and threads */

static void a_child_starts_no_arc_and_does_not_hang(void **state)
{
	(void)state;
	struct vmm vmm;
	int status;

	vmm_start(&vmm, VMM_QEMU, 2);
	fake_vfio_hold(1, true);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_true(fake_vfio_inside(1));
	speculate_fork_before();
	const pid_t child = fork();

	if (child == 0) {
		speculate_fork_child();
		speculate_settle(
			vmm.fd[1]); /* would wait for a thread that does not exist in the child */
		if (devices.speculating)
			_exit(1);
		fake_vfio_hold(1, false); /* the child has its own copy of the fake */
		const unsigned before = begun();

		vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
		vmm_set_all(&vmm, SWO_DEVICE_STOP);
		_exit(begun() == before && !check_reason() ? 0 : 2);
	}
	speculate_fork_parent();
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	fake_vfio_hold(1, false);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

/* Its own devices, as soon as it has none of its parent's any more. */
static void a_child_starts_afresh_without_inherited_devices(void **state)
{
	(void)state;
	struct vmm vmm;
	int status;

	vmm_start(&vmm, VMM_QEMU, 1); /* without threads: TSan wants none in a child of theirs */
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	speculate_fork_before();
	const pid_t child = fork();

	if (child == 0) {
		speculate_fork_child();
		const unsigned before = begun();

		vmm_add(&vmm, FAKE_VFIO_ALL);
		vmm_add(&vmm, FAKE_VFIO_ALL);
		vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P);
		vmm_set(&vmm, 2, SWO_DEVICE_RUNNING_P2P);
		if (begun() != before)
			_exit(1);
		vmm_close(&vmm, 0);
		fake_vfio_meet(2);
		vmm_set(&vmm, 1, SWO_DEVICE_STOP);
		vmm_set(&vmm, 2, SWO_DEVICE_STOP);
		_exit(begun() == before + 1 && !fake_vfio_missed() && !check_reason() ? 0 : 2);
	}
	speculate_fork_parent();
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(vmm_state(&vmm, 0), SWO_DEVICE_RUNNING_P2P);
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

static void a_close_in_a_child_of_vfork_is_ignored(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 2);
	close_in_vfork(&vmm);
	assert_int_equal(devices.count, 2);
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
		asker->error = vmm_set(asker->vmm, asker->index, way[i]);
	return NULL;
}

static void a_multithreaded_vmm_gets_each_result_once(void **state)
{
	(void)state;

	for (int round = 0; round < 50; round++) {
		struct asker asker[4];
		struct vmm vmm;

		vmm_start(&vmm, VMM_QEMU, 4);
		for (unsigned i = 0; i < 4; i++) {
			asker[i] = (struct asker){.vmm = &vmm, .index = i};
			assert_int_equal(
				pthread_create(&asker[i].thread, NULL, run_asker, &asker[i]), 0);
		}
		for (unsigned i = 0; i < 4; i++) {
			pthread_join(asker[i].thread, NULL);
			assert_int_equal(asker[i].error, 0);
			assert_int_equal(fake_vfio_state(i), SWO_DEVICE_STOP);
			assert_int_equal(fake_vfio_sets(i), 2);
		}
		assert_null(check_reason());
		vmm_end(&vmm);
	}
}

struct pass_asker {
	struct vmm *vmm;
	unsigned index;
	uint32_t to;
	pthread_t thread;
	int error;
};

static void *ask_once(void *arg)
{
	struct pass_asker *asker = arg;

	asker->error = vmm_set(asker->vmm, asker->index, asker->to);
	return NULL;
}

/* One thread for each of some devices, joined. Returns the errors as a mask. */
static unsigned ask_from_threads(struct vmm *vmm, unsigned first, unsigned count, uint32_t to)
{
	struct pass_asker asker[VMM_DEVICES_MAX];
	unsigned failed = 0;

	for (unsigned i = 0; i < count; i++) {
		asker[i] = (struct pass_asker){.vmm = vmm, .index = first + i, .to = to};
		assert_int_equal(pthread_create(&asker[i].thread, NULL, ask_once, &asker[i]), 0);
	}
	for (unsigned i = 0; i < count; i++) {
		pthread_join(asker[i].thread, NULL);
		failed |= asker[i].error ? 1u << (first + i) : 0;
	}
	return failed;
}

static unsigned threaded_pass(struct vmm *vmm, uint32_t to)
{
	return ask_from_threads(vmm, 0, vmm->count, to);
}

/* Such a VMM alone changes two devices at a time. */
static void a_vmm_that_joins_its_threads_at_each_depth_changes_all_depths_at_once(void **state)
{
	static const uint32_t way[] = {SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP,
		SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING};

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct vmm vmm;

		vmm_start(&vmm, VMM_QEMU, 4);
		fake_vfio_meet(4);
		for (unsigned i = 0; i < 4; i++)
			for (unsigned depth = 0; depth < 2; depth++)
				assert_int_equal(ask_from_threads(&vmm, 2 * depth, 2, way[i]), 0);
		assert_int_equal(fake_vfio_missed(), 0);
		assert_int_equal(fake_vfio_violations(), 0);
		assert_null(check_reason());
		vmm_end(&vmm);
	}
}

static void a_thread_a_device_and_pass_keeps_results_order_and_errors(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		const unsigned unlucky = round % 4;
		struct vmm vmm;

		vmm_start(&vmm, round % 2 ? VMM_QEMU : VMM_CLOUD_HYPERVISOR, 4);
		fake_vfio_meet(4);
		assert_int_equal(threaded_pass(&vmm, SWO_DEVICE_RUNNING_P2P), 0);
		assert_int_equal(threaded_pass(&vmm, SWO_DEVICE_STOP), 0);
		fake_vfio_meet(0);
		fake_vfio_fail(unlucky, SWO_DEVICE_STOP_COPY, EIO, 1);
		assert_int_equal(threaded_pass(&vmm, SWO_DEVICE_STOP_COPY), 1u << unlucky);
		assert_int_equal(fake_vfio_sessions(), 3);
		/* Back, all of them. */
		assert_int_equal(threaded_pass(&vmm, SWO_DEVICE_RUNNING_P2P), 0);
		for (unsigned i = 0; i < 4; i++) {
			vmm_close_session(&vmm, i);
			assert_int_equal(fake_vfio_sets(i), 4);
		}
		assert_int_equal(threaded_pass(&vmm, SWO_DEVICE_RUNNING), 0);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(fake_vfio_state(i), SWO_DEVICE_RUNNING);
		assert_null(check_reason());
		assert_int_equal(fake_vfio_missed(), 0);
		assert_int_equal(fake_vfio_violations(), 0);
		vmm_end(&vmm);
	}
}

/* The loops only guard against a hang. */
static void await_state(unsigned index, uint32_t wanted)
{
	for (int i = 0; i < 10000 && (fake_vfio_state(index) != wanted || devices.speculating); i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(fake_vfio_state(index), wanted);
}

static void an_unrequested_arc_is_undone(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 2);
	worker_patience_ns = 1000000;
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	await_state(1, SWO_DEVICE_RUNNING);
	assert_int_equal(fake_vfio_sets(1), 2);
	assert_non_null(
		strstr(check_reason(), "RUNNING->RUNNING_P2P was started, and not requested"));
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	vmm_end(&vmm);
}

static void an_unrequested_session_is_closed(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 2);
	stand_still(&vmm);
	worker_patience_ns = 1000000;
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	await_state(1, SWO_DEVICE_STOP);
	assert_int_equal(fake_vfio_sessions(), 1);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_is_returned_to_the_request_of_its_device),
		cmocka_unit_test(a_failure_of_the_first_leaves_the_others_to_their_own_requests),
		cmocka_unit_test(a_roll_back_closes_the_session_that_the_vmm_has_not_seen),
		cmocka_unit_test(an_unpredicted_request_is_honoured_and_disables_speculation),
		cmocka_unit_test(an_arc_started_before_a_mismatch_is_still_returned),
		cmocka_unit_test(writing_state_during_a_speculative_arc_is_a_mismatch),
		cmocka_unit_test(an_ioctl_waits_for_a_speculative_arc),
		cmocka_unit_test(a_read_waits_for_a_speculative_arc),
		cmocka_unit_test(a_close_waits_for_a_speculative_arc),
		cmocka_unit_test(a_reset_waits_for_a_speculative_arc),
		cmocka_unit_test(a_held_device_blocks_no_other_device),
		cmocka_unit_test(a_reset_drops_a_speculative_arc),
		cmocka_unit_test(a_hot_reset_drops_all_speculative_arcs),
		cmocka_unit_test(an_unplugged_device_leaves_nothing),
		cmocka_unit_test(a_hot_added_device_follows),
		cmocka_unit_test(a_duplicate_is_the_same_device),
		cmocka_unit_test(an_inherited_device_is_recognised_by_its_first_arc),
		cmocka_unit_test(a_file_that_is_no_device_is_passed_on),
		cmocka_unit_test(a_child_starts_no_arc_and_does_not_hang),
		cmocka_unit_test(a_child_starts_afresh_without_inherited_devices),
		cmocka_unit_test(a_close_in_a_child_of_vfork_is_ignored),
		cmocka_unit_test(a_multithreaded_vmm_gets_each_result_once),
		cmocka_unit_test(
			a_vmm_that_joins_its_threads_at_each_depth_changes_all_depths_at_once),
		cmocka_unit_test(a_thread_a_device_and_pass_keeps_results_order_and_errors),
		cmocka_unit_test(an_unrequested_arc_is_undone),
		cmocka_unit_test(an_unrequested_session_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
