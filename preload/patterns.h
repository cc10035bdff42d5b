/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patterns.h - which VMM asks for which arc of all its devices in turn. Known, not
 * guessed: an arc that is not in a VMM's table is never begun ahead.
 */
#ifndef PRELOAD_FORESEE_H
#define PRELOAD_FORESEE_H

#include <stdbool.h>
#include <stdint.h>

enum pattern_vmm { FORESEE_NONE, FORESEE_QEMU, FORESEE_CLOUD_HYPERVISOR };

struct pattern_arc {
	uint32_t from;
	uint32_t to;
	/* The P2P state that all devices must be in before any goes on to `to`, for a VMM that does
	   not ask for it; 0: nothing is to be put between. (0 is ERROR, which nobody asks for.) */
	uint32_t via;
};

/* NULL: that VMM does not ask for this arc of device after device. */
const struct pattern_arc *foresee(enum pattern_vmm vmm, uint32_t from, uint32_t to);

/* By a program's path: qemu-system-*, qemu-kvm, kvm; cloud-hypervisor. */
enum pattern_vmm pattern_vmm_of(const char *path);
/* "qemu", "cloud-hypervisor", "none"; false for another name. */
bool pattern_vmm_named(const char *name, enum pattern_vmm *out);
const char *pattern_vmm_name(enum pattern_vmm vmm);

bool pattern_is_p2p(uint32_t state);
/* Does this arc leave the P2P states, so that every device must have reached them first? */
bool pattern_leaves_p2p(uint32_t from, uint32_t to);
const char *pattern_state_name(uint32_t state);

#endif
