/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.h - one thread per device that changes its state before the VMM requests it.
 *
 * All calls require the devices lock.
 */
#ifndef PRELOAD_WORKER_H
#define PRELOAD_WORKER_H

#include "devices.h"

/* True if the device has a thread; creates one. False: the thread cannot be created. */
bool worker_ready(struct tracked_device *device);
/*
 * Makes the device's thread set `step` now; from, to: the whole arc that the VMM is expected to
 * request.
 */
void worker_start(struct tracked_device *device, uint32_t from, uint32_t to, uint32_t step);
/* Waits until no worker runs an arc on the device, nor holds it at a barrier. */
void worker_await(const struct tracked_device *device);
/* Ends the thread of a device without an arc in progress. Releases the lock meanwhile. */
void worker_stop(struct tracked_device *device);

/*
 * An arc that the VMM does not request within this time, while it is in no VFIO call, is undone
 * where the uAPI has an arc back: a device must not stay in a state that its VMM has not
 * requested.
 */
extern uint64_t worker_patience_ns;

#endif
