/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * siblings.h - when a VMM requests an arc on one device: on which other devices it is started
 * too, and whether the P2P barrier allows that.
 */
#ifndef PRELOAD_SIBLINGS_H
#define PRELOAD_SIBLINGS_H

#include "devices.h"
#include "patterns.h"

/*
 * Called before `device` is set to `to`, with the lock held; the lock is released while devices
 * move to a barrier that the VMM leaves out. Returns the number of other devices on which the
 * arc was started.
 */
unsigned siblings_start(enum pattern_vmm vmm, struct tracked_device *device, uint32_t to);

#endif
