/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * devices.h - the migratable VFIO devices of the process: their file descriptors, their states,
 * and the data sessions that the VMM holds.
 *
 * One lock protects all of it. It is held for bookkeeping only, never across a change of state.
 */
#ifndef PRELOAD_DEVICES_H
#define PRELOAD_DEVICES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACKED_MAX	256
#define TRACKED_FDS_MAX (1 << 20) /* higher descriptors are not tracked */
#define STATE_UNKNOWN	UINT32_MAX

/* The result of one SET of the device state. */
struct device_result {
	int rc;
	int error;
	int data_fd; /* the session that it opened; -1: none */
	uint64_t start_ns, end_ns;
};

enum devices_speculation {
	SPECULATION_NONE, /* the device is in the state that the VMM requested last */
	SPECULATION_RUNS, /* the worker runs an arc that the VMM has not requested */
	SPECULATION_HELD, /* in a P2P state, waiting for the other devices */
	SPECULATION_DONE, /* the arc is done; the VMM has not requested it yet */
};

struct tracked_device {
	bool used;
	char name[64];
	int fd;	      /* one of its open descriptors */
	unsigned fds; /* number of open descriptors */
	uint64_t flags;
	uint32_t state;
	bool failed;	     /* an arc failed and the device has not run since: excluded */
	bool inherited;	     /* opened before a fork: another process may have it, too */
	unsigned calls;	     /* calls of the VMM in progress */
	unsigned generation; /* distinguishes successive devices in one slot */

	enum devices_speculation speculation;
	uint32_t from, to, step; /* the predicted arc; the worker's current target */
	struct device_result result;

	pthread_t worker;
	pthread_cond_t go; /* signals the worker: a new step, or the end */
	bool worker_runs, worker_quits;

	/* The VMM's open session, for the trace. */
	uint64_t stream_start_ns, stream_end_ns, stream_bytes;
	bool stream_save;
};

struct devices {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a worker finished a step */
	struct tracked_device device[TRACKED_MAX];
	unsigned count;		      /* in use */
	unsigned inherited;	      /* of them */
	unsigned calls;		      /* calls of the VMM in progress, all devices */
	uint64_t last_call_ns;	      /* end of the last call, or the last use of a session */
	_Atomic unsigned speculating; /* devices with a speculation; may be read without the lock */
};

extern struct devices devices;

enum device_kind { FD_OTHER, FD_DEVICE, FD_DATA };

/* One load: the only cost for a read() of a file that is not tracked. */
extern _Atomic uint8_t devices_kinds[TRACKED_FDS_MAX];
static inline enum device_kind device_kind(int fd)
{
	if (fd < 0 || fd >= TRACKED_FDS_MAX)
		return FD_OTHER;
	return (enum device_kind)atomic_load_explicit(&devices_kinds[fd], memory_order_acquire);
}

/* All calls below require the lock. */
struct tracked_device *devices_of(
	int fd); /* by a device's or a session's descriptor; NULL: not tracked */
/* Adds a device by a descriptor that has reported its migration flags. NULL: no free slot. */
struct tracked_device *devices_add(int fd, uint64_t flags);
void devices_alias(int fd, int copy);
void devices_session(struct tracked_device *device, int data_fd);
/*
 * Before the descriptor is closed. True if it was the device's last: the caller then removes
 * it.
 */
bool devices_drop(int fd);
void devices_remove(struct tracked_device *device);
void devices_set_speculation(struct tracked_device *device, enum devices_speculation speculation);
/*
 * Brackets a call of the VMM on this device; the caller releases the lock during the call.
 * devices_call_end() takes the generation that devices_call_begin() returned; false: the device
 * was removed meanwhile.
 */
unsigned devices_call_begin(struct tracked_device *device);
bool devices_call_end(struct tracked_device *device, unsigned generation);
int devices_top(void); /* the highest tracked descriptor */
/*
 * Names a descriptor that VFIO_GROUP_GET_DEVICE_FD returned. What follows a space is left out: it
 * may be a VF token, which is a secret.
 */
void devices_name(int fd, const char *name);
/* In a child of fork, which has none of the threads and calls of its parent. */
void devices_inherit(void);

#define devices_for_each(dev)                                                                      \
	for (struct tracked_device *dev = devices.device; dev < devices.device + TRACKED_MAX;      \
		dev++)                                                                             \
		if (dev->used)

#endif
