/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.h - the guest's work, the same for the bare-metal guest and for the native
 * accelerator's threads. What differs between them is port.h.
 */
#ifndef GUEST_WORK_H
#define GUEST_WORK_H

#include "abi.h"
#include "port.h"

/* Finds the simulated VFs and sets them up. Once, by vCPU 0. */
void guest_configure(struct guest_env *env);
/* One turn of doorbells of one vCPU, then as much rewriting of memory as there is time for. */
void guest_tick(struct guest_env *env, unsigned vcpu);

#endif
