/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.c - the kernel backend: opens a VFIO device, reads its features, and has the table of
 * functions.
 */
#include "base/sized.h"
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CHUNK 1048576u

/* Opening */

static bool has_feature(const struct vfio_kernel *vk, uint32_t flags)
{
	return !kernel_feature(vk, flags | VFIO_DEVICE_FEATURE_PROBE, NULL, 0);
}

/* Probed once: PROBE changes nothing. */
static void find_features(struct vfio_kernel *vk)
{
	vk->has_data_size =
		has_feature(vk, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE);
	vk->has_dma_log =
		has_feature(vk, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START) &&
		has_feature(vk, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT);
	vk->has_precopy_v2 =
		has_feature(vk, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2);
}

static int opt_in(struct vfio_kernel *vk, struct swo_error *err)
{
	if (!vk->has_precopy_v2)
		return 0;
	int rc = kernel_feature(
		vk, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, NULL, 0);

	if (!rc)
		return 0;
	return swo_error_set(err, SWO_E_DEVICE, -rc,
		"device %s: VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2", vk->name);
}

static int share_context(struct vfio_kernel *vk, struct swo_error *err)
{
	if (!vk->params.context) {
		if (swo_vfio_context_new(&vk->context, err))
			return -1;
		vk->context->sys = vk->sys;
		return 0;
	}
	vk->context = vk->params.context;
	pthread_mutex_lock(&vk->context->lock);
	vk->context->users++;
	vk->context->sys = vk->sys;
	pthread_mutex_unlock(&vk->context->lock);
	return 0;
}

static void kernel_destroy(void *self)
{
	struct vfio_kernel *vk = self;

	kernel_close_session(vk);
	if (vk->fd >= 0 && vk->tracking != SWO_DIRTY_TRACKING_OFF)
		kernel_dma_log_stop(vk, NULL);
	if (vk->context) {
		if (vk->space)
			kernel_dma_free(vk);
		kernel_detach(vk);
		swo_vfio_context_unref(vk->context);
	}
	pthread_mutex_destroy(&vk->irq_lock);
	pthread_mutex_destroy(&vk->dma_lock);
	free(vk->bits);
	free(vk);
}

static struct vfio_kernel *new_device(const char *name, const struct vfio_sys *sys,
	const struct swo_vfio_kernel_params *params, struct swo_error *err)
{
	struct vfio_kernel *vk = calloc(1, sizeof(*vk));

	if (!vk) {
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", name);
		return NULL;
	}
	snprintf(vk->name, sizeof(vk->name), "%s", name);
	vk->regions.device = vk->name;
	vk->regions.from = "driver";
	if (params && base_sized_copy("swo_vfio_kernel_params", &vk->params, sizeof(vk->params),
			      params, err)) {
		swo_error_prefix(err, "device %s", name);
		free(vk);
		return NULL;
	}
	if (!vk->params.read_chunk)
		vk->params.read_chunk = DEFAULT_CHUNK;
	if (!vk->params.write_chunk)
		vk->params.write_chunk = DEFAULT_CHUNK;
	vk->sys = sys;
	vk->fd = vk->data_fd = -1;
	vk->state = SWO_DEVICE_RUNNING;
	pthread_mutex_init(&vk->irq_lock, NULL);
	pthread_mutex_init(&vk->dma_lock, NULL);
	return vk;
}

static int take_token(struct vfio_kernel *vk, struct kernel_where *where, struct swo_error *err)
{
	if (!vk->params.vf_token)
		return 0;
	if (kernel_check_token(vk->name, vk->params.vf_token, err))
		return -1;
	strcpy(where->token, vk->params.vf_token);
	vk->params.vf_token = NULL; /* the caller's */
	return 0;
}

static int attach(struct vfio_kernel *vk, struct kernel_where *where, struct swo_error *err)
{
	strcpy(vk->dir, where->dir);
	if (take_token(vk, where, err) || share_context(vk, err) || kernel_attach(vk, where, err) ||
		kernel_read_info(vk, err))
		return -1;
	find_features(vk);
	return opt_in(vk, err);
}

/* By `path`, or if that is NULL by `fd`. */
static int open_device(const struct vfio_sys *sys, const char *name, const char *path, int fd,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err)
{
	struct vfio_kernel *vk = new_device(name, sys, params, err);
	struct kernel_where where;
	int rc = 0;

	if (!vk)
		return -1;
	if (path)
		rc = kernel_resolve(sys, name, path, &where, err);
	else
		kernel_resolve_fd(sys, fd, &where);
	if (!rc)
		rc = attach(vk, &where, err);
	explicit_bzero(where.token, sizeof(where.token));
	if (rc)
		kernel_destroy(vk);
	else
		*self = vk;
	return rc;
}

int kernel_open(const struct vfio_sys *sys, const char *name, const char *path,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err)
{
	return open_device(sys, name, path, -1, params, self, err);
}

int kernel_adopt(const struct vfio_sys *sys, const char *name, int fd,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err)
{
	return open_device(sys, name, NULL, fd, params, self, err);
}

int swo_vfio_kernel_open(const char *name, const char *path,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err)
{
	return open_device(&kernel_sys_host, name, path, -1, params, self, err);
}

int swo_vfio_kernel_adopt(const char *name, int fd, const struct swo_vfio_kernel_params *params,
	void **self, struct swo_error *err)
{
	return open_device(&kernel_sys_host, name, NULL, fd, params, self, err);
}

static uint32_t kernel_features(void *self)
{
	const struct vfio_kernel *vk = self;

	return (vk->has_dma_log ? SWO_FEATURE_DMA_LOG : 0) |
	       (vk->has_data_size ? SWO_FEATURE_DATA_SIZE : 0) |
	       /* All drivers with PRE_COPY have it; the first use shows. */
	       SWO_FEATURE_PRECOPY_INFO | (vk->has_precopy_v2 ? SWO_FEATURE_PRECOPY_INFO_V2 : 0) |
	       (vk->device_flags & VFIO_DEVICE_FLAGS_RESET ? SWO_FEATURE_RESET : 0);
}

/* The number stays: other threads may be using it. */
static void kernel_release(void *self)
{
	struct vfio_kernel *vk = self;

	__atomic_store_n(&vk->released, true, __ATOMIC_RELEASE);
	if (vk->sys->shut(vk->fd) < 0)
		swo_log(SWO_LOG_ERROR, "device %s: cannot give it back to the host: %s", vk->name,
			strerror(errno));
}

const struct swo_device_ops swo_vfio_kernel_ops = {
	.size = sizeof(struct swo_device_ops),
	.name = "kernel",
	.get_mig_flags = kernel_get_mig_flags,
	.get_state = kernel_get_state,
	.set_state = kernel_set_state,
	.data_read = kernel_data_read,
	.data_write = kernel_data_write,
	.precopy_info = kernel_precopy_info,
	.data_size = kernel_data_size,
	.read_chunk = kernel_read_chunk,
	.write_chunk = kernel_write_chunk,
	.reset = kernel_reset,
	.dma_log_start = kernel_dma_log_start,
	.dma_log_stop = kernel_dma_log_stop,
	.dma_log_report = kernel_dma_log_report,
	.dma_map = kernel_dma_map,
	.dma_unmap = kernel_dma_unmap,
	.region_info = kernel_region_info,
	.region_read = kernel_region_read,
	.region_write = kernel_region_write,
	.region_fd = kernel_region_fd,
	.irq_info = kernel_irq_info,
	.set_irqs = kernel_set_irqs,
	.destroy = kernel_destroy,
	.features = kernel_features,
	.host_log_start = kernel_host_log_start,
	.release = kernel_release,
};
