/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_vfio.h - VFIO migration as a VMM sees it, without a kernel: states by the uAPI's table,
 * sessions, injected faults, and a check of the P2P rule.
 */
#ifndef TESTS_PRELOAD_FAKE_VFIO_H
#define TESTS_PRELOAD_FAKE_VFIO_H

#include <stdbool.h>
#include <stdint.h>

/* As a library it is the kernel of fake_vmm. */
#pragma GCC visibility push(default)

#define FAKE_VFIO_MAX 16
#define FAKE_VFIO_ALL 7 /* STOP_COPY, P2P, PRE_COPY */

void fake_vfio_reset(void);
/* A descriptor, which may be duplicated and closed like any other. */
int fake_vfio_open(uint64_t flags);
int fake_vfio_ioctl(int fd, unsigned long request, ...);

/* A simulated device, by the order of opening: 0, 1, ... */
uint32_t fake_vfio_state(unsigned index);
void fake_vfio_put(unsigned index, uint32_t state);
/* The next `times` arcs that end in `to` fail with this error; the device stays where it was. */
void fake_vfio_fail(unsigned index, uint32_t to, int error, unsigned times);
/* Its SETs block until they are released. */
void fake_vfio_hold(unsigned index, bool hold);
/* Waits (at most 10 s) until a SET is blocked in it. */
bool fake_vfio_inside(unsigned index);
unsigned fake_vfio_sets(unsigned index); /* SETs that were started */

/*
 * Each SET waits inside until `count` of them do, so only parallel requests pass at once.
 * Others pass after 5 s, and are counted. 0: no SET waits.
 */
void fake_vfio_meet(unsigned count);
unsigned fake_vfio_missed(void);

/* The number of devices that started DMA while another one could not accept it. */
unsigned fake_vfio_violations(void);
/*
 * From here on: the devices of a target are all RUNNING, with nothing to do, until each
 * resumes.
 */
void fake_vfio_forget_violations(void);
unsigned fake_vfio_sessions(void); /* open ones, all devices */

#pragma GCC visibility pop

#endif
