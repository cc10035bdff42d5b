/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The patterns that are known: what is begun when, and that no device leaves P2P before
 * the VMM has taken all of them into it.
 */
#include "check.h"
#include "played.h"
#include "speculate.h"
#include "tests/support/cm.h"
#include "vmm.h"

#include "device/core/vfio_abi.h"

#include <errno.h>

static unsigned begun_before, asked_before;

/* Since it was last looked at: arcs begun ahead, and results handed over. */
static void counts(unsigned begun, unsigned asked)
{
	unsigned b, a;

	speculate_counts(&b, &a);
	assert_int_equal(b - begun_before, begun);
	assert_int_equal(a - asked_before, asked);
	begun_before = b;
	asked_before = a;
}

static void nothing_surprised(void)
{
	assert_null(check_reason());
	assert_int_equal(played_missed(), 0);
	assert_int_equal(played_violations(), 0);
}

static int fresh(void **state)
{
	(void)state;
	speculate_counts(&begun_before, &asked_before);
	return 0;
}

/* Whoever asks for what follows serially never gets past played_meet(). */
static void qemu_source_stops_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 4);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY);
	counts(0, 0); /* the pre-copy begins while the machine runs: that is nobody's downtime */
	played_meet(4);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	counts(3, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(3, 3);
	played_meet(0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(vmm_state(&vmm, i), SWO_DEVICE_STOP_COPY);
		assert_int_equal(played_sets(i), 3);
	}
	assert_int_equal(played_sessions(), 4);
	nothing_surprised();
	vmm_end(&vmm);
	counts(0, 0);
}

static void qemu_source_without_pre_copy_gets_each_its_own_session(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 4);
	played_meet(4);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(9, 9);
	assert_int_equal(played_sessions(), 4);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(vmm.data_fd[i], vmm.data_fd[j]);
	nothing_surprised();
	vmm_end(&vmm);
}

static void qemu_target_starts_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 4);
	vmm_ask_all(&vmm, SWO_DEVICE_RESUMING);
	assert_int_equal(played_sessions(), 4);
	counts(0, 0);
	played_forget_violations();
	played_meet(4);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	counts(6, 6);
	nothing_surprised();
	vmm_end(&vmm);
}

static void qemu_stops_and_continues_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	played_meet(3);
	for (int round = 0; round < 3; round++) {
		vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
		vmm_ask_all(&vmm, SWO_DEVICE_STOP);
		vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
		vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
		counts(8, 8);
	}
	nothing_surprised();
	vmm_end(&vmm);
}

static void qemu_takes_a_failed_stop_back_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(4, 4);
	played_meet(3);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	counts(4, 4);
	nothing_surprised();
	vmm_end(&vmm);
}

/* The watch that all the other cases rely on does see what it should. */
static void cloud_hypervisor_alone_forgets_the_barrier(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_NONE, 2);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0);
	assert_true(played_violations() > 0);
	vmm_end(&vmm);
}

static void cloud_hypervisor_gets_the_barrier_that_it_forgot(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_CLOUD_HYPERVISOR, 4);
	played_meet(4);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(6, 6);
	nothing_surprised();
	played_meet(0);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0); /* it ends the session of each when it has read it, one by one */
	played_meet(4);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	counts(3, 3);
	nothing_surprised();
	vmm_end(&vmm);
}

static void cloud_hypervisor_restores_all_at_once(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_CLOUD_HYPERVISOR, 4);
	vmm_ask_all(&vmm, SWO_DEVICE_RESUMING);
	played_forget_violations();
	played_meet(4);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	counts(3, 3);
	nothing_surprised();
	vmm_end(&vmm);
}

