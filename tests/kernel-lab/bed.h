/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bed.h - simvf.ko's devices as the lab's tests use them: raw ioctls, sysfs, one process, one
 * type1 container or, where the kernel has them, iommufd and cdev.
 */
#ifndef TESTS_KERNEL_LAB_BED_H
#define TESTS_KERNEL_LAB_BED_H

#include "model/model.h"
#include "tests/support/cm.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#define BED_DEVICES   16
#define BED_RAM_IOVA  UINT64_C(0x100000)
#define BED_RAM_BYTES (1u << 20)
#define BED_STREAM    (16u << 20)

struct bed_device {
	unsigned index;
	int fd;	  /* of the device */
	int data; /* of the session; -1 */
	int group;
};

/* The memory that every opened device may reach, mapped at BED_RAM_IOVA. */
extern uint8_t *bed_ram;
extern bool bed_cdev; /* opened by cdev and iommufd */
extern bool bed_mdev; /* they are mediated devices */

/* The name of a device on its bus. */
#define BED_NAME_MAX 64
void bed_name(unsigned index, char out[BED_NAME_MAX]);
/* Makes mediated devices, and means those from now on; so does LAB_MDEV in the environment. */
void bed_make_mdevs(void);

/*
 * Opens device `index` with this profile ("even", or "key = value" lines), without faults and
 * with its counters at zero. Fails the test when that does not work.
 */
void bed_prepare(unsigned index, const char *profile); /* the same, without opening it */
void bed_open(struct bed_device *dev, unsigned index, const char *profile);
void bed_close(struct bed_device *dev);
/* A test, after which everything it left open is closed. */
int bed_teardown(void **state);
#define bed_case(test) cmocka_unit_test_teardown(test, bed_teardown)

/* 0, or a positive errno. A new data_fd replaces dev->data. */
int bed_set(struct bed_device *dev, unsigned state);
unsigned bed_state(struct bed_device *dev);
int bed_reset(struct bed_device *dev);
/* VFIO_DEVICE_FEATURE; 0 or a positive errno. */
int bed_feature(struct bed_device *dev, uint32_t flags, void *data, size_t len);
/* VFIO_MIG_GET_PRECOPY_INFO; 0 or a positive errno. */
int bed_precopy_info(struct bed_device *dev, uint64_t *initial, uint64_t *dirty);
int bed_map(uint64_t iova, void *addr, size_t len);
void bed_unmap(uint64_t iova, size_t len);

/* Reads until the end of what is there; the number of bytes, or minus an errno. */
ssize_t bed_read_all(struct bed_device *dev, uint8_t *buf, size_t room);
/* 0 or a positive errno. */
int bed_write_all(struct bed_device *dev, const uint8_t *buf, size_t len);

uint64_t bed_reg(struct bed_device *dev, unsigned region, uint64_t offset, size_t len);
/* 0 or a positive errno. */
int bed_poke(struct bed_device *dev, unsigned region, uint64_t offset, uint64_t value, size_t len);

/* Attributes in sysfs; writing gives 0 or a positive errno. */
int bed_put(unsigned index, const char *attribute, const char *text);
void bed_get(unsigned index, const char *attribute, char *buf, size_t room);
uint64_t bed_counter(unsigned index, const char *name);

struct bed_arc {
	uint64_t count, errors, start, end, max, sum;
};
/* All zero when the arc was never walked. */
struct bed_arc bed_arc(unsigned index, unsigned from, unsigned to);

uint64_t bed_now(void);
void bed_sleep_ms(unsigned ms);

#endif
