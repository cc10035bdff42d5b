/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.h - the guest's work, the same for the bare-metal guest and for the native accelerator's
 * threads. port.h has the differences.
 */
#ifndef GUEST_WORK_H
#define GUEST_WORK_H

#include "abi.h"
#include "port.h"

/* Finds the simulated VFs and sets them up. Called once, by vCPU 0. */
void guest_configure(struct guest_env *env);
/* Rings one turn of doorbells for one vCPU, then rewrites as much memory as there is time for. */
void guest_tick(struct guest_env *env, unsigned vcpu);

#endif
