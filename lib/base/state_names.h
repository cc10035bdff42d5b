/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * state_names.h - the names of VFIO's migration states, by their numbers: enum
 * vfio_device_mig_state of linux/vfio.h. Includes nothing, so that the preload library and the
 * kernel module share it too. Which arcs there are is not here: the simulated device has a table
 * of its own, so that it is an independent check of ours.
 */
#ifndef BASE_STATE_NAMES_H
#define BASE_STATE_NAMES_H

#define STATE_NAMES                                                                                \
	{                                                                                          \
		[0] = "ERROR", [1] = "STOP", [2] = "RUNNING", [3] = "STOP_COPY", [4] = "RESUMING", \
		[5] = "RUNNING_P2P", [6] = "PRE_COPY", [7] = "PRE_COPY_P2P",                       \
	}

#endif
