/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma_log.c - a device's DMA writes: its own log, or, without one, all of RAM, to which it can
 * write.
 *
 * Memory has no record of when a device has stopped: the caller decides when to collect from
 * one without a log (once, after it is in STOP or STOP_COPY).
 */
#include "ram.h"

#include "device/core/engine.h"
#include "memory/dma_log.h"

#include <errno.h>
#include <inttypes.h>

/* A log with larger pages is of no use. */
#define LOG_PAGE_MAX (UINT64_C(1) << 30)

int memory_dma_log_start(
	struct swo_device *dev, struct swo_ram *ram, bool *logged, struct swo_error *err)
{
	struct swo_dma_range ranges[SWO_RAM_REGIONS_MAX];
	uint64_t page_size = SWO_PAGE_SIZE;
	struct swo_error why = {0};
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);

	(void)err;
	for (unsigned i = 0; i < ram->count; i++)
		ranges[i] = (struct swo_dma_range){ram->region[i].gpa, ram->region[i].size};
	device_set_dma_log_page(dev, 0);
	*logged = false;
	if (!ops->dma_log_start || !ops->dma_log_report)
		return 0;
	if (ops->dma_log_start(backend, &page_size, ranges, ram->count, &why)) {
		if (why.code != SWO_E_UNSUPPORTED)
			swo_log(SWO_LOG_WARN,
				"device %s: cannot start its DMA log (%s); all guest memory "
				"counts as dirty when it stops",
				swo_device_name(dev), why.text);
		return 0;
	}
	if (page_size < SWO_PAGE_SIZE || page_size > LOG_PAGE_MAX ||
		(page_size & (page_size - 1))) {
		swo_log(SWO_LOG_WARN,
			"device %s: its DMA log has pages of %" PRIu64
			" bytes, which guest memory does not have; all guest memory counts as dirty when "
			"it stops",
			swo_device_name(dev), page_size);
		if (ops->dma_log_stop)
			(void)ops->dma_log_stop(backend, NULL);
		return 0;
	}
	device_set_dma_log_page(dev, page_size);
	*logged = true;
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
	uint64_t page_size = device_dma_log_page(dev);
	struct swo_error why = {0};

	(void)err;
	/* No log: the device may have written to any page since the start. */
	if (!page_size) {
		swo_ram_mark_all(ram);
		return 0;
	}
	for (unsigned i = 0; i < ram->count; i++) {
		if (!collect_region(dev, ram, &ram->region[i], page_size, &why))
			continue;
		/* The kernel may offer a log and then fail to report: everything is dirty, now and
		   from now on (docs/memory.md). */
		swo_log(SWO_LOG_WARN,
			"device %s: cannot read its DMA log (%s); all guest memory counts as "
			"dirty",
			swo_device_name(dev), why.text);
		device_set_dma_log_page(dev, 0);
		swo_ram_mark_all(ram);
		return 0;
	}
	return 0;
}

void memory_dma_log_stop(struct swo_device *dev)
{
	struct swo_error err = {0};
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);

	device_set_dma_log_page(dev, 0);
	if (ops->dma_log_stop && ops->dma_log_stop(backend, &err))
		swo_log(SWO_LOG_WARN, "device %s: %s", swo_device_name(dev), err.text);
}
