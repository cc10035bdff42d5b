/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.c - a kernel device's log of its DMA writes; where it has none, tracker.c has what the host
 * records.
 *
 * A kernel without iommufd (every Debian one) accepts START and then fails each REPORT, because
 * its iova bitmaps are stubs. So one report is requested right after the start, when a
 * migration can still use another method.
 */
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdlib.h>

#define DEFAULT_PAGE 4096u
#define PAGE_MAX     (UINT64_C(1) << 30)
/* Every kernel accepts this: as many as fit a page. */
#define RANGES_SURE (4096 / sizeof(struct vfio_device_feature_dma_logging_range))

static bool is_page_size(uint64_t page)
{
	return page >= DEFAULT_PAGE && !(page & (page - 1)) && page <= PAGE_MAX;
}

static int kernel_start(struct vfio_kernel *vk, uint64_t *page,
	struct vfio_device_feature_dma_logging_range *ranges, size_t count)
{
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = *page, .num_ranges = (uint32_t)count, .ranges = (uintptr_t)ranges};
	int rc = kernel_feature(vk, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
		&control, sizeof(control));

	if (!rc)
		*page = control.page_size;
	return rc;
}

static int kernel_stop(struct vfio_kernel *vk)
{
	return kernel_feature(
		vk, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
}

static int kernel_report(
	struct vfio_kernel *vk, uint64_t iova, uint64_t length, uint64_t page, uint64_t *bitmap)
{
	struct vfio_device_feature_dma_logging_report report = {
		.iova = iova, .length = length, .page_size = page, .bitmap = (uintptr_t)bitmap};

	return kernel_feature(vk, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
		&report, sizeof(report));
}

/* Ranges */

static int compare(const void *a, const void *b)
{
	const struct vfio_device_feature_dma_logging_range *x = a, *y = b;

	return x->iova < y->iova ? -1 : x->iova > y->iova;
}

/* The caller's ranges, or all that is mapped; sorted, with neighbours merged. */
static int gather(struct vfio_kernel *vk, const struct swo_dma_range *given, size_t given_count,
	struct vfio_device_feature_dma_logging_range **out, size_t *out_count,
	struct swo_error *err)
{
	size_t count = given_count, n = 0;

	for (const struct kernel_own_map *own = given_count ? NULL : vk->maps; own; own = own->next)
		count++;
	struct vfio_device_feature_dma_logging_range *ranges = calloc(count + 1, sizeof(*ranges));

	if (!ranges)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "device %s: log of its DMA", vk->name);
	for (size_t i = 0; i < given_count; i++)
		if (given[i].length) {
			ranges[n].iova = given[i].iova;
			ranges[n++].length = given[i].length;
		}
	for (const struct kernel_own_map *own = given_count ? NULL : vk->maps; own;
		own = own->next) {
		ranges[n].iova = own->map->iova;
		ranges[n++].length = own->map->size;
	}
	qsort(ranges, n, sizeof(*ranges), compare);
	count = 0;
	for (size_t i = 0; i < n; i++)
		if (count && ranges[count - 1].iova + ranges[count - 1].length == ranges[i].iova)
			ranges[count - 1].length += ranges[i].length;
		else
			ranges[count++] = ranges[i];
	if (!count) {
		free(ranges);
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: cannot start the DMA log: nothing is mapped", vk->name);
	}
	*out = ranges;
	*out_count = count;
	return 0;
}

/* Too many ranges: one over all of them. */
static void merge(struct vfio_device_feature_dma_logging_range *ranges, size_t *count)
{
	const struct vfio_device_feature_dma_logging_range *last = &ranges[*count - 1];

	ranges[0].length = last->iova + last->length - ranges[0].iova;
	*count = 1;
}

/* Start */

/* The bits that this report clears are kept for the first report of the caller. */
static int first_look(struct vfio_kernel *vk, uint64_t iova, uint64_t page)
{
	uint64_t bitmap = 0;
	int rc;

	iova &= ~(page - 1);
	rc = kernel_report(vk, iova, page, page, &bitmap);
	vk->probed_iova = iova;
	vk->probed_size = page;
	vk->probed_was_dirty = bitmap & 1;
	return rc;
}

static int no_log(struct vfio_kernel *vk, int rc, struct swo_error *err)
{
	kernel_stop(vk);
	vk->log_broken = true;
	return swo_error_set(err, SWO_E_UNSUPPORTED, -rc,
		"device %s: the kernel starts a DMA log but cannot report from it "
		"(DMA_LOGGING_REPORT); a kernel with CONFIG_IOMMUFD can",
		vk->name);
}

/* The driver has one: it is not that the log is unsupported. */
static int refused(struct vfio_kernel *vk, int rc, uint64_t bytes, struct swo_error *err)
{
	const bool large = rc == -EINVAL || rc == -EOPNOTSUPP || rc == -E2BIG || rc == -ENOSPC;

	return swo_error_set(err, SWO_E_DEVICE, -rc,
		"device %s: cannot start its DMA log of %llu MiB (DMA_LOGGING_START)%s", vk->name,
		(unsigned long long)(bytes >> 20),
		large ? "; the address space may be too large for the device's tracker" : "");
}

