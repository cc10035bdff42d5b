/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vmm.h - what a VMM does to its devices: calls speculate.h as interpose.c does, on top of
 * fake_vfio.h.
 */
#ifndef TESTS_PRELOAD_VMM_H
#define TESTS_PRELOAD_VMM_H

#include "patterns.h"

#include <stdint.h>

#define VMM_DEVICES_MAX 8

struct vmm {
	unsigned count;
	int fd[VMM_DEVICES_MAX];
	int data_fd[VMM_DEVICES_MAX];
};

/*
 * A new library state, a new kernel, and so many devices that are opened and whose features are
 * read.
 */
void vmm_start(struct vmm *vmm, enum pattern_vmm kind, unsigned count);
/* The same with other devices than FAKE_VFIO_ALL. */
void vmm_start_with(struct vmm *vmm, enum pattern_vmm kind, unsigned count, uint64_t flags);
/* Closes everything; fails the test if a session or an arc is left over. */
void vmm_end(struct vmm *vmm);
void vmm_add(struct vmm *vmm, uint64_t flags);

/* 0 or an errno. A new session is kept, a previous one is closed. */
int vmm_set(struct vmm *vmm, unsigned index, uint32_t to);
/* On each device in turn; fails the test when one refuses. */
void vmm_set_all(struct vmm *vmm, uint32_t to);
uint32_t vmm_state(struct vmm *vmm, unsigned index);
void vmm_close_session(struct vmm *vmm, unsigned index);
void vmm_close(struct vmm *vmm, unsigned index);

#endif
