/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * service.h - the one thread of this process that polls vfio-user servers while no thread waits
 * for a reply: for DMA_READ, DMA_WRITE and hang-ups.
 *
 * The thread starts with the first watch and is joined with the last. A watch fires at most
 * once for each time it was armed or kicked; its function runs on that thread.
 */
#ifndef DEVICE_VFIO_USER_SERVICE_H
#define DEVICE_VFIO_USER_SERVICE_H

#include "switchover/base.h"

struct vfio_user_watch {
	int fd;
	void (*ready)(void *opaque);
	void *opaque;
	/* private */
	int epoll; /* -1: not added */
	bool kicked;
	struct vfio_user_watch *next;
};

/* Fill in fd, ready and opaque first. Not armed yet. */
int vfio_user_service_add(struct vfio_user_watch *watch, struct swo_error *err);
/*
 * When this returns, `ready` is not running and will not run again. Not from the service
 * thread.
 */
void vfio_user_service_remove(struct vfio_user_watch *watch);
/*
 * Fires once when the fd becomes readable or reports POLLHUP; false cancels that, if it has not
 * fired. Any thread. No effect on a watch that is not added.
 */
void vfio_user_service_arm(struct vfio_user_watch *watch, bool on);
/* Fires once, now. Any thread. */
void vfio_user_service_kick(struct vfio_user_watch *watch);

#endif
