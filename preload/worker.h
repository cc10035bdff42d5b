/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.h - one thread a device, that changes its state ahead of the VMM.
 *
 * All calls: with the fleet's lock held.
 */
#ifndef PRELOAD_WORKER_H
#define PRELOAD_WORKER_H

#include "devices.h"

/* Is there a thread for it? Makes one; false: the process may have no more. */
bool worker_ready(struct tracked_device *device);
/* The device's thread asks for `step` now; from, to: the whole arc that the VMM is going to ask
 * for. */
void worker_begin(struct tracked_device *device, uint32_t from, uint32_t to, uint32_t step);
/* Until no thread of ours is at work on it, nor holds it at a barrier. */
void worker_await(const struct tracked_device *device);
/* Ends the thread of a device that is idle or done. Lets the lock go meanwhile. */
void worker_end(struct tracked_device *device);

/*
 * A result that nobody asks for, while the VMM is in no VFIO call, is taken back after so long
 * where the uAPI has a way back: a device must not stay in a state that its VMM does not know of.
 */
extern uint64_t worker_patience_ns;

#endif
