/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The known patterns: which arc is started when, and that no device leaves P2P before the VMM
 * has taken all of them into it.
 */
#include "check.h"
#include "fake_vfio.h"
#include "speculate.h"
#include "tests/support/cm.h"
#include "vmm.h"

#include "device/core/vfio_abi.h"

#include <errno.h>

static unsigned begun_before, asked_before;

/* Since the last call: arcs started speculatively, and results returned. */
static void counts(unsigned begun, unsigned asked)
{
	unsigned b, a;

	speculate_counts(&b, &a);
	assert_int_equal(b - begun_before, begun);
	assert_int_equal(a - asked_before, asked);
	begun_before = b;
	asked_before = a;
}

static void no_mismatch(void)
{
	assert_null(check_reason());
	assert_int_equal(fake_vfio_missed(), 0);
	assert_int_equal(fake_vfio_violations(), 0);
}

static int fresh(void **state)
{
	(void)state;
	speculate_counts(&begun_before, &asked_before);
	return 0;
}

/* Serial requests never pass fake_vfio_meet(). */
static void qemu_source_stops_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 4);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY);
	counts(0, 0); /* pre-copy starts while the VM runs: no downtime to shorten */
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	counts(3, 3);
	vmm_set_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(3, 3);
	fake_vfio_meet(0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(vmm_state(&vmm, i), SWO_DEVICE_STOP_COPY);
		assert_int_equal(fake_vfio_sets(i), 3);
	}
	assert_int_equal(fake_vfio_sessions(), 4);
	no_mismatch();
	vmm_end(&vmm);
	counts(0, 0);
}

static void qemu_source_without_pre_copy_gets_each_its_own_session(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 4);
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	vmm_set_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(9, 9);
	assert_int_equal(fake_vfio_sessions(), 4);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(vmm.data_fd[i], vmm.data_fd[j]);
	no_mismatch();
	vmm_end(&vmm);
}

static void qemu_target_starts_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 4);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	assert_int_equal(fake_vfio_sessions(), 4);
	counts(0, 0);
	fake_vfio_forget_violations();
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	counts(6, 6);
	no_mismatch();
	vmm_end(&vmm);
}

static void qemu_stops_and_continues_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	fake_vfio_meet(3);
	for (int round = 0; round < 3; round++) {
		vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
		vmm_set_all(&vmm, SWO_DEVICE_STOP);
		vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
		vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
		counts(8, 8);
	}
	no_mismatch();
	vmm_end(&vmm);
}

static void qemu_rolls_a_failed_stop_back_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(4, 4);
	fake_vfio_meet(3);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	counts(4, 4);
	no_mismatch();
	vmm_end(&vmm);
}

/* The P2P check that all other cases rely on detects a violation. */
static void cloud_hypervisor_alone_omits_the_barrier(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_NONE, 2);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0);
	assert_true(fake_vfio_violations() > 0);
	vmm_end(&vmm);
}

static void cloud_hypervisor_gets_the_barrier_that_it_omits(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_CLOUD_HYPERVISOR, 4);
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	vmm_set_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(6, 6);
	no_mismatch();
	fake_vfio_meet(0);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0); /* the VMM closes each session after reading it, one by one */
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	counts(3, 3);
	no_mismatch();
	vmm_end(&vmm);
}

static void cloud_hypervisor_restores_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_CLOUD_HYPERVISOR, 4);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	fake_vfio_forget_violations();
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	counts(3, 3);
	no_mismatch();
	vmm_end(&vmm);
}

static void a_failure_at_the_barrier_rolls_all_devices_back(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_CLOUD_HYPERVISOR, 3);
	fake_vfio_fail(1, SWO_DEVICE_RUNNING_P2P, EIO, 1);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP), 0);
	counts(0, 0);
	assert_int_equal(fake_vfio_state(1), SWO_DEVICE_RUNNING);
	assert_int_equal(fake_vfio_state(2), SWO_DEVICE_RUNNING);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_STOP), 0);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_STOP), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void a_failure_of_a_resuming_device_at_the_barrier_stops_no_other_device(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_CLOUD_HYPERVISOR, 3);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	fake_vfio_fail(2, SWO_DEVICE_RUNNING_P2P, EIO, 1);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_vfio_state(i), SWO_DEVICE_RUNNING);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void none_leaves_p2p_before_all_were_asked_into_it(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_PRE_COPY_P2P), 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_PRE_COPY_P2P), 0);
	counts(2, 1);
	/* The arc on device 2 was started, but not requested: this VMM is about to break the rule,
	   and the library must not do so for it on device 1. */
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	counts(0, 0);
	assert_int_equal(fake_vfio_state(1), SWO_DEVICE_PRE_COPY_P2P);
	vmm_end(&vmm);
}

static void none_starts_before_all_were_asked_into_p2p(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	counts(2, 1);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING), 0);
	counts(0, 0);
	assert_int_equal(fake_vfio_state(1), SWO_DEVICE_RUNNING_P2P);
	vmm_end(&vmm);
}

static void a_device_without_p2p_goes_its_own_way(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 2);
	vmm_add(&vmm, VFIO_MIGRATION_STOP_COPY);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	counts(1, 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	counts(0, 1);
	assert_int_equal(fake_vfio_sets(2), 0);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_STOP), 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_STOP), 0);
	counts(1, 0);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_STOP), 0);
	counts(0, 1);
	assert_null(check_reason());
	vmm_end(&vmm);
}

