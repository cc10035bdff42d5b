/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma_log.c - what a device wrote by DMA: its own log, or, without one, all that
 * it can reach.
 */
#include "switchover/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* One report covers at most so many pages: a bitmap of 128 KiB. */
#define REPORT_PAGES (UINT64_C(1) << 20)

int swo_dma_log_start(
	struct swo_device *dev, struct swo_ram *ram, bool *logged, struct swo_error *err)
{
	struct swo_dma_range ranges[SWO_RAM_REGIONS_MAX];
	uint64_t page_size = SWO_PAGE_SIZE;
	struct swo_error why = {0};
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);

	for (unsigned i = 0; i < swo_ram_count(ram); i++)
		ranges[i] = (struct swo_dma_range){.iova = swo_ram_region(ram, i)->gpa,
			.length = swo_ram_region(ram, i)->size};
	swo_device_set_dma_log_page(dev, 0);
	*logged = false;
	if (!ops->dma_log_start || !ops->dma_log_report)
		return 0;
	if (ops->dma_log_start(backend, &page_size, ranges, swo_ram_count(ram), &why)) {
		if (why.code == SWO_E_UNSUPPORTED)
			return 0;
		if (err)
			*err = why;
		return -1;
	}
	if (page_size < SWO_PAGE_SIZE || (page_size & (page_size - 1)))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: logs its DMA in pages of %" PRIu64
			" bytes, which no guest memory has",
			swo_device_name(dev), page_size);
	swo_device_set_dma_log_page(dev, page_size);
	*logged = true;
	return 0;
}

/* Marks what a bitmap of pages of the device's size says. */
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

static int collect_region(struct swo_device *dev, struct swo_ram *ram,
	const struct swo_ram_region *region, uint64_t page_size, struct swo_error *err)
{
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);
	const uint64_t step = REPORT_PAGES * page_size;

	for (uint64_t at = 0; at < region->size; at += step) {
		uint64_t length = region->size - at < step ? region->size - at : step;
		uint64_t pages = (length + page_size - 1) / page_size;
		uint64_t *bitmap = calloc((pages + 63) / 64, sizeof(*bitmap));

		if (!bitmap)
			return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM,
				"device %s: DMA log bitmap", swo_device_name(dev));
		int rc = ops->dma_log_report(
			backend, region->gpa + at, length, page_size, bitmap, err);

		if (!rc)
			mark(ram, region->gpa + at, bitmap, pages, page_size);
		free(bitmap);
		if (rc)
			return -1;
	}
	return 0;
}

int swo_dma_log_collect(struct swo_device *dev, struct swo_ram *ram, struct swo_error *err)
{
	uint64_t page_size = swo_device_dma_log_page(dev);
	struct swo_error why = {0};

	(void)err;
	/* No log: it may have written anywhere since the beginning. */
	if (!page_size) {
		swo_ram_mark_all(ram);
		return 0;
	}
	for (unsigned i = 0; i < swo_ram_count(ram); i++) {
		if (!collect_region(dev, ram, swo_ram_region(ram, i), page_size, &why))
			continue;
		/* The kernel may offer a log and then fail to report: everything is dirty, now and
		   from now on (docs/memory.md). */
		swo_log(SWO_LOG_WARN,
			"device %s: its DMA log cannot be read (%s); all guest memory counts as "
			"dirty",
			swo_device_name(dev), why.text);
		swo_device_set_dma_log_page(dev, 0);
		swo_ram_mark_all(ram);
		return 0;
	}
	return 0;
}

void swo_dma_log_stop(struct swo_device *dev)
{
	struct swo_error err = {0};
	void *backend;
	const struct swo_device_ops *ops = swo_device_backend(dev, &backend);

	swo_device_set_dma_log_page(dev, 0);
	if (ops->dma_log_stop && ops->dma_log_stop(backend, &err))
		swo_log(SWO_LOG_WARN, "device %s: %s", swo_device_name(dev), err.text);
}
