/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host_events.c - what the host reports of a passthrough device beside its interrupts: that it wants
 * the device back (VFIO_PCI_REQ_IRQ_INDEX), and that the device has failed (VFIO_PCI_ERR_IRQ_INDEX).
 */
#include "internal.h"

#include "base/poll.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDLE_MS 3600000

enum { REQ, ERR, KINDS };

struct machine_host_events {
	struct vmm_machine *machine;
	pthread_t thread;
	int stop_fd;
	/* KINDS of each device, then stop_fd; -1: none. */
	struct pollfd *fds;
	unsigned count;
};

static void give_back(struct vmm_machine *m, struct machine_device *device)
{
	const char *name = swo_device_name(device->dev);
	char why[120];

	snprintf(why, sizeof(why), "the host has requested device %s", name);
	machine_migration_abort(m, why);
	vmm_pci_release(device->fn);
	if (!swo_device_release(device->dev)) {
		swo_log(SWO_LOG_WARN, "%s: the host requests device %s, which cannot be given back",
			m->name, name);
		return;
	}
	swo_log(SWO_LOG_WARN,
		"%s: the host has requested device %s (its driver is being unbound, or it is being "
		"removed): it was given back, and the guest has lost it",
		m->name, name);
	machine_event(m, "DEVICE_DELETED", json_pack("{s:s}", "device", name));
}

static void handle(struct machine_host_events *events, unsigned at)
{
	struct machine_device *device = &events->machine->devices[at / KINDS];
	uint64_t count;
	char why[160];

	if (read(events->fds[at].fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		swo_log(SWO_LOG_WARN, "device %s: eventfd: %s", swo_device_name(device->dev),
			strerror(errno));
	if (at % KINDS == REQ) {
		give_back(events->machine, device);
		swo_close_fd(&events->fds[at].fd); /* once is enough */
		return;
	}
	snprintf(why, sizeof(why),
		"device %s: the host reports an error that it cannot recover from",
		swo_device_name(device->dev));
	machine_failed(events->machine, why);
}

static void *run(void *opaque)
{
	struct machine_host_events *events = opaque;
	const unsigned stop = events->count - 1;

	for (;;) {
		if (base_poll(events->fds, events->count, swo_deadline_ms(IDLE_MS)) < 0) {
			swo_log(SWO_LOG_ERROR, "%s: the host's reports of devices: %s",
				events->machine->name, strerror(errno));
			return NULL;
		}
		if (events->fds[stop].revents)
			return NULL;
		for (unsigned i = 0; i < stop; i++)
			if (events->fds[i].revents & POLLIN)
				handle(events, i);
	}
}

/* -1: the device has no such event, which is usual. */
static int listen_for(struct swo_device *dev, uint32_t index)
{
	const struct swo_device_ops *ops;
	struct swo_irq_info info;
	struct swo_error err;
	void *self;
	int fd;

	ops = swo_device_backend(dev, &self);
	if (!ops->irq_info || !ops->set_irqs || ops->irq_info(self, index, &info, &err) ||
		!info.count || !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return -1;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd >= 0 && ops->set_irqs(self, index, 0, &fd, 1, &err)) {
		swo_log(SWO_LOG_WARN, "device %s: interrupt %u: %s", swo_device_name(dev), index,
			err.text);
		swo_close_fd(&fd);
	}
	return fd;
}

int machine_host_events_start(struct vmm_machine *m, struct swo_error *err)
{
	struct machine_host_events *events = calloc(1, sizeof(*events));
	unsigned found = 0;

	if (!events)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "host events");
	m->host_events = events;
	events->machine = m;
	events->stop_fd = -1;
	events->fds = calloc(m->device_count * KINDS + 1, sizeof(*events->fds));
	if (!events->fds)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "host events");
	for (unsigned i = 0; i < m->device_count * KINDS; i++) {
		uint32_t index = i % KINDS == REQ ? VFIO_PCI_REQ_IRQ_INDEX : VFIO_PCI_ERR_IRQ_INDEX;
		int fd = listen_for(m->devices[i / KINDS].dev, index);

		events->fds[events->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
		found += fd >= 0;
	}
	if (!found)
		return 0;
	events->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (events->stop_fd < 0)
		return swo_error_set(err, SWO_E_NO_MEMORY, errno, "host events");
	events->fds[events->count++] = (struct pollfd){.fd = events->stop_fd, .events = POLLIN};

	int rc = pthread_create(&events->thread, NULL, run, events);

	if (!rc)
		return 0;
	swo_close_fd(&events->stop_fd);
	return swo_error_set(err, SWO_E_NO_MEMORY, rc, "host events: thread");
}

void machine_host_events_stop(struct vmm_machine *m)
{
	struct machine_host_events *events = m->host_events;
	const uint64_t one = 1;

	if (!events)
		return;
	if (events->stop_fd >= 0 && write(events->stop_fd, &one, sizeof(one)) > 0)
		pthread_join(events->thread, NULL);
	for (unsigned i = 0; i < events->count; i++)
		if (events->fds[i].fd >= 0 && events->fds[i].fd != events->stop_fd)
			close(events->fds[i].fd);
	swo_close_fd(&events->stop_fd);
	free(events->fds);
	free(events);
	m->host_events = NULL;
}