#define NO_P2P (VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY)

static void no_device_has_p2p(enum pattern_vmm kind)
{
	struct vmm vmm;

	vmm_start_with(&vmm, kind, 4, NO_P2P);
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	counts(3, 3);
	vmm_set_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(3, 3);
	assert_int_equal(fake_vfio_sessions(), 4);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING); /* rolled back */
	counts(3, 3);
	fake_vfio_meet(0);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY);
	counts(0, 0);
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(3, 3);
	fake_vfio_meet(0);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0);
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	counts(3, 3);
	fake_vfio_meet(0);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	counts(0, 0);
	fake_vfio_meet(4);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	counts(3, 3);
	assert_int_equal(fake_vfio_missed(), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void devices_without_p2p_stop_and_start_at_once_where_none_has_it(void **state)
{
	(void)state;
	no_device_has_p2p(VMM_QEMU);
	no_device_has_p2p(VMM_CLOUD_HYPERVISOR);
}

static void devices_without_p2p_are_left_alone_where_one_has_it(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start_with(&vmm, VMM_QEMU, 3, NO_P2P);
	vmm_add(&vmm, FAKE_VFIO_ALL);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vmm_set(&vmm, i, SWO_DEVICE_PRE_COPY), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vmm_set(&vmm, i, SWO_DEVICE_STOP_COPY), 0);
	counts(0, 0);
	/* It is unplugged: now none has it. */
	vmm_close(&vmm, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vmm_set(&vmm, i, SWO_DEVICE_RUNNING), 0);
	counts(2, 2);
	assert_null(check_reason());
	vmm_end(&vmm);
}

/* A device whose state is not complete keeps all others from running. */
static void without_p2p_none_runs_before_the_state_of_all_is_complete(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start_with(&vmm, VMM_CLOUD_HYPERVISOR, 3, NO_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	fake_vfio_fail(2, SWO_DEVICE_STOP, EIO, 2);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_RUNNING), 0);
	counts(0, 0);
	assert_int_equal(fake_vfio_state(1), SWO_DEVICE_STOP);
	assert_int_equal(fake_vfio_state(2), SWO_DEVICE_RESUMING);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_RUNNING), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void only_devices_in_the_same_state_follow(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_PRE_COPY), 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_PRE_COPY), 0);
	assert_int_equal(vmm_set(&vmm, 0, SWO_DEVICE_PRE_COPY_P2P), 0);
	counts(1, 0);
	assert_int_equal(fake_vfio_sets(2), 0);
	assert_int_equal(vmm_set(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	counts(0, 0);
	assert_int_equal(vmm_set(&vmm, 1, SWO_DEVICE_PRE_COPY_P2P), 0);
	counts(0, 1);
	vmm_end(&vmm);
}

static void nothing_happens_for_a_single_device(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 1);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(0, 0);
	assert_int_equal(fake_vfio_sets(0), 3);
	vmm_end(&vmm);
}

static void an_unknown_vmm_gets_no_speculation(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_NONE, 3);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0);
	vmm_end(&vmm);
}

static void an_arc_outside_the_table_is_not_speculated(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, VMM_QEMU, 3);
	vmm_set_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_set_all(&vmm, SWO_DEVICE_RUNNING);
	vmm_set_all(&vmm, SWO_DEVICE_RESUMING);
	vmm_set_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(qemu_source_stops_all_at_once, fresh),
		cmocka_unit_test_setup(
			qemu_source_without_pre_copy_gets_each_its_own_session, fresh),
		cmocka_unit_test_setup(qemu_target_starts_all_at_once, fresh),
		cmocka_unit_test_setup(qemu_stops_and_continues_all_at_once, fresh),
		cmocka_unit_test_setup(qemu_rolls_a_failed_stop_back_all_at_once, fresh),
		cmocka_unit_test_setup(cloud_hypervisor_alone_omits_the_barrier, fresh),
		cmocka_unit_test_setup(cloud_hypervisor_gets_the_barrier_that_it_omits, fresh),
		cmocka_unit_test_setup(cloud_hypervisor_restores_all_at_once, fresh),
		cmocka_unit_test_setup(a_failure_at_the_barrier_rolls_all_devices_back, fresh),
		cmocka_unit_test_setup(
			a_failure_of_a_resuming_device_at_the_barrier_stops_no_other_device, fresh),
		cmocka_unit_test_setup(none_leaves_p2p_before_all_were_asked_into_it, fresh),
		cmocka_unit_test_setup(none_starts_before_all_were_asked_into_p2p, fresh),
		cmocka_unit_test_setup(a_device_without_p2p_goes_its_own_way, fresh),
		cmocka_unit_test_setup(
			devices_without_p2p_stop_and_start_at_once_where_none_has_it, fresh),
		cmocka_unit_test_setup(devices_without_p2p_are_left_alone_where_one_has_it, fresh),
		cmocka_unit_test_setup(
			without_p2p_none_runs_before_the_state_of_all_is_complete, fresh),
		cmocka_unit_test_setup(only_devices_in_the_same_state_follow, fresh),
		cmocka_unit_test_setup(nothing_happens_for_a_single_device, fresh),
		cmocka_unit_test_setup(an_unknown_vmm_gets_no_speculation, fresh),
		cmocka_unit_test_setup(an_arc_outside_the_table_is_not_speculated, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
