/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_vmm.c - a program that migrates simulated devices as QEMU does, through libc's
 * symbols, without any reference to the library. It prints what it observed.
 */
#include "fake_vfio.h"

#include "device/core/vfio_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICES_MAX 8

static int fd[DEVICES_MAX], data_fd[DEVICES_MAX];
static unsigned count;

static void ask(unsigned index, uint32_t to)
{
	struct {
		struct vfio_device_feature header;
		struct vfio_device_feature_mig_state mig;
	} request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
		.mig = {.device_state = to, .data_fd = -1},
	};
	const int rc = ioctl(fd[index], VFIO_DEVICE_FEATURE, &request);

	printf("device %u to %u: %s, %s session\n", index, to, rc ? strerror(errno) : "ok",
		rc == 0 && request.mig.data_fd >= 0 ? "a" : "no");
	if (rc == 0 && request.mig.data_fd >= 0)
		data_fd[index] = request.mig.data_fd;
}

static void pass(uint32_t to)
{
	for (unsigned i = 0; i < count; i++)
		ask(i, to);
}

static void open_devices(void)
{
	for (unsigned i = 0; i < count; i++) {
		struct {
			struct vfio_device_feature header;
			struct vfio_device_feature_migration migration;
		} request = {
			.header = {.argsz = sizeof(request),
				.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION},
		};

		fd[i] = fake_vfio_open(FAKE_VFIO_ALL);
		if (ioctl(fd[i], VFIO_DEVICE_FEATURE, &request))
			exit(1);
	}
	/* The first is duplicated to another number, which is used from here on. */
	const int moved = fcntl(fd[0], F_DUPFD_CLOEXEC, 100);

	close(fd[0]);
	fd[0] = moved;
}

static void read_state(unsigned index)
{
	struct pollfd ready = {.fd = data_fd[index], .events = POLLIN};
	char state[4096];

	printf("device %u: ready %d, ", index, poll(&ready, 1, 1000));
	printf("%zd bytes\n", read(data_fd[index], state, sizeof(state)));
}

/* A child's exec or exit does not affect its parent's devices. */
static void have_a_child(void)
{
	int status = -1;
	const pid_t child = fork();

	if (child == 0) {
		for (unsigned i = 0; i < count; i++)
			close(fd[i]);
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	waitpid(child, &status, 0);
	printf("child %d\n", status);
}

int main(int argc, char **argv)
{
	count = argc > 1 ? (unsigned)atoi(argv[1]) : 4;
	if (count == 0 || count > DEVICES_MAX)
		return 2;
	open_devices();
	pass(SWO_DEVICE_PRE_COPY);
	have_a_child();
	/* Only devices that change state in parallel pass at once. */
	fake_vfio_meet(argc > 2 ? (unsigned)atoi(argv[2]) : 0);
	pass(SWO_DEVICE_PRE_COPY_P2P);
	pass(SWO_DEVICE_STOP_COPY);
	fake_vfio_meet(0);
	for (unsigned i = 0; i < count; i++)
		read_state(i);
	for (unsigned i = 0; i < count; i++)
		close(data_fd[i]);
	pass(SWO_DEVICE_STOP);
	pass(SWO_DEVICE_RESUMING);
	for (unsigned i = 0; i < count; i++)
		printf("device %u: %zd bytes written\n", i, write(data_fd[i], "state", 5));
	close_range((unsigned)data_fd[0], (unsigned)data_fd[count - 1], 0);
	pass(SWO_DEVICE_RUNNING_P2P);
	pass(SWO_DEVICE_RUNNING);
	printf("%u late, %u sessions, P2P broken %u times\n", fake_vfio_missed(),
		fake_vfio_sessions(), fake_vfio_violations());
	return 0;
}
