/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vmm.c - the simulated VMM. It calls the functions that the library's symbols call.
 */
#include "vmm.h"

#include "check.h"
#include "fake_vfio.h"
#include "real.h"
#include "speculate.h"
#include "state.h"
#include "tests/support/cm.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void vmm_start_with(struct vmm *vmm, enum pattern_vmm kind, unsigned count, uint64_t flags)
{
	static char log[] = "/tmp/swo-preload-log-XXXXXX";
	const struct settings settings = {.vmm = kind, .log = log};
	const int file = trace_next_owned(0) >= 0 ? -1 : mkstemp(log);

	real_find();
	real.ioctl = fake_vfio_ioctl;
	fake_vfio_reset();
	check_reset();
	worker_patience_ns = 60ull * 60 * 1000000000u;
	trace_open(&settings); /* its file stays open from the first time on */
	if (file >= 0) {
		close(file);
		unlink(log);
	}
	speculate_init(&settings);
	*vmm = (struct vmm){0};
	for (unsigned i = 0; i < count; i++)
		vmm_add(vmm, flags);
}

void vmm_start(struct vmm *vmm, enum pattern_vmm kind, unsigned count)
{
	vmm_start_with(vmm, kind, count, FAKE_VFIO_ALL);
}

void vmm_add(struct vmm *vmm, uint64_t flags)
{
	struct flags_request request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION},
	};
	const int fd = fake_vfio_open(flags);

	assert_true(fd >= 0);
	assert_int_equal(speculate_ioctl(fd, VFIO_DEVICE_FEATURE, &request), 0);
	assert_int_equal(request.migration.flags, flags);
	vmm->fd[vmm->count] = fd;
	vmm->data_fd[vmm->count++] = -1;
}

void vmm_end(struct vmm *vmm)
{
	for (unsigned i = 0; i < vmm->count; i++)
		if (vmm->fd[i] >= 0)
			vmm_close(vmm, i);
	assert_int_equal(fake_vfio_sessions(), 0);
	assert_int_equal(devices.count, 0);
	assert_int_equal(devices.speculating, 0);
}

int vmm_set(struct vmm *vmm, unsigned index, uint32_t to)
{
	struct state_request request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
		.mig = {.device_state = to, .data_fd = -1},
	};

	if (speculate_ioctl(vmm->fd[index], VFIO_DEVICE_FEATURE, &request) < 0) {
		const int error = errno;

		assert_int_equal(request.mig.data_fd, -1);
		return error ? error : -1;
	}
	if (request.mig.data_fd >= 0) {
		vmm_close_session(vmm, index);
		vmm->data_fd[index] = request.mig.data_fd;
	}
	return 0;
}

void vmm_set_all(struct vmm *vmm, uint32_t to)
{
	for (unsigned i = 0; i < vmm->count; i++)
		assert_int_equal(vmm_set(vmm, i, to), 0);
}

uint32_t vmm_state(struct vmm *vmm, unsigned index)
{
	struct state_request request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
	};

	assert_int_equal(speculate_ioctl(vmm->fd[index], VFIO_DEVICE_FEATURE, &request), 0);
	return request.mig.device_state;
}

void vmm_close_session(struct vmm *vmm, unsigned index)
{
	if (vmm->data_fd[index] < 0)
		return;
	speculate_close(vmm->data_fd[index]);
	close(vmm->data_fd[index]);
	vmm->data_fd[index] = -1;
}

void vmm_close(struct vmm *vmm, unsigned index)
{
	vmm_close_session(vmm, index);
	speculate_close(vmm->fd[index]);
	close(vmm->fd[index]);
	vmm->fd[index] = -1;
}
