/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma_log.c - a device's DMA writes, from its log or from what its backend has instead.
 */
#include "ram.h"

#include "device/core/engine.h"
#include "memory/dma_log.h"

#include <errno.h>
#include <inttypes.h>

/* A log with larger pages is of no use. */
#define LOG_PAGE_MAX (UINT64_C(1) << 30)

static int no_page_size(struct swo_device *dev, uint64_t page_size, struct swo_error *err)
{
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);

	if (ops->dma_log_stop)
		(void)ops->dma_log_stop(backend, NULL);
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"device %s: its DMA log has pages of %" PRIu64
		" bytes, which guest memory does not have",
		swo_device_name(dev), page_size);
}

static int start_log(struct swo_device *dev, const struct swo_dma_range *ranges, unsigned count,
	uint64_t *page_size, enum swo_dirty_tracking *kind, struct swo_error *err)
{
	struct swo_error why = {0}, host = {0};
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);

	*kind = SWO_DIRTY_TRACKING_DEVICE;
	if (!ops->dma_log_report || (!ops->dma_log_start && !ops->host_log_start))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0, "device %s: it has no DMA log",
			swo_device_name(dev));
	if (!ops->dma_log_start)
		return ops->host_log_start(backend, page_size, ranges, count, kind, err);
	if (!ops->dma_log_start(backend, page_size, ranges, count, &why))
		return 0;
	*page_size = SWO_PAGE_SIZE;
	if (!ops->host_log_start) {
		if (err)
			*err = why;
		return -1;
	}
	if (ops->host_log_start(backend, page_size, ranges, count, kind, &host))
		return swo_error_set(
			err, why.code, why.os_errno, "%.220s; %.220s", why.text, host.text);
	/* A log that is there, and that cannot be started. */
	if (why.code != SWO_E_UNSUPPORTED)
		swo_log(SWO_LOG_WARN, "%s; tracked by %s instead", why.text,
			swo_dirty_tracking_name(*kind));
	return 0;
}

int memory_dma_log_start(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err)
{
	struct swo_dma_range ranges[SWO_RAM_REGIONS_MAX];
	uint64_t page_size = SWO_PAGE_SIZE;
	enum swo_dirty_tracking kind;

	for (unsigned i = 0; i < ram->count; i++)
		ranges[i] = (struct swo_dma_range){ram->region[i].gpa, ram->region[i].size};
	device_set_dirty_tracking(dev, SWO_DIRTY_TRACKING_NONE, 0);
	if (start_log(dev, ranges, ram->count, &page_size, &kind, err))
		return -1;
	if (page_size < SWO_PAGE_SIZE || page_size > LOG_PAGE_MAX || (page_size & (page_size - 1)))
		return no_page_size(dev, page_size, err);
	device_set_dirty_tracking(dev, kind, page_size);
	return 0;
}

/* Marks the pages in a bitmap of pages of the device's size. */
static void mark(struct swo_ram *ram, uint64_t gpa, const uint64_t *bitmap, uint64_t pages,
	uint64_t page_size)
{
	if (page_size == SWO_PAGE_SIZE) {
		swo_ram_mark_bitmap(ram, gpa, bitmap, pages);
		return;
	}
	for (uint64_t i = 0; i < pages; i++)
		if (bitmap[i / 64] & (UINT64_C(1) << (i % 64)))
			swo_ram_mark(ram, gpa + i * page_size, page_size);
}

/* One report for a whole region: some servers only report from the start of a mapping. */
static int collect_region(struct swo_device *dev, struct swo_ram *ram,
	const struct swo_ram_region *region, uint64_t page_size, struct swo_error *err)
{
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);
	uint64_t iova = region->gpa & ~(page_size - 1);
	uint64_t pages = (region->gpa - iova + region->size + page_size - 1) / page_size;
	uint64_t *bitmap = device_dma_log_bits(dev, bitmap_words(pages));

	if (!bitmap)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "bitmap of its DMA log");
	int rc = ops->dma_log_report(backend, iova, pages * page_size, page_size, bitmap, err);

	if (!rc)
		mark(ram, iova, bitmap, pages, page_size);
	/* Most words are 0, and pages of zeros need not be written. */
	for (size_t w = 0; w < bitmap_words(pages); w++)
		if (bitmap[w])
			bitmap[w] = 0;
	return rc;
}

int memory_dma_log_collect(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err)
{
	const uint64_t page_size = device_dma_log_page(dev);

	for (unsigned i = 0; i < ram->count; i++)
		if (collect_region(dev, ram, &ram->region[i], page_size, err)) {
			device_set_dirty_tracking(dev, SWO_DIRTY_TRACKING_NONE, 0);
			return -1;
		}
	return 0;
}

void memory_dma_log_stop(struct swo_device *dev)
{
	struct swo_error err = {0};
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);

	device_set_dirty_tracking(dev, swo_device_dirty_tracking(dev), 0);
	if (ops->dma_log_stop && ops->dma_log_stop(backend, &err))
		swo_log(SWO_LOG_WARN, "device %s: %s", swo_device_name(dev), err.text);
}
