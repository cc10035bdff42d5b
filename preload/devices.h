/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * devices.h - the process' migratable VFIO devices: their file descriptors, their
 * states, and the data sessions that the VMM holds.
 *
 * One lock for all of it. It is held for bookkeeping only, never across a change of state.
 */
#ifndef PRELOAD_FLEET_H
#define PRELOAD_FLEET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLEET_DEVICES_MAX   256
#define FLEET_FDS_MAX	    (1 << 20) /* a descriptor beyond is none of ours */
#define FLEET_STATE_UNKNOWN UINT32_MAX

/* What one SET brought. */
struct device_result {
	int rc;
	int error;
	int data_fd; /* a session that it opened; -1: none */
	uint64_t start_ns, end_ns;
};

enum devices_speculation {
	FLEET_IDLE,  /* its state is what the VMM asked for last */
	FLEET_WORKS, /* its worker changes its state, which the VMM has not asked for */
	FLEET_HELD,  /* half way: waits for the others at a barrier */
	FLEET_DONE,  /* all of it is done; the VMM will ask */
};

struct tracked_device {
	bool used;
	char name[64];
	int fd;	      /* one of its descriptors, open */
	unsigned fds; /* how many */
	uint64_t flags;
	uint32_t state;
	bool failed;	     /* an arc failed, and it has not run since: it goes along with none */
	unsigned calls;	     /* of the VMM, in the kernel now */
	unsigned generation; /* tells a device from an earlier one of the same slot */

	enum devices_speculation ahead;
	uint32_t from, to, step; /* the predicted arc; what the worker is to ask for now */
	struct device_result result;

	pthread_t worker;
	pthread_cond_t go; /* for the worker: there is a step, or an end */
	bool worker_runs, worker_quits;

	/* The session that the VMM has, for the record. */
	uint64_t stream_start_ns, stream_end_ns, stream_bytes;
	bool stream_save;
};

struct fleet {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a step is over */
	struct tracked_device device[FLEET_DEVICES_MAX];
	unsigned count;		/* in use */
	unsigned calls;		/* of the VMM, in the kernel now, of all devices */
	uint64_t last_call_ns;	/* its last one, or its last use of a session */
	_Atomic unsigned ahead; /* devices that are not idle; to be read without the lock */
};

extern struct fleet fleet;

enum device_kind { FLEET_OTHER, FLEET_DEVICE, FLEET_DATA };

/* One load: this is all that a read() of a file that is not ours pays. */
extern _Atomic uint8_t devices_kinds[FLEET_FDS_MAX];
static inline enum device_kind device_kind(int fd)
{
	if (fd < 0 || fd >= FLEET_FDS_MAX)
		return FLEET_OTHER;
	return (enum device_kind)atomic_load_explicit(&devices_kinds[fd], memory_order_acquire);
}

/* All below: with the lock held. */
struct tracked_device *devices_of(int fd); /* of a device's or a session's descriptor, or NULL */
/* A device, by a descriptor on which it has told its migration flags. NULL: no room. */
struct tracked_device *devices_add(int fd, uint64_t flags);
void devices_alias(int fd, int copy);
void devices_session(struct tracked_device *device, int data_fd);
/* Before the descriptor is closed. True when it was its device's last: the caller ends that. */
bool devices_forget(int fd);
void devices_remove(struct tracked_device *device);
void devices_set_speculation(struct tracked_device *device, enum devices_speculation ahead);
/*
 * A call of the VMM on this device, around letting go of the lock for as long as it takes. end:
 * with the generation that begin gave; false when the device has gone meanwhile.
 */
unsigned devices_call_begin(struct tracked_device *device);
bool devices_call_end(struct tracked_device *device, unsigned generation);
int devices_top(void); /* no descriptor of ours is above it */
/* Descriptors that VFIO_GROUP_GET_DEVICE_FD has named. */
void devices_name(int fd, const char *name);

#define devices_for_each(dev)                                                                      \
	for (struct tracked_device *dev = fleet.device; dev < fleet.device + FLEET_DEVICES_MAX;    \
		dev++)                                                                             \
		if (dev->used)

#endif
