/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * costs.c - see costs.h. The files are those of `switchover plan`.
 */
#include "cmd/vm/costs.h"
#include "cmd/common/costs.h"
#include "cmd/plan/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t slower(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a ? a : b;
	return a < b ? a : b;
}

static void expect(struct swo_device *dev, const struct swo_plan_device *kind)
{
	const struct swo_device_expected expected = {.to_p2p_ns = kind->to_p2p_ns,
		.to_stop_copy_ns = kind->to_stop_copy_ns,
		.resuming_to_stop_ns = kind->resuming_to_stop_ns,
		.to_running_p2p_ns = kind->to_running_p2p_ns,
		.to_running_ns = kind->to_running_ns,
		.rate = slower(kind->save_rate, kind->load_rate),
		.pf = kind->pf};

	swo_device_expect(dev, &expected);
}

static const struct swo_plan_device *named(const struct plan_input *input, const char *name)
{
	for (unsigned i = 0; i < input->count; i++)
		if (!strcmp(input->kinds[i].name, name))
			return &input->kinds[i];
	return NULL;
}

static void tell_devices(struct vmm_machine *machine, const struct plan_input *input)
{
	unsigned count = vmm_machine_device_count(machine);
	bool by_name = false;

	for (unsigned i = 0; i < count; i++)
		by_name |= named(input, swo_device_name(vmm_machine_device(machine, i))) != NULL;
	for (unsigned i = 0; i < count; i++) {
		struct swo_device *dev = vmm_machine_device(machine, i);
		const struct swo_plan_device *kind = by_name ? named(input, swo_device_name(dev))
							     : &input->kinds[i % input->count];

		if (kind)
			expect(dev, kind);
	}
}

static int tell_of_devices(struct vmm_machine *machine, const char *probe, struct swo_error *err)
{
	struct plan_input *input = calloc(1, sizeof(*input));
	/* Of the link the machine finds out by itself. */
	struct plan_request *link = calloc(1, sizeof(*link));
	int rc = input && link ? plan_read_probe(probe, input, link, err)
			       : swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "--probe");

	if (!rc)
		tell_devices(machine, input);
	free(link);
	free(input);
	return rc;
}

static int tell_of_machinery(struct vmm_machine *machine, const char *costs, struct swo_error *err)
{
	struct vmm_migration_setup setup;

	vmm_machine_get_setup(machine, &setup);
	if (costs_read(costs, &setup.params.costs, err))
		return -1;
	return vmm_machine_set_setup(machine, &setup, err);
}

int vm_costs_tell(
	struct vmm_machine *machine, const char *costs, const char *probe, struct swo_error *err)
{
	if (probe && tell_of_devices(machine, probe, err))
		return -1;
	return costs ? tell_of_machinery(machine, costs, err) : 0;
}
