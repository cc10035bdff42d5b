/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * costs.c - see costs.h. The files are those of `switchover plan`.
 */
#include "cmd/vm/costs.h"
#include "cmd/common/overhead.h"
#include "cmd/plan/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct swo_plan_device *named(const struct plan_input *input, const char *name)
{
	for (unsigned i = 0; i < input->count; i++)
		if (!strcmp(input->kinds[i].name, name))
			return &input->kinds[i];
	return NULL;
}

static void expect_of_each(struct vmm_machine *machine, const struct plan_input *input)
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
			swo_device_expect(dev, &kind->costs);
	}
}

static int expect_of_devices(struct vmm_machine *machine, const char *probe, struct swo_error *err)
{
	struct plan_input *input = calloc(1, sizeof(*input));
	/* Of the link the machine finds out by itself. */
	struct plan_request *link = calloc(1, sizeof(*link));
	int rc = input && link ? plan_read_probe(probe, input, link, err)
			       : swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "--probe");

	if (!rc)
		expect_of_each(machine, input);
	free(link);
	free(input);
	return rc;
}

static int set_overhead(struct vmm_machine *machine, const char *costs, struct swo_error *err)
{
	struct vmm_migration_setup setup;

	vmm_machine_get_setup(machine, &setup);
	if (overhead_read(costs, &setup.params.overhead, err))
		return -1;
	return vmm_machine_set_setup(machine, &setup, err);
}

int vm_costs_tell(
	struct vmm_machine *machine, const char *costs, const char *probe, struct swo_error *err)
{
	if (probe && expect_of_devices(machine, probe, err))
		return -1;
	return costs ? set_overhead(machine, costs, err) : 0;
}
