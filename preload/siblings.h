/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * siblings.h - when a VMM asks one device for an arc: on which others it is begun too,
 * and whether the P2P barrier allows that.
 */
#ifndef PRELOAD_SIBLINGS_H
#define PRELOAD_SIBLINGS_H

#include "devices.h"
#include "patterns.h"

/*
 * Before `device` is asked for `to`. With the lock held; it is let go while devices are taken to a
 * barrier that the VMM leaves out. Returns on how many others the arc has been begun.
 */
unsigned siblings_begin(enum pattern_vmm vmm, struct tracked_device *device, uint32_t to);

#endif
