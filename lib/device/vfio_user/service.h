/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * service.h - the one thread of this process that listens to vfio-user servers
 * when nobody waits for a reply of theirs: for DMA_READ, DMA_WRITE and hang-ups.
 *
 * The thread starts with the first watch and is joined with the last. A watch fires at
 * most once for each time it was armed or kicked; its function runs on that thread.
 */
#ifndef DEVICE_VFIO_USER_SERVICE_H
#define DEVICE_VFIO_USER_SERVICE_H

#include "switchover/base.h"

struct swo_vu_watch {
	int fd;
	void (*ready)(void *opaque);
	void *opaque;
	/* private */
	int epoll; /* -1: not added */
	bool kicked;
	struct swo_vu_watch *next;
};

/* Fill in fd, ready and opaque first. Not armed yet. */
int swo_vu_service_add(struct swo_vu_watch *watch, struct swo_error *err);
/* On return `ready` is not running and will not run again. Not from the service thread. */
void swo_vu_service_remove(struct swo_vu_watch *watch);
/* Fire once when the fd becomes readable or is hung up; false takes that back, as far as it
   has not happened. Any thread. Nothing happens for a watch that is not added. */
void swo_vu_service_arm(struct swo_vu_watch *watch, bool on);
/* Fire once, now. Any thread. */
void swo_vu_service_kick(struct swo_vu_watch *watch);

#endif
