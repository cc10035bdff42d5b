/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_device.h - a backend for tests: a PCI function shaped like the simulated VF that
 * records what is done to it, and walks migration states without ado.
 */
#ifndef TESTS_VMM_FAKE_DEVICE_H
#define TESTS_VMM_FAKE_DEVICE_H

#include "switchover/device.h"

#include <pthread.h>

#define FAKE_MAPS    64
#define FAKE_VECTORS 16
#define FAKE_WRITES  256

struct fake_map {
	uint64_t iova, size, offset;
	int fd;
};

struct fake_write {
	uint32_t region;
	uint64_t offset;
	uint64_t value;
	uint32_t len;
	bool posted;
};

struct fake_device {
	const char *name;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	uint8_t config[256];
	int inbox_fd;
	uint64_t inbox_size;
	struct fake_map maps[FAKE_MAPS];
	unsigned map_count;
	unsigned map_calls, unmap_calls;
	int irqs[FAKE_VECTORS];
	struct fake_write writes[FAKE_WRITES]; /* to any region, in order */
	unsigned write_count;
	unsigned reads;
	uint64_t doorbells;
	unsigned config_delay_ms; /* of a write to PCI_COMMAND */
	enum swo_device_state state;
	enum swo_device_state fails_to; /* arcs to this state fail; ERROR: none */
	enum swo_device_state holds_to; /* arcs to this state wait for fake_release; ERROR: none */
	bool held;			/* one does */
	bool destroyed;
};

extern const struct swo_device_ops fake_ops;

void fake_init(struct fake_device *fake, const char *name);
void fake_fini(struct fake_device *fake);
/* The number of writes to one place, and the last value there. */
unsigned fake_writes(struct fake_device *fake, uint32_t region, uint64_t offset, uint64_t *last);
uint64_t fake_doorbells(struct fake_device *fake);
enum swo_device_state fake_state(struct fake_device *fake);
void fake_fail(struct fake_device *fake, enum swo_device_state to);
void fake_hold(struct fake_device *fake, enum swo_device_state to);
/* Returns once an arc is held. */
void fake_wait_held(struct fake_device *fake);
void fake_release(struct fake_device *fake);
bool fake_has_map(struct fake_device *fake, uint64_t iova, uint64_t size, int fd);

#endif
