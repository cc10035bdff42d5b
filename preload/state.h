/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state.h - VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: one SET, one GET, in buffers of the library
 * and through the next library's ioctl.
 */
#ifndef PRELOAD_STATE_H
#define PRELOAD_STATE_H

#include "devices.h"

#include "device/core/vfio_abi.h"

/* The layout of the argument. */
struct state_request {
	struct vfio_device_feature header;
	struct vfio_device_feature_mig_state mig;
};

struct flags_request {
	struct vfio_device_feature header;
	struct vfio_device_feature_migration migration;
};

/* Call without the lock: it takes as long as the device takes. */
void state_set(int fd, uint32_t state, struct device_result *out);
/* STATE_UNKNOWN if the device does not report its state. */
uint32_t state_get(int fd);
/* False: the device does not support migration. */
bool state_flags(int fd, uint64_t *flags);

#endif
