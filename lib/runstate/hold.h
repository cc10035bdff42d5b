/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hold.h - keeps a run state as it is. For code that moves devices by itself, as the migration engine
 * does before and after its stop: a `stop` or `cont` in between would meet devices that are busy,
 * and leave those that it cannot move in the wrong state.
 */
#ifndef RUNSTATE_HOLD_H
#define RUNSTATE_HOLD_H

#include "switchover/runstate.h"

/*
 * Waits for a change in progress, and returns the state, which stays until the release: a change
 * waits for that. Held for as long as devices' arcs take, and by no thread that changes the state
 * meanwhile, itself or through a callback.
 */
enum swo_run_state runstate_hold(struct swo_runstate *rs);
void runstate_release(struct swo_runstate *rs);

#endif
