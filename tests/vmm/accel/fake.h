/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake.h - a machine for tests of accelerators: a bus with a few minimal simulated VFs, one of
 * them behind a bridge, that records the guest's accesses.
 */
#ifndef TESTS_VMM_ACCEL_FAKE_H
#define TESTS_VMM_ACCEL_FAKE_H

#include "vmm/accel/accel.h"

#define FAKE_DEVICES 4
#define FAKE_VCPUS   4
#define FAKE_VECTORS 8

struct fake_device {
	uint64_t last[FAKE_VCPUS]; /* the last sequence number of each doorbell */
	uint64_t lost, repeated;
	uint64_t dma_addr, p2p_addr;
	uint32_t dma_pages, dma_rate, p2p_rate, irq_every, control;
	uint32_t command;
	bool msix_on;
	uint32_t msix[FAKE_VECTORS * 4];
	int eventfd[FAKE_VECTORS];
	unsigned handle[FAKE_VECTORS];
};

struct fake {
	pthread_mutex_t mutex;
	unsigned devices;
	uint32_t config_address;
	struct fake_device device[FAKE_DEVICES];
	struct vmm_accel *accel; /* may change: a migrated machine keeps its devices */
	struct swo_ram *ram;
	bool stopped; /* no doorbell may be rung now */
	uint64_t while_stopped;
	uint64_t doorbells;
	uint64_t strays;      /* unclaimed accesses */
	uint32_t inbox_reads; /* each returns the next number */
	uint64_t accesses;    /* other than doorbells */
	uint64_t gap_max_ns;  /* between doorbells of vCPU 0 at device 0 */
	uint64_t at_ns;
	/* After each access, without the mutex; a test may hold the vCPU there. */
	void (*on_access)(void *opaque);
	void *on_access_opaque;
	bool failed;
	char why[200];
};

void fake_init(struct fake *fake, unsigned devices);
void fake_free(struct fake *fake);
struct vmm_bus fake_bus(struct fake *fake);
/* Masks and unmasks every vector at the fake's current accelerator, as its tables are. */
int fake_attach(struct fake *fake, struct vmm_accel *accel, struct swo_error *err);
void fake_detach(struct fake *fake);
uint64_t fake_doorbells(struct fake *fake);

/* Configuration space and registers by device (fake_device.c). */
uint32_t fake_config_read(struct fake *fake, uint32_t address);
void fake_config_write(struct fake *fake, uint32_t address, uint32_t value);
/* The address of BAR `bar` of device `i`. */
uint64_t fake_bar(unsigned i, unsigned bar);

#endif
