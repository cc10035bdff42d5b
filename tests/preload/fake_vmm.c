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
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICES_MAX 8

static int fd[DEVICES_MAX], data_fd[DEVICES_MAX];
static unsigned count;
static const char *mode;

static bool is(const char *word)
{
	return strstr(mode, word) != NULL;
}

struct request {
	unsigned index;
	uint32_t to;
	int rc, error, data_fd;
	pthread_t thread;
};

static void *ask(void *arg)
{
	struct request *asked = arg;
	struct {
		struct vfio_device_feature header;
		struct vfio_device_feature_mig_state mig;
	} request = {
		.header = {.argsz = sizeof(request),
			.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
		.mig = {.device_state = asked->to, .data_fd = -1},
	};

	asked->rc = ioctl(fd[asked->index], VFIO_DEVICE_FEATURE, &request);
	asked->error = errno;
	asked->data_fd = asked->rc ? -1 : request.mig.data_fd;
	return NULL;
}

/* One device after the other, or each in a thread of its own. */
static void pass(uint32_t to)
{
	struct request asked[DEVICES_MAX];

	for (unsigned i = 0; i < count; i++) {
		asked[i] = (struct request){.index = i, .to = to};
		if (!is("threads"))
			ask(&asked[i]);
		else if (pthread_create(&asked[i].thread, NULL, ask, &asked[i]))
			exit(1);
	}
	for (unsigned i = 0; i < count; i++) {
		if (is("threads"))
			pthread_join(asked[i].thread, NULL);
		printf("device %u to %u: %s, %s session\n", i, to,
			asked[i].rc ? strerror(asked[i].error) : "ok",
			asked[i].data_fd >= 0 ? "a" : "no");
		if (asked[i].data_fd >= 0)
			data_fd[i] = asked[i].data_fd;
	}
}

/* By its group and a name with a token, as QEMU opens a VF of a PF that is in user space. */
static int open_device(unsigned index)
{
	char name[96];

	if (!is("token"))
		return fake_vfio_open(FAKE_VFIO_ALL);
	snprintf(name, sizeof(name), "0000:3b:00.%u vf_token=2b4c8a3e-77aa-4f0e-9d1b-5a5e5ec2e75f",
		index);
	return ioctl(0, VFIO_GROUP_GET_DEVICE_FD, name);
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

		fd[i] = open_device(i);
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

/* Their numbers follow each other, in any order. */
static void close_sessions(void)
{
	int first = data_fd[0], last = data_fd[0];

	for (unsigned i = 1; i < count; i++) {
		first = data_fd[i] < first ? data_fd[i] : first;
		last = data_fd[i] > last ? data_fd[i] : last;
	}
	close_range((unsigned)first, (unsigned)last, 0);
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

/* A child that goes on in the place of its parent, which ends with it. */
static void fork_and_go_on(void)
{
	int status = 0;
	const pid_t child = fork();

	if (child < 0)
		exit(1);
	if (child == 0)
		return;
	waitpid(child, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* As os_daemonize() of QEMU: two forks, before there is any device. */
static void daemonize(void)
{
	fork_and_go_on();
	setsid();
	fork_and_go_on();
}

static int own_file = -1;

/* As a daemon does that wants no descriptors but its own; it then uses the numbers. */
static void close_all_others(void)
{
	if (is("one by one"))
		for (int each = 3; each < 1024; each++)
			close(each);
	else if (is("by range"))
		close_range(3, ~0u, 0);
	else
		closefrom(3);
	own_file = memfd_create("own", MFD_CLOEXEC);
	for (int number = 256; number < 260; number++)
		if (dup2(own_file, number) != number)
			exit(1);
}

/* DEVICES [THAT-MUST-MEET [WORDS...]] */
int main(int argc, char **argv)
{
	count = argc > 1 ? (unsigned)atoi(argv[1]) : 4;
	mode = argc > 3 ? argv[3] : "";
	if (count == 0 || count > DEVICES_MAX)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	if (is("daemonize"))
		daemonize();
	if (is("close"))
		close_all_others();
	open_devices();
	if (is("chroot") && geteuid() == 0 && (chroot("/proc/self/fdinfo") || chdir("/")))
		return 1;
	if (is("fork with devices"))
		fork_and_go_on();
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
	close_sessions();
	pass(SWO_DEVICE_RUNNING_P2P);
	pass(SWO_DEVICE_RUNNING);
	printf("%u late, %u sessions, P2P broken %u times\n", fake_vfio_missed(),
		fake_vfio_sessions(), fake_vfio_violations());
	if (own_file >= 0)
		printf("%lld bytes of others\n", (long long)lseek(own_file, 0, SEEK_END));
	return 0;
}
