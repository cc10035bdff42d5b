/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_vfio.c - a simulated kernel with FAKE_VFIO_MAX VFIO devices. A device is a memfd, a session is
 * one end of a pipe whose other end shows whether it is still open.
 */
#include "fake_vfio.h"

#include "device/core/vfio_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS_MAX 4096

struct device {
	ino_t inode; /* identifies its duplicates */
	uint64_t flags;
	uint32_t state;
	uint32_t fail_to;
	int fail_errno;
	unsigned fail_times;
	bool hold;
	unsigned inside, sets;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct device device[FAKE_VFIO_MAX];
	unsigned count;
	unsigned meet, met, missed, violations;
	int session[SESSIONS_MAX]; /* the read ends of the pipes */
	unsigned sessions;
} fake_vfio = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void fake_vfio_reset(void)
{
	pthread_mutex_lock(&fake_vfio.lock);
	for (unsigned i = 0; i < fake_vfio.sessions; i++)
		close(fake_vfio.session[i]);
	memset(fake_vfio.device, 0, sizeof(fake_vfio.device));
	fake_vfio.count = fake_vfio.sessions = 0;
	fake_vfio.meet = fake_vfio.met = fake_vfio.missed = fake_vfio.violations = 0;
	pthread_mutex_unlock(&fake_vfio.lock);
}

int fake_vfio_open(uint64_t flags)
{
	struct stat st;
	int fd = memfd_create("fake_vfio", MFD_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		return -1;
	pthread_mutex_lock(&fake_vfio.lock);
	struct device *device = &fake_vfio.device[fake_vfio.count++];

	*device = (struct device){.inode = st.st_ino, .flags = flags, .state = SWO_DEVICE_RUNNING};
	pthread_mutex_unlock(&fake_vfio.lock);
	return fd;
}

static struct device *device_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return NULL;
	for (unsigned i = 0; i < fake_vfio.count; i++)
		if (fake_vfio.device[i].inode == st.st_ino)
			return &fake_vfio.device[i];
	return NULL;
}

static bool may_begin_dma(uint32_t state)
{
	return state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_PRE_COPY;
}

static bool takes_dma(uint32_t state)
{
	return may_begin_dma(state) || state == SWO_DEVICE_RUNNING_P2P ||
	       state == SWO_DEVICE_PRE_COPY_P2P;
}

/* The rule of linux/vfio.h: no device may start P2P DMA while another one cannot accept it. */
static void watch(void)
{
	bool begins = false, refuses = false;

	for (unsigned i = 0; i < fake_vfio.count; i++) {
		begins = begins || may_begin_dma(fake_vfio.device[i].state);
		refuses = refuses || !takes_dma(fake_vfio.device[i].state);
	}
	if (begins && refuses)
		fake_vfio.violations++;
}

static bool in_session(uint32_t state)
{
	return state == SWO_DEVICE_PRE_COPY || state == SWO_DEVICE_PRE_COPY_P2P ||
	       state == SWO_DEVICE_STOP_COPY;
}

static int open_session(bool save)
{
	int ends[2];

	if (fake_vfio.sessions == SESSIONS_MAX || pipe2(ends, O_CLOEXEC))
		return -1;
	/* The end that is kept here reports the other's close: POLLHUP or POLLERR. */
	const int ours = fcntl(ends[save ? 1 : 0], F_DUPFD_CLOEXEC, 500);

	if (save && write(ours, "simulated device state", 23) != 23)
		return -1;
	close(ends[save ? 1 : 0]);
	fake_vfio.session[fake_vfio.sessions++] = ours;
	return ends[save ? 0 : 1];
}

static void meet(void)
{
	const char *patience = getenv("FAKE_VFIO_PATIENCE_MS");
	const long ms = patience ? atol(patience) : 10000;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ms % 1000 * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	fake_vfio.met++;
	pthread_cond_broadcast(&fake_vfio.changed);
	const unsigned round = (fake_vfio.met - 1) / fake_vfio.meet;

	while (fake_vfio.met < (round + 1) * fake_vfio.meet)
		if (pthread_cond_timedwait(&fake_vfio.changed, &fake_vfio.lock, &until)) {
			fake_vfio.missed++;
			fake_vfio.met = (round + 1) * fake_vfio.meet;
		}
}

/* Along single arcs, as vfio_mig_get_next_state() does. */
static int walk(struct device *device, uint32_t to, int *data_fd)
{
	const uint32_t start = device->state;

	*data_fd = -1;
	if (device->fail_times && device->fail_to == to) {
		device->fail_times--;
		return device->fail_errno;
	}
	while (device->state != to) {
		enum swo_device_state next;

		if (swo_device_next_state((enum swo_device_state)device->state,
			    (enum swo_device_state)to, device->flags, &next))
			return EINVAL;
		device->state = next;
		watch();
	}
	if ((in_session(to) && !in_session(start)) ||
		(to == SWO_DEVICE_RESUMING && start != SWO_DEVICE_RESUMING)) {
		*data_fd = open_session(to != SWO_DEVICE_RESUMING);
		if (*data_fd < 0)
			return EMFILE;
	}
	return 0;
}

