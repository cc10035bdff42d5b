/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * context.c - containers and I/O address spaces: a device must be attached to one before it can
 * be used, and the devices of one VM share it.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int swo_vfio_context_new(struct swo_vfio_context **out, struct swo_error *err)
{
	struct swo_vfio_context *context = calloc(1, sizeof(*context));

	if (!context)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "VFIO context");
	context->sys = &kernel_sys_host;
	context->users = 1;
	pthread_mutex_init(&context->lock, NULL);
	for (int i = 0; i < VK_SPACES; i++) {
		context->spaces[i].kind = (enum kernel_space_kind)i;
		context->spaces[i].fd = -1;
	}
	*out = context;
	return 0;
}

void swo_vfio_context_unref(struct swo_vfio_context *context)
{
	if (!context)
		return;
	pthread_mutex_lock(&context->lock);
	bool last = !--context->users;

	pthread_mutex_unlock(&context->lock);
	if (!last)
		return;
	for (int i = 0; i < VK_SPACES; i++) {
		if (context->spaces[i].fd >= 0)
			context->sys->close(context->spaces[i].fd);
		kernel_free_hwpts(&context->spaces[i]);
		/* Maps whose removal failed: no device accesses their memory any more. */
		while (context->spaces[i].maps) {
			struct kernel_map *map = context->spaces[i].maps;

			context->spaces[i].maps = map->next;
			if (map->ours)
				context->sys->munmap(map->ours, (size_t)map->size);
			free(map);
		}
	}
	pthread_mutex_destroy(&context->lock);
	free(context);
}

int swo_vfio_context_set_iommufd(
	struct swo_vfio_context *context, int iommufd, struct swo_error *err)
{
	struct kernel_space *space = &context->spaces[VK_IOAS];
	int rc = 0;

	pthread_mutex_lock(&context->lock);
	if (space->fd >= 0) {
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"descriptor %d: the devices of this VM have an iommufd already", iommufd);
	} else {
		space->fd = context->sys->dup(iommufd);
		space->given = space->fd >= 0;
		if (!space->given)
			rc = swo_error_set(err, SWO_E_IO, errno,
				"cannot use descriptor %d as iommufd", iommufd);
	}
	pthread_mutex_unlock(&context->lock);
	return rc;
}

/* Opening */

static const char *advice(int why, bool by_cdev)
{
	switch (why) {
	case EACCES:
	case EPERM:
		return "; this user may not (change its owner, or run as root)";
	case EBUSY:
		return by_cdev ? "; it, or its group, is in use" : "; it is in use";
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return "; is the device bound to a VFIO driver";
	default:
		return "";
	}
}

static int open_node(
	struct vfio_kernel *vk, const char *node, bool by_cdev, int *fd, struct swo_error *err)
{
	*fd = vk->sys->open(node, O_RDWR | O_CLOEXEC);
	if (*fd >= 0)
		return 0;
	return swo_error_set(err, SWO_E_IO, errno, "device %s: cannot open %s%s", vk->name, node,
		advice(errno, by_cdev));
}

static int failed(
	struct vfio_kernel *vk, int rc, const char *what, const char *hint, struct swo_error *err)
{
	return swo_error_set(err, rc == -ENOMEM ? SWO_E_NO_MEMORY : SWO_E_DEVICE, -rc,
		"device %s: %s%s", vk->name, what, hint);
}

/* By cdev */

/* With the context's lock held. */
static int open_ioas(struct vfio_kernel *vk, struct kernel_space *space, struct swo_error *err)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	char node[VK_PATH_MAX];
	int rc;

	if (space->has_iommu)
		return 0;
	snprintf(node, sizeof(node), "%s/iommu", vk->sys->dev);
	if (space->fd < 0)
		space->fd = vk->sys->open(node, O_RDWR | O_CLOEXEC);
	if (space->fd < 0)
		return swo_error_set(err, SWO_E_UNSUPPORTED, errno,
			"device %s: cannot open %s, which is required for a device opened by cdev "
			"(CONFIG_IOMMUFD); open it by its group instead",
			vk->name, node);
	rc = kernel_ioctl(vk, space->fd, IOMMU_IOAS_ALLOC, &alloc);
	if (rc >= 0) {
		space->ioas = alloc.out_ioas_id;
		space->has_iommu = true;
		return 0;
	}
	if (!space->given)
		vk->sys->close(space->fd);
	if (!space->given)
		space->fd = -1;
	return failed(vk, rc, "IOMMU_IOAS_ALLOC",
		space->given ? "; the descriptor for it is no /dev/iommu" : "", err);
}

