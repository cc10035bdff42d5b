/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * played.h - VFIO's migration as the kernel plays it to a VMM, without one: states by
 * the uAPI's table, sessions, faults, and a watch on the P2P rule.
 */
#ifndef TESTS_PRELOAD_PLAYED_H
#define TESTS_PRELOAD_PLAYED_H

#include <stdbool.h>
#include <stdint.h>

/* As a library it is played_vmm's kernel. */
#pragma GCC visibility push(default)

#define PLAYED_MAX 16
#define PLAYED_ALL 7 /* STOP_COPY, P2P, PRE_COPY */

void played_reset(void);
/* A descriptor, which may be dup'ed and closed like any other. */
int played_open(uint64_t flags);
int played_ioctl(int fd, unsigned long request, ...);

/* A played device's own view, by the number of its opening: 0, 1, ... */
uint32_t played_state(unsigned index);
void played_put(unsigned index, uint32_t state);
/* The next arc that ends in `to` fails so, `times` times; the device stays where it was. */
void played_fail(unsigned index, uint32_t to, int error, unsigned times);
/* Its SETs do not end until they are released. */
void played_hold(unsigned index, bool hold);
/* Waits (10 s at most) until a SET is inside of it. */
bool played_inside(unsigned index);
unsigned played_sets(unsigned index); /* SETs that were begun */

/* Every SET waits inside until `count` of them are: only who asks in parallel gets through at once.
   Others get through after 5 s, and are counted. 0: none waits. */
void played_meet(unsigned count);
unsigned played_missed(void);

/* Devices that may begin DMA while another one cannot take it. */
unsigned played_violations(void);
/* From here on: a target's devices are all RUNNING, with nothing to do, until each resumes. */
void played_forget_violations(void);
unsigned played_sessions(void); /* open ones, anywhere */

#pragma GCC visibility pop

#endif