static int start(struct vfio_kernel *vk, uint64_t *page_size, const struct swo_dma_range *given,
	size_t given_count, struct swo_error *err)
{
	swo_autofree struct vfio_device_feature_dma_logging_range *ranges = NULL;
	uint64_t page = is_page_size(*page_size) ? *page_size : DEFAULT_PAGE;
	uint64_t bytes = 0;
	size_t count = 0;

	if (gather(vk, given, given_count, &ranges, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++)
		bytes += ranges[i].length;
	if (count > RANGES_SURE)
		merge(ranges, &count);
	int rc = kernel_start(vk, &page, ranges, count);

	if (rc && count > 1 && rc != -EBUSY) {
		merge(ranges, &count);
		rc = kernel_start(vk, &page, ranges, count);
	}
	if (rc)
		return refused(vk, rc, bytes, err);
	if (!is_page_size(page)) {
		kernel_stop(vk);
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its driver logs DMA in pages of %llu bytes, which is no page "
			"size",
			vk->name, (unsigned long long)page);
	}
	rc = first_look(vk, ranges[0].iova, page);
	if (rc)
		return no_log(vk, rc, err);
	vk->tracking = SWO_DIRTY_TRACKING_DEVICE;
	*page_size = page;
	return 0;
}

int kernel_dma_log_start(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	int rc;

	pthread_mutex_lock(&vk->dma_lock);
	if (!vk->has_dma_log || vk->log_broken)
		rc = swo_error_set(err, SWO_E_UNSUPPORTED, 0, "device %s: %s", vk->name,
			vk->has_dma_log ? "the kernel cannot report from its DMA log"
					: "its driver does not log DMA");
	else if (vk->tracking != SWO_DIRTY_TRACKING_OFF)
		rc = swo_error_set(
			err, SWO_E_STATE, 0, "device %s: its DMA log is already running", vk->name);
	else
		rc = start(vk, page_size, ranges, count, err);
	pthread_mutex_unlock(&vk->dma_lock);
	return rc;
}

int kernel_host_log_start(void *self, uint64_t *page_size, const struct swo_dma_range *given,
	size_t given_count, enum swo_dirty_tracking *kind, struct swo_error *err)
{
	swo_autofree struct vfio_device_feature_dma_logging_range *ranges = NULL;
	struct vfio_kernel *vk = self;
	size_t count = 0;
	int rc;

	pthread_mutex_lock(&vk->dma_lock);
	if (vk->tracking != SWO_DIRTY_TRACKING_OFF)
		rc = swo_error_set(
			err, SWO_E_STATE, 0, "device %s: its DMA log is already running", vk->name);
	else
		rc = gather(vk, given, given_count, &ranges, &count, err);
	if (!rc) {
		rc = kernel_tracker_start(vk, page_size, ranges, count, kind, err);
		if (rc)
			swo_error_prefix(err, "device %s", vk->name);
		else
			vk->tracking = *kind;
	}
	pthread_mutex_unlock(&vk->dma_lock);
	return rc;
}

int kernel_dma_log_stop(void *self, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	int rc = 0;

	pthread_mutex_lock(&vk->dma_lock);
	if (vk->tracking == SWO_DIRTY_TRACKING_DEVICE)
		rc = kernel_stop(vk);
	else if (vk->tracking != SWO_DIRTY_TRACKING_OFF)
		rc = kernel_tracker_stop(vk);
	vk->tracking = SWO_DIRTY_TRACKING_OFF;
	pthread_mutex_unlock(&vk->dma_lock);
	if (!rc)
		return 0;
	return swo_error_set(
		err, SWO_E_DEVICE, -rc, "device %s: cannot stop its DMA log", vk->name);
}

/* Report */

/* With dma_lock held: the page of the first report, in the caller's pages. */
static void add_probed(
	struct vfio_kernel *vk, uint64_t iova, uint64_t length, uint64_t page, uint64_t *bitmap)
{
	/* With their last bytes: the address space may end there. */
	uint64_t from = vk->probed_iova, to = from + (vk->probed_size - 1);
	const uint64_t last = iova + (length - 1);

	if (!vk->probed_was_dirty || to < iova || from > last)
		return;
	/* A report that covers only part of it keeps it for the rest. */
	if (from >= iova && to <= last)
		vk->probed_was_dirty = false;
	if (from < iova)
		from = iova;
	if (to > last)
		to = last;
	for (uint64_t bit = (from - iova) / page; bit <= (to - iova) / page; bit++)
		bitmap[bit / 64] |= UINT64_C(1) << bit % 64;
}

int kernel_dma_log_report(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
	uint64_t *bitmap, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	bool sane = length && length - 1 <= UINT64_MAX - iova && is_page_size(page_size);
	int rc = 0;

	pthread_mutex_lock(&vk->dma_lock);
	const bool own = vk->tracking == SWO_DIRTY_TRACKING_DEVICE,
		   logging = vk->tracking != SWO_DIRTY_TRACKING_OFF;

	if (sane && logging)
		rc = (own ? kernel_report : kernel_tracker_report)(
			vk, iova, length, page_size, bitmap);
	if (sane && own && !rc)
		add_probed(vk, iova, length, page_size, bitmap);
	pthread_mutex_unlock(&vk->dma_lock);
	if (!sane || !logging)
		return swo_error_set(err, sane ? SWO_E_STATE : SWO_E_INVALID, 0,
			"device %s: cannot report DMA writes to 0x%llx+0x%llx in pages of %llu%s",
			vk->name, (unsigned long long)iova, (unsigned long long)length,
			(unsigned long long)page_size, sane ? ": no log is running" : "");
	if (rc)
		return swo_error_set(err, SWO_E_DEVICE, -rc,
			"device %s: cannot report its DMA writes to 0x%llx+0x%llx", vk->name,
			(unsigned long long)iova, (unsigned long long)length);
	return 0;
}
