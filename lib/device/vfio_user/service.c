/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * service.c - one thread, one epoll, for all vfio-user connections of the process. It exists
 * only while there is a connection.
 */
#include "device/vfio_user/service.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct {
	pthread_mutex_t life; /* adding and removing, starting and joining: one at a time */
	pthread_mutex_t lock; /* for all below; taken last of all locks */
	pthread_cond_t idle;  /* `current` has changed */
	struct vfio_user_watch *watches;
	struct vfio_user_watch *current; /* its function runs */
	bool quit;
	int epoll;
	int wake;
	pthread_t thread;
} service = {
	.life = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.idle = PTHREAD_COND_INITIALIZER,
	.epoll = -1,
	.wake = -1,
};

/* With the lock held: checks that this (perhaps stale) pointer is still a watch. */
static bool is_known(const struct vfio_user_watch *watch)
{
	for (struct vfio_user_watch *w = service.watches; w; w = w->next)
		if (w == watch)
			return true;
	return false;
}

static void fire(struct vfio_user_watch *watch)
{
	service.current = watch;
	watch->kicked = false;
	pthread_mutex_unlock(&service.lock);
	watch->ready(watch->opaque);
	pthread_mutex_lock(&service.lock);
	service.current = NULL;
	pthread_cond_broadcast(&service.idle);
}

static void fire_kicked(void)
{
	uint64_t ignored;

	/* Clear the eventfd first: a concurrent kick makes it readable again. */
	if (read(service.wake, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
		swo_log(SWO_LOG_WARN, "vfio-user service: cannot read its eventfd");
	for (struct vfio_user_watch *w = service.watches; w;) {
		if (!w->kicked) {
			w = w->next;
			continue;
		}
		fire(w);
		w = service.watches; /* the list may have changed meanwhile */
	}
}

static void *service_main(void *opaque)
{
	(void)opaque;
	pthread_mutex_lock(&service.lock);
	while (!service.quit) {
		struct epoll_event event;

		pthread_mutex_unlock(&service.lock);
		/* Ended by the eventfd: the wait of an idle service has no deadline. */
		int n = epoll_wait(service.epoll, &event, 1, -1);

		pthread_mutex_lock(&service.lock);
		if (n <= 0)
			continue;
		if (!event.data.ptr)
			fire_kicked();
		else if (is_known(event.data.ptr))
			fire(event.data.ptr);
	}
	pthread_mutex_unlock(&service.lock);
	return NULL;
}

static int service_start(struct swo_error *err)
{
	struct epoll_event event = {.events = EPOLLIN};

	service.quit = false;
	service.epoll = epoll_create1(EPOLL_CLOEXEC);
	service.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (service.epoll < 0 || service.wake < 0 ||
		epoll_ctl(service.epoll, EPOLL_CTL_ADD, service.wake, &event))
		swo_error_set(err, SWO_E_NO_MEMORY, errno, "vfio-user service");
	else if (!swo_thread_start(&service.thread, "vfio-user", service_main, NULL, err))
		return 0;
	swo_close_fd(&service.epoll);
	swo_close_fd(&service.wake);
	return -1;
}

static void wake_up(void)
{
	uint64_t one = 1;

	if (write(service.wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		swo_log(SWO_LOG_WARN, "vfio-user service: cannot write its eventfd");
}

static void service_stop(void)
{
	pthread_mutex_lock(&service.lock);
	service.quit = true;
	wake_up();
	pthread_mutex_unlock(&service.lock);
	pthread_join(service.thread, NULL);
	swo_close_fd(&service.epoll);
	swo_close_fd(&service.wake);
}

int vfio_user_service_add(struct vfio_user_watch *watch, struct swo_error *err)
{
	/* EPOLLHUP is reported even without events, and without ONESHOT repeatedly. */
	struct epoll_event event = {.events = EPOLLONESHOT, .data.ptr = watch};
	int rc = 0;

	pthread_mutex_lock(&service.life);
	if (!service.watches)
		rc = service_start(err);
	if (!rc && epoll_ctl(service.epoll, EPOLL_CTL_ADD, watch->fd, &event)) {
		rc = swo_error_set(
			err, SWO_E_NO_MEMORY, errno, "vfio-user service: cannot watch a socket");
		if (!service.watches)
			service_stop();
	}
	if (!rc) {
		watch->epoll = service.epoll;
		watch->kicked = false;
		pthread_mutex_lock(&service.lock);
		watch->next = service.watches;
		service.watches = watch;
		pthread_mutex_unlock(&service.lock);
	}
	pthread_mutex_unlock(&service.life);
	return rc;
}

void vfio_user_service_remove(struct vfio_user_watch *watch)
{
	if (watch->epoll < 0)
		return;
	pthread_mutex_lock(&service.life);
	pthread_mutex_lock(&service.lock);
	epoll_ctl(service.epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	for (struct vfio_user_watch **w = &service.watches; *w; w = &(*w)->next)
		if (*w == watch) {
			*w = watch->next;
			break;
		}
	while (service.current == watch)
		pthread_cond_wait(&service.idle, &service.lock);
	watch->epoll = -1;
	bool last = !service.watches;

	pthread_mutex_unlock(&service.lock);
	if (last)
		service_stop();
	pthread_mutex_unlock(&service.life);
}

void vfio_user_service_arm(struct vfio_user_watch *watch, bool on)
{
	struct epoll_event event = {
		.events = on ? EPOLLIN | EPOLLRDHUP | EPOLLONESHOT : EPOLLONESHOT,
		.data.ptr = watch};

	if (watch->epoll >= 0)
		epoll_ctl(watch->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

void vfio_user_service_kick(struct vfio_user_watch *watch)
{
	if (watch->epoll < 0)
		return;
	pthread_mutex_lock(&service.lock);
	watch->kicked = true;
	wake_up();
	pthread_mutex_unlock(&service.lock);
}
