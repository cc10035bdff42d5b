/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * played.c - a kernel with PLAYED_MAX VFIO devices in it. A device is a memfd, a
 * session one end of a pipe whose other end tells whether it is still open.
 */
#include "played.h"

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
	ino_t inode; /* all that its duplicates have in common */
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
	struct device device[PLAYED_MAX];
	unsigned count;
	unsigned meet, met, missed, violations;
	int session[SESSIONS_MAX]; /* the pipes' read ends */
	unsigned sessions;
} played = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void played_reset(void)
{
	pthread_mutex_lock(&played.lock);
	for (unsigned i = 0; i < played.sessions; i++)
		close(played.session[i]);
	memset(played.device, 0, sizeof(played.device));
	played.count = played.sessions = 0;
	played.meet = played.met = played.missed = played.violations = 0;
	pthread_mutex_unlock(&played.lock);
}

int played_open(uint64_t flags)
{
	struct stat st;
	int fd = memfd_create("played", MFD_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		return -1;
	pthread_mutex_lock(&played.lock);
	struct device *device = &played.device[played.count++];

	*device = (struct device){.inode = st.st_ino, .flags = flags, .state = SWO_DEVICE_RUNNING};
	pthread_mutex_unlock(&played.lock);
	return fd;
}

static struct device *device_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return NULL;
	for (unsigned i = 0; i < played.count; i++)
		if (played.device[i].inode == st.st_ino)
			return &played.device[i];
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

/* The rule of linux/vfio.h: nobody may begin P2P DMA while a device is there that does not take it.
 */
static void watch(void)
{
	bool begins = false, refuses = false;

	for (unsigned i = 0; i < played.count; i++) {
		begins = begins || may_begin_dma(played.device[i].state);
		refuses = refuses || !takes_dma(played.device[i].state);
	}
	if (begins && refuses)
		played.violations++;
}

static bool in_session(uint32_t state)
{
	return state == SWO_DEVICE_PRE_COPY || state == SWO_DEVICE_PRE_COPY_P2P ||
	       state == SWO_DEVICE_STOP_COPY;
}

static int open_session(bool save)
{
	int ends[2];

	if (played.sessions == SESSIONS_MAX || pipe2(ends, O_CLOEXEC))
		return -1;
	/* Ours is the end on which the other's close shows: POLLHUP or POLLERR. */
	const int ours = fcntl(ends[save ? 1 : 0], F_DUPFD_CLOEXEC, 500);

	if (save && write(ours, "a played device's state", 23) != 23)
		return -1;
	close(ends[save ? 1 : 0]);
	played.session[played.sessions++] = ours;
	return ends[save ? 0 : 1];
}

static void meet(void)
{
	const char *patience = getenv("PLAYED_PATIENCE_MS");
	const long ms = patience ? atol(patience) : 10000;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ms % 1000 * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	played.met++;
	pthread_cond_broadcast(&played.changed);
	const unsigned round = (played.met - 1) / played.meet;

	while (played.met < (round + 1) * played.meet)
		if (pthread_cond_timedwait(&played.changed, &played.lock, &until)) {
			played.missed++;
			played.met = (round + 1) * played.meet;
		}
}

/* Along single arcs, as vfio_mig_get_next_state() leads. */
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
	pthread_cond_broadcast(&played.changed);
	if (played.meet)
		meet();
	while (device->hold)
		pthread_cond_wait(&played.changed, &played.lock);
	const int error = walk(device, mig->device_state, &mig->data_fd);

	device->inside--;
	pthread_cond_broadcast(&played.changed);
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

int played_ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	va_start(args, request);
	void *arg = va_arg(args, void *);

	va_end(args);
	pthread_mutex_lock(&played.lock);
	struct device *device = device_of(fd);
	int rc = -1;

	errno = ENOTTY;
	if (device && request == VFIO_DEVICE_FEATURE) {
		rc = feature(device, arg);
	} else if (device && request == VFIO_DEVICE_RESET) {
		device->state = SWO_DEVICE_RUNNING;
		rc = 0;
	} else if (device && request == VFIO_DEVICE_PCI_HOT_RESET) {
		for (unsigned i = 0; i < played.count; i++)
			played.device[i].state = SWO_DEVICE_RUNNING;
		rc = 0;
	}
	const int kept = errno;

	pthread_mutex_unlock(&played.lock);
	errno = kept;
	return rc;
}

/* The test's own view */

#define LOCKED(type, expression)                                                                   \
	do {                                                                                       \
		pthread_mutex_lock(&played.lock);                                                  \
		const type value = (expression);                                                   \
                                                                                                   \
		pthread_mutex_unlock(&played.lock);                                                \
		return value;                                                                      \
	} while (0)

uint32_t played_state(unsigned index)
{
	LOCKED(uint32_t, played.device[index].state);
}

unsigned played_sets(unsigned index)
{
	LOCKED(unsigned, played.device[index].sets);
}

unsigned played_missed(void)
{
	LOCKED(unsigned, played.missed);
}

unsigned played_violations(void)
{
	LOCKED(unsigned, played.violations);
}

void played_forget_violations(void)
{
	pthread_mutex_lock(&played.lock);
	played.violations = 0;
	pthread_mutex_unlock(&played.lock);
}

void played_put(unsigned index, uint32_t state)
{
	pthread_mutex_lock(&played.lock);
	played.device[index].state = state;
	pthread_mutex_unlock(&played.lock);
}

void played_fail(unsigned index, uint32_t to, int error, unsigned times)
{
	pthread_mutex_lock(&played.lock);
	played.device[index].fail_to = to;
	played.device[index].fail_errno = error;
	played.device[index].fail_times = times;
	pthread_mutex_unlock(&played.lock);
}

void played_hold(unsigned index, bool hold)
{
	pthread_mutex_lock(&played.lock);
	played.device[index].hold = hold;
	pthread_cond_broadcast(&played.changed);
	pthread_mutex_unlock(&played.lock);
}

bool played_inside(unsigned index)
{
	struct timespec until;
	bool inside = true;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&played.lock);
	while (inside && !played.device[index].inside)
		inside = !pthread_cond_timedwait(&played.changed, &played.lock, &until);
	pthread_mutex_unlock(&played.lock);
	return inside;
}

void played_meet(unsigned count)
{
	pthread_mutex_lock(&played.lock);
	played.meet = count;
	played.met = 0;
	pthread_mutex_unlock(&played.lock);
}

unsigned played_sessions(void)
{
	unsigned open = 0;

	pthread_mutex_lock(&played.lock);
	for (unsigned i = 0; i < played.sessions; i++) {
		struct pollfd end = {.fd = played.session[i]};

		open += poll(&end, 1, 0) == 0;
	}
	pthread_mutex_unlock(&played.lock);
	return open;
}