static int set_state(struct device *device, struct vfio_device_feature_mig_state *mig)
{
	device->sets++;
	device->inside++;
	pthread_cond_broadcast(&fake_vfio.changed);
	if (fake_vfio.meet)
		meet();
	while (device->hold)
		pthread_cond_wait(&fake_vfio.changed, &fake_vfio.lock);
	const int error = walk(device, mig->device_state, &mig->data_fd);

	device->inside--;
	pthread_cond_broadcast(&fake_vfio.changed);
	errno = error;
	return error ? -1 : 0;
}

static int feature(struct device *device, struct vfio_device_feature *header)
{
	void *data = header->data;

	switch (header->flags) {
	case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION:
		((struct vfio_device_feature_migration *)data)->flags = device->flags;
		return 0;
	case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		((struct vfio_device_feature_mig_state *)data)->device_state = device->state;
		return 0;
	case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		return set_state(device, data);
	default:
		errno = ENOTTY;
		return -1;
	}
}

int fake_vfio_ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	va_start(args, request);
	void *arg = va_arg(args, void *);

	va_end(args);
	if (request == VFIO_GROUP_GET_DEVICE_FD)
		return fake_vfio_open(FAKE_VFIO_ALL);
	pthread_mutex_lock(&fake_vfio.lock);
	struct device *device = device_of(fd);
	int rc = -1;

	errno = ENOTTY;
	if (device && request == VFIO_DEVICE_FEATURE) {
		rc = feature(device, arg);
	} else if (device && request == VFIO_DEVICE_RESET) {
		device->state = SWO_DEVICE_RUNNING;
		rc = 0;
	} else if (device && request == VFIO_DEVICE_PCI_HOT_RESET) {
		for (unsigned i = 0; i < fake_vfio.count; i++)
			fake_vfio.device[i].state = SWO_DEVICE_RUNNING;
		rc = 0;
	}
	const int kept = errno;

	pthread_mutex_unlock(&fake_vfio.lock);
	errno = kept;
	return rc;
}

/* The test's view */

#define LOCKED(type, expression)                                                                   \
	do {                                                                                       \
		pthread_mutex_lock(&fake_vfio.lock);                                               \
		const type value = (expression);                                                   \
                                                                                                   \
		pthread_mutex_unlock(&fake_vfio.lock);                                             \
		return value;                                                                      \
	} while (0)

uint32_t fake_vfio_state(unsigned index)
{
	LOCKED(uint32_t, fake_vfio.device[index].state);
}

unsigned fake_vfio_sets(unsigned index)
{
	LOCKED(unsigned, fake_vfio.device[index].sets);
}

unsigned fake_vfio_missed(void)
{
	LOCKED(unsigned, fake_vfio.missed);
}

unsigned fake_vfio_violations(void)
{
	LOCKED(unsigned, fake_vfio.violations);
}

void fake_vfio_forget_violations(void)
{
	pthread_mutex_lock(&fake_vfio.lock);
	fake_vfio.violations = 0;
	pthread_mutex_unlock(&fake_vfio.lock);
}

void fake_vfio_put(unsigned index, uint32_t state)
{
	pthread_mutex_lock(&fake_vfio.lock);
	fake_vfio.device[index].state = state;
	pthread_mutex_unlock(&fake_vfio.lock);
}

void fake_vfio_fail(unsigned index, uint32_t to, int error, unsigned times)
{
	pthread_mutex_lock(&fake_vfio.lock);
	fake_vfio.device[index].fail_to = to;
	fake_vfio.device[index].fail_errno = error;
	fake_vfio.device[index].fail_times = times;
	pthread_mutex_unlock(&fake_vfio.lock);
}

void fake_vfio_hold(unsigned index, bool hold)
{
	pthread_mutex_lock(&fake_vfio.lock);
	fake_vfio.device[index].hold = hold;
	pthread_cond_broadcast(&fake_vfio.changed);
	pthread_mutex_unlock(&fake_vfio.lock);
}

bool fake_vfio_inside(unsigned index)
{
	struct timespec until;
	bool inside = true;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&fake_vfio.lock);
	while (inside && !fake_vfio.device[index].inside)
		inside = !pthread_cond_timedwait(&fake_vfio.changed, &fake_vfio.lock, &until);
	pthread_mutex_unlock(&fake_vfio.lock);
	return inside;
}

void fake_vfio_meet(unsigned count)
{
	pthread_mutex_lock(&fake_vfio.lock);
	fake_vfio.meet = count;
	fake_vfio.met = 0;
	pthread_mutex_unlock(&fake_vfio.lock);
}

unsigned fake_vfio_sessions(void)
{
	unsigned open = 0;

	pthread_mutex_lock(&fake_vfio.lock);
	for (unsigned i = 0; i < fake_vfio.sessions; i++) {
		struct pollfd end = {.fd = fake_vfio.session[i]};

		open += poll(&end, 1, 0) == 0;
	}
	pthread_mutex_unlock(&fake_vfio.lock);
	return open;
}