static int open_cdev(
	struct vfio_kernel *vk, const struct kernel_where *where, struct swo_error *err)
{
	if (where->fd < 0)
		return open_node(vk, where->node, true, &vk->fd, err);
	vk->fd = vk->sys->dup(where->fd);
	if (vk->fd >= 0)
		return 0;
	return swo_error_set(
		err, SWO_E_IO, errno, "device %s: cannot use %s", vk->name, where->node);
}

/* Of a UUID. */
static void token_bytes(const char *token, uint8_t out[16])
{
	for (unsigned i = 0; i < 16; i++, token += 2) {
		token += *token == '-';
		sscanf(token, "%2hhx", &out[i]);
	}
}

static int bind_cdev(
	const struct vfio_kernel *vk, int iommufd, const char *token, uint32_t *device_id)
{
	struct vfio_abi_bind_token bind = {.head = {.argsz = VFIO_BIND_ARGSZ, .iommufd = iommufd}};
	uint8_t bytes[16];

	if (*token) {
		token_bytes(token, bytes);
		bind.head.argsz = sizeof(bind);
		bind.head.flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
		bind.token_uuid_ptr = (uintptr_t)bytes;
	}
	int rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);

	*device_id = bind.head.out_devid;
	explicit_bzero(bytes, sizeof(bytes));
	return rc;
}

#define NEEDS_TOKEN                                                                                \
	"; a VFIO driver has its PF and has set a VF token: pass that token (docs/device.md)"

static const char *bind_advice(int why, const struct kernel_where *where)
{
	switch (why) {
	case EBUSY:
	case EPERM:
		return "; it is in use: another process has it open, possibly by its group";
	case EACCES:
		return *where->token ? "; its VF token is another one" : NEEDS_TOKEN;
	case EINVAL:
		return *where->token
			       ? "; it is in use, or requires no VF token, or the kernel accepts a token by "
				 "group only (before Linux 6.17)"
			       : "; it is in use: another process has bound it";
	case ENOTTY:
		return where->fd >= 0 ? "; this is no /dev/vfio/devices/vfioN" : "";
	default:
		return "";
	}
}

static int attach_cdev(
	struct vfio_kernel *vk, const struct kernel_where *where, struct swo_error *err)
{
	struct kernel_space *space = &vk->context->spaces[VK_IOAS];

	if (open_ioas(vk, space, err) || open_cdev(vk, where, err))
		return -1;
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = VFIO_ATTACH_ARGSZ, .pt_id = space->ioas};
	uint32_t device_id;
	int rc = bind_cdev(vk, space->fd, where->token, &device_id);

	if (rc < 0)
		return failed(vk, rc, "VFIO_DEVICE_BIND_IOMMUFD", bind_advice(-rc, where), err);
	vk->space = space;
	if (kernel_attach_hwpt(vk, space, device_id))
		return 0;
	rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
	if (rc < 0)
		return failed(vk, rc, "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
			"; its IOMMU is incompatible with the address space", err);
	return 0;
}

/* By group */

static int open_container(struct vfio_kernel *vk, struct kernel_space *space, struct swo_error *err)
{
	char node[VK_PATH_MAX];

	if (space->fd >= 0)
		return 0;
	snprintf(node, sizeof(node), "%s/vfio/vfio", vk->sys->dev);
	if (open_node(vk, node, false, &space->fd, err))
		return -1;
	const char *lacks = NULL;

	if (kernel_ioctl(vk, space->fd, VFIO_GET_API_VERSION, NULL) != VFIO_API_VERSION)
		lacks = "has another VFIO version";
	else if (kernel_ioctl(vk, space->fd, VFIO_CHECK_EXTENSION,
			 (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) <= 0)
		lacks = "has no type1 IOMMU; load vfio_iommu_type1";
	if (!lacks)
		return 0;
	vk->sys->close(space->fd);
	space->fd = -1;
	return swo_error_set(
		err, SWO_E_UNSUPPORTED, 0, "device %s: the kernel %s", vk->name, lacks);
}

/* Adds the group to the container; for the first group it also selects the IOMMU type. */
static int join_container(
	struct vfio_kernel *vk, struct kernel_space *space, int group, struct swo_error *err)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	int32_t container = space->fd;
	int rc = kernel_ioctl(vk, group, VFIO_GROUP_GET_STATUS, &status);

	if (rc < 0)
		return failed(vk, rc, "VFIO_GROUP_GET_STATUS", "", err);
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: its group is not viable: every device of it must be bound to a "
			"VFIO driver, or to none",
			vk->name);
	rc = kernel_ioctl(vk, group, VFIO_GROUP_SET_CONTAINER, &container);
	if (rc < 0)
		return failed(vk, rc, "VFIO_GROUP_SET_CONTAINER",
			"; its IOMMU is incompatible with the container's other groups", err);
	if (space->has_iommu)
		return 0;
	rc = kernel_ioctl(vk, space->fd, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);
	if (rc < 0)
		return failed(vk, rc, "VFIO_SET_IOMMU",
			rc == -EPERM ? "; the platform cannot isolate interrupts" : "", err);
	space->has_iommu = true;
	return 0;
}

