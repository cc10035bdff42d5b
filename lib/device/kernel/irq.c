/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irq.c - interrupts of a kernel device: eventfds for its vectors.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int kernel_read_irqs(struct vfio_kernel *vk, struct swo_error *err)
{
	for (uint32_t i = 0; i < vk->irq_count; i++) {
		struct vfio_irq_info info = {.argsz = sizeof(info), .index = i};
		int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_GET_IRQ_INFO, &info);

		/* vfio-pci answers EINVAL for kinds that a device does not have (ERR, REQ). */
		if (rc == -EINVAL || rc == -ENOTTY)
			continue;
		if (rc < 0)
			return swo_error_set(err, SWO_E_DEVICE, -rc,
				"device %s: VFIO_DEVICE_GET_IRQ_INFO of interrupt %u", vk->name, i);
		if (info.count > VK_VECTORS_MAX)
			return swo_error_set(err, SWO_E_PROTOCOL, 0,
				"device %s: its driver gives interrupt %u %u vectors; at most %d "
				"make sense",
				vk->name, i, info.count, VK_VECTORS_MAX);
		vk->irqs[i] = (struct swo_irq_info){.flags = info.flags, .count = info.count};
	}
	return 0;
}

int kernel_irq_info(void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err)
{
	struct vfio_kernel *vk = self;

	if (index >= vk->irq_count)
		return swo_error_set(err, SWO_E_INVALID, 0, "device %s: there is no interrupt %u",
			vk->name, index);
	*info = vk->irqs[index];
	return 0;
}

static int send_set(struct vfio_kernel *vk, uint32_t index, uint32_t start, const int *fds,
	uint32_t count, struct swo_error *err)
{
	size_t len = sizeof(struct vfio_irq_set) + count * sizeof(int32_t);
	swo_autofree struct vfio_irq_set *set = calloc(1, len);

	if (!set)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "device %s: interrupts", vk->name);
	*set = (struct vfio_irq_set){.argsz = (uint32_t)len,
		.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
			 (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
		.index = index,
		.start = start,
		.count = count};
	for (uint32_t i = 0; i < count; i++) {
		int32_t fd = fds[i] < 0 ? -1 : fds[i];

		memcpy(set->data + i * sizeof(fd), &fd, sizeof(fd));
	}
	int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_SET_IRQS, set);

	if (rc >= 0)
		return 0;
	return swo_error_set(err, SWO_E_DEVICE, -rc,
		"device %s: VFIO_DEVICE_SET_IRQS of interrupt %u, vectors %u to %u%s", vk->name,
		index, start, start + (count ? count - 1 : 0),
		rc == -EINVAL && start ? "; this driver cannot add vectors to those in use: give "
					 "all of them at once"
				       : "");
}

int kernel_set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct swo_irq_info info = {0};
	int rc = 0;

	if (kernel_irq_info(vk, index, &info, err))
		return -1;
	if (start > info.count || count > info.count - start)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: interrupt %u has %u vectors; %u from %u on are too many",
			vk->name, index, info.count, count, start);
	pthread_mutex_lock(&vk->irq_lock);
	/* vfio-pci refuses to switch off what is not on. */
	if (count || vk->irq_on[index]) {
		rc = send_set(vk, index, count ? start : 0, fds, count, err);
		if (!rc)
			vk->irq_on[index] = count > 0;
	}
	pthread_mutex_unlock(&vk->irq_lock);
	return rc;
}
