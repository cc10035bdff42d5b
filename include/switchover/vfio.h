/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio.h - the migration states of VFIO devices and their names.
 *
 * Rules of the states: the kernel's uapi linux/vfio.h, "VFIO migration v2".
 *
 * Threads: every function may be called from any thread.
 */
#ifndef SWITCHOVER_VFIO_H
#define SWITCHOVER_VFIO_H

#include "switchover/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers are ABI: enum vfio_device_mig_state. */
enum swo_device_state {
	SWO_DEVICE_ERROR = 0,
	SWO_DEVICE_STOP = 1,
	SWO_DEVICE_RUNNING = 2,
	SWO_DEVICE_STOP_COPY = 3,
	SWO_DEVICE_RESUMING = 4,
	SWO_DEVICE_RUNNING_P2P = 5,
	SWO_DEVICE_PRE_COPY = 6,
	SWO_DEVICE_PRE_COPY_P2P = 7,
};
#define SWO_DEVICE_STATES 8

SWO_API const char *swo_device_state_name(enum swo_device_state state); /* "PRE_COPY_P2P" */
/* The state whose name is the first `len` characters of `text`; SWO_DEVICE_STATES: none. */
SWO_API enum swo_device_state swo_device_state_parse(const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif
