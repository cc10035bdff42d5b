/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regions.h - the regions and interrupts of a device, as reported by its driver or its
 * vfio-user server: read once, at open, then used by any thread. Both use the structures of
 * linux/vfio.h.
 */
#ifndef DEVICE_CORE_REGIONS_H
#define DEVICE_CORE_REGIONS_H

#include "switchover/device.h"

#define DEVICE_REGIONS_MAX 64
#define DEVICE_IRQS_MAX	   32
#define DEVICE_VECTORS_MAX 4096

/*
 * Buffer sizes for a region's description and its capabilities: the first attempt, and the
 * last.
 */
#define DEVICE_REGION_ROOM     4096u
#define DEVICE_REGION_ROOM_MAX 65536u

struct device_region {
	struct swo_region_info info;
	int fd;		      /* of the mappable part; -1: none */
	uint64_t fd_offset;   /* of the region, in fd */
	uint64_t area_offset; /* of the mappable part, in the region */
	uint64_t area_size;   /* 0: none */
};

struct device_regions {
	const char *device; /* its name */
	const char *from;   /* the reporter ("driver"), for messages */
	uint32_t count;
	struct device_region region[DEVICE_REGIONS_MAX];
	uint32_t irq_count;
	struct swo_irq_info irq[DEVICE_IRQS_MAX];
};

/*
 * Parses the description of region `index` with its capabilities into region[index], with fd
 * -1. Of several mappable areas it uses the largest: the others are trapped.
 */
int device_region_parse(struct device_regions *all, uint32_t index, const void *info, size_t len,
	struct swo_error *err);
/* Sets the error for a malformed description; returns -1. */
int device_region_bad(
	const struct device_regions *all, uint32_t index, const char *why, struct swo_error *err);
/* Stores the description of an interrupt, or refuses it. */
int device_irq_describe(struct device_regions *all, uint32_t index, uint32_t flags, uint32_t count,
	struct swo_error *err);

/* The results of the backends' functions of these names (struct swo_device_ops) */

int device_region_info(const struct device_regions *all, uint32_t index,
	struct swo_region_info *info, struct swo_error *err);
int device_region_fd(const struct device_regions *all, uint32_t index, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err);
int device_irq_info(const struct device_regions *all, uint32_t index, struct swo_irq_info *info,
	struct swo_error *err);

/* Checks that these bytes may be read or written. */
int device_region_check(const struct device_regions *all, uint32_t index, uint64_t offset,
	uint32_t len, bool is_read, struct swo_error *err);
/* Checks that these vectors exist. */
int device_irq_check(const struct device_regions *all, uint32_t index, uint32_t start,
	uint32_t count, struct swo_error *err);

#endif
