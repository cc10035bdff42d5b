/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * outcome.c - the assertions about every successful migration, and about every failed one.
 */
#include "outcome.h"

#include <string.h>

struct swo_migration_info expect_arrived(
	struct fake_vm *source, struct fake_vm *target, bool running)
{
	struct swo_migration_info left = fake_end(source), arrived = fake_end(target);

	if (left.status != SWO_MIGRATION_COMPLETED)
		fail_msg("source: %s", left.error.text);
	assert_int_equal(arrived.status, SWO_MIGRATION_COMPLETED);
	assert_string_equal(left.id, arrived.id);
	assert_false(fake_vm_runs(source));
	assert_int_equal(fake_vm_runs(target), running);
	for (unsigned i = 0; i < source->vm.device_count; i++)
		assert_true(target->devices[i].loaded_ok);
	return left;
}

void expect_source_runs_on(struct fake_vm *source, struct fake_vm *target, const char *words)
{
	struct swo_migration_info left = fake_end(source), arrived = fake_end(target);

	if (words && !strstr(left.error.text, words))
		fail_msg("error '%s' without '%s'", left.error.text, words);
	assert_int_equal(left.status, SWO_MIGRATION_FAILED);
	assert_int_not_equal(arrived.status, SWO_MIGRATION_COMPLETED);
	assert_true(fake_vm_runs(source));
	assert_false(fake_vm_runs(target));
	assert_int_equal(atomic_load(&target->starts), 0);
	for (unsigned i = 0; i < source->vm.device_count; i++)
		assert_int_equal(source->devices[i].resets, 0);
}

const struct failing_arc arcs_before_go[ARCS_BEFORE_GO] = {
	{false, SWO_DEVICE_RUNNING, SWO_DEVICE_PRE_COPY, "RUNNING->PRE_COPY"},
	{false, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, "PRE_COPY->PRE_COPY_P2P"},
	{false, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, "PRE_COPY_P2P->STOP_COPY"},
	{true, SWO_DEVICE_STOP, SWO_DEVICE_RESUMING, "STOP->RESUMING"},
	{true, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, "RESUMING->STOP"},
};

void fail_arc(struct fake_vm *source, struct fake_vm *target, const struct failing_arc *arc)
{
	struct fake_device *d = &(arc->at_target ? target : source)->devices[1];

	fake_script(d, arc->from, arc->to, FAKE_FAIL, 1);
}

const char *fail_before_go(struct fake_vm *source, struct fake_vm *target, unsigned which)
{
	switch (which) {
	case 0:
		source->devices[2].fail_read_at = 1; /* in pre-copy */
		return "vf2: read";
	case 1:
		source->devices[2].fail_read_at = 200000; /* after the stop */
		return "vf2: read";
	case 2:
		target->devices[0].fail_write_at = 1;
		return "vf0: write";
	case 3:
		target->devices[0].fail_write_at = 250000;
		return "vf0: write";
	case 4:
		target->devices[1].refuse = true;
		return "vf1: RESUMING->STOP";
	case 5:
		source->fail_machine_save = true;
		return "the vCPUs' state";
	case 6:
		target->fail_machine_load = true;
		return "the vCPUs' state does not fit";
	case 7:
		target->fail_config_load = true;
		return "its config";
	case 8:
		target->fail_config_renew = true;
		return "its config again";
	default:
		source->fail_stop = true;
		return "the vCPUs do not stop";
	}
}
