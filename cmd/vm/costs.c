/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * costs.c - see costs.h. The files are those of `switchover plan`.
 */
#include "cmd/vm/costs.h"
#include "cmd/common/device_costs.h"
#include "cmd/common/overhead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct swo_plan_device *named(const struct device_kinds *kinds, const char *name)
{
	for (unsigned i = 0; i < kinds->count; i++)
		if (!strcmp(kinds->kinds[i].name, name))
			return &kinds->kinds[i];
	return NULL;
}

static void expect_of_each(struct vmm_machine *machine, const struct device_kinds *kinds)
{
	unsigned count = vmm_machine_device_count(machine);
	bool by_name = false;

	for (unsigned i = 0; i < count; i++)
		by_name |= named(kinds, swo_device_name(vmm_machine_device(machine, i))) != NULL;
	for (unsigned i = 0; i < count; i++) {
		struct swo_device *dev = vmm_machine_device(machine, i);
		const struct swo_plan_device *kind = by_name ? named(kinds, swo_device_name(dev))
							     : &kinds->kinds[i % kinds->count];

		if (kind)
			swo_device_expect(dev, &kind->costs);
	}
}

static int expect_of_devices(struct vmm_machine *machine, const char *probe, struct swo_error *err)
{
	swo_autofree struct device_kinds *kinds = calloc(1, sizeof(*kinds));

	if (!kinds)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "--probe");
	/* The machine measures the link by itself. */
	if (device_costs_read_probe(probe, kinds, NULL, err))
		return -1;
	expect_of_each(machine, kinds);
	return 0;
}

static int set_overhead(struct vmm_migration_setup *setup, const void *costs, struct swo_error *err)
{
	return overhead_read(costs, &setup->params.overhead, err);
}

int vm_costs_set(
	struct vmm_machine *machine, const char *costs, const char *probe, struct swo_error *err)
{
	if (probe && expect_of_devices(machine, probe, err))
		return -1;
	return costs ? vmm_machine_change_setup(machine, set_overhead, costs, err) : 0;
}
