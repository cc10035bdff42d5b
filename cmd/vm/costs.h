/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * costs.h - what a machine is told to expect before it has seen anything: of its devices what a
 * probe says, of the machinery what was calibrated.
 */
#ifndef CMD_VM_COSTS_H
#define CMD_VM_COSTS_H

#include "vmm/machine/machine.h"

/* Either may be NULL. A device takes the figures of its name; where the probe has none of any of
   the names, they are taken in turn. */
int vm_costs_tell(
	struct vmm_machine *machine, const char *costs, const char *probe, struct swo_error *err);

#endif
