/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state.c - sets and reads the device state. Results of the kernel are passed on unchanged, so
 * that a speculative arc looks like the VMM's own.
 */
#include "state.h"

#include "real.h"
#include "trace.h"

#include <errno.h>

void state_set(int fd, uint32_t state, struct device_result *out)
{
	struct state_request request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
		.mig = {.device_state = state, .data_fd = -1},
	};

	out->start_ns = trace_now();
	out->rc = real.ioctl(fd, VFIO_DEVICE_FEATURE, &request);
	out->error = out->rc < 0 ? errno : 0;
	out->end_ns = trace_now();
	out->data_fd = out->rc < 0 ? -1 : request.mig.data_fd;
}

uint32_t state_get(int fd)
{
	struct state_request request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
	};

	if (real.ioctl(fd, VFIO_DEVICE_FEATURE, &request) < 0)
		return STATE_UNKNOWN;
	return request.mig.device_state;
}

bool state_flags(int fd, uint64_t *flags)
{
	struct flags_request request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION},
	};

	if (real.ioctl(fd, VFIO_DEVICE_FEATURE, &request) < 0)
		return false;
	*flags = request.migration.flags;
	return true;
}
