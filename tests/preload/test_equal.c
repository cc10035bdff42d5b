/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VMM sees no difference: thousands of random histories of a VM, with faults, cancels, resets
 * and unplugs, produce the same results with the library as without.
 */
#include "check.h"
#include "fake_vfio.h"
#include "speculate.h"
#include "tests/support/cm.h"
#include "vmm.h"

#include "device/core/vfio_abi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LIVES	    2000
#define ANSWERS_MAX 2000

struct life {
	struct vmm vmm;
	unsigned seed;
	bool p2p; /* all of its devices have the P2P states, or none */
	uint32_t answer[ANSWERS_MAX];
	unsigned count;
};

static unsigned roll(struct life *life, unsigned sides)
{
	return (unsigned)rand_r(&life->seed) % sides;
}

static void note(struct life *life, uint32_t answer)
{
	assert_true(life->count < ANSWERS_MAX);
	life->answer[life->count++] = answer;
}

static void note_states(struct life *life)
{
	for (unsigned i = 0; i < life->vmm.count; i++)
		if (life->vmm.fd[i] >= 0)
			note(life, vmm_state(&life->vmm, i));
	note(life, fake_vfio_sessions());
}

static void ask(struct life *life, unsigned index, uint32_t to)
{
	const int error = vmm_set(&life->vmm, index, to);

	note(life, (uint32_t)error);
	if (!error)
		return;
	/* As QEMU does: try a safe state, then reset. */
	if (vmm_set(&life->vmm, index, SWO_DEVICE_STOP) || roll(life, 2))
		speculate_ioctl(life->vmm.fd[index], VFIO_DEVICE_RESET, NULL);
}

/* On all devices in turn, sometimes with a fault in one. */
static void pass(struct life *life, uint32_t to)
{
	if (roll(life, 8) == 0)
		fake_vfio_fail(roll(life, life->vmm.count), to, 1 + (int)roll(life, 30), 1);
	for (unsigned i = 0; i < life->vmm.count; i++)
		if (life->vmm.fd[i] >= 0)
			ask(life, i, to);
	for (unsigned i = 0; i < life->vmm.count; i++)
		fake_vfio_fail(i, to, 0, 0);
	note_states(life);
}

static void continue_it(struct life *life)
{
	if (life->p2p)
		pass(life, SWO_DEVICE_RUNNING_P2P);
	pass(life, SWO_DEVICE_RUNNING);
	for (unsigned i = 0; i < life->vmm.count; i++)
		vmm_close_session(&life->vmm, i);
}

/* Sets only some devices to a state; then all are rolled back. */
static void cancelled_pass(struct life *life, uint32_t to)
{
	const unsigned some = roll(life, life->vmm.count);

	for (unsigned i = 0; i < some; i++)
		if (life->vmm.fd[i] >= 0)
			vmm_set(&life->vmm, i, to);
	if (roll(life, 4) == 0 && life->vmm.fd[some] >= 0)
		speculate_ioctl(life->vmm.fd[some], VFIO_DEVICE_RESET, NULL);
	if (roll(life, 8) == 0 && life->vmm.fd[some] >= 0)
		vmm_close(&life->vmm, some);
	for (unsigned i = 0; i < life->vmm.count; i++)
		if (life->vmm.fd[i] >= 0)
			vmm_set(&life->vmm, i,
				life->p2p ? SWO_DEVICE_RUNNING_P2P : SWO_DEVICE_RUNNING);
	for (unsigned i = 0; i < life->vmm.count; i++)
		vmm_close_session(&life->vmm, i);
	note_states(life);
	pass(life, SWO_DEVICE_RUNNING);
}

static void stop(struct life *life, bool copy)
{
	const bool pre_copy = copy && roll(life, 2);

	if (pre_copy)
		pass(life, SWO_DEVICE_PRE_COPY);
	if (life->p2p && roll(life, 6) == 0) {
		cancelled_pass(life, pre_copy ? SWO_DEVICE_PRE_COPY_P2P : SWO_DEVICE_RUNNING_P2P);
		return;
	}
	if (life->p2p)
		pass(life, pre_copy ? SWO_DEVICE_PRE_COPY_P2P : SWO_DEVICE_RUNNING_P2P);
	if (roll(life, 6) == 0) {
		cancelled_pass(life, pre_copy ? SWO_DEVICE_STOP_COPY : SWO_DEVICE_STOP);
		return;
	}
	if (!pre_copy)
		pass(life, SWO_DEVICE_STOP);
	if (copy)
		pass(life, SWO_DEVICE_STOP_COPY);
	continue_it(life);
}

static void live(struct life *life, enum pattern_vmm kind, unsigned seed)
{
	life->seed = seed;
	life->count = 0;
	life->p2p = seed % 4 != 0;
	vmm_start_with(&life->vmm, kind, 2 + roll(life, 4),
		life->p2p ? FAKE_VFIO_ALL : VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY);
	for (unsigned event = 0; event < 6; event++) {
		if (roll(life, 5) == 0) { /* an incoming migration */
			pass(life, SWO_DEVICE_RESUMING);
			continue_it(life);
		} else {
			stop(life, roll(life, 2));
		}
	}
	vmm_end(&life->vmm);
}

static void a_vmm_sees_no_difference(void **state)
{
	static struct life with, without;
	unsigned begun, asked, answers = 0;

	(void)state;
	for (unsigned seed = 1; seed <= LIVES; seed++) {
		live(&without, VMM_NONE, seed);
		live(&with, VMM_QEMU, seed);
		if (check_reason())
			fail_msg("life %u: %s", seed, check_reason());
		if (with.count != without.count)
			fail_msg("life %u: %u answers, not %u", seed, with.count, without.count);
		for (unsigned i = 0; i < with.count; i++)
			if (with.answer[i] != without.answer[i])
				fail_msg("life %u, answer %u: %u, not %u", seed, i, with.answer[i],
					without.answer[i]);
		answers += with.count;
	}
	speculate_counts(&begun, &asked);
	print_message("# %u histories, %u results, %u speculative arcs, %u of them requested\n",
		LIVES, answers, begun, asked);
	assert_true(asked > LIVES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vmm_sees_no_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