static struct kernel_group *find_group(struct swo_vfio_context *context, const char *node)
{
	struct kernel_group *group = context->groups;

	while (group && strcmp(group->node, node) != 0)
		group = group->next;
	return group;
}

/* With the context's lock held. */
static void drop_group(struct swo_vfio_context *context, struct kernel_group *group)
{
	struct kernel_group **at = &context->groups;

	if (--group->users)
		return;
	while (*at != group)
		at = &(*at)->next;
	*at = group->next;
	/* Closing removes it from the container; with the last group the container drops all maps. */
	context->sys->close(group->fd);
	if (!context->groups)
		context->spaces[VK_TYPE1].has_iommu = false;
	free(group);
}

static int use_group(
	struct vfio_kernel *vk, const char *node, struct kernel_space *space, struct swo_error *err)
{
	struct kernel_group *group = find_group(vk->context, node);

	if (group) {
		group->users++;
		vk->group = group;
		return 0;
	}
	group = calloc(1, sizeof(*group));
	if (!group)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", vk->name);
	snprintf(group->node, sizeof(group->node), "%s", node);
	if (open_node(vk, node, false, &group->fd, err)) {
		free(group);
		return -1;
	}
	group->users = 1;
	group->next = vk->context->groups;
	vk->context->groups = group;
	vk->group = group;
	return join_container(vk, space, group->fd, err);
}

static const char *group_advice(int why, const struct kernel_where *where)
{
	if (why == EACCES)
		return *where->token ? "; its VF token is another one" : NEEDS_TOKEN;
	if (why == EINVAL && *where->token)
		return "; its group has no device of that name, or it requires no VF token";
	return why == ENODEV || why == EINVAL ? "; its group has no device of that name" : "";
}

static int attach_group(
	struct vfio_kernel *vk, const struct kernel_where *where, struct swo_error *err)
{
	struct kernel_space *space = &vk->context->spaces[VK_TYPE1];

	if (open_container(vk, space, err) || use_group(vk, where->node, space, err))
		return -1;
	vk->space = space;
	char request[VK_NAME_MAX + 64], what[VK_NAME_MAX + 64];

	snprintf(request, sizeof(request), "%s%s%s", where->device,
		*where->token ? " vf_token=" : "", where->token);
	int fd = kernel_ioctl(vk, vk->group->fd, VFIO_GROUP_GET_DEVICE_FD, request);

	explicit_bzero(request, sizeof(request));
	if (fd < 0) {
		snprintf(what, sizeof(what), "VFIO_GROUP_GET_DEVICE_FD '%s'", where->device);
		return failed(vk, fd, what, group_advice(-fd, where), err);
	}
	vk->fd = fd;
	return 0;
}

int kernel_attach(struct vfio_kernel *vk, const struct kernel_where *where, struct swo_error *err)
{
	pthread_mutex_lock(&vk->context->lock);
	int rc = where->by_cdev ? attach_cdev(vk, where, err) : attach_group(vk, where, err);

	if (!rc) {
		vk->next = vk->context->devices;
		vk->context->devices = vk;
	}
	pthread_mutex_unlock(&vk->context->lock);
	return rc;
}

void kernel_detach(struct vfio_kernel *vk)
{
	struct vfio_kernel **at = &vk->context->devices;

	pthread_mutex_lock(&vk->context->lock);
	while (*at && *at != vk)
		at = &(*at)->next;
	if (*at)
		*at = vk->next;
	kernel_peer_forget(vk->context, vk);
	if (vk->fd >= 0)
		vk->sys->close(vk->fd);
	vk->fd = -1;
	if (vk->group)
		drop_group(vk->context, vk->group);
	vk->group = NULL;
	pthread_mutex_unlock(&vk->context->lock);
}
