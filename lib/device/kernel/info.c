/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.c - regions and interrupts of a kernel device: read once, at open, then used by any
 * thread.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Reading the descriptions */

static int ask_region(struct vfio_kernel *vk, uint32_t index, uint8_t *data, uint32_t room,
	uint32_t *need, struct swo_error *err)
{
	struct vfio_region_info info = {.argsz = room, .index = index};

	memset(data, 0, room);
	memcpy(data, &info, sizeof(info));
	int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_GET_REGION_INFO, data);

	memcpy(&info, data, sizeof(info));
	*need = info.argsz;
	if (rc >= 0)
		return 0;
	/* Some drivers count regions that they then do not describe. */
	if (rc == -EINVAL || rc == -ENOTTY) {
		info = (struct vfio_region_info){.index = index};
		memcpy(data, &info, sizeof(info));
		*need = 0;
		return 0;
	}
	return swo_error_set(err, SWO_E_DEVICE, -rc,
		"device %s: VFIO_DEVICE_GET_REGION_INFO of region %u", vk->name, index);
}

static int read_region(struct vfio_kernel *vk, uint32_t index, uint8_t *data, struct swo_error *err)
{
	uint32_t room = DEVICE_REGION_ROOM, need;

	if (ask_region(vk, index, data, room, &need, err))
		return -1;
	if (need > room) {
		room = need <= DEVICE_REGION_ROOM_MAX ? need : DEVICE_REGION_ROOM_MAX;
		if (ask_region(vk, index, data, room, &need, err))
			return -1;
		if (need > room)
			return device_region_bad(&vk->regions, index,
				"it needs more than 64 KiB of description", err);
	}
	if (device_region_parse(&vk->regions, index, data, room, err))
		return -1;
	vk->regions.region[index].fd = vk->fd;
	return 0;
}

static int read_irqs(struct vfio_kernel *vk, struct swo_error *err)
{
	for (uint32_t i = 0; i < vk->regions.irq_count; i++) {
		struct vfio_irq_info info = {.argsz = sizeof(info), .index = i};
		int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_GET_IRQ_INFO, &info);

		/* vfio-pci returns EINVAL for kinds that a device does not have (ERR, REQ). */
		if (rc == -EINVAL || rc == -ENOTTY)
			continue;
		if (rc < 0)
			return swo_error_set(err, SWO_E_DEVICE, -rc,
				"device %s: VFIO_DEVICE_GET_IRQ_INFO of interrupt %u", vk->name, i);
		if (device_irq_describe(&vk->regions, i, info.flags, info.count, err))
			return -1;
	}
	return 0;
}

int kernel_read_info(struct vfio_kernel *vk, struct swo_error *err)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_GET_INFO, &info);

	if (rc < 0)
		return swo_error_set(
			err, SWO_E_DEVICE, -rc, "device %s: VFIO_DEVICE_GET_INFO", vk->name);
	vk->device_flags = info.flags;
	vk->regions.count =
		info.num_regions < DEVICE_REGIONS_MAX ? info.num_regions : DEVICE_REGIONS_MAX;
	vk->regions.irq_count = info.num_irqs < DEVICE_IRQS_MAX ? info.num_irqs : DEVICE_IRQS_MAX;
	swo_autofree uint8_t *data = malloc(DEVICE_REGION_ROOM_MAX);

	if (!data)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", vk->name);
	for (uint32_t i = 0; i < vk->regions.count; i++)
		if (read_region(vk, i, data, err))
			return -1;
	return read_irqs(vk, err);
}

/* The functions of struct swo_device_ops */

int kernel_region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err)
{
	return device_region_info(&((struct vfio_kernel *)self)->regions, region, info, err);
}

/*
 * Transfers all bytes: the driver may transfer less at once, as an access must not cross its
 * units.
 */
static int transfer(struct vfio_kernel *vk, uint32_t region, uint64_t offset, uint8_t *data,
	uint32_t len, bool is_read, struct swo_error *err)
{
	if (device_region_check(&vk->regions, region, offset, len, is_read, err))
		return -1;

	if (kernel_is_released(vk))
		return swo_error_set(err, SWO_E_PEER_LOST, ENODEV,
			"device %s was given back to the host", vk->name);

	off_t at = (off_t)(vk->regions.region[region].fd_offset + offset);

	while (len) {
		ssize_t n = is_read ? vk->sys->read(vk->fd, data, len, at)
				    : vk->sys->write(vk->fd, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || (size_t)n > len)
			return swo_error_set(err, SWO_E_DEVICE, n < 0 ? errno : EIO,
				"device %s: %s region %u at 0x%llx", vk->name,
				is_read ? "reading" : "writing", region,
				(unsigned long long)offset);
		at += n;
		data += n;
		len -= (uint32_t)n;
	}
	return 0;
}

int kernel_region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err)
{
	return transfer(self, region, offset, buf, len, true, err);
}

int kernel_region_write(void *self, uint32_t region, uint64_t offset, const void *buf, uint32_t len,
	bool posted, struct swo_error *err)
{
	(void)posted; /* there is no reply to wait for here */
	if (transfer(self, region, offset, (uint8_t *)buf, len, false, err))
		return -1;
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		kernel_peer_config_written(self, offset, buf, len);
	return 0;
}

int kernel_region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err)
{
	return device_region_fd(&((struct vfio_kernel *)self)->regions, region, fd, fd_offset,
		region_offset, size, err);
}

int kernel_irq_info(void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err)
{
	return device_irq_info(&((struct vfio_kernel *)self)->regions, index, info, err);
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
		rc == -EINVAL && start ? "; this driver cannot add vectors to those in use: set "
					 "all of them at once"
				       : "");
}

int kernel_set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	int rc = 0;

	if (device_irq_check(&vk->regions, index, start, count, err))
		return -1;
	pthread_mutex_lock(&vk->irq_lock);
	/* vfio-pci refuses to disable an interrupt that is not enabled. */
	if (count || vk->irq_on[index]) {
		rc = send_set(vk, index, count ? start : 0, fds, count, err);
		if (!rc)
			vk->irq_on[index] = count > 0;
	}
	pthread_mutex_unlock(&vk->irq_lock);
	return rc;
}
