/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * costs.h - the expected costs of a machine before any are measured: those of its devices from a
 * probe, the engine overhead from a calibration.
 */
#ifndef CMD_VM_COSTS_H
#define CMD_VM_COSTS_H

#include "vmm/machine/machine.h"

/* Either may be NULL. A device gets the figures of its name; if the probe has none of the names,
   they are assigned in turn. */
int vm_costs_set(
	struct vmm_machine *machine, const char *costs, const char *probe, struct swo_error *err);

#endif