static void one_that_fails_at_the_barrier_takes_all_back(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_CLOUD_HYPERVISOR, 3);
	played_fail(1, SWO_DEVICE_RUNNING_P2P, EIO, 1);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP), 0);
	counts(0, 0);
	assert_int_equal(played_state(1), SWO_DEVICE_RUNNING);
	assert_int_equal(played_state(2), SWO_DEVICE_RUNNING);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_STOP), 0);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_STOP), 0);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void one_that_resumes_and_fails_at_the_barrier_keeps_none_from_starting(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_CLOUD_HYPERVISOR, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_RESUMING);
	played_fail(2, SWO_DEVICE_RUNNING_P2P, EIO, 1);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(played_state(i), SWO_DEVICE_RUNNING);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void none_leaves_p2p_before_all_were_asked_into_it(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_PRE_COPY_P2P), 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_PRE_COPY_P2P), 0);
	counts(2, 1);
	/* Device 2 has been begun, but not been asked: this VMM is about to break the rule, and we
	   do not do it for it on device 1. */
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP_COPY), 0);
	counts(0, 0);
	assert_int_equal(played_state(1), SWO_DEVICE_PRE_COPY_P2P);
	vmm_end(&vmm);
}

static void none_starts_before_all_were_asked_into_p2p(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_RESUMING);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	counts(2, 1);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING), 0);
	counts(0, 0);
	assert_int_equal(played_state(1), SWO_DEVICE_RUNNING_P2P);
	vmm_end(&vmm);
}

static void a_device_without_p2p_goes_its_own_way(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 2);
	vmm_add(&vmm, VFIO_MIGRATION_STOP_COPY);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_RUNNING_P2P), 0);
	counts(1, 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_RUNNING_P2P), 0);
	counts(0, 1);
	assert_int_equal(played_sets(2), 0);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_STOP), 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_STOP), 0);
	counts(1, 0);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_STOP), 0);
	counts(0, 1);
	assert_null(check_reason());
	vmm_end(&vmm);
}

static void only_devices_in_the_same_state_go_along(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_PRE_COPY), 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_PRE_COPY), 0);
	assert_int_equal(vmm_ask(&vmm, 0, SWO_DEVICE_PRE_COPY_P2P), 0);
	counts(1, 0);
	assert_int_equal(played_sets(2), 0);
	assert_int_equal(vmm_ask(&vmm, 2, SWO_DEVICE_RUNNING_P2P), 0);
	counts(0, 0);
	assert_int_equal(vmm_ask(&vmm, 1, SWO_DEVICE_PRE_COPY_P2P), 0);
	counts(0, 1);
	vmm_end(&vmm);
}

static void nothing_happens_for_a_single_device(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 1);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP_COPY);
	counts(0, 0);
	assert_int_equal(played_sets(0), 3);
	vmm_end(&vmm);
}

static void an_unknown_vmm_is_left_alone(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_NONE, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING_P2P);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
	counts(0, 0);
	vmm_end(&vmm);
}

static void an_arc_that_is_in_no_table_is_left_alone(void **state)
{
	(void)state;
	struct vmm vmm;

	vmm_start(&vmm, FORESEE_QEMU, 3);
	vmm_ask_all(&vmm, SWO_DEVICE_PRE_COPY);
	vmm_ask_all(&vmm, SWO_DEVICE_RUNNING);
	vmm_ask_all(&vmm, SWO_DEVICE_RESUMING);
	vmm_ask_all(&vmm, SWO_DEVICE_STOP);
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
		cmocka_unit_test_setup(qemu_takes_a_failed_stop_back_all_at_once, fresh),
		cmocka_unit_test_setup(cloud_hypervisor_alone_forgets_the_barrier, fresh),
		cmocka_unit_test_setup(cloud_hypervisor_gets_the_barrier_that_it_forgot, fresh),
		cmocka_unit_test_setup(cloud_hypervisor_restores_all_at_once, fresh),
		cmocka_unit_test_setup(one_that_fails_at_the_barrier_takes_all_back, fresh),
		cmocka_unit_test_setup(
			one_that_resumes_and_fails_at_the_barrier_keeps_none_from_starting, fresh),
		cmocka_unit_test_setup(none_leaves_p2p_before_all_were_asked_into_it, fresh),
		cmocka_unit_test_setup(none_starts_before_all_were_asked_into_p2p, fresh),
		cmocka_unit_test_setup(a_device_without_p2p_goes_its_own_way, fresh),
		cmocka_unit_test_setup(only_devices_in_the_same_state_go_along, fresh),
		cmocka_unit_test_setup(nothing_happens_for_a_single_device, fresh),
		cmocka_unit_test_setup(an_unknown_vmm_is_left_alone, fresh),
		cmocka_unit_test_setup(an_arc_that_is_in_no_table_is_left_alone, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
